//! What is told while a bot answers.

use std::borrow::Cow;

use super::{Asked, Step, Text};

/// One step of an answer, borrowed from the bytes that brought it.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The id under which Coze logs the request. Comes first, if Coze says.
    Logged(Cow<'a, str>),
    /// Coze has accepted the chat. Comes once, before all that the bot says, if
    /// Coze names the chat at all.
    Started {
        /// Coze's id of the conversation.
        conversation: Cow<'a, str>,
        /// Coze's id of the chat (this one run).
        chat: Cow<'a, str>,
        /// Coze's id of the conversation's section, if it says.
        section: Option<Cow<'a, str>>,
    },
    /// More of the answer. Several answers of one chat come with a blank
    /// line between them already.
    Text(Text<'a>),
    /// More of the bot's thinking.
    Thinking(Text<'a>),
    /// More of the answer as it is said aloud: base64 of 16-bit PCM, 24 kHz,
    /// one channel, each piece for itself.
    Sound(Cow<'a, str>),
    /// A question that the bot suggests to the user as the next one.
    Suggestion(Cow<'a, str>),
    /// What the bot did on its way, where that is wanted as a list.
    Step(&'a Step),
    /// The answer is a question, and the bot waits for what the user says to
    /// it.
    Asked(&'a Asked),
    /// Where Coze's own page of the run is.
    Debug(Cow<'a, str>),
    /// What the answer cost, as Coze counted it.
    Usage(Usage),
    /// The answer is whole. Nothing comes after it.
    Finished(Finish),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The bot said all that it had to say, or asked something back.
    Completed,
    /// One of the client's stop strings came, and the gateway cut there.
    StopWord,
}

/// Tokens as Coze counted them; never an estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of everything that the model read.
    pub input: u64,
    /// Tokens of everything that the model wrote.
    pub output: u64,
}

impl Usage {
    /// Both together. Coze's own total is not used: the community server's
    /// is wrong for chatflows (`chatflow_text.server.sse`).
    #[must_use]
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// The sum of two counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}
