//! What clients call conversations.

use super::ID_PREFIX;
use crate::store::Id;

/// The longest name that a client may give, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What a client calls the conversation that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A name that it gave.
    Given(String),
    /// An id that the gateway gave.
    Own(Id),
    /// Like an id of the gateway's, which never gave it.
    Nobodys,
}

/// A text that cannot name a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 256 bytes without control characters")]
pub struct BadName;

impl Name {
    /// As its client has it; `None` if it cannot name anything.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Given(name) => Some(name.clone()),
            Self::Own(id) => Some(format!("{ID_PREFIX}{id}")),
            Self::Nobodys => None,
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// If it is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
            return Err(BadName);
        }
        Ok(match text.strip_prefix(ID_PREFIX) {
            Some(id) => id.parse().map_or(Self::Nobodys, Self::Own),
            None => Self::Given(text.to_owned()),
        })
    }
}
