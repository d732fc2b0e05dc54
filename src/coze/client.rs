//! The only place that calls out to Coze.
//!
//! In comes a [`Call`] and a token, out comes a stream of bytes or a small
//! JSON body. What Coze answers with is judged by content type first, then by
//! code, then by status (protocol 1.4). A deployment that cannot be reached is
//! left alone for a while.

mod answer;
mod line;

mod reuse;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;

use super::Call;
use crate::secret::Secret;
use crate::turn::{Failure, Kind};
use answer::{judge, unexpected};
pub use line::Figures;
use line::{Line, Reading, Watched};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: below the 60 s after which the
/// server closes it (protocol 8).
const POOL_IDLE: Duration = Duration::from_secs(50);

/// The largest body that is read of an answer that is not a stream.
const MAX_JSON_BYTES: usize = 256 * 1024;

/// How long such a body may take.
const JSON_TIMEOUT: Duration = Duration::from_secs(10);

/// What it takes to reach a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The deployment's name in the config, for the log.
    pub name: String,
    /// Scheme, host and port, perhaps a path; without a slash at the end.
    pub base_url: String,
    /// More certificate authorities to trust, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// A proxy on the way: an `http`, `https` or `socks5` URL.
    pub proxy: Option<String>,
    /// Headers that every call carries.
    pub headers: HeaderMap,
}

/// A deployment's settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// The way to one deployment, with its pool of connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
    line: Arc<Line>,
}

// By hand: a proxy's URL and the headers may hold secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.settings.base_url).finish_non_exhaustive()
    }
}

/// An event stream that Coze has begun.
#[derive(Debug)]
pub struct Opened {
    /// Coze's id of the request in its logs.
    pub log_id: Option<String>,
    /// The bytes of the stream.
    pub bytes: ByteStream,
}

/// The bytes of an answer as they arrive. Dropped before its end, it closes
/// the connection.
#[derive(Debug)]
pub struct ByteStream {
    body: reqwest::Body,
    /// Counts the stream among the open ones.
    _reading: Reading,
}

impl Client {
    /// Prepares calls; connects to nothing yet.
    ///
    /// # Errors
    /// If a certificate or the proxy's URL cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let line = Arc::new(Line::new(settings.name.clone()));
        let mut builder = reqwest::Client::builder()
            .connector_layer(Watched(Arc::clone(&line)))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .connector_layer(reuse::NoteConnections)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(settings.headers.clone())
            .user_agent(concat!("cozeway/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &settings.ca_pem {
            let bundle = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| SettingsError(format!("no certificate in PEM form: {error}")))?;
            if bundle.is_empty() {
                return Err(SettingsError("no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        builder = match &settings.proxy {
            Some(url) => builder.proxy(
                reqwest::Proxy::all(url).map_err(|_| SettingsError("not the URL of a proxy".to_owned()))?,
            ),
            // A proxy from the environment would catch calls to a Coze on
            // the same machine: only the config decides.
            None => builder.no_proxy(),
        };
        let http = builder.build().map_err(|error| SettingsError(error.to_string()))?;
        Ok(Self { http, settings: Arc::new(settings), line })
    }

    /// Where it calls: scheme, host and port, perhaps a path.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.settings.base_url
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How the way to the deployment is, and what went over it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.line.figures()
    }

    /// Makes a call that is answered by an event stream.
    ///
    /// # Errors
    /// If Coze cannot be reached or answers with anything else.
    pub async fn open(&self, call: &Call, token: &Secret) -> Result<Opened, Failure> {
        let response = self.send(call, token).await?;
        let log_id = log_id(response.headers());
        let is_stream = content_type(response.headers()).starts_with("text/event-stream");
        if response.status() == StatusCode::OK && is_stream {
            let bytes = ByteStream { body: response.into(), _reading: self.line.reading() };
            return Ok(Opened { log_id, bytes });
        }
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let kind = content_type(response.headers());
        let body = read_small(response).await.unwrap_or_default();
        let mut failure =
            judge(status, &kind, retry_after, &body).unwrap_or_else(|| unexpected(status, &kind));
        failure.log_id = failure.log_id.or(log_id);
        Err(failure)
    }

    /// Makes a call that is answered by a small JSON body, and gives that.
    ///
    /// # Errors
    /// If Coze cannot be reached, refuses, or answers with anything else.
    pub async fn fetch(&self, call: &Call, token: &Secret) -> Result<Bytes, Failure> {
        let response = self.send(call, token).await?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let kind = content_type(response.headers());
        let body = read_small(response).await?;
        match judge(status, &kind, retry_after, &body) {
            Some(failure) => Err(failure.without(token.expose())),
            None if status.is_success() => Ok(body),
            None => Err(unexpected(status, &kind)),
        }
    }

    async fn send(&self, call: &Call, token: &Secret) -> Result<reqwest::Response, Failure> {
        let url = format!("{}{}", self.settings.base_url, call.path);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| Failure::new(Kind::Auth, "The Coze token holds characters that no header takes."))?;
        bearer.set_sensitive(true);
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "text/event-stream, application/json");
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let pass = self.line.admit()?;
        let again = request.try_clone();
        let (sent, closed_door) = reuse::watched(request.send()).await;
        let sent = match (sent, again) {
            (Err(error), Some(again)) if closed_door => {
                tracing::debug!(
                    error = chain(&error),
                    "a kept connection was closed; the request is sent again"
                );
                again.send().await
            }
            (sent, _) => sent,
        };
        match sent {
            Ok(response) => {
                pass.reached();
                Ok(response)
            }
            Err(error) => {
                if error.is_connect() {
                    pass.missed();
                }
                Err(sending_failed(&error))
            }
        }
    }
}

impl ByteStream {
    /// The next bytes; `Ready(None)` at the proper end.
    ///
    /// # Errors
    /// If the connection broke off.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            return match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Poll::Ready(Some(Ok(bytes))),
                    // Trailers: Coze sends none, and none would matter.
                    Err(_) => continue,
                },
                Some(Err(error)) => Poll::Ready(Some(Err(broke_off(&error)))),
                None => Poll::Ready(None),
            };
        }
    }

    /// Reads on to the end and throws it away: a connection is only used
    /// again once its last answer has been read whole.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.poll_bytes(cx)) {}
        Poll::Ready(())
    }
}

/// The connection ended in the middle of an answer.
fn broke_off(error: &reqwest::Error) -> Failure {
    let mut failure =
        Failure::new(Kind::Broken, "The connection to Coze broke off in the middle of the answer.")
            .with_detail(chain(error));
    failure.may_be_running = true;
    failure
}

fn sending_failed(error: &reqwest::Error) -> Failure {
    if error.is_connect() || error.is_builder() {
        return Failure::new(Kind::Unreachable(None), "Coze cannot be reached.").with_detail(chain(error));
    }
    let mut failure = Failure::new(Kind::Broken, "The connection to Coze broke off before it answered.")
        .with_detail(chain(error));
    failure.may_be_running = true;
    failure
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// In lower case: a content type is the same in any.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// Coze's log id: `X-Log-ID` of the server, `x-tt-logid` of the cloud.
fn log_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-log-id").or_else(|| headers.get("x-tt-logid"))?;
    let text = value.to_str().ok()?;
    (!text.is_empty() && text.len() <= 128).then(|| text.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

async fn read_small(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let read = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broke_off(&error))? {
            if body.len() + chunk.len() > MAX_JSON_BYTES {
                return Err(Failure::new(Kind::Broken, "Coze's answer is larger than it can be."));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(JSON_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "Coze did not complete its answer in time.")))
}
