//! The HTTP side: from a connection to a handler, from a turn to a body.
//!
//! Every request passes the same steps in [`Service::respond`]; what differs
//! stands in `routes`. Only this module knows axum.

mod admit;
mod authenticate;
mod body;
mod calls;
mod catch;
mod cors;
mod descriptions;
mod heartbeat;
mod journal;
mod lifecycle;
pub mod listener;
mod path;
mod peer;
mod request_id;
mod respond;
mod routes;
mod stream;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::CONNECTION;
use http::{HeaderValue, Method, StatusCode, Version};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::access::{Guard, Limits, Mode};
use crate::catalog::Model;
use crate::config::Snapshot;
use crate::conversation::{Conversations, Record};
use crate::openai::ApiError;
use crate::relay::{Leftovers, Relay};
use crate::telemetry::metrics::Metrics;
use calls::Calls;
use descriptions::Descriptions;
use journal::Journal;
use lifecycle::Lifecycle;
pub use lifecycle::Phase;
pub use peer::Peer;

/// What all requests share.
#[derive(Debug)]
pub struct App {
    snapshot: ArcSwap<Snapshot>,
    relay: Relay,
    conversations: Conversations,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    /// What callers have used: outlives every snapshot.
    limits: Arc<Limits>,
    /// Who sends wrong keys.
    guard: Guard,
    /// What agents are told about models.
    descriptions: Descriptions,
    /// Calls of tools that can be called off.
    calls: Calls,
    /// When the gateway started, in seconds since 1970.
    created: u64,
}

impl App {
    /// A gateway with this config.
    #[must_use]
    pub fn new(snapshot: Snapshot, relay: Relay, conversations: Conversations) -> Self {
        let calls = Calls::new(Arc::clone(conversations.store()));
        let limits = Limits::new(Instant::now().into_std()).together(Arc::clone(conversations.store()));
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            relay,
            conversations,
            lifecycle: Lifecycle::new(),
            metrics: Arc::new(Metrics::new()),
            limits: Arc::new(limits),
            guard: Guard::default(),
            descriptions: Descriptions::default(),
            calls,
            created: respond::unix_seconds(),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What callers have used.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What is remembered.
    #[must_use]
    pub fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// Forgets at Coze, too, what was forgotten here, where its model wants
    /// that.
    pub fn expired(&self, record: &Record) {
        let snapshot = self.snapshot();
        let is_its = |model: &&Arc<Model>| {
            let target = &model.target;
            model.cleanup
                && target.deployment.name == record.owner.deployment
                && target.callee.id() == record.owner.target
        };
        let target = snapshot.catalog.models().find(is_its).map(|model| &model.target);
        if let (Some(target), Some(place)) = (target, &record.place)
            // In passthrough mode there is no token but its caller's.
            && let Ok(bearer) = target.bearer(None)
        {
            self.relay.delete(Leftovers {
                target: target.clone(),
                bearer,
                conversations: vec![place.conversation.clone()],
            });
        }
    }

    /// The config as it stands now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Takes another config. Requests in flight keep the one they have.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Where the gateway stands between its start and its end.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }
}

/// What a handler is given beside the request.
#[derive(Clone, Debug)]
struct Context {
    app: Arc<App>,
    /// The config for as long as this request lasts.
    snapshot: Arc<Snapshot>,
    journal: Arc<Journal>,
    peer: Peer,
}

/// Answers requests.
#[derive(Clone, Debug)]
pub struct Service {
    app: Arc<App>,
    router: axum::Router,
}

impl Service {
    /// A service over the shared state.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, router: routes::router() }
    }

    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub async fn respond(self, mut request: Request) -> Response {
        let snapshot = self.app.snapshot();
        let version = request.version();
        peer::resolve(&mut request, &snapshot.server.trusted_proxies);
        let request_id = request_id::of(request.headers());
        let journal = Journal::open(&request, &request_id, &self.app, &snapshot);
        let open = snapshot.keys.mode() == Mode::Open;
        let cors = cors::Rules::new(&snapshot.server, open);
        let grant = cors.judge(request.headers(), request.uri());

        let (request, unread) = body::lend(request);
        let mut response = match &grant {
            Err(refusal) => {
                drop(request);
                refusal.clone().into_response()
            }
            Ok(_) if request.method() == Method::OPTIONS => {
                let response = cors::preflight(request.headers());
                drop(request);
                response
            }
            Ok(_) if self.app.phase() >= Phase::Closing && !is_vital(journal.route()) => {
                drop(request);
                ApiError::overloaded("The gateway is stopping; send the request again.").into_response()
            }
            Ok(_) => {
                let context = Context {
                    app: Arc::clone(&self.app),
                    snapshot: Arc::clone(&snapshot),
                    journal: Arc::clone(&journal),
                    peer: request.extensions().get().copied().unwrap_or_default(),
                };
                // On the heap: it is large, and else it would be copied each
                // time that the future around it is moved.
                catch::panics(Box::pin(self.route(context, request)), &request_id).await
            }
        };
        // Who has been too slow once is not waited for again; the rest of its
        // body would be taken for the next request, so that was the last.
        let too_slow = response.status() == StatusCode::REQUEST_TIMEOUT;
        if !too_slow {
            unread.discard().await;
        }
        let headers = response.headers_mut();
        // Without a key, any page that somebody opens could read along.
        if let Ok(grant) = grant
            && journal.route() != "/metrics"
        {
            grant.apply(headers);
        }
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert("x-request-id", value);
        }
        if (too_slow || self.app.phase() >= Phase::Draining) && version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        journal.answered(response.status(), respond::error_code(&response));
        response.map(|body| Body::new(journal::Watched::new(body, journal)))
    }

    /// Has the right handler answer.
    async fn route(&self, context: Context, mut request: Request) -> Response {
        // Nearly all are this one: to find it, the router takes copies of the
        // headers and of itself, and a rewritten path.
        if request.method() == Method::POST && context.journal.route() == routes::CHAT {
            let (head, body) = request.into_parts();
            return routes::complete(context, head.headers, body).await.into_response();
        }
        path::normalize(request.uri_mut());
        request.extensions_mut().insert(context);
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The routes that answer for as long as anything does.
fn is_vital(route: &str) -> bool {
    matches!(route, "/healthz" | "/readyz" | "/metrics")
}
