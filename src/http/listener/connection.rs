//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Shared;
use super::activity::{Activity, Clock};
use super::transport::{Socket, Transport};
use crate::http::lifecycle::Phase;
use crate::http::peer::Peer;

/// Serves the requests of one connection until either side ends it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    mut phase: watch::Receiver<Phase>,
) {
    // On the heap: it is large, and most of a connection's life is past it.
    let handshake = Box::pin(timeout(shared.timeouts.handshake, Socket::open(stream, tls)));
    let socket = tokio::select! {
        opened = handshake => match opened {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        },
        () = ended(phase.clone()) => return,
    };
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Transport::new(socket, Arc::clone(&activity), shared.timeouts.write));
    let service = service_fn(|mut request: http::Request<Incoming>| {
        let in_flight = InFlight::begin(&shared, &activity, request.version());
        request.extensions_mut().insert(Peer(peer));
        let service = shared.service.clone();
        async move {
            let response = service.respond(request.map(Body::new)).await;
            Ok::<_, Infallible>(response.map(|body| Held { body, _in_flight: in_flight }))
        }
    });
    let mut connection = pin!(shared.builder.serve_connection(io, service));
    let mut clock = Clock::new(shared.timeouts);
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(error, "a connection ended badly");
                }
                return;
            }
            () = poll_fn(|cx| clock.poll(cx, &activity)) => {
                // Says goodbye where there is a word for it.
                if activity.is_http2() {
                    connection.as_mut().graceful_shutdown();
                    let _ = futures_util::poll!(connection.as_mut());
                }
                return tracing::debug!("a client was silent for too long");
            }
            Ok(()) = phase.changed() => match *phase.borrow_and_update() {
                Phase::Serving | Phase::Draining => {}
                // HTTP/1 has no way to say it ahead of the next request,
                // whose answer says it instead.
                Phase::Closing if !activity.is_http2() => {}
                Phase::Closing | Phase::Ended => connection.as_mut().graceful_shutdown(),
            },
        }
    }
}

async fn ended(mut phase: watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
}

/// A request that is in flight, from its head to the last byte of its answer
/// or to its client's leaving.
#[derive(Debug)]
struct InFlight {
    activity: Arc<Activity>,
    _counted: TaskTrackerToken,
}

impl InFlight {
    fn begin(shared: &Shared, activity: &Arc<Activity>, version: http::Version) -> Self {
        activity.begin(version);
        Self { activity: Arc::clone(activity), _counted: shared.service.app.lifecycle.request() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.end();
    }
}

/// The body of an answer, which keeps its request in flight.
#[derive(Debug)]
struct Held {
    body: Body,
    _in_flight: InFlight,
}

impl http_body::Body for Held {
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
