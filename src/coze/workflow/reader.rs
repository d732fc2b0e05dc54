//! What the events of one run say (protocol 5.2, 5.3).
//!
//! In come the events of [`sse::Decoder`], or the one body of a run that is
//! not streamed; out go [`Event`]s. Takes the community server's form and the
//! documented one, which names no types of nodes.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;

use super::question::{self, Interrupt};
use super::{Workflow, result};
use crate::coze::json::{Fault, Raw, Word, error_event, fault, parse, string, unnamed_error};
use crate::coze::sse;
use crate::turn::{Asked, Event, Failure, Finish, Kind, Resume, Text, Usage, Wants};

/// How much text waits for its turn, in bytes: of nodes that speak while
/// another one does.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How much is kept of what was shown, to recognise what the End node
/// repeats. Past that, the rest is not recognised.
const MAX_SAID_BYTES: usize = 4 * 1024 * 1024;

/// How many nodes may speak at a time.
const MAX_NODES: usize = 1024;

/// Where the events go.
type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads one run.
///
/// ```text
///            Done, Interrupt
///  Running ──────────────────▶ Over
///     │
///     └── Error, error, end of stream ──▶ an `Err`, once
/// ```
#[derive(Debug)]
pub struct Reader {
    output: Option<String>,
    show_debug_url: bool,
    over: bool,
    /// Whether any node has spoken.
    heard: bool,
    /// The nodes that speak, the one that is being shown first.
    open: VecDeque<Node>,
    /// What was shown, to recognise it.
    said: String,
    /// Whether anything was shown.
    spoken: bool,
    /// Bytes of text that wait for their turn.
    waiting: usize,
    usage: Option<Usage>,
}

/// A node that speaks.
#[derive(Debug)]
struct Node {
    key: Box<str>,
    role: Role,
    /// What is not shown yet.
    waiting: String,
    /// Whether something of it was shown.
    begun: bool,
    finished: bool,
}

/// What a node's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Part of the answer.
    Speaks,
    /// The result, or part of the answer: the next event tells. The documented
    /// form does not say which node is the End node.
    MayEnd,
    /// The result.
    Ends,
    /// A question, which the `Interrupt` event repeats.
    Asks,
}

/// The data of a `Message` event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Raw<'a>>,
    #[serde(borrow)]
    node_id: Word<'a>,
    #[serde(borrow)]
    node_type: Word<'a>,
    #[serde(borrow)]
    node_title: Word<'a>,
    node_is_finish: Option<bool>,
    #[serde(borrow)]
    token: Word<'a>,
    #[serde(borrow)]
    usage: Option<crate::coze::chat::Counts<'a>>,
}

/// The data of a `Done` event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Done<'a> {
    #[serde(borrow)]
    debug_url: Word<'a>,
}

/// The body of a run that is not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Whole<'a> {
    #[serde(borrow)]
    data: Option<Raw<'a>>,
    #[serde(borrow)]
    token: Word<'a>,
    #[serde(borrow)]
    usage: Option<crate::coze::chat::Counts<'a>>,
    #[serde(borrow)]
    debug_url: Word<'a>,
}

impl Reader {
    /// A reader of one run of this workflow.
    #[must_use]
    pub fn new(workflow: &Workflow) -> Self {
        Self {
            output: workflow.output.clone(),
            show_debug_url: workflow.show_debug_url,
            over: false,
            heard: false,
            open: VecDeque::new(),
            said: String::new(),
            spoken: false,
            waiting: 0,
            usage: None,
        }
    }

    /// Whether everything has been said: [`Event::Finished`] was the last.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What Coze has counted by now.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Reads the next event. After an error or the end it is not called
    /// again.
    ///
    /// # Errors
    /// If Coze tells of a failure, or what it sends makes no sense.
    pub fn read(&mut self, event: sse::Event<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        let read = match event.name {
            b"Message" => self.message(event.data, sink),
            b"Interrupt" => self.interrupt(event.data, sink),
            b"Done" | b"done" => self.done(event.data, sink),
            b"Error" => Err(failed(event.data)),
            b"error" => Err(error_event(event.data)),
            b"" => unnamed_error(event.data).map_or(Ok(()), Err),
            _ => Ok(()),
        };
        match read {
            // The stream broke off inside this event: that is what went wrong.
            Err(_) if event.cut_off && !matches!(event.name, b"Error" | b"error") => Ok(()),
            read => read,
        }
    }

