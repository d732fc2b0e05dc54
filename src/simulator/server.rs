//! The simulated server's socket: connections, the check of tokens, routes.
//!
//! In come connections on a listener that the caller has bound, out go
//! answers. Binds nothing by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::trouble::Trouble;
use super::wire::{self, Fault, Id};
use super::{Recorded, Simulator, chat, chatflow, cloud, files, records, script, workflow};

/// How many connections there may be at a time.
const MAX_CONNECTIONS: usize = 16_384;

/// The largest body that is read. The server takes 200 MiB (protocol 1.1).
const MAX_BODY: usize = 32 * 1024 * 1024;

/// The content type of the server's JSON (protocol 1.3).
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// Switches off a proxy's buffering (protocol 3.4).
pub(super) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The request's id in the logs, on every response (protocol 1.1).
const LOG_ID: HeaderName = HeaderName::from_static("x-log-id");

/// What an answer may do to the connection that it is given on.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    reset: Arc<Notify>,
    life: CancellationToken,
}

impl Connection {
    /// Resets the connection; whatever waits for this is dropped with it.
    pub(super) async fn reset<T>(&self) -> T {
        self.reset.notify_one();
        std::future::pending().await
    }

    /// How long runs may go on that no client waits for.
    pub(super) fn life(&self) -> CancellationToken {
        self.life.clone()
    }
}

/// Serves until it is dropped; with it end all connections and runs.
pub(super) async fn serve(simulator: Simulator, listener: TcpListener) {
    let life = CancellationToken::new();
    let _ends_with_this = life.clone().drop_guard();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    simulator.0.connections.fetch_add(1, Ordering::Relaxed);
                    let connection = Connection { reset: Arc::new(Notify::new()), life: life.clone() };
                    connections.spawn(converse(simulator.clone(), stream, connection));
                }
                // Out of descriptors, say: that passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection: HTTP/1.1 only, as the server (protocol 1.1).
async fn converse(simulator: Simulator, stream: TcpStream, connection: Connection) {
    // Without it, small events would wait for the client's acknowledgement.
    let _best_effort = stream.set_nodelay(true);
    let handle = connection.clone();
    let service = service_fn(move |request| {
        let (simulator, connection) = (simulator.clone(), connection.clone());
        async move { Ok::<_, Infallible>(answer(simulator, connection, request).await) }
    });
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ended = &mut http => {}
        () = handle.reset.notified() => {
            // Closing with a linger of zero sends RST.
            let _best_effort = http.into_parts().io.into_inner().set_zero_linger();
        }
    }
}

