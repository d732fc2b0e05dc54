//! One log line per request, written when its last byte has gone or its
//! client has left.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::turn::{Failure, Usage};

/// What is written about one request. The line goes out when the last holder
/// lets go of it, so that no way to end a request goes unlogged.
#[derive(Debug)]
pub(super) struct Journal {
    request_id: String,
    method: http::Method,
    path: String,
    received: Instant,
    facts: Mutex<Facts>,
}

/// What becomes known on the way.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) key: Option<String>,
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) choices: Option<usize>,
    pub(super) conversation: Option<String>,
    pub(super) chat: Option<String>,
    pub(super) log_id: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) retry_count: Option<String>,
    /// The error code that the client was given.
    pub(super) error: Option<String>,
    /// The cause, for the operator alone.
    pub(super) detail: Option<String>,
    first_content: Option<Instant>,
    status: Option<StatusCode>,
    complete: bool,
}

impl Journal {
    pub(super) fn open(request: &Request, request_id: &str) -> Arc<Self> {
        let retry_count = request
            .headers()
            .get("x-stainless-retry-count")
            .and_then(|value| value.to_str().ok())
            .filter(|count| *count != "0" && count.len() < 4)
            .map(str::to_owned);
        Arc::new(Self {
            request_id: request_id.to_owned(),
            method: request.method().clone(),
            path: request.uri().path().chars().take(256).collect(),
            received: Instant::now(),
            facts: Mutex::new(Facts { retry_count, ..Facts::default() }),
        })
    }

    /// The path as the client wrote it, shortened.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Adds to what is known.
    pub(super) fn note(&self, add: impl FnOnce(&mut Facts)) {
        add(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The first words of the answer are on their way.
    pub(super) fn first_content(&self) {
        self.note(|facts| facts.first_content = Some(Instant::now()));
    }

    /// The turn failed, and this is what the client was told.
    pub(super) fn failed(&self, failure: &Failure, code: &str) {
        self.note(|facts| {
            facts.error = Some(code.to_owned());
            facts.detail = Some(match &failure.detail {
                Some(detail) => format!("{} ({detail})", failure.message),
                None => failure.message.clone(),
            });
            if failure.log_id.is_some() {
                facts.log_id.clone_from(&failure.log_id);
            }
        });
    }

    pub(super) fn answered(&self, status: StatusCode, error: Option<String>) {
        self.note(|facts| {
            facts.status = Some(status);
            if facts.error.is_none() {
                facts.error = error;
            }
        });
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        let outcome = match (facts.complete, &facts.error) {
            (false, _) => "client_left",
            (true, Some(_)) => "failed",
            (true, None) => "done",
        };
        let milliseconds =
            |since: &Instant| u64::try_from(since.duration_since(self.received).as_millis()).ok();
        let duration = milliseconds(&Instant::now());
        let first_content = facts.first_content.as_ref().and_then(milliseconds);
        let status = facts.status.map_or(0, |status| status.as_u16());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "cozeway::access",
                    request_id = self.request_id,
                    method = %self.method,
                    path = self.path,
                    status,
                    outcome,
                    duration_ms = duration,
                    first_content_ms = first_content,
                    key.name = facts.key,
                    model.name = facts.model,
                    stream = facts.stream,
                    choices = facts.choices.filter(|&n| n > 1),
                    coze.conversation_id = facts.conversation,
                    coze.chat_id = facts.chat,
                    coze.log_id = facts.log_id,
                    usage.input = facts.usage.map(|usage| usage.input),
                    usage.output = facts.usage.map(|usage| usage.output),
                    retry_count = facts.retry_count,
                    error.code = facts.error,
                    error.detail = facts.detail,
                    "request {outcome}",
                )
            };
        }
        let broke_in_band = facts.complete && facts.error.is_some() && status < 400;
        match (status, self.path.as_str()) {
            (500.., _) => line!(warn),
            _ if broke_in_band => line!(warn),
            (_, "/healthz") => line!(debug),
            _ => line!(info),
        }
    }
}

/// A response body that holds the journal open until its end.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Body,
    journal: Arc<Journal>,
}

impl Watched {
    pub(super) fn new(inner: Body, journal: Arc<Journal>) -> Self {
        Self { inner, journal }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.journal.note(|facts| facts.complete = true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A body whose end is known from its length is not polled for it.
        if http_body::Body::is_end_stream(&self.inner) {
            self.journal.note(|facts| facts.complete = true);
        }
    }
}
