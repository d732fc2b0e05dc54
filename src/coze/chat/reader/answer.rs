//! What is kept of each answer of a chat while it is read.

use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::coze::chat::wire::Verbose;
use crate::coze::json::plain_or_parsed;

/// What has been shown of one answer: enough to recognise it in its
/// `completed` event without keeping the text.
pub(super) struct Answer {
    bytes: usize,
    hash: Box<Xxh64>,
    pub(super) thought: bool,
    pub(super) card_shown: bool,
    pub(super) completed: bool,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self { bytes: 0, hash: Box::new(Xxh64::new(0)), thought: false, card_shown: false, completed: false }
    }

    /// Takes note of what is shown.
    pub(super) fn shown(&mut self, text: &str) {
        self.bytes += text.len();
        self.hash.update(text.as_bytes());
    }

    /// What a full text has beyond what was shown.
    pub(super) fn missing<'t>(&self, full: &'t str) -> &'t str {
        match full.split_at_checked(self.bytes) {
            Some((head, tail)) if xxh64(head.as_bytes(), 0) == self.hash.digest() => tail,
            _ => "",
        }
    }

    /// Whether what was shown is just this text.
    pub(super) fn is(&self, text: &str) -> bool {
        text.len() == self.bytes && xxh64(text.as_bytes(), 0) == self.hash.digest()
    }
}

/// Whether a verbose message says that the bot waits for an answer
/// (`chat_interrupt_card.server.sse`).
pub(in crate::coze) fn is_interrupt(json: &str) -> bool {
    plain_or_parsed::<Verbose<'_>>(json).is_ok_and(|verbose| verbose.msg_type.0 == "interrupt")
}