async fn answer(simulator: Simulator, connection: Connection, request: Request<Incoming>) -> Response<Body> {
    let mut response = respond(&simulator, connection, request).await;
    if let Ok(id) = HeaderValue::try_from(uuid::Uuid::now_v7().to_string()) {
        response.headers_mut().entry(LOG_ID).or_insert(id);
    }
    if let Some(date) = simulator.wrong_date() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn respond(
    simulator: &Simulator,
    connection: Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(Body::new(body), MAX_BODY).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let json = serde_json::from_slice::<Value>(&body);
    simulator.record(Recorded {
        method: parts.method.clone(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: parts.headers.clone(),
        body: json.as_ref().cloned().unwrap_or_default(),
        body_bytes: body.len(),
    });

    let Some(endpoint) = Endpoint::of(parts.uri.path()) else {
        // `unrouted_path.server.json`.
        return with_status(StatusCode::UNAUTHORIZED, fault(401, "missing session_key in cookie"));
    };
    if endpoint == Endpoint::Token && simulator.is_cloud() && parts.method == Method::POST {
        return cloud::token(simulator, &parts.headers, &json.unwrap_or_default()).await;
    }
    if endpoint.is_clouds() && !simulator.is_cloud() {
        return with_status(StatusCode::UNAUTHORIZED, fault(401, "missing session_key in cookie"));
    }
    let owner = match authenticate(simulator, &parts.headers) {
        Ok(owner) => owner,
        Err(_) if simulator.is_cloud() => {
            return cloud::refused(StatusCode::UNAUTHORIZED, 4100, "authentication is invalid");
        }
        Err(reason) => return coded(700_012_006, &format!("authentication failed: {reason}")),
    };
    // Only a body that says it is JSON is read (protocol 1.4).
    let says_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    let json = match json {
        _ if !says_json || body.is_empty() => Value::Null,
        Ok(json) => json,
        Err(error) => return bad_request(&format!("bind body failed, err={error}")),
    };
    if endpoint == Endpoint::Upload && parts.method == Method::POST {
        return files::answer(simulator, &connection, &parts.headers, &body).await;
    }
    let query = Query::of(parts.uri.query().unwrap_or_default());
    let caller = Caller { owner, connection };
    route(simulator, caller, &parts.method, endpoint, &query, &json)
        .await
        .unwrap_or_else(|text| bad_request(&text))
}

struct Caller {
    owner: usize,
    connection: Connection,
}

/// Answers a request whose token is good.
///
/// # Errors
/// The text of a binding error.
async fn route(
    simulator: &Simulator,
    Caller { owner, connection }: Caller,
    method: &Method,
    endpoint: Endpoint,
    query: &Query,
    body: &Value,
) -> Result<Response<Body>, String> {
    use Endpoint as E;
    let (get, post) = (method == Method::GET, method == Method::POST);
    Ok(match endpoint {
        E::Chat if post => {
            let open = simulator.open();
            let bot = body.get("bot_id").and_then(Value::as_str).unwrap_or_default();
            if let Some(script) = simulator.next_script(bot) {
                return Ok(script::play(script, connection, open).await);
            }
            let conversation = query.optional("conversation_id")?;
            let trouble = simulator.take_trouble(body);
            match &trouble {
                Some(Trouble::Refused(code)) => return Ok(coded(*code, "refused")),
                Some(Trouble::ResetUnheard) => return Ok(connection.reset().await),
                _ => {}
            }
            let caller = chat::Caller { owner, connection: connection.clone(), open };
            let answer = chat::answer(simulator, caller, conversation, body, trouble.as_ref());
            match trouble {
                Some(Trouble::ResetHeard) => connection.reset().await,
                _ => answer,
            }
        }
        E::Run(way) if post => {
            let open = simulator.open();
            let id = body.get("workflow_id").and_then(Value::as_str).unwrap_or_default();
            match simulator.next_script(id) {
                Some(script) => script::play(script, connection, open).await,
                None => workflow::answer(simulator, way, body, open).await?,
            }
        }
        E::Chatflow if post => {
            let open = simulator.open();
            let id = body.get("workflow_id").and_then(Value::as_str).unwrap_or_default();
            match simulator.next_script(id) {
                Some(script) => script::play(script, connection, open).await,
                None => chatflow::answer(simulator, owner, body, open)?,
            }
        }
        E::Cancel if post => records::cancel(simulator, owner, body),
        E::Retrieve if get => records::retrieve(
            simulator,
            owner,
            query.required("conversation_id")?,
            query.required("chat_id")?,
        ),
        E::ChatMessages if get => {
            records::of_chat(simulator, owner, query.required("conversation_id")?, query.required("chat_id")?)
        }
        E::Create if post => records::create(simulator, owner, body),
        E::ConversationInfo if get => {
            records::retrieve_conversation(simulator, owner, query.required("conversation_id")?)
        }
        E::Messages if post => {
            records::of_conversation(simulator, owner, query.required("conversation_id")?, body)
        }
        E::Conversations if get => records::list(simulator, owner, query),
        E::Conversation(id) if method == Method::PUT => records::rename(simulator, owner, id, body),
        E::Conversation(id) if method == Method::DELETE => records::delete(simulator, owner, id),
        E::Clear(id) if post => records::clear(simulator, owner, id),
        // Without the connector the server panics (protocol 4.8).
        E::BotOnline if get && query.get("connector_id").is_none() => {
            with_status(StatusCode::INTERNAL_SERVER_ERROR, Response::new(Body::empty()))
        }
        E::BotOnline if get => records::online(simulator, query.required("bot_id")?),
        E::Bot(id) if get && simulator.is_cloud() => {
            cloud::bot(simulator, id).unwrap_or_else(|| records::bot(simulator, id))
        }
        E::Bot(id) if get => records::bot(simulator, id),
        E::Me if get => cloud::me(),
        E::Spaces if get => cloud::spaces(simulator, query),
        E::Bots if get => cloud::bots(simulator, query),
        E::Workflow(id) if get && simulator.is_cloud() => cloud::workflow(simulator, id),
        E::Workflow(id) if get => records::workflow(simulator, id),
        // A known path with a wrong method (protocol 1.3).
        _ => plain(StatusCode::NOT_FOUND, "404 page not found"),
    })
}

/// Whose token it is, or why it is none (protocol 1.2, 1.3).
fn authenticate(simulator: &Simulator, headers: &http::HeaderMap) -> Result<usize, &'static str> {
    let header = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let header = header.filter(|value| !value.is_empty()).ok_or("missing authorization in header")?;
    // Split at the literal `Bearer`, exactly once, and trimmed.
    let token = match header.split("Bearer").collect::<Vec<_>>()[..] {
        [_, token] if !token.trim().is_empty() => token.trim(),
        _ => return Err("missing api_key in request"),
    };
    let mut tokens = simulator.options().tokens.iter();
    match tokens.position(|known| known == token) {
        Some(owner) => Ok(owner),
        // All apps act for the first token's user.
        None if simulator.has_given(token) => Ok(0),
        None => Err("CheckPermission failed"),
    }
}

/// The query of a request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// A parameter's text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An id that may be missing; 0 is none (protocol 6(b)).
    fn optional(&self, name: &str) -> Result<Option<Id>, String> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let id = Id::parse(text).ok_or_else(|| {
            format!("unable to decode '{text}' as int64: strconv.ParseInt: parsing {text:?}: invalid syntax")
        })?;
        Ok(Some(id).filter(|id| *id != Id(0)))
    }

    /// An id that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Id, String> {
        self.optional(name)?.ok_or_else(|| {
            format!(
                "'{name}' field is a 'required' parameter, but the request does not have this parameter '{name}'"
            )
        })
    }
}

pub(super) fn with_status(status: StatusCode, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = status;
    response
}

/// JSON with HTTP 200.
pub(super) fn json_response(body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn fault(code: u32, msg: &str) -> Response<Body> {
    json_response(&wire::json(&Fault { code, msg }))
}

/// An error with a code, under HTTP 200 (protocol 1.4).
pub(super) fn coded(code: u32, msg: &str) -> Response<Body> {
    fault(code, msg)
}

/// A binding error, under HTTP 400 (protocol 1.4).
pub(super) fn bad_request(msg: &str) -> Response<Body> {
    with_status(StatusCode::BAD_REQUEST, fault(400, msg))
}

/// An error without a code, under HTTP 500 (`internal_error.server.json`).
pub(super) fn uncoded() -> Response<Body> {
    with_status(StatusCode::INTERNAL_SERVER_ERROR, fault(500, "internal server error"))
}

/// Plain text with a status.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = with_status(status, Response::new(Body::from(text.to_owned())));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