    /// Reads the body of a run that was not streamed.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn whole(&mut self, body: &[u8], sink: Sink<'_>) -> Result<(), Failure> {
        let whole: Whole<'_> = parse(body)?;
        let Some(data) = string(whole.data)? else {
            return Err(Failure::new(Kind::Broken, "The workflow completed without an answer."));
        };
        self.count(&whole.token, whole.usage.as_ref());
        let text = data.decode();
        let text = result::text(&text, self.output.as_deref(), "");
        if !text.is_empty() {
            sink(Event::Text(Text::Plain(text)));
        }
        self.finish(&whole.debug_url, sink);
        Ok(())
    }

    /// The stream is over.
    ///
    /// # Errors
    /// If the run was not.
    pub fn end(&mut self) -> Result<(), Failure> {
        if self.over {
            return Ok(());
        }
        let says = if self.heard || self.usage.is_some() {
            "Coze's answer broke off before it was complete."
        } else {
            "Coze answered with an empty stream: it could not start the workflow."
        };
        Err(Failure::new(Kind::Broken, says))
    }

    fn message(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Failure> {
        let message: Message<'_> = parse(data)?;
        self.heard = true;
        self.count(&message.token, message.usage.as_ref());
        let finished = message.node_is_finish == Some(true);
        let content = string(message.content)?.unwrap_or(Text::Escaped(""));
        let key = if message.node_id.0.is_empty() { &*message.node_title.0 } else { &*message.node_id.0 };
        let index = self.open.iter().position(|node| !node.finished && *node.key == *key);
        let Some(index) = index else {
            let content = content.decode();
            let role = match &*message.node_type.0 {
                "Question" | "Input" => Role::Asks,
                "End" if finished => Role::Ends,
                "" if finished && result::is_json(&content) => Role::MayEnd,
                _ => Role::Speaks,
            };
            self.wait(content.len())?;
            if self.open.len() >= MAX_NODES {
                return Err(too_much());
            }
            let key = Box::from(key);
            self.open.push_back(Node { key, role, waiting: content.into_owned(), begun: false, finished });
            self.show(false, sink);
            return Ok(());
        };
        if index == 0
            && let Some(node) = self.open.front_mut()
            && node.role == Role::Speaks
        {
            // The one that is being shown: straight through.
            node.finished = finished;
            let begun = node.begun;
            node.begun |= !content.is_empty();
            self.say(begun, content, sink);
            self.show(false, sink);
            return Ok(());
        }
        let content = content.decode();
        self.wait(content.len())?;
        if let Some(node) = self.open.get_mut(index) {
            node.waiting.push_str(&content);
            node.finished = finished;
        }
        self.show(false, sink);
        Ok(())
    }

    /// Shows what can be shown: of the first node everything, of the next
    /// one only once that has finished. A result waits for the next event, or
    /// until there is none (`last`).
    fn show(&mut self, last: bool, sink: Sink<'_>) {
        while let Some(node) = self.open.front() {
            let (role, finished, begun) = (node.role, node.finished || last, node.begun);
            let alone = self.open.len() == 1;
            if role != Role::Speaks && (!finished || (alone && !last)) {
                break;
            }
            let Some(node) = self.open.front_mut() else { break };
            let text = std::mem::take(&mut node.waiting);
            node.begun |= !text.is_empty();
            self.waiting -= text.len();
            match role {
                Role::Speaks | Role::MayEnd => self.say(begun, Text::Plain(Cow::Owned(text)), sink),
                Role::Ends => {
                    let text = result::text(&text, self.output.as_deref(), &self.said).into_owned();
                    self.say(false, Text::Plain(Cow::Owned(text)), sink);
                }
                // Said by the event that follows.
                Role::Asks => {}
            }
            if !finished {
                break;
            }
            self.open.pop_front();
        }
    }

    /// Shows text of a node, a blank line behind another node's.
    fn say(&mut self, begun: bool, text: Text<'_>, sink: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        if !begun && std::mem::replace(&mut self.spoken, true) {
            self.remember("\n\n");
            sink(Event::Text(Text::Escaped("\\n\\n")));
        }
        self.remember(&text.decode());
        sink(Event::Text(text));
    }

    fn remember(&mut self, text: &str) {
        if self.said.len() + text.len() <= MAX_SAID_BYTES {
            self.said.push_str(text);
        }
    }

    fn done(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Failure> {
        // Whatever it says: the run has ended.
        let done: Done<'_> = parse(data).unwrap_or_default();
        // The last of those that may be the End node is it.
        if let Some(node) = self.open.back_mut()
            && node.role == Role::MayEnd
        {
            node.role = Role::Ends;
        }
        self.show(true, sink);
        if !self.heard {
            return Err(Failure::new(Kind::Broken, "The workflow completed without an answer."));
        }
        self.finish(&done.debug_url, sink);
        Ok(())
    }

    fn interrupt(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Failure> {
        let Interrupt { interrupt_data: waiting, debug_url } = parse(data)?;
        // The node's own message says the same.
        let asks = |node: &&mut Node| matches!(node.role, Role::Asks | Role::MayEnd);
        let node = self.open.back_mut().filter(asks).map(|node| {
            node.role = Role::Asks;
            node.waiting.clone()
        });
        self.show(true, sink);
        let data =
            if waiting.data.0.is_empty() { node.as_deref().unwrap_or_default() } else { &*waiting.data.0 };
        let (text, wants) = if data.is_empty() { (String::new(), Wants::Text) } else { question::read(data) };
        if text.is_empty() && !self.spoken {
            return Err(Failure::new(Kind::Broken, "The workflow waits, but says not for what."));
        }
        if waiting.event_id.0.is_empty() {
            return Err(Failure::new(Kind::Broken, "The workflow waits, but says not by what it goes on."));
        }
        let kind = waiting.kind.0.parse().unwrap_or(0);
        let resume = Resume { event: waiting.event_id.0.into_owned(), kind };
        // Ahead of its words, for who would rather not hear them.
        sink(Event::Asked(&Asked { wants, resume: Some(resume) }));
        // The documented form has asked already, in words.
        if !self.said.ends_with(&text) {
            self.say(false, Text::Plain(Cow::Owned(text)), sink);
        }
        self.finish(&debug_url, sink);
        Ok(())
    }

    fn finish(&mut self, debug_url: &Word<'_>, sink: Sink<'_>) {
        self.over = true;
        if self.show_debug_url && !debug_url.0.is_empty() {
            sink(Event::Debug(Cow::Borrowed(&debug_url.0)));
        }
        if let Some(usage) = self.usage {
            sink(Event::Usage(usage));
        }
        sink(Event::Finished(Finish::Completed));
    }

    /// Takes note of what Coze has counted. Where it gives the sum alone, the
    /// sum stands as what was written: it is what a limit is charged.
    fn count(&mut self, token: &Word<'_>, counts: Option<&crate::coze::chat::Counts<'_>>) {
        let sum = token.0.parse().ok().filter(|count| *count > 0);
        let sum = sum.map(|output| Usage { input: 0, output });
        self.usage = counts.and_then(crate::coze::chat::Counts::usage).or(sum).or(self.usage);
    }

    /// Takes note of text that waits for its turn.
    fn wait(&mut self, bytes: usize) -> Result<(), Failure> {
        self.waiting += bytes;
        if self.waiting > MAX_WAITING_BYTES { Err(too_much()) } else { Ok(()) }
    }
}

/// `Error`: an object with code and message.
fn failed(data: &[u8]) -> Failure {
    match parse::<Fault<'_>>(data) {
        Ok(Fault { code, msg }) => fault(&code, &msg),
        Err(_) => error_event(data),
    }
}

fn too_much() -> Failure {
    Failure::new(Kind::Broken, "Coze sent more text than one run may have.")
}

#[cfg(test)]
mod tests;
