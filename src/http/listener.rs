//! The accept loop.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::greeting::Greeted;
use super::{Peer, Service};

/// How long the first bytes of a connection, and the head of a request, may
/// take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a failed accept: it fails again at once while the
/// process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` is cancelled; then takes no new ones and
/// lets those in flight finish for `grace`. Says whether all did.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: CancellationToken,
    grace: Duration,
) -> bool {
    let server = server();
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                serve_connection(stream, Peer(peer.ip()), &server, service.clone(), &connections)
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tokio::time::timeout(grace, connections.shutdown()).await.is_ok()
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).pipeline_flush(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    server
}

fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    server: &auto::Builder<TokioExecutor>,
    service: Service,
    connections: &GracefulShutdown,
) {
    // Without it the small writes of a stream wait for each other's
    // acknowledgement: 40 ms to the first token.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request.map(Body::new)).await) }
    });
    let connection =
        server.serve_connection(TokioIo::new(Greeted::new(stream, HEADER_TIMEOUT)), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended badly");
        }
    });
}
