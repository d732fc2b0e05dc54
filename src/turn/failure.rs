//! What can go wrong in a turn, by kind.

use std::time::Duration;

/// Why a turn failed, in words that both a client and an operator can use.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure; decides status and code.
    pub kind: Kind,
    /// For the client: a whole sentence without host names, stack traces or
    /// secrets.
    pub message: String,
    /// For the operator's log alone: the cause in the upstream's words.
    pub detail: Option<String>,
    /// Coze's own number for it.
    pub coze_code: Option<i64>,
    /// Which attachment of the request it is about: the index of its message
    /// and of its part.
    pub attached_at: Option<(u16, u16)>,
    /// Coze's log id of the failed request.
    pub log_id: Option<String>,
    /// Whether the bot may still be running, so that asking again might run
    /// it twice.
    pub may_be_running: bool,
}

/// The kinds of failure that a client can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The transcript is longer than Coze or its model takes.
    TooLong,
    /// Coze refused the request itself.
    Rejected,
    /// Coze does not accept the token.
    Auth,
    /// The bot does not exist, or is not published to the API.
    ModelUnavailable,
    /// Coze's rate limit; the wait that Coze asked for, if it did.
    RateLimited(Option<Duration>),
    /// Coze's quota or balance is used up.
    Quota,
    /// The Coze conversation has a chat running.
    Busy,
    /// Coze knows the conversation no more, or has cleared it.
    Forgotten,
    /// This Coze does not have the route.
    Unsupported,
    /// The bot wants a local plugin to be run.
    RequiresAction,
    /// Coze failed, or what it sent makes no sense.
    Broken,
    /// Coze cannot be reached; the wait until it is tried again, if it was not
    /// even tried.
    Unreachable(Option<Duration>),
    /// Coze was silent for too long.
    Timeout,
    /// The gateway is stopping.
    Draining,
}

impl Kind {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Rejected => "rejected",
            Self::Auth => "auth",
            Self::ModelUnavailable => "model_unavailable",
            Self::RateLimited(_) => "rate_limited",
            Self::Quota => "quota",
            Self::Busy => "busy",
            Self::Forgotten => "forgotten",
            Self::Unsupported => "unsupported",
            Self::RequiresAction => "requires_action",
            Self::Broken => "broken",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Draining => "draining",
        }
    }
}

impl Failure {
    /// A failure of `kind` with the sentence that a client reads.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            coze_code: None,
            attached_at: None,
            log_id: None,
            may_be_running: false,
        }
    }

    /// Takes a secret out of the words: an upstream may repeat what it was
    /// sent.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            for text in [Some(&mut self.message), self.detail.as_mut()].into_iter().flatten() {
                if text.contains(secret) {
                    *text = text.replace(secret, "***");
                }
            }
        }
        self
    }

    /// Adds what only the operator may read.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
