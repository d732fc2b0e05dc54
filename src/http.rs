//! The HTTP side: from a connection to a handler, from a turn to a body.
//!
//! Every request passes the same steps in [`Service::respond`]; what differs
//! stands in `routes`. Only this module knows axum.

mod admit;
mod authenticate;
mod body;
mod catch;
mod cors;
mod greeting;
mod heartbeat;
mod journal;
pub mod listener;
mod path;
mod request_id;
mod respond;
mod routes;
mod stream;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::access::{Guard, Limits, Mode};
use crate::config::Snapshot;
use crate::relay::Relay;
use crate::telemetry::metrics::Metrics;
use journal::Journal;

/// What all requests share.
#[derive(Debug)]
pub struct App {
    snapshot: ArcSwap<Snapshot>,
    relay: Relay,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    /// What callers have used: outlives every snapshot.
    limits: Arc<Limits>,
    /// Who sends wrong keys.
    guard: Guard,
    /// When the gateway started, in seconds since 1970.
    created: u64,
}

/// Whether new requests are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are.
    Serving,
    /// They had better go elsewhere: the gateway will stop.
    Draining,
}

impl App {
    /// A gateway with this config.
    #[must_use]
    pub fn new(snapshot: Snapshot, relay: Relay) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            relay,
            metrics: Arc::new(Metrics::new()),
            draining: AtomicBool::new(false),
            limits: Arc::new(Limits::new(Instant::now().into_std())),
            guard: Guard::default(),
            created: respond::unix_seconds(),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether new requests are welcome.
    #[must_use]
    pub fn state(&self) -> State {
        if self.draining.load(Ordering::Relaxed) { State::Draining } else { State::Serving }
    }

    /// From now on new requests are not welcome. What is to be done about
    /// those that come all the same, the listener knows.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What callers have used.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The config as it stands now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// Where a request comes from: an extension that the listener gives each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Default for Peer {
    /// Nobody knows where.
    fn default() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
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
    pub async fn respond(self, request: Request) -> Response {
        let snapshot = self.app.snapshot();
        let request_id = request_id::of(request.headers());
        let journal = Journal::open(&request, &request_id, &self.app, &snapshot);
        let open = snapshot.keys.mode() == Mode::Open;
        let cors = cors::Rules::new(&snapshot.server, open);
        let grant = cors.judge(request.headers(), request.uri());

        let (mut request, unread) = body::lend(request);
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
            Ok(_) => {
                path::normalize(request.uri_mut());
                let peer = request.extensions().get().copied().unwrap_or_default();
                request.extensions_mut().insert(Context {
                    app: Arc::clone(&self.app),
                    snapshot: Arc::clone(&snapshot),
                    journal: Arc::clone(&journal),
                    peer,
                });
                let routed = async {
                    match self.router.oneshot(request).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    }
                };
                catch::panics(routed, &request_id).await
            }
        };
        unread.discard().await;
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
        journal.answered(response.status(), respond::error_code(&response));
        response.map(|body| Body::new(journal::Watched::new(body, journal)))
    }
}
