//! Knows of a failed request whether it can be sent again.
//!
//! A kept connection can close under a request: the server ends it as idle
//! while the request is on its way. Then nothing of the request was taken
//! up, and it may be sent once more. The pool sends again what it never
//! wrote; this is for what was written and met a closed door.
//!
//! A connection that was refused is not tried again here: every address of
//! the name has been tried by then, a server that is down is still down a
//! moment later, and the client is told with a 503 that its SDK retries.

use std::cell::Cell;
use std::future::Future;
use std::io::ErrorKind;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

/// A closed door answers within a round trip. A server that breaks off later
/// may have taken the request up.
const PROMPT: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Whether the request of this task has asked for a new connection.
    static CONNECTED: Cell<bool>;
}

/// Makes a request; says of a failed one whether it met a closed door.
pub(super) async fn watched<T>(
    request: impl Future<Output = Result<T, reqwest::Error>>,
) -> (Result<T, reqwest::Error>, bool) {
    let start = Instant::now();
    let request = async {
        let result = request.await;
        (result, CONNECTED.with(Cell::get))
    };
    // What has asked for no new connection has been given a kept one.
    let (result, connected) = CONNECTED.scope(Cell::new(false), request).await;
    let missed = match &result {
        Ok(_) => false,
        Err(error) => !connected && start.elapsed() < PROMPT && was_closed(error),
    };
    (result, missed)
}

/// Whether an HTTP/1 connection closed before the head of its answer. (What
/// HTTP/2 refuses or leaves out, reqwest itself sends again.)
fn was_closed(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let closed = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe];
            return closed.contains(&error.kind());
        }
        cause = error.source();
    }
    false
}

/// Has every new connection noted.
#[derive(Clone, Debug)]
pub(super) struct NoteConnections;

/// Makes connections and notes it.
#[derive(Clone, Debug)]
pub(super) struct Noted<S>(S);

impl<S> tower::Layer<S> for NoteConnections {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted(inner)
    }
}

impl<S: tower::Service<T>, T> tower::Service<T> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: T) -> S::Future {
        // Outside of a request, nobody asks.
        let _ = CONNECTED.try_with(|connected| connected.set(true));
        self.0.call(target)
    }
}

#[cfg(test)]
mod tests;
