//! The reader of one answer, whatever answers.

use super::{Callee, chat, sse, workflow};
use crate::turn::{Event, Failure, Usage};

/// Where the events go.
type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads the stream of a chat or of a run.
#[derive(Debug)]
pub enum Reader {
    /// Of a chat.
    Chat(Box<chat::Reader>),
    /// Of a workflow's run.
    Workflow(Box<workflow::Reader>),
}

impl Reader {
    /// A reader of what this callee will say.
    #[must_use]
    pub fn of(callee: &Callee) -> Self {
        match callee {
            Callee::Bot(bot) => Self::Chat(Box::new(chat::Reader::of_bot(bot.steps))),
            Callee::Chatflow(flow) => Self::Chat(Box::new(chat::Reader::of_flow(flow.show_debug_url))),
            Callee::Workflow(workflow) => Self::Workflow(Box::new(workflow::Reader::new(workflow))),
        }
    }

    /// Whether the answer has ended well, so that only the stream's own end
    /// is still to come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Chat(reader) => reader.has_ended(),
            Self::Workflow(reader) => reader.is_over(),
        }
    }

    /// Whether everything has been said.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Chat(reader) => reader.is_over(),
            Self::Workflow(reader) => reader.is_over(),
        }
    }

    /// What Coze has counted by now.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Chat(reader) => reader.usage(),
            Self::Workflow(reader) => reader.usage(),
        }
    }

    /// Reads the next event. After an error or the end it is not called
    /// again.
    ///
    /// # Errors
    /// If Coze tells of a failure, or what it sends makes no sense.
    pub fn read(&mut self, event: sse::Event<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        match self {
            Self::Chat(reader) => reader.read(event, sink),
            Self::Workflow(reader) => reader.read(event, sink),
        }
    }

    /// Reads an answer that came in one piece instead of a stream.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn whole(&mut self, body: &[u8], sink: Sink<'_>) -> Result<(), Failure> {
        match self {
            // A chat is always asked for as a stream.
            Self::Chat(_) => Ok(()),
            Self::Workflow(reader) => reader.whole(body, sink),
        }
    }

    /// The stream is over.
    ///
    /// # Errors
    /// If the answer is not whole.
    pub fn end(&mut self, sink: Sink<'_>) -> Result<(), Failure> {
        match self {
            Self::Chat(reader) => reader.end(sink),
            Self::Workflow(reader) => reader.end(),
        }
    }
}
