//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Shared;
use super::activity::{Activity, Clock};
use super::protocol::Protocol;
use super::refusal::spoken;
use super::transport::{Socket, Transport};
use super::unreadable::Unreadable;
use crate::batch;
use crate::http::lifecycle::Phase;
use crate::http::peer::Peer;

/// How long a connection that has not said anything is listened to at the end.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Serves the requests of one connection until either side ends it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    mut phase: watch::Receiver<Phase>,
) {
    let activity = Arc::new(Activity::new());
    // On the heap: it is large, and most of a connection's life is past it.
    let beginning = Box::pin(begin(&shared, stream, tls));
    let (socket, protocol) = tokio::select! {
        begun = beginning => match begun {
            Ok(begun) => begun,
            Err(error) => return tracing::debug!(%error, "a connection ended before it began"),
        },
        () = too_late(phase.clone()) => return,
    };
    if protocol == Protocol::Http2 {
        activity.is_multiplexed();
    }
    let mut transport = Transport::new(socket, Arc::clone(&activity), shared.timeouts.write);
    if protocol == Protocol::Http1 {
        transport.watch_refusals(Unreadable::new(Arc::clone(&shared), peer));
    }
    let io = TokioIo::new(transport);
    let service = requests(Arc::clone(&shared), Arc::clone(&activity), Fate::Served(peer));
    let clock = Clock::new(shared.timeouts);
    match protocol {
        Protocol::Http1 => {
            let connection = pin!(shared.http1.serve_connection(io, service));
            let goodbye = http1::Connection::graceful_shutdown;
            drive(connection, goodbye, protocol, &activity, clock, &mut phase).await;
        }
        // Rare, and large: not in the task of every connection.
        Protocol::Http2 => {
            let mut connection = Box::pin(shared.http2.serve_connection(io, service));
            let goodbye = http2::Connection::graceful_shutdown;
            Box::pin(drive(connection.as_mut(), goodbye, protocol, &activity, clock, &mut phase)).await;
        }
    }
}

/// What becomes of the requests of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// They are answered; they come from there.
    Served(IpAddr),
    /// It is one connection too many.
    Refused,
}

/// What answers the requests of a connection. One for either fate: all that
/// speaks HTTP would be in the program twice otherwise.
pub(super) fn requests(
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    fate: Fate,
) -> impl Service<
    http::Request<Incoming>,
    Response = http::Response<Held>,
    Error = Infallible,
    Future: Future<Output = Result<http::Response<Held>, Infallible>> + Send + 'static,
> + use<> {
    service_fn(move |mut request: http::Request<Incoming>| {
        let serving = match fate {
            Fate::Served(peer) => {
                request.extensions_mut().insert(Peer(peer));
                Some((shared.service.clone(), InFlight::begin(&shared, &activity)))
            }
            Fate::Refused => None,
        };
        // A connection has room for this future for as long as it lives:
        // boxed, a stream that is held does not pay for it.
        Box::pin(async move {
            let (response, in_flight) = match serving {
                Some((service, in_flight)) => {
                    let at_work = service.app.lifecycle.in_flight();
                    let response = service.respond(request.map(Body::new)).await;
                    batch::with_others(at_work).await;
                    (response, Some(in_flight))
                }
                None => (Box::pin(spoken::answer(request)).await, None),
            };
            Ok(response.map(|body| Held { body, _in_flight: in_flight }))
        })
    })
}

/// Does the handshake, if there has to be one, and finds out what is spoken.
pub(super) async fn begin(
    shared: &Shared,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) -> io::Result<(Socket, Protocol)> {
    match tls {
        None => {
            let protocol = timeout(shared.timeouts.head, Protocol::of(&stream)).await??;
            Ok((Socket::Left(stream), protocol))
        }
        Some(acceptor) => {
            let stream = timeout(shared.timeouts.handshake, acceptor.accept(stream)).await??;
            let protocol = Protocol::agreed(stream.get_ref().1.alpn_protocol());
            Ok((Socket::Right(Box::new(stream)), protocol))
        }
    }
}

/// Lets a connection run until either side ends it.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    goodbye: fn(Pin<&mut C>),
    protocol: Protocol,
    activity: &Activity,
    mut clock: Clock,
    phase: &mut watch::Receiver<Phase>,
) where
    C: Future<Output = hyper::Result<()>>,
{
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended badly");
                }
                return;
            }
            () = poll_fn(|cx| clock.poll(cx, activity)) => {
                // Says goodbye where there is a word for it.
                if protocol == Protocol::Http2 {
                    goodbye(connection.as_mut());
                    let _ = futures_util::poll!(connection.as_mut());
                }
                return tracing::debug!("a client was silent for too long");
            }
            Ok(()) = phase.changed() => match *phase.borrow_and_update() {
                Phase::Serving | Phase::Draining => {}
                // HTTP/1 has no way to say it ahead of the next request,
                // whose answer says it instead.
                Phase::Closing if protocol == Protocol::Http1 => {}
                Phase::Closing | Phase::Ended => goodbye(connection.as_mut()),
            },
        }
    }
}

/// The end, and a moment: what a client that connected last has sent
/// already is known only once its socket has been looked at.
async fn too_late(mut phase: watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    tokio::time::sleep(LAST_LOOK).await;
}

/// A request that is in flight, from its head to the last byte of its answer
/// or to its client's leaving.
#[derive(Debug)]
struct InFlight {
    activity: Arc<Activity>,
    _counted: TaskTrackerToken,
}

impl InFlight {
    fn begin(shared: &Shared, activity: &Arc<Activity>) -> Self {
        activity.begin();
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
pub(super) struct Held {
    body: Body,
    _in_flight: Option<InFlight>,
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
