//! OpenAI's error envelope.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::turn::{Failure, Kind};

/// The only thing that becomes an error body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The HTTP status, where there still is one.
    pub status: StatusCode,
    /// OpenAI's name for the class of error.
    pub kind: &'static str,
    /// What a program tells errors apart by.
    pub code: Cow<'static, str>,
    /// The field of the request that is at fault.
    pub param: Option<String>,
    /// A sentence that stands alone: SDKs show nothing else.
    pub message: String,
    /// What an SDK should do about trying again.
    pub retry: Retry,
}

/// What the SDKs are told about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: they go by the status.
    #[default]
    ByStatus,
    /// To wait this long (`retry-after`, `retry-after-ms`).
    After(Duration),
    /// Not to (`x-should-retry: false`).
    Never,
}

/// OpenAI's class for a request that is wrong.
const INVALID_REQUEST: &str = "invalid_request_error";
/// OpenAI's class for a server's failure.
const SERVER: &str = "server_error";

impl ApiError {
    /// A request that is wrong: status 400.
    pub fn bad_request(
        code: impl Into<Cow<'static, str>>,
        param: Option<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, code, message).with_param(param)
    }

    /// An error of OpenAI's class `invalid_request_error` with another status.
    pub fn invalid(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(status, INVALID_REQUEST, code, message)
    }

    /// The gateway is full or stopping: status 503.
    #[must_use]
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self {
            retry: Retry::After(Duration::from_secs(1)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error", "overloaded", message)
        }
    }

    /// There is no conversation of this name: status 404.
    #[must_use]
    pub fn conversation_not_found() -> Self {
        let message = "There is no such conversation, or it has been forgotten: \
                       names that begin with conv_ are given by this gateway.";
        Self::invalid(StatusCode::NOT_FOUND, "conversation_not_found", message)
    }

    /// What a conversation is remembered in is away: status 503.
    #[must_use]
    pub fn state_unavailable() -> Self {
        let message = "What this conversation is remembered in cannot be reached; try again.";
        Self {
            retry: Retry::After(Duration::from_secs(1)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                "state_unavailable",
                message,
            )
        }
    }

    /// Over one of the gateway's limits: status 429.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        Self {
            retry: Retry::After(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded", message)
        }
    }

    /// A fault of the gateway's own: status 500.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            SERVER,
            "internal_error",
            "The gateway failed; its log says more.",
        )
    }

    fn new(
        status: StatusCode,
        kind: &'static str,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, kind, code: code.into(), param: None, message: message.into(), retry: Retry::ByStatus }
    }

    /// Names the field that is at fault.
    #[must_use]
    pub fn with_param(mut self, param: Option<String>) -> Self {
        self.param = param;
        self
    }

    /// Says what to do about trying again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The error body: `{"error":{…}}` with all four keys.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            message: &'a str,
            r#type: &'a str,
            param: Option<&'a str>,
            code: &'a str,
        }
        let envelope = Envelope {
            error: Inner {
                message: &self.message,
                r#type: self.kind,
                param: self.param.as_deref(),
                code: &self.code,
            },
        };
        serde_json::to_vec(&envelope).expect("strings always serialise")
    }

    /// What a failed turn is to a client. `caller_owns_token` says that the
    /// Coze token came with the request (passthrough mode), so that a bad
    /// one is the caller's own fault.
    #[must_use]
    pub fn from_failure(failure: &Failure, caller_owns_token: bool) -> Self {
        let never_if_running = if failure.may_be_running { Retry::Never } else { Retry::ByStatus };
        let (status, kind, code, retry): (_, _, Cow<'static, str>, _) = match failure.kind {
            Kind::TooLong => (400, INVALID_REQUEST, "context_length_exceeded".into(), Retry::ByStatus),
            Kind::Rejected => {
                let code = match failure.coze_code {
                    Some(code) => format!("coze_{code}").into(),
                    None => "coze_400".into(),
                };
                (400, INVALID_REQUEST, code, Retry::ByStatus)
            }
            Kind::Auth if caller_owns_token => {
                (401, INVALID_REQUEST, "invalid_api_key".into(), Retry::ByStatus)
            }
            Kind::Auth => (502, SERVER, "upstream_auth_failed".into(), Retry::Never),
            Kind::ModelUnavailable => (502, SERVER, "upstream_model_unavailable".into(), Retry::Never),
            Kind::RateLimited(wait) => {
                let wait = wait.unwrap_or(Duration::from_secs(1));
                (429, "rate_limit_error", "upstream_rate_limited".into(), Retry::After(wait))
            }
            Kind::Quota => (429, "insufficient_quota", "insufficient_quota".into(), Retry::Never),
            Kind::Busy => {
                (409, "conflict_error", "conversation_locked".into(), Retry::After(Duration::from_secs(1)))
            }
            Kind::Forgotten => (409, "conflict_error", "conversation_lost".into(), Retry::Never),
            Kind::Unsupported => (502, SERVER, "upstream_unsupported".into(), Retry::Never),
            Kind::RequiresAction => (502, SERVER, "upstream_requires_action".into(), Retry::Never),
            Kind::Broken => (502, SERVER, "upstream_error".into(), Retry::ByStatus),
            Kind::Unreachable(wait) => {
                let retry = wait.map_or(never_if_running, Retry::After);
                (503, SERVER, "upstream_unreachable".into(), retry)
            }
            Kind::Timeout => (504, SERVER, "upstream_timeout".into(), never_if_running),
            Kind::Draining => {
                (503, "service_unavailable_error", "overloaded".into(), Retry::After(Duration::from_secs(1)))
            }
        };
        let param = match (failure.kind, failure.attached_at) {
            (Kind::TooLong, _) => Some("messages".to_owned()),
            (Kind::Rejected, Some((message, part))) => Some(attached(message.into(), part.into())),
            _ => None,
        };
        let message = if failure.kind == Kind::Auth && caller_owns_token {
            "Coze does not accept this token, or it has no right to the bot.".to_owned()
        } else {
            failure.message.clone()
        };
        Self {
            status: StatusCode::from_u16(status).expect("the table holds only valid statuses"),
            kind,
            code,
            param,
            message,
            retry,
        }
    }
}

/// How a content part is named in `param`.
#[must_use]
pub fn attached(message: usize, part: usize) -> String {
    format!("messages[{message}].content[{part}]")
}
