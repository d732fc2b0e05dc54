//! The accept loop: from a socket to requests, and the way to the end.
//!
//! Takes connections up to a limit and says 503 past it. Each that is served
//! is one task, which owns its clocks; every task is tracked, so that the end
//! is waited for.

mod activity;
mod connection;
mod descriptors;
mod protocol;
mod raw;
mod refusal;
mod socket;
mod transport;
mod unreadable;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Service;
use super::lifecycle::Phase;
use crate::telemetry::metrics::{Limit, Scope};
use descriptors::Room;
use refusal::Refusals;
pub use socket::bind;

/// How long to wait after a failed accept: it fails again at once while the
/// process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often at most the log says that connections are turned away.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// How long the last words may take, after the grace.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How large the head of an HTTP/1 request may be: whoever connects can have
/// so much held. More than a URL may have, so that one that is too long is
/// told so.
const MAX_HEAD_BYTES: usize = 96 * 1024;

/// How large the head of an HTTP/2 request may be.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// How long clients may take for their part.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// For the TLS handshake.
    handshake: Duration,
    /// For the head of a request, from its first byte; for the first one,
    /// from the connection's beginning.
    head: Duration,
    /// Between an answer and the next request. Longer than the 60 s after
    /// which common load balancers close from their side: who closes first
    /// may cut off a request that is on its way.
    idle: Duration,
    /// For taking anything at all of what is written to it.
    write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(120),
        }
    }
}

/// Serves connections until `stop` is cancelled, and then comes to the end
/// by way of every [`Phase`]. Says whether all requests in flight were
/// answered in time.
pub async fn serve(listener: TcpListener, service: Service, stop: CancellationToken) -> bool {
    Listener::new(service, Timeouts::default()).run(listener, stop).await
}

/// What every connection shares.
#[derive(Debug)]
struct Shared {
    service: Service,
    timeouts: Timeouts,
    http1: http1::Builder,
    http2: http2::Builder<Tracked>,
}

/// Spawns the streams of HTTP/2 connections.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[derive(Debug)]
struct Listener {
    shared: Arc<Shared>,
    room: Room,
    connections: TaskTracker,
    refusals: Refusals,
}

impl Listener {
    fn new(service: Service, timeouts: Timeouts) -> Self {
        let mut http1 = http1::Builder::new();
        // Heads and idle connections have clocks of their own: hyper's one
        // for heads runs between requests, too.
        http1.header_read_timeout(None).pipeline_flush(false).max_header_size(MAX_HEAD_BYTES);
        let mut http2 = http2::Builder::new(Tracked(TaskTracker::new()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let shared = Arc::new(Shared { service, timeouts, http1, http2 });
        let refusals = Refusals::new(Arc::clone(&shared));
        Self { shared, room: Room::default(), connections: TaskTracker::new(), refusals }
    }

    async fn run(mut self, listener: TcpListener, stop: CancellationToken) -> bool {
        let app = Arc::clone(&self.shared.service.app);
        self.room.of(app.snapshot().server.max_connections);
        self.accept(&listener, stop.cancelled()).await;

        app.lifecycle.enter(Phase::Draining);
        let delay = app.snapshot().server.drain_delay;
        if !delay.is_zero() {
            self.accept(&listener, sleep(delay)).await;
        }
        // Who has connected already is told, instead of being cut off.
        for _ in 0..socket::BACKLOG {
            // A task that has done much is told to wait, whether or not there
            // is more: here that would cut off who is left.
            let waiting = tokio::task::unconstrained(socket::accept(&listener));
            let Some(Ok((stream, address))) = waiting.now_or_never() else { break };
            self.take(stream, address);
        }
        let refused = self.refusals.finish();
        drop(listener);

        app.lifecycle.enter(Phase::Closing);
        let grace = app.snapshot().server.shutdown_grace;
        let end = Instant::now() + grace;
        let in_time = timeout(grace, app.lifecycle.all_answered()).await.is_ok();
        if !in_time {
            app.relay.end();
            let _ = timeout(LAST_WORDS, app.lifecycle.all_answered()).await;
        }

        // Answers that are whole may still be on their way to slow clients.
        app.lifecycle.enter(Phase::Ended);
        self.connections.close();
        let rest = end.saturating_duration_since(Instant::now()).max(LAST_WORDS);
        let ended = timeout(rest, self.connections.wait()).await.is_ok();
        let _ = timeout(LAST_WORDS, refused.wait()).await;
        ended && in_time
    }

    /// Takes connections until `end`.
    async fn accept(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = &mut end => return,
                never = self.refusals.run() => match never {},
                accepted = socket::accept(listener) => accepted,
            };
            let complaint = match accepted {
                Ok((stream, address)) => match self.take(stream, address) {
                    Taken::Served => continue,
                    Taken::Refused => {
                        "there are too many connections: new ones are answered with 503".to_owned()
                    }
                },
                // It was gone before it was taken.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) =>
                {
                    continue;
                }
                Err(error) => {
                    tokio::select! {
                        () = &mut end => return,
                        never = self.refusals.run() => match never {},
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                    format!("connections cannot be accepted: {error}")
                }
            };
            if complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
                complained = Some(Instant::now());
                tracing::warn!(open = self.connections.len(), "{complaint}");
            }
        }
    }

    fn take(&mut self, stream: TcpStream, address: SocketAddr) -> Taken {
        let app = &self.shared.service.app;
        let snapshot = app.snapshot();
        let tls = snapshot.server.tls.as_ref().map(|tls| TlsAcceptor::from(tls.identity.config()));
        let places = self.room.of(snapshot.server.max_connections);
        if self.connections.len() < places.served {
            let phase = app.lifecycle.watch();
            let shared = Arc::clone(&self.shared);
            self.connections.spawn(connection::serve(shared, stream, address.ip(), tls, phase));
            return Taken::Served;
        }
        app.metrics().limit_hit(Limit::Connections, Scope::Everyone);
        self.refusals.take(stream, address.ip(), tls, places.refused);
        Taken::Refused
    }
}

enum Taken {
    Served,
    Refused,
}

#[cfg(test)]
mod tests;
