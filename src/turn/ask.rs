//! What a client wants of a bot, in no dialect.

use super::{Attachment, Given, Source, StopWords};

/// One request to a bot: the transcript and the wishes that the gateway
/// itself fulfils.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The leading system texts, joined by a blank line; what becomes of it
    /// is the model's [`super::SystemRule`].
    pub system: Option<String>,
    /// The messages in order, none of them empty, the last one the user's.
    pub messages: Vec<Message>,
    /// Which of them is the last that the user wrote: tool results may follow
    /// it. `None` if there is none.
    pub question: Option<usize>,
    /// Where in the request each attachment stood: the index of its message
    /// and of its part.
    pub attached_at: Vec<(usize, usize)>,
    /// Whether the assistant has a message among those that were sent, even
    /// one that is left out as empty.
    pub answered: bool,
    /// Who asks, in the client's own words.
    pub user: Option<String>,
    /// Whether the answer is wanted aloud, too.
    pub aloud: bool,
    /// Where the answer is cut.
    pub stop: StopWords,
    /// What is given beside the messages.
    pub given: Given,
}

/// Whose words a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user's, and everything that a bot has to be told in the user's
    /// place: tool results, later system texts.
    User,
    /// The bot's own, from an earlier turn.
    Assistant,
}

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose words.
    pub role: Role,
    /// The text; empty only where something is attached.
    pub text: String,
    /// What goes with the text; nothing in an assistant's message.
    pub attachments: Vec<Attachment>,
}

impl Message {
    /// A message of text alone.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into(), attachments: Vec::new() }
    }

    /// Whether something goes with it that came in the request itself.
    #[must_use]
    pub fn has_inline(&self) -> bool {
        self.attachments.iter().any(|attachment| matches!(attachment.source, Source::Inline(_)))
    }
}
