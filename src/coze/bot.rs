//! A bot, and how it is run.

use crate::turn::Extras;

/// A bot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bot {
    /// Its id: decimal digits.
    pub id: String,
    /// What it is given beside the messages, every time.
    pub extras: Extras,
    /// What becomes of its steps.
    pub steps: Steps,
    /// How it is shown a transcript.
    pub history: History,
    /// Whether Coze is told to keep nothing of its chats; the clouds can.
    pub unsaved: bool,
}

/// How a transcript is shown to a bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// Message by message.
    #[default]
    Messages,
    /// As one text.
    Flat,
}

/// How the steps of a bot on its way to an answer are shown: what it looked up
/// in its knowledge, what its tools were asked and said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// Not at all.
    #[default]
    Hidden,
    /// As thinking, when they happen.
    Reasoning,
    /// As a list beside the answer.
    Listed,
}

impl Bot {
    /// A bot that is given nothing beside the messages.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}
