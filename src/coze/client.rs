//! The only place that calls out to Coze.
//!
//! In comes a [`Call`] and a token, out comes a stream of bytes or a small
//! JSON body. What Coze answers with is judged by content type first, then by
//! code, then by status (protocol 1.4). A deployment that cannot be reached is
//! left alone for a while.

mod answer;
mod connect;
mod exchange;
mod failing;
mod http1;
mod line;
mod pool;
mod socket;
mod tls;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::Call;
use super::files::{self, Form, Uploaded};
use crate::batch;
use crate::secret::Secret;
use crate::turn::{Failure, Kind};
use answer::{Told, judge, unexpected};
use connect::Connector;
use exchange::{Answer, Broken, Incoming};
use failing::{broke_off, chain, is_out_of_files, sending_failed};
use http1::{Asked, Requests};
pub use line::Figures;
use line::{Line, Reading};
use pool::{Connection, Pool};

/// A closed door answers within a round trip. A server that breaks off later
/// may have taken the request up.
const PROMPT: Duration = Duration::from_secs(1);

/// The largest body that is read of an answer that is not a stream.
const MAX_JSON_BYTES: usize = 16 * 1024 * 1024;

/// The largest body that is read of a refusal where a stream was wanted.
const MAX_REFUSAL_BYTES: usize = 256 * 1024;

/// The largest answer that is no stream.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

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
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    connector: Connector,
    requests: Requests,
    pool: Arc<Pool>,
    line: Arc<Line>,
}

// By hand: a proxy's URL and the headers may hold secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
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

/// What a call has begun.
#[derive(Debug)]
pub enum Begun {
    /// An event stream.
    Stream {
        /// Coze's id of the request in its logs.
        log_id: Option<String>,
        /// The bytes of the stream.
        bytes: ByteStream,
    },
    /// The whole answer.
    Whole {
        /// Coze's id of the request in its logs.
        log_id: Option<String>,
        /// A JSON body without an error.
        body: Bytes,
    },
}

/// An answer of whatever kind.
#[derive(Debug)]
pub struct Plain {
    /// Its status.
    pub status: StatusCode,
    /// The server's clock.
    pub date: Option<SystemTime>,
    /// The error that it holds, as all calls understand errors.
    pub failure: Option<Failure>,
    /// All of its body.
    pub body: Bytes,
}

/// The bytes of an answer as they arrive. Dropped before its end, it closes
/// the connection.
#[derive(Debug)]
pub struct ByteStream {
    body: Incoming,
    /// Counts the stream among the open ones.
    _reading: Reading,
}

