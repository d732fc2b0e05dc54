//! The only place that calls out to Coze.
//!
//! In comes a [`Call`] and a token, out comes a stream of bytes or a small
//! JSON body. What Coze answers with is judged by content type first, then by
//! code, then by status (protocol 1.4).

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use serde_json::Value;

use super::{Call, error};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

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
#[derive(Clone, Debug, Default)]
pub struct Settings {
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
    base_url: String,
}

// By hand: a proxy's URL and the headers may hold secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url).finish_non_exhaustive()
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
pub struct ByteStream(reqwest::Body);

impl Client {
    /// Prepares calls; connects to nothing yet.
    ///
    /// # Errors
    /// If a certificate or the proxy's URL cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(settings.headers)
            .user_agent(concat!("cozeway/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = settings.ca_pem {
            let bundle = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| SettingsError(format!("no certificate in PEM form: {error}")))?;
            if bundle.is_empty() {
                return Err(SettingsError("no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        builder = match settings.proxy {
            Some(url) => builder.proxy(
                reqwest::Proxy::all(&url).map_err(|_| SettingsError("not the URL of a proxy".to_owned()))?,
            ),
            // A proxy from the environment would catch calls to a Coze on
            // the same machine: only the config decides.
            None => builder.no_proxy(),
        };
        let http = builder.build().map_err(|error| SettingsError(error.to_string()))?;
        Ok(Self { http, base_url: settings.base_url })
    }

    /// Where it calls: scheme, host and port, perhaps a path.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
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
            return Ok(Opened { log_id, bytes: ByteStream(response.into()) });
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
            Some(failure) => Err(failure),
            None if status.is_success() => Ok(body),
            None => Err(unexpected(status, &kind)),
        }
    }

    async fn send(&self, call: &Call, token: &Secret) -> Result<reqwest::Response, Failure> {
        let url = format!("{}{}", self.base_url, call.path);
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
        request.send().await.map_err(|error| sending_failed(&error))
    }
}

impl ByteStream {
    /// The next bytes; `Ready(None)` at the proper end.
    ///
    /// # Errors
    /// If the connection broke off.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            return match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
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
        return Failure::new(Kind::Unreachable, "Coze cannot be reached.").with_detail(chain(error));
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

/// The error in an answer that is not a stream; `None` if it holds none.
fn judge(status: StatusCode, kind: &str, retry_after: Option<Duration>, body: &[u8]) -> Option<Failure> {
    let envelope: Value = if kind.starts_with("application/json") || kind.is_empty() {
        serde_json::from_slice(body).unwrap_or_default()
    } else {
        Value::Null
    };
    // Each field for itself: one that is not as it should be takes nothing
    // from the others. The cloud has two spellings.
    let text = |pointer| envelope.pointer(pointer).and_then(Value::as_str);
    let number = |pointer| {
        let value = envelope.pointer(pointer)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|code| *code != 0)
    };
    let message = text("/msg").or_else(|| text("/error_message")).unwrap_or_default();
    let code = number("/code").or_else(|| number("/error_code")).unwrap_or(0);
    // An unknown path is answered by the web session's check, not by the
    // token's (`unrouted_path.server.json`).
    if message.contains("missing session_key") {
        return Some(Failure {
            coze_code: Some(code),
            ..Failure::new(
                Kind::Unsupported,
                "This Coze deployment does not offer the API that the gateway needs; it may be too old.",
            )
        });
    }
    let mut failure = if status == StatusCode::TOO_MANY_REQUESTS {
        let mut failure = error::failure(429, message);
        failure.coze_code = (code != 0).then_some(code);
        failure
    } else if code != 0 {
        let mut failure = error::failure(code, message);
        // 401 and 403 of a gateway in front of Coze, or of the cloud with a
        // code that no list names.
        if matches!(status.as_u16(), 401 | 403) && failure.kind == Kind::Broken {
            failure.kind = Kind::Auth;
        } else if status == StatusCode::BAD_REQUEST && failure.kind == Kind::Broken {
            failure.kind = Kind::Rejected;
        }
        failure
    } else {
        return match status.as_u16() {
            401 | 403 => Some(error::failure(4100, message)),
            504 => Some(Failure {
                may_be_running: true,
                ..Failure::new(Kind::Timeout, "A proxy in front of Coze gave up waiting for it.")
            }),
            _ => None,
        };
    };
    if let Kind::RateLimited(wait) = &mut failure.kind {
        *wait = retry_after;
    }
    failure.log_id = text("/detail/logid").map(str::to_owned);
    Some(failure)
}

fn unexpected(status: StatusCode, kind: &str) -> Failure {
    let kind = if kind.is_empty() { "no content type" } else { kind };
    Failure::new(
        Kind::Broken,
        format!("Coze answered with status {} where an answer was expected.", status.as_u16()),
    )
    .with_detail(format!("status {status}, {kind}: is base_url the address of a Coze API?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kind_of(status: u16, body: &str) -> Kind {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, "application/json; charset=utf-8", None, body.as_bytes()).expect("a failure").kind
    }

    #[test]
    fn a_bad_token_comes_with_status_200() {
        let body = r#"{"code":700012006,"msg":"authentication failed: CheckPermission failed"}"#;
        assert_eq!(kind_of(200, body), Kind::Auth);
    }

    #[test]
    fn an_unknown_path_is_not_a_bad_token() {
        for body in [
            r#"{"code":401,"msg":"missing session_key in cookie"}"#,
            r#"{"code":700012006,"msg":"authentication failed: missing session_key in cookie"}"#,
        ] {
            assert_eq!(kind_of(401, body), Kind::Unsupported);
        }
    }

    #[test]
    fn a_binding_error_is_a_rejected_request() {
        assert_eq!(
            kind_of(400, r#"{"code":400,"msg":"'user_id' field is a 'required' parameter"}"#),
            Kind::Rejected
        );
        assert_eq!(kind_of(400, r#"{"code":31337,"msg":"new"}"#), Kind::Rejected);
    }

    #[test]
    fn status_429_is_a_rate_limit_whatever_the_code() {
        let wait = Some(Duration::from_secs(7));
        let failure = judge(StatusCode::TOO_MANY_REQUESTS, "text/plain", wait, b"slow down").unwrap();
        assert_eq!(failure.kind, Kind::RateLimited(wait));
    }

    #[test]
    fn the_clouds_log_id_is_kept() {
        let body = br#"{"code":5000,"detail":{"logid":"2025"},"msg":"server issues"}"#;
        let failure = judge(StatusCode::OK, "application/json", None, body).unwrap();
        assert_eq!((failure.kind, failure.log_id.as_deref()), (Kind::Broken, Some("2025")));
    }

    #[test]
    fn one_strange_field_takes_nothing_from_the_others() {
        for body in [
            r#"{"code":4015,"msg":"x","detail":"y"}"#,
            r#"{"code":"4015","msg":"x"}"#,
            r#"{"code":4015,"msg":{"en":"x"}}"#,
            r#"{"code":4015,"error_code":null}"#,
            r#"{"code":0,"error_code":4015,"error_message":"x"}"#,
        ] {
            assert_eq!(kind_of(200, body), Kind::ModelUnavailable, "{body}");
        }
    }

    #[test]
    fn success_and_strangers_hold_no_error() {
        assert!(judge(StatusCode::OK, "application/json", None, br#"{"code":0,"msg":""}"#).is_none());
        assert!(judge(StatusCode::OK, "text/html", None, b"<html>").is_none());
    }
}
