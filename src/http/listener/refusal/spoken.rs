//! One connection too many whose client has to be spoken to: TLS, HTTP/2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CONNECTION;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, error};
use crate::http::listener::Shared;
use crate::http::listener::activity::Activity;
use crate::http::listener::connection::{Fate, begin, requests};
use crate::http::listener::protocol::Protocol;
use crate::http::listener::transport::Transport;
use crate::http::request_id;

/// How long the rest of a request is read, so that the client does not see
/// its connection break before it has seen the answer.
const LINGER: Duration = Duration::from_millis(500);

/// Answers the first request of a connection with 503.
pub(super) async fn refuse(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let refusal = Box::pin(async {
        let (socket, protocol) = begin(&shared, stream, tls).await?;
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(Transport::new(socket, Arc::clone(&activity), PATIENCE));
        let service = requests(Arc::clone(&shared), activity, Fate::Refused);
        match protocol {
            Protocol::Http1 => shared.http1.serve_connection(io, service).await,
            Protocol::Http2 => shared.http2.serve_connection(io, service).await,
        }
        .map_err(io::Error::other)
    });
    if let Ok(Err(error)) = timeout(PATIENCE, refusal).await {
        tracing::debug!(%error, "a connection too many ended badly");
    }
}

/// What each of its requests is told.
pub(in crate::http::listener) async fn answer(request: http::Request<Incoming>) -> Response {
    let id = request_id::of(request.headers());
    let version = request.version();
    let mut body = request.into_body();
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    let mut response = error().into_response();
    let headers = response.headers_mut();
    if version < http::Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    response
}
