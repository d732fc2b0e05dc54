//! What the events of one `/v3/chat` stream say.
//!
//! In come the events of [`sse::Decoder`], out go [`turn::Event`]s. Takes
//! the community server's form and the documented one (protocol 3.5, 3.6).

mod answer;
mod cards;
mod failures;
mod flow;
mod steps;

use std::borrow::Cow;
use std::collections::HashMap;

use super::alike::Alike;
use super::wire::{Chat, Message};
use crate::coze::bot::Steps;
use crate::coze::json::{Word, error_event, fault, parse_plain, string, unnamed_error};
use crate::coze::sse;
use crate::turn::{Asked, Event, Failure, Finish, Kind, Text, Usage, Wants};
use answer::Answer;
pub(in crate::coze) use answer::is_interrupt;
use failures::chat_failed;
use flow::Flow;
use steps::Told;

/// How many answers one chat may have.
const MAX_ANSWERS: usize = 4096;

/// How much is kept of the questions that one chat suggests, in bytes. More
/// would be no reason to lose the answer.
const MAX_SUGGESTED_BYTES: usize = 256 * 1024;

/// The longest id that an answer may have, in bytes; Coze's have 19 digits.
const MAX_ID_BYTES: usize = 256;

/// Reads one chat.
///
/// ```text
///            chat.completed,             terminal event,
///            requires_action             end of stream
///  Running ──────────────────▶ Ended ───────────────────▶ Over
///     │                          │
///     └── error, chat.failed, ───┘──▶ an `Err`, once
///         end of stream
/// ```
#[derive(Default)]
pub struct Reader {
    state: State,
    started: bool,
    answers: HashMap<Box<str>, Answer>,
    /// The answer that the last text belonged to.
    current: Option<Box<str>>,
    thought: bool,
    /// What the last answer wants to hear, should it be a question.
    wants: Wants,
    asked: bool,
    /// What is different where a chatflow answers.
    flow: Option<Flow>,
    told: Told,
    alike: Alike,
    /// Whether the last line of thinking is open.
    in_line: bool,
    /// Bytes of suggestions so far.
    suggested: usize,
    /// A card whose end has not come.
    open_card: Option<(Box<str>, String)>,
    chat_usage: Option<Usage>,
    answer_usage: Option<Usage>,
}

/// See [`Reader`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Ended,
    Over,
}

