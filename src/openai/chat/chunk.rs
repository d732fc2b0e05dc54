//! A stream of chunks: events in, `data:` lines out.

use super::extras::{self, Extras};
use super::sound::{self, Spoken};
use super::{Head, write_string, write_usage};
use crate::openai::ApiError;
use crate::turn::{Event, Reasoning, Text, Usage};

/// Writes the answers of one request as server-sent chunks.
///
/// Every chunk has `id`, `object`, `created`, `model` and one choice with
/// `index`, `delta` and `finish_reason`; the role stands in the first chunk
/// of a choice and nowhere else; usage comes only when it was asked for.
/// What clients break on otherwise is measured in the client matrix that the
/// tests replay.
#[derive(Debug)]
pub struct Encoder {
    /// `data: {…"choices":[{"index":`
    start: Vec<u8>,
    include_usage: bool,
    reasoning: Reasoning,
    opened: bool,
    choices: Vec<Choice>,
    /// Where answers are wanted aloud.
    head: Option<Box<Head>>,
}

#[derive(Clone, Debug, Default)]
struct Choice {
    extras: Extras,
    usage: Option<Usage>,
    /// Where the answer is wanted aloud.
    spoken: Option<Box<Spoken>>,
}

impl Encoder {
    /// An encoder for `choices` answers.
    #[must_use]
    pub fn new(head: &Head, choices: usize, include_usage: bool, reasoning: Reasoning) -> Self {
        let mut start = b"data: {".to_vec();
        write_string(&mut start, "id", &head.id);
        start.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        start.extend_from_slice(head.created.to_string().as_bytes());
        start.push(b',');
        write_string(&mut start, "model", &head.model);
        start.extend_from_slice(b",\"choices\":[");
        let choices = vec![Choice::default(); choices];
        Self { start, include_usage, reasoning, opened: false, choices, head: None }
    }

    /// The same for answers that are wanted aloud, too.
    #[must_use]
    pub fn aloud(mut self, head: &Head) -> Self {
        self.choices.iter_mut().for_each(|choice| choice.spoken = Some(Box::default()));
        self.head = Some(Box::new(head.clone()));
        self
    }

    /// Whether a chunk has been written.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.opened
    }

    /// Coze's ids of the first answer, for the log.
    pub(crate) fn ids(&self) -> Option<&Extras> {
        Some(&self.choices.first()?.extras)
    }

    /// What all answers cost together; `None` unless Coze counted each.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.choices.iter().try_fold(Usage::default(), |sum, choice| Some(sum.plus(choice.usage?)))
    }

    /// Appends what an event of the answer `index` comes to.
    pub fn push(&mut self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        let Some(choice) = self.choices.get_mut(index) else {
            return;
        };
        match event {
            Event::Logged(id) => choice.extras.log_id = Some(id.into_owned()),
            Event::Started { conversation, chat, .. } => {
                choice.extras.conversation = Some(conversation.into_owned());
                choice.extras.chat = Some(chat.into_owned());
            }
            Event::Suggestion(text) => choice.extras.suggestions.push(text.into_owned()),
            Event::Usage(usage) => choice.usage = Some(usage),
            Event::Text(text) => {
                if let Some(spoken) = &mut choice.spoken {
                    spoken.words(&text);
                }
                self.delta(index, &["content"], &text, out);
            }
            Event::Sound(piece) => self.sound(index, &piece, out),
            Event::Thinking(text) => match self.reasoning {
                Reasoning::Field => self.delta(index, &["reasoning_content"], &text, out),
                Reasoning::Both => self.delta(index, &["reasoning_content", "reasoning"], &text, out),
                // `Think` comes as text already.
                Reasoning::Think | Reasoning::Drop => {}
            },
            // Written for all choices together, by `finish`.
            Event::Finished(_) => {}
            // A question reads like any other answer.
            Event::Step(step) => choice.extras.steps.push(step.clone()),
            Event::Asked(asked) => choice.extras.wants = Some(asked.wants.clone()),
            Event::Debug(url) => choice.extras.debug_url = Some(url.into_owned()),
        }
    }

    /// Appends a chunk that says nothing, for clients whose timers ignore
    /// comments.
    pub fn idle(&mut self, out: &mut Vec<u8>) {
        if !self.opened {
            self.open(out);
            return;
        }
        self.delta(0, &["content"], &Text::Escaped(""), out);
    }

    /// Appends the end of a stream that went well: a finishing chunk for each
    /// choice, usage if it was asked for, `[DONE]`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.open(out);
        self.end_sound(out);
        for index in 0..self.choices.len() {
            self.begin(index, out);
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":\"stop\"}]");
            if index + 1 == self.choices.len() {
                out.extend_from_slice(b",\"coze\":");
                extras::write(out, self.choices.iter().map(|choice| &choice.extras));
            }
            self.end(out);
        }
        if self.include_usage {
            out.extend_from_slice(&self.start);
            out.extend_from_slice(b"],\"usage\":");
            match self.usage() {
                Some(usage) => write_usage(out, usage),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Opens every choice, in the order of the indices, if that has not been
    /// done: clients crash on index 1 ahead of 0.
    fn open(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.opened, true) {
            return;
        }
        for index in 0..self.choices.len() {
            self.begin(index, out);
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\"");
            self.running(out);
        }
    }

    fn sound(&mut self, index: usize, piece: &str, out: &mut Vec<u8>) {
        let Some(id) = self.head.as_ref().map(|head| sound::id(&head.id, index)) else { return };
        let data = match self.choices.get_mut(index).and_then(|choice| choice.spoken.as_mut()) {
            Some(spoken) => spoken.take(piece),
            None => return,
        };
        if data.is_empty() {
            return;
        }
        self.open(out);
        self.begin(index, out);
        if let Some(spoken) = self.choices.get_mut(index).and_then(|choice| choice.spoken.as_mut()) {
            spoken.write(out, &id, &data);
        }
        self.running(out);
    }

    /// Ends what was said aloud, of each choice.
    fn end_sound(&self, out: &mut Vec<u8>) {
        let Some(head) = &self.head else { return };
        for (index, choice) in self.choices.iter().enumerate() {
            if let Some(spoken) = choice.spoken.as_ref().filter(|spoken| spoken.has_begun()) {
                self.begin(index, out);
                spoken.write_end(out, head.created);
                self.running(out);
            }
        }
    }

    fn delta(&mut self, index: usize, names: &[&str], text: &Text<'_>, out: &mut Vec<u8>) {
        self.open(out);
        self.begin(index, out);
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            text.write_escaped(out);
            out.push(b'"');
        }
        self.running(out);
    }

    /// A chunk up to the inside of its delta.
    fn begin(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        out.extend_from_slice(b"{\"index\":");
        match u8::try_from(index) {
            Ok(digit @ 0..=9) => out.push(b'0' + digit),
            _ => out.extend_from_slice(index.to_string().as_bytes()),
        }
        out.extend_from_slice(b",\"delta\":{");
    }

    /// The rest of a chunk that is not a choice's last.
    fn running(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":null}]");
        self.end(out);
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }
}

/// Appends a comment: it keeps a silent connection alive and no client takes
/// it for data.
pub fn comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b": keepalive\n\n");
}

/// Appends the event that ends a stream that failed. It has no `choices`:
/// one SDK swallows an error that has.
pub fn error_event(error: &ApiError, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&error.body());
    out.extend_from_slice(b"\n\n");
}
