//! What is different where a chatflow answers.

use serde::Deserialize;

use crate::coze::json::{Word, parse};

/// A chatflow's answer: it tells at its end where Coze's page of the run is.
pub(super) struct Flow {
    show_debug_url: bool,
    debug_url: Option<String>,
}

/// The data of `done`.
#[derive(Deserialize)]
struct Done<'a> {
    #[serde(borrow)]
    debug_url: Word<'a>,
}

impl Flow {
    /// One that nothing is known of yet.
    pub(super) fn new(show_debug_url: bool) -> Self {
        Self { show_debug_url, debug_url: None }
    }

    /// Takes note of what it says at its end.
    pub(super) fn done(&mut self, data: &[u8]) {
        if self.show_debug_url {
            self.debug_url = parse::<Done<'_>>(data).ok().map(|done| done.debug_url.0.into_owned());
        }
    }

    /// What clients are told of it.
    pub(super) fn debug_url(&self) -> Option<&str> {
        self.debug_url.as_deref()
    }
}
