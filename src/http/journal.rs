//! One log line per request, written when its last byte has gone or its
//! client has left; at the same moment it is counted.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{App, Peer, routes};
use crate::access::Mode;
use crate::catalog::Model;
use crate::config::Snapshot;
use crate::conversation::{Note, Reason};
use crate::relay::Memory;
use crate::telemetry::metrics::{self, Limit, Metrics, Refusal, Scope, Tokens};
use crate::turn::{Failure, Kind, Usage};

/// How much of a path is written down, in characters.
const MAX_PATH_CHARS: usize = 256;

/// What is written about one request. The line goes out when the last holder
/// lets go of it, so that no way to end a request goes unlogged.
#[derive(Debug)]
pub(super) struct Journal {
    metrics: Arc<Metrics>,
    snapshot: Arc<Snapshot>,
    request_id: String,
    /// `None`, and no path: of a request that could not be read.
    method: Option<http::Method>,
    path: String,
    route: &'static str,
    client: Option<IpAddr>,
    received: Instant,
    facts: Mutex<Facts>,
}

/// What became of a request's conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memorised {
    pub(super) note: Note,
    /// Whether the turn should be remembered and is not.
    pub(super) lost: bool,
    /// How many messages a replay had to leave out.
    pub(super) trimmed: usize,
}

impl Memorised {
    pub(super) fn of(note: Note) -> Self {
        Self { note, lost: false, trimmed: 0 }
    }
}

/// What becomes known on the way.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) key: Option<String>,
    pub(super) model: Option<Arc<Model>>,
    pub(super) stream: Option<bool>,
    pub(super) choices: Option<usize>,
    pub(super) conversation: Option<String>,
    pub(super) chat: Option<String>,
    pub(super) log_id: Option<String>,
    pub(super) usage: Option<Usage>,
    /// What became of the conversation.
    pub(super) memory: Option<Memorised>,
    pub(super) retry_count: Option<String>,
    /// The error code that the client was given.
    pub(super) error: Option<String>,
    /// The cause, for the operator alone.
    pub(super) detail: Option<String>,
    /// The limit that the request was over.
    pub(super) over: Option<(Limit, Scope)>,
    /// What kind of failure of the turn it was.
    failure: Option<Kind>,
    /// Whether it may have cost something all the same.
    may_have_run: bool,
    first_content: Option<Instant>,
    /// When the head of a streamed answer went out.
    stream_began: Option<Instant>,
    status: Option<StatusCode>,
    complete: bool,
}

impl Journal {
    pub(super) fn open(
        request: &Request,
        request_id: &str,
        app: &App,
        snapshot: &Arc<Snapshot>,
    ) -> Arc<Self> {
        app.metrics.began();
        let retry_count = request
            .headers()
            .get("x-stainless-retry-count")
            .and_then(|value| value.to_str().ok())
            .filter(|count| *count != "0" && count.len() < 4)
            .map(str::to_owned);
        Arc::new(Self {
            metrics: Arc::clone(&app.metrics),
            snapshot: Arc::clone(snapshot),
            request_id: request_id.to_owned(),
            method: Some(request.method().clone()),
            path: shortened(request.uri().path()),
            route: routes::name(request.uri().path()),
            client: request.extensions().get::<Peer>().map(|peer| peer.0),
            received: Instant::now(),
            facts: Mutex::new(Facts { retry_count, ..Facts::default() }),
        })
    }

    /// Writes down a request of which nothing could be read, not even whose
    /// it is: only how it was refused is known.
    pub(super) fn unreadable(request_id: &str, client: IpAddr, app: &App, status: StatusCode, code: &str) {
        app.metrics.began();
        drop(Self {
            metrics: Arc::clone(&app.metrics),
            snapshot: app.snapshot(),
            request_id: request_id.to_owned(),
            method: None,
            path: String::new(),
            route: metrics::UNKNOWN,
            client: Some(client.to_canonical()),
            received: Instant::now(),
            facts: Mutex::new(Facts {
                status: Some(status),
                error: Some(code.to_owned()),
                complete: true,
                ..Facts::default()
            }),
        });
    }