impl Client {
    /// Prepares calls; connects to nothing yet.
    ///
    /// # Errors
    /// If a certificate or the proxy's URL cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let url = Url::parse(&settings.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| SettingsError("not a URL that begins with http:// or https://".to_owned()))?;
        let connector = Connector::new(&settings, &url)?;
        let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let path = url.path().trim_end_matches('/');
        let requests = match connector.forwarded() {
            Some(proxy) => {
                let requests = Requests::new(format!("http://{host}{path}"), &host, &settings.headers);
                requests.with(&PROXY_AUTHORIZATION, proxy.authorization.as_ref())
            }
            None => Requests::new(path.to_owned(), &host, &settings.headers),
        };
        let line = Arc::new(Line::new(settings.name.clone()));
        Ok(Self(Arc::new(Inner { settings, connector, requests, pool: Arc::default(), line })))
    }

    /// Where it calls: scheme, host and port, perhaps a path.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.0.settings.base_url
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// How the way to the deployment is, and what went over it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let idle = u64::try_from(self.0.pool.count()).unwrap_or(u64::MAX);
        self.0.line.figures(idle)
    }

    /// How many calls are under way.
    fn at_work(&self) -> usize {
        self.0.line.standing().saturating_sub(self.0.pool.count())
    }

    /// Makes a call that is answered by an event stream.
    ///
    /// # Errors
    /// If Coze cannot be reached or answers with anything else.
    pub async fn open(&self, call: &Call, token: &Secret) -> Result<Opened, Failure> {
        let (told, Answer { head, incoming }) = self.send(&call.into(), token).await?;
        let Told { kind, log_id, retry_after, .. } = told;
        if head.status == StatusCode::OK && kind.starts_with("text/event-stream") {
            let bytes = ByteStream { body: incoming, _reading: self.0.line.reading() };
            return Ok(Opened { log_id, bytes });
        }
        let body = read_whole(incoming, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let failure = judge(head.status, &kind, retry_after, &body);
        let mut failure = failure.unwrap_or_else(|| unexpected(head.status, &kind));
        failure.log_id = failure.log_id.or(log_id);
        Err(failure.without(token.expose()))
    }

    /// Makes a call that is answered by an event stream, or by a JSON body
    /// that may be large.
    ///
    /// # Errors
    /// If Coze cannot be reached, refuses, or answers with anything else.
    pub async fn begin(&self, call: &Call, token: &Secret, streams: bool) -> Result<Begun, Failure> {
        if streams {
            let Opened { log_id, bytes } = self.open(call, token).await?;
            return Ok(Begun::Stream { log_id, bytes });
        }
        let (told, Answer { head, incoming }) = self.send(&call.into(), token).await?;
        let body = read_whole(incoming, MAX_ANSWER_BYTES).await?;
        let failure = judge(head.status, &told.kind, told.retry_after, &body);
        let is_json = head.status.is_success() && told.kind.starts_with("application/json");
        match failure.or_else(|| (!is_json).then(|| unexpected(head.status, &told.kind))) {
            Some(mut failure) => {
                failure.log_id = failure.log_id.or(told.log_id);
                Err(failure.without(token.expose()))
            }
            None => Ok(Begun::Whole { log_id: told.log_id, body }),
        }
    }

    /// Makes a call that is answered by a JSON body, and gives that.
    ///
    /// # Errors
    /// If Coze cannot be reached, refuses, or answers with anything else.
    pub async fn fetch(&self, call: &Call, token: &Secret) -> Result<Bytes, Failure> {
        let (told, Answer { head, incoming }) = self.send(&call.into(), token).await?;
        let body = read_whole(incoming, MAX_JSON_BYTES).await?;
        match judge(head.status, &told.kind, told.retry_after, &body) {
            Some(failure) => Err(failure.without(token.expose())),
            None if head.status.is_success() => Ok(body),
            None => Err(unexpected(head.status, &told.kind)),
        }
    }

    /// Makes a call, and gives whatever is answered for the caller to judge.
    ///
    /// # Errors
    /// If Coze cannot be reached, or its answer does not come whole.
    pub async fn ask_plainly(&self, call: &Call, token: &Secret) -> Result<Plain, Failure> {
        let (told, Answer { head, incoming }) = self.send(&call.into(), token).await?;
        let body = read_whole(incoming, MAX_REFUSAL_BYTES).await?;
        let failure = judge(head.status, &told.kind, told.retry_after, &body);
        Ok(Plain { status: head.status, date: told.date(), failure, body })
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// If Coze cannot be reached, refuses, or answers with anything else.
    pub async fn upload(&self, form: &Form, token: &Secret) -> Result<Uploaded, Failure> {
        let (told, Answer { head, incoming }) = self.send(&form.into(), token).await?;
        let body = read_whole(incoming, MAX_REFUSAL_BYTES).await?;
        let mut failure = match judge(head.status, &told.kind, told.retry_after, &body) {
            Some(failure) => failure.without(token.expose()),
            // A proxy's word, as a rule.
            None if head.status == StatusCode::PAYLOAD_TOO_LARGE => {
                Failure::new(Kind::Rejected, "Coze takes no file of this size.")
            }
            None if !head.status.is_success() => unexpected(head.status, &told.kind),
            None => match files::read(&body) {
                Some(uploaded) => return Ok(uploaded),
                None => Failure::new(Kind::Broken, "Coze's answer to an upload makes no sense."),
            },
        };
        failure.log_id = failure.log_id.or(told.log_id);
        Err(failure)
    }

    async fn send(&self, asked: &Asked<'_>, token: &Secret) -> Result<(Told, Answer), Failure> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| Failure::new(Kind::Auth, "The Coze token holds characters that no header takes."))?;
        bearer.set_sensitive(true);
        let pass = self.0.line.admit()?;
        // A kept connection can close under a request: the server ends it as
        // idle while the request is on its way. Then most likely nothing of
        // the request was taken up, and it is sent once more.
        if let Some(kept) = self.0.pool.take() {
            let start = Instant::now();
            // On the heap, as all that is large: it makes two allocations of
            // one, but of such as the allocator keeps at hand.
            match Box::pin(self.ask(kept, asked, &bearer)).await {
                Err(error) if error.is_closed_door() && start.elapsed() < PROMPT => {
                    tracing::debug!(
                        %error,
                        "a kept connection was closed; the request is sent again"
                    );
                }
                answered => {
                    return answered.inspect(|_| pass.reached()).map_err(|error| sending_failed(&error));
                }
            }
        }
        // A connection that is refused is not tried again: every address of
        // the name has been tried by then, a server that is down is still down
        // a moment later, and the client is told with a 503 that its SDK
        // retries.
        let connection = match Box::pin(self.0.connector.connect()).await {
            Ok(socket) => Connection::new(socket, self.0.line.connected()),
            Err(error) => {
                // That this process has no more files says nothing of Coze.
                if !is_out_of_files(&*error) {
                    pass.missed();
                }
                let failure = Failure::new(Kind::Unreachable(None), "Coze cannot be reached.");
                return Err(failure.with_detail(chain(&*error)));
            }
        };
        let answered = Box::pin(self.ask(connection, asked, &bearer)).await;
        answered.inspect(|_| pass.reached()).map_err(|error| sending_failed(&error))
    }

    async fn ask(
        &self,
        connection: Connection,
        asked: &Asked<'_>,
        bearer: &HeaderValue,
    ) -> Result<(Told, Answer), Broken> {
        let mut told = Told::default();
        let head = self.0.requests.head(asked, bearer);
        let header = |name: &str, value: &[u8]| told.take(name, value);
        batch::with_others(self.at_work()).await;
        let answer = exchange::ask(connection, head, asked.body.clone(), &self.0.pool, header).await?;
        Ok((told, answer))
    }
}

impl ByteStream {
    /// The next bytes; `Ready(None)` at the proper end.
    ///
    /// # Errors
    /// If the connection broke off.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.body.poll_bytes(cx).map_err(|error| broke_off(&error))
    }

    /// Reads on to the end and throws it away: a connection is only used
    /// again once its last answer has been read whole.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.poll_bytes(cx)) {}
        Poll::Ready(())
    }
}

async fn read_whole(mut incoming: Incoming, limit: usize) -> Result<Bytes, Failure> {
    let read = async {
        let mut body = BytesMut::new();
        while let Some(bytes) = poll_fn(|cx| incoming.poll_bytes(cx)).await {
            let bytes = bytes.map_err(|error| broke_off(&error))?;
            if body.len() + bytes.len() > limit {
                return Err(Failure::new(Kind::Broken, "Coze's answer is larger than it can be."));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(JSON_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "Coze did not complete its answer in time.")))
}

#[cfg(test)]
mod tests;
