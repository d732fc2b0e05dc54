//! Request bodies: read whole, within a limit; or thrown away.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::openai::ApiError;

/// How long the rest of a body that nobody wants is read and thrown away.
const LINGER: Duration = Duration::from_secs(5);

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::bad_request("invalid_json", None, "The request body broke off before it was complete.")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// What a handler has left of a body.
#[derive(Debug, Default)]
pub(super) struct Leftover(Arc<Mutex<Option<Body>>>);

/// A body that leaves its unread rest behind.
#[derive(Debug)]
struct Lent {
    body: Body,
    leftover: Arc<Mutex<Option<Body>>>,
}

/// Lends a request's body to whoever handles it.
///
/// Many clients send all of a body before they look for an answer: if the
/// connection closed on them meanwhile, some would never see that answer.
pub(super) fn lend(request: Request<Body>) -> (Request<Body>, Leftover) {
    let leftover = Leftover::default();
    // A stream of HTTP/2 can be answered and closed in any state, and who
    // waits for `100 Continue` sends nothing before the answer.
    if request.version() > Version::HTTP_11 || request.headers().contains_key(EXPECT) {
        return (request, leftover);
    }
    let lent = |body| Body::new(Lent { body, leftover: Arc::clone(&leftover.0) });
    (request.map(lent), leftover)
}

impl Leftover {
    /// Reads the rest for a while and keeps nothing.
    pub(super) async fn discard(self) {
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut body) = rest {
            let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
            let _ = tokio::time::timeout(LINGER, rest).await;
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let rest = std::mem::take(&mut self.body);
            *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::invalid(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request_too_large",
        format!("The request body is larger than the {limit} bytes that this gateway takes."),
    )
}