    /// The path as the client wrote it, shortened.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The route's name.
    pub(super) fn route(&self) -> &'static str {
        self.route
    }

    /// Adds to what is known.
    pub(super) fn note(&self, add: impl FnOnce(&mut Facts)) {
        add(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The first words of the answer are on their way.
    pub(super) fn first_content(&self) {
        self.note(|facts| facts.first_content = Some(Instant::now()));
    }

    /// The whole answer is there: a client that leaves now has what it wants.
    pub(super) fn whole(&self) {
        self.note(|facts| facts.complete = true);
    }

    /// The turn failed, and this is what the client was told.
    pub(super) fn failed(&self, failure: &Failure, code: &str) {
        self.note(|facts| {
            facts.error = Some(code.to_owned());
            facts.failure = Some(failure.kind);
            facts.may_have_run = failure.may_be_running;
            facts.detail = Some(match &failure.detail {
                Some(detail) => format!("{} ({detail})", failure.message),
                None => failure.message.clone(),
            });
            if failure.log_id.is_some() {
                facts.log_id.clone_from(&failure.log_id);
            }
        });
    }

    /// What the turn has made of its conversation, if it had a part in one.
    pub(super) fn remember(&self, memory: Option<Memory>) {
        if let Some(Memory { note, lost, trimmed }) = memory {
            self.note(|facts| facts.memory = Some(Memorised { note, lost, trimmed }));
        }
    }

    pub(super) fn answered(&self, status: StatusCode, error: Option<String>) {
        self.note(|facts| {
            facts.status = Some(status);
            if facts.stream == Some(true) && status == StatusCode::OK {
                facts.stream_began = Some(Instant::now());
                self.metrics.stream_began();
            }
            if facts.error.is_none() {
                facts.error = error;
            }
        });
    }
}

/// A path as far as it is of use.
fn shortened(path: &str) -> String {
    let end = path.char_indices().nth(MAX_PATH_CHARS).filter(|_| path.len() > MAX_PATH_CHARS);
    end.and_then(|(end, _)| path.get(..end)).unwrap_or(path).to_owned()
}

impl Facts {
    fn outcome(&self) -> &'static str {
        match (self.complete, &self.error) {
            (false, _) => "client_left",
            (true, Some(_)) => "failed",
            (true, None) => "done",
        }
    }

    fn tokens(&self) -> Tokens {
        // An error without a failed turn came before any bot was asked.
        let asked = self.model.is_some() && (self.error.is_none() || self.failure.is_some());
        match self.usage {
            Some(usage) => Tokens::Known(usage),
            None if !asked => Tokens::None,
            None if self.failure.is_none() || self.chat.is_some() || self.may_have_run => Tokens::Unknown,
            None => Tokens::None,
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match (self.status?, self.error.as_deref()?) {
            (StatusCode::UNAUTHORIZED, "missing_api_key") => Some(Refusal::Missing),
            (StatusCode::UNAUTHORIZED, _) => Some(Refusal::Wrong),
            _ => None,
        }
    }
}

impl Journal {
    /// The model's name for a label: only the config's own words, since a
    /// client can name any bot in mode passthrough.
    fn model_label<'a>(&self, facts: &'a Facts) -> &'a str {
        match &facts.model {
            Some(model) if self.snapshot.catalog.find(&model.name).is_some() => &model.name,
            Some(_) => metrics::UNKNOWN,
            None if facts.error.as_deref() == Some("model_not_found") => metrics::UNKNOWN,
            None => metrics::NONE,
        }
    }

    /// The key's name for a label: in mode passthrough any token is one.
    fn key_label<'a>(&self, facts: &'a Facts) -> &'a str {
        match (self.snapshot.keys.mode(), facts.key.as_deref()) {
            (Mode::Keys, Some(name)) => name,
            (Mode::Passthrough, Some(_)) => "(passthrough)",
            (Mode::Open, Some(_)) => "(anonymous)",
            (_, None) => metrics::NONE,
        }
    }

    fn count(&self, facts: &Facts, now: Instant) {
        let deployment = facts.model.as_ref().map(|model| model.target.deployment.name.as_str());
        let kind = facts.failure.filter(|kind| *kind != Kind::Draining).map(Kind::name);
        let memory = facts.memory;
        self.metrics.ended(&metrics::Request {
            route: self.route,
            model: self.model_label(facts),
            key: self.key_label(facts),
            status: facts.status.map_or(0, |status| status.as_u16()),
            outcome: facts.outcome(),
            duration: now.duration_since(self.received),
            first_content: facts.first_content.map(|first| first.duration_since(self.received)),
            streamed: facts.stream_began.map(|began| now.duration_since(began)),
            tokens: facts.tokens(),
            upstream_error: deployment.zip(kind),
            refusal: facts.refusal(),
            over: facts.over,
            conversation: memory
                .map(|memory| (memory.note.mode.name(), memory.note.reason.map(Reason::name))),
            unremembered: memory.is_some_and(|memory| memory.lost),
        });
    }

    fn log(&self, facts: &Facts, now: Instant) {
        let milliseconds =
            |since: Instant, until: Instant| u64::try_from(until.duration_since(since).as_millis()).ok();
        let outcome = facts.outcome();
        let duration = milliseconds(self.received, now);
        let first_content = facts.first_content.and_then(|first| milliseconds(self.received, first));
        let stream_duration = facts.stream_began.and_then(|began| milliseconds(began, now));
        let status = facts.status.map_or(0, |status| status.as_u16());
        let model = facts.model.as_deref();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "cozeway::access",
                    request_id = self.request_id,
                    method = self.method.as_ref().map(tracing::field::display),
                    path = self.method.as_ref().map(|_| self.path.as_str()),
                    client.address = self.client.map(tracing::field::display),
                    status,
                    outcome,
                    duration_ms = duration,
                    first_content_ms = first_content,
                    stream_ms = stream_duration,
                    key.name = facts.key,
                    model.name = model.map(|model| model.name.as_str()),
                    stream = facts.stream,
                    choices = facts.choices.filter(|&n| n > 1),
                    coze.deployment = model.map(|model| model.target.deployment.name.as_str()),
                    coze.conversation_id = facts.conversation,
                    coze.chat_id = facts.chat,
                    coze.log_id = facts.log_id,
                    conversation.mode = facts.memory.map(|memory| memory.note.mode.name()),
                    conversation.reason = facts.memory.and_then(|memory| memory.note.reason).map(Reason::name),
                    conversation.lost = facts.memory.filter(|memory| memory.lost).map(|_| true),
                    usage.input = facts.usage.map(|usage| usage.input),
                    usage.output = facts.usage.map(|usage| usage.output),
                    retry_count = facts.retry_count,
                    error.code = facts.error,
                    error.kind = facts.failure.map(Kind::name),
                    error.detail = facts.detail,
                    "request {outcome}",
                )
            };
        }
        // What an agent did wrong is told in band too, but is no failure.
        let broke_in_band = facts.failure.is_some() && status < 400;
        match (self.route, status) {
            // They come all the time, from programs that look for themselves.
            ("/healthz" | "/readyz" | "/metrics", _) => line!(debug),
            (_, 500..) => line!(warn),
            _ if broke_in_band => line!(warn),
            _ => line!(info),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let facts = std::mem::take(self.facts.get_mut().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        self.count(&facts, now);
        self.log(&facts, now);
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