/// Where the events go.
type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of what a bot says, and does.
    #[must_use]
    pub fn of_bot(steps: Steps) -> Self {
        Self { told: Told::new(steps), ..Self::default() }
    }

    /// A reader of what a chatflow says.
    #[must_use]
    pub fn of_flow(show_debug_url: bool) -> Self {
        Self { flow: Some(Flow::new(show_debug_url)), ..Self::default() }
    }

    /// Whether the chat has ended well, so that only the stream's own end is
    /// still to come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state != State::Running
    }

    /// Whether everything has been said: [`Event::Finished`] was the last.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What Coze has counted by now.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.chat_usage.or(self.answer_usage)
    }

    /// Reads the next event. After an error or the end it is not called
    /// again.
    ///
    /// # Errors
    /// If Coze tells of a failure, or what it sends makes no sense.
    pub fn read(&mut self, event: sse::Event<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        match self.read_whole(event, sink) {
            // The stream broke off inside this event: that is what went wrong.
            Err(_) if event.cut_off && !is_error(event.name) => Ok(()),
            result => result,
        }
    }

    fn read_whole(&mut self, event: sse::Event<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        match event.name {
            b"conversation.message.delta" => {
                let mut alike = std::mem::take(&mut self.alike);
                let read = alike.read(event.data, |message| self.delta(message, sink));
                self.alike = alike;
                read
            }
            b"conversation.audio.delta" => sound(&parse_plain(event.data)?, sink),
            b"conversation.message.completed" => self.completed(&parse_plain(event.data)?, sink),
            // The second says what the first has said.
            b"conversation.chat.created" | b"conversation.chat.in_progress" if self.started => Ok(()),
            b"conversation.chat.created" | b"conversation.chat.in_progress" => {
                let chat: Chat<'_> = parse_plain(event.data)?;
                self.start([&chat.conversation_id, &chat.id, &chat.section_id], sink);
                Ok(())
            }
            b"conversation.chat.completed" => {
                let chat = parse_plain(event.data)?;
                self.chat_ended(&chat, sink)
            }
            // The second spelling is the community server's constant.
            b"conversation.chat.requires_action" | b"conversation.chat.required_action" => {
                let chat: Chat<'_> = parse_plain(event.data)?;
                if chat.required_action.as_ref().is_some_and(super::wire::RequiredAction::has_tool_calls) {
                    return Err(Failure::new(
                        Kind::RequiresAction,
                        "The bot asked for a local plugin to be run, which this gateway cannot do.",
                    ));
                }
                if self.flow.is_some() {
                    self.ask(sink);
                }
                self.chat_ended(&chat, sink)
            }
            b"conversation.chat.failed" => Err(chat_failed(event.data)),
            b"conversation.chat.canceled" | b"conversation.chat.cancelled" => {
                Err(Failure::new(Kind::Broken, "The chat was cancelled at Coze."))
            }
            b"conversation.stream.done" | b"done" => {
                if let Some(flow) = &mut self.flow {
                    flow.done(event.data);
                }
                self.end(sink)
            }
            b"error" => Err(error_event(event.data)),
            // An error without a name, as a proxy or the cloud may send it.
            b"" => unnamed_error(event.data).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// The stream is over.
    ///
    /// # Errors
    /// If the chat had not completed, or completed without an answer
    /// (`chat_no_answer.server.sse`).
    pub fn end(&mut self, sink: Sink<'_>) -> Result<(), Failure> {
        match self.state {
            State::Over => return Ok(()),
            State::Running if !self.started && self.answers.is_empty() => {
                return Err(Failure::new(
                    Kind::Broken,
                    "Coze answered with an empty stream: it could not store or start the chat.",
                ));
            }
            State::Running => {
                return Err(Failure::new(Kind::Broken, "Coze's answer broke off before it was complete."));
            }
            State::Ended => {}
        }
        self.close_card(sink)?;
        if self.current.is_none() && !self.thought {
            return Err(Failure::new(Kind::Broken, "The bot completed without an answer."));
        }
        self.state = State::Over;
        if let Some(url) = self.flow.as_ref().and_then(Flow::debug_url) {
            sink(Event::Debug(Cow::Borrowed(url)));
        }
        if let Some(usage) = self.usage() {
            sink(Event::Usage(usage));
        }
        sink(Event::Finished(Finish::Completed));
        Ok(())
    }

    fn start(&mut self, [conversation, chat, section]: [&Word<'_>; 3], sink: Sink<'_>) {
        if self.started || conversation.0.is_empty() || chat.0.is_empty() {
            return;
        }
        self.started = true;
        sink(Event::Started {
            conversation: Cow::Borrowed(&conversation.0),
            chat: Cow::Borrowed(&chat.0),
            section: (!section.0.is_empty()).then_some(Cow::Borrowed(&section.0)),
        });
    }

    fn chat_ended(&mut self, chat: &Chat<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        if let Some(fault_of) = &chat.last_error
            && fault_of.code.0.parse().is_ok_and(|code: i64| code != 0)
        {
            return Err(fault(&fault_of.code, &fault_of.msg));
        }
        self.start([&chat.conversation_id, &chat.id, &chat.section_id], sink);
        let usage = chat.usage.as_ref().and_then(super::wire::Counts::usage);
        self.chat_usage = usage.or(self.chat_usage);
        self.state = State::Ended;
        Ok(())
    }

    fn delta(&mut self, message: &Message<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        self.start([&message.conversation_id, &message.chat_id, &message.section_id], sink);
        if message.kind.0 != "answer" {
            return Ok(());
        }
        if let Some(thinking) = string(message.reasoning_content)?.filter(|text| !text.is_empty()) {
            self.answer(&message.id)?.thought = true;
            (self.thought, self.in_line) = (true, true);
            sink(Event::Thinking(thinking));
        }
        let Some(text) = string(message.content)?.filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        match &*message.content_type.0 {
            "card" => self.card_delta(&message.id, &text.decode(), sink),
            "text" | "" => {
                self.answer(&message.id)?.shown(&text.decode());
                self.text(&message.id, text, sink);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn completed(&mut self, message: &Message<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        self.start([&message.conversation_id, &message.chat_id, &message.section_id], sink);
        match &*message.kind.0 {
            "answer" => {}
            "follow_up" => {
                if let Some(text) = string(message.content)? {
                    self.suggested = self.suggested.saturating_add(text.decode().len());
                    if self.suggested <= MAX_SUGGESTED_BYTES {
                        sink(Event::Suggestion(text.decode()));
                    }
                }
                return Ok(());
            }
            "verbose" => {
                if string(message.content)?.is_some_and(|text| is_interrupt(&text.decode())) {
                    self.ask(sink);
                }
                return Ok(());
            }
            kind => return self.step(kind, message, sink),
        }
        if let Some(usage) = message.usage() {
            self.answer_usage = Some(usage);
        }
        if self.flow.is_some() && self.repeats(message)? {
            return Ok(());
        }
        let answer = self.answer(&message.id)?;
        answer.completed = true;
        if !answer.thought
            && let Some(thinking) = string(message.reasoning_content)?.filter(|text| !text.is_empty())
        {
            answer.thought = true;
            (self.thought, self.in_line) = (true, true);
            sink(Event::Thinking(thinking));
        }
        let Some(text) = string(message.content)?.filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        match &*message.content_type.0 {
            "card" => {
                let shown = std::mem::replace(&mut self.answer(&message.id)?.card_shown, true);
                if !shown {
                    self.open_card.take_if(|(open, _)| **open == *message.id.0);
                    self.card(&message.id.0, &text.decode(), sink);
                }
            }
            // It may come several times, and the last one may have the most
            // (a chatflow's last answer comes twice: protocol 3.5).
            "text" | "" => {
                let answer = self.answer(&message.id)?;
                let full = text.decode();
                let tail = answer.missing(&full);
                answer.shown(tail);
                if tail.len() == full.len() {
                    self.text(&message.id, text, sink);
                } else if !tail.is_empty() {
                    self.text(&message.id, Text::Plain(Cow::Borrowed(tail)), sink);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a message under an id of its own is what was just shown under
    /// another (`chatflow_interrupt.docs.sse`).
    fn repeats(&self, message: &Message<'_>) -> Result<bool, Failure> {
        let last = self.current.as_ref().and_then(|id| self.answers.get(id));
        let (Some(last), false) = (last, self.answers.contains_key(&*message.id.0)) else {
            return Ok(false);
        };
        let text = string(message.content)?.map(|text| text.decode().into_owned()).unwrap_or_default();
        Ok(!last.completed && last.is(&text))
    }

    /// What is known of the answer with this id.
    fn answer(&mut self, id: &Word<'_>) -> Result<&mut Answer, Failure> {
        if !self.answers.contains_key(&*id.0) {
            if self.answers.len() >= MAX_ANSWERS || id.0.len() > MAX_ID_BYTES {
                return Err(Failure::new(Kind::Broken, "Coze sent more answers than one chat may have."));
            }
            self.answers.insert(Box::from(&*id.0), Answer::new());
        }
        Ok(self.answers.get_mut(&*id.0).expect("it was inserted if it was not there"))
    }

    /// Shows text of an answer, a blank line behind another answer's.
    fn text(&mut self, id: &Word<'_>, text: Text<'_>, sink: Sink<'_>) {
        match &self.current {
            Some(current) if **current == *id.0 => {}
            other => {
                if other.is_some() {
                    sink(Event::Text(Text::Escaped("\\n\\n")));
                }
                self.current = Some(Box::from(&*id.0));
            }
        }
        self.wants = Wants::Text;
        sink(Event::Text(text));
    }

    /// The last answer is a question.
    fn ask(&mut self, sink: Sink<'_>) {
        if !std::mem::replace(&mut self.asked, true) {
            sink(Event::Asked(&Asked { wants: std::mem::take(&mut self.wants), resume: None }));
        }
    }
}

/// Passes on what is said aloud. It may come after the end of the chat
/// (`chat_audio.cloud.sse`).
fn sound(message: &Message<'_>, sink: Sink<'_>) -> Result<(), Failure> {
    if let Some(piece) = string(message.content)?.filter(|piece| !piece.is_empty()) {
        sink(Event::Sound(piece.decode()));
    }
    Ok(())
}

fn is_error(name: &[u8]) -> bool {
    matches!(name, b"error" | b"conversation.chat.failed")
}

#[cfg(test)]
mod tests;
