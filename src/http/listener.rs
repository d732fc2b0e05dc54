//! The accept loop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Service;

/// How long the head of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a failed accept: it fails again at once while the
/// process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client that speaks HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long to wait for the rest of a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// The two protocols as they are spoken here.
struct Server {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// Serves connections until `stop` is cancelled; then takes no new ones and
/// lets those in flight finish for `grace`. Says whether all did.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: CancellationToken,
    grace: Duration,
) -> bool {
    let server = Arc::new(Server::new());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, service) = (Arc::clone(&server), service.clone());
                tokio::spawn(server.converse(stream, service, stop.clone(), connections.watcher()));
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

impl Server {
    fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).pipeline_flush(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        Self { http1, http2 }
    }

    /// One connection, from its first byte to its last. Nobody waits for one
    /// that has not said anything by the time of `stop`.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        service: Service,
        stop: CancellationToken,
        watcher: Watcher,
    ) {
        // Without it the small writes of a stream wait for each other's
        // acknowledgement: 40 ms to the first token.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let protocol = tokio::select! {
            biased;
            protocol = tokio::time::timeout(HEADER_TIMEOUT, protocol(&stream)) => protocol,
            () = stop.cancelled() => return,
        };
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let service = service.clone();
            // A connection has room for this future for as long as it lives:
            // boxed, a stream that is held does not pay for it.
            Box::pin(async move { Ok::<_, Infallible>(service.respond(request.map(Body::new)).await) })
        });
        let stream = TokioIo::new(stream);
        let ended = match protocol {
            Ok(Ok(Protocol::Http1)) => watcher.watch(self.http1.serve_connection(stream, service)).await,
            // Rare, and large: not in the task of every connection.
            Ok(Ok(Protocol::Http2)) => {
                Box::pin(watcher.watch(self.http2.serve_connection(stream, service))).await
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection ended before it began");
                return;
            }
            Err(_) => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Looks at what a client begins with and leaves it there. What is read and
/// put back instead would cost every connection a second buffer of 8 KiB.
async fn protocol(stream: &TcpStream) -> io::Result<Protocol> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut seen).await?;
        let start = seen.get(..length).unwrap_or_default();
        if start.is_empty() || !PREFACE.starts_with(start) {
            return Ok(Protocol::Http1);
        }
        if start == PREFACE {
            return Ok(Protocol::Http2);
        }
        // The same bytes would be seen again at once.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn protocol_of(pieces: &[&[u8]]) -> Protocol {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::time::sleep(PREFACE_PAUSE * 2).await;
            }
            client
        };
        let (_client, protocol) = tokio::join!(send, protocol(&server));
        protocol.unwrap()
    }

    #[tokio::test]
    async fn the_protocol_is_known_however_it_begins() {
        assert_eq!(protocol_of(&[PREFACE]).await, Protocol::Http2);
        assert_eq!(protocol_of(&[b"P", b"RI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"]).await, Protocol::Http2);
        assert_eq!(protocol_of(&[b"GET / HTTP/1.1\r\n\r\n"]).await, Protocol::Http1);
        assert_eq!(protocol_of(&[b"P", b"OST / HTTP/1.1\r\n\r\n"]).await, Protocol::Http1);
        assert_eq!(protocol_of(&[b"\r\n"]).await, Protocol::Http1);
    }
}
