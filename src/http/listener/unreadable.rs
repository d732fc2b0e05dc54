//! What hyper refuses by itself, because it is no HTTP that can be read: the
//! client is given our error instead of a bare status.
//!
//! In comes the head that hyper would write, out go the bytes that are
//! written in its place. Never touches what the gateway itself answers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::Shared;
use super::raw::last_answer;
use crate::http::journal::Journal;
use crate::http::request_id;
use crate::openai::ApiError;

/// Answers for one connection what hyper would answer.
#[derive(Debug)]
pub(super) struct Unreadable {
    shared: Arc<Shared>,
    peer: IpAddr,
}

impl Unreadable {
    pub(super) fn new(shared: Arc<Shared>, peer: IpAddr) -> Self {
        Self { shared, peer }
    }

    /// What to write instead of this head, if it is a refusal. It is logged
    /// and counted as the request that it would have been.
    pub(super) fn instead_of(&self, head: &[u8]) -> Option<Vec<u8>> {
        let error = error(status(head)?)?;
        let request_id = request_id::of(&HeaderMap::new());
        let app = &self.shared.service.app;
        Journal::unreadable(&request_id, self.peer, app, error.status, &error.code);
        Some(last_answer(error, &request_id))
    }
}

/// The status of a head of HTTP/1.
fn status(head: &[u8]) -> Option<StatusCode> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    StatusCode::from_bytes(line.get(2..5)?).ok()
}

/// The error for a status that hyper gives by itself.
fn error(status: StatusCode) -> Option<ApiError> {
    let (code, message) = match status {
        StatusCode::URI_TOO_LONG => ("uri_too_long", "The request's URL is too long."),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ("request_header_fields_too_large", "The request's headers are too large, or too many.")
        }
        status if status.is_client_error() => {
            ("invalid_request", "What came over this connection is no valid HTTP/1.1 request.")
        }
        _ => return None,
    };
    Some(ApiError::invalid(status, code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_and_nothing_else_is() {
        for (head, expected) in [
            ("HTTP/1.1 400 Bad Request\r\n", Some("invalid_request")),
            ("HTTP/1.0 414 URI Too Long\r\n", Some("uri_too_long")),
            ("HTTP/1.1 431 Request Header Fields Too Large\r\n", Some("request_header_fields_too_large")),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 4", None),
            ("data: HTTP/1.1 400", None),
            ("", None),
        ] {
            let found = status(head.as_bytes()).and_then(error).map(|error| error.code.into_owned());
            assert_eq!(found.as_deref(), expected, "{head}");
        }
    }
}
