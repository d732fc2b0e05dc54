//! Errors and JSON as responses.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::access::Refusal;
use crate::config::NoModel;
use crate::openai::ApiError;
use crate::openai::error::Retry;

/// An error's code, left with the response for the log.
#[derive(Clone, Debug)]
struct ErrorCode(String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.body());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        match self.retry {
            Retry::ByStatus => {}
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Retry::After(wait) => {
                // Rounded up: who comes a moment early is refused again.
                let milliseconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                headers.insert(RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000).max(1)));
                headers.insert("retry-after-ms", HeaderValue::from(milliseconds.max(1)));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ErrorCode(self.code.into_owned()));
        response
    }
}

/// A JSON body with status 200.
pub(super) fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The code of the error that a response is, if it is one.
pub(super) fn error_code(response: &Response) -> Option<String> {
    response.extensions().get::<ErrorCode>().map(|code| code.0.clone())
}

/// Nobody was let in.
pub(super) fn refused(refusal: Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::Missing => (
            "missing_api_key",
            "You didn't provide an API key. Send one of the gateway's keys in the header \
             `Authorization: Bearer YOUR_KEY`.",
        ),
        Refusal::Wrong => {
            ("invalid_api_key", "Incorrect API key provided. It is none of this gateway's keys.")
        }
    };
    ApiError::invalid(StatusCode::UNAUTHORIZED, code, message)
}

/// A model that the caller cannot have.
pub(super) fn unresolved(error: NoModel, model: &str) -> ApiError {
    match error {
        NoModel::NotFound => not_found(model),
        NoModel::NotAllowed => ApiError::invalid(
            StatusCode::FORBIDDEN,
            "model_not_allowed",
            format!("This API key may not use the model `{}`.", shown(model)),
        ),
    }
    .with_param(Some("model".to_owned()))
}

/// A model that does not exist, or shall look as if it did not.
pub(super) fn not_found(model: &str) -> ApiError {
    ApiError::invalid(
        StatusCode::NOT_FOUND,
        "model_not_found",
        format!("The model `{}` does not exist or you do not have access to it.", shown(model)),
    )
}

/// A client's own words, short enough to be repeated to it.
fn shown(text: &str) -> String {
    match text.char_indices().nth(128) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
