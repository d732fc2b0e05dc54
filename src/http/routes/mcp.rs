//! `POST /mcp`: every model as a tool of the Model Context Protocol, over
//! streamable HTTP.
//!
//! Only this file knows the protocol's library. In comes a request with one
//! JSON-RPC message, out goes what the library makes of it and of the handler
//! below. Each request stands for itself: the old handshake is answered, and
//! its session has an id, but nothing is kept of it, so that any gateway can
//! answer the next request.

mod body;
mod message;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientJsonRpcMessage, ClientNotification,
    ClientRequest, ContentBlock, ErrorData, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, RequestId, ServerCapabilities, ServerConfig,
    Tool as McpTool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value, json};

use super::Answer;
use super::tools::run::{self, Answered};
use super::tools::{Tool, schema, tools};
use crate::access::Caller;
use crate::http::calls::CallKey;
use crate::http::{Context, body as request_body};
use crate::openai::ApiError;
use crate::turn::Wants;
use body::Stoppable;
use message::Refusal;

/// Where a message of the revision without a handshake names that revision.
const VERSION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// Names the session of a client of the old handshake.
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The longest id of a session that a call is known by.
const MAX_SESSION: usize = 128;

/// How often a client is told that its bot is still at work: some wait for a
/// few seconds only.
const PROGRESS: Duration = Duration::from_secs(1);

/// The longest refusal of the library's that is repeated.
const MAX_REFUSAL: usize = 4096;

/// Answers one message.
pub(super) async fn answer(Extension(context): Extension<Context>, headers: HeaderMap, body: Body) -> Answer {
    let caller = context.authenticate(&headers)?;
    let bytes = request_body::read(&headers, body, context.snapshot.server.max_body).await?;
    let message = match message::read(&bytes) {
        Ok(message) => message,
        Err(refusal) => {
            context.noted(refusal.code());
            return Ok(refusal.into_response());
        }
    };
    // What was read is what the library is given: of a name that comes twice
    // it might take the other one.
    let bytes = bytes::Bytes::from(message.to_string());
    let admission = context.admission(&caller);
    let mut response = match typed(message) {
        Ok(typed) => served(&context, &caller, &headers, bytes, &typed).await.into_response(),
        Err(refusal) => {
            context.noted(refusal.code());
            refusal.into_response()
        }
    };
    admission.tell(response.headers_mut()).await;
    Ok(response)
}

impl Context {
    /// Notes an error that the status does not tell.
    fn noted(&self, code: &str) {
        self.journal.note(|facts| {
            facts.error.get_or_insert_with(|| code.to_owned());
        });
    }
}

/// What the library takes a message for.
fn typed(message: Value) -> Result<ClientJsonRpcMessage, Refusal> {
    let says = "The parameters are not those of the method.";
    let wrong = Refusal::new(message::INVALID_PARAMS, says, &message);
    let is_stateless = message.pointer(VERSION).is_some();
    let Ok(typed) = serde_json::from_value(message) else {
        return Err(wrong);
    };
    // A method whose parameters are wrong is no method at all to the library.
    if let ClientJsonRpcMessage::Request(request) = &typed
        && let ClientRequest::CustomRequest(custom) = &request.request
        && ["initialize", "tools/call", "tools/list"].contains(&custom.method.as_str())
        // The revision without a handshake does not know it at all.
        && !(is_stateless && custom.method == "initialize")
    {
        return Err(wrong);
    }
    Ok(typed)
}

/// Hands a message to the library.
async fn served(
    context: &Context,
    caller: &Caller,
    headers: &HeaderMap,
    bytes: bytes::Bytes,
    message: &ClientJsonRpcMessage,
) -> Answer {
    let key = |id: &RequestId| call_key(caller, headers, id);
    let mut begins = false;
    let mut running = None;
    match message {
        ClientJsonRpcMessage::Notification(notification) => {
            if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                && let Some(key) = cancelled.params.request_id.as_ref().and_then(key)
            {
                context.app.calls.call_off(&key).await;
            }
        }
        ClientJsonRpcMessage::Request(request) => match &request.request {
            ClientRequest::InitializeRequest(_) => begins = true,
            ClientRequest::CallToolRequest(_) => {
                running = key(&request.id).map(|key| context.app.calls.begin(key));
            }
            _ => {}
        },
        _ => {}
    }
    let is_call = matches!(message, ClientJsonRpcMessage::Request(request)
        if matches!(request.request, ClientRequest::CallToolRequest(_)));
    let server = Server { context: context.clone(), caller: caller.clone(), headers: headers.clone() };
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    // Of a call the head goes out at once, and comments keep it alive.
    config.json_response = !is_call;
    config.sse_retry = None;
    config.sse_keep_alive = Some(context.snapshot.server.keepalive);
    config.max_request_body_bytes = context.snapshot.server.max_body;
    // Which hosts and origins are served is decided for all routes alike.
    config.allowed_hosts.clear();
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let response = service.handle(forwarded(headers, bytes)).await;
    let mut response = in_json(response.map(Body::new)).await?;
    if begins && response.status() == StatusCode::OK && !headers.contains_key(SESSION) {
        let id = uuid::Uuid::now_v7().simple().to_string();
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(SESSION, id);
        }
    }
    Ok(match running {
        Some(running) => response.map(|inner| Body::new(Stoppable::new(inner, running))),
        None => response,
    })
}

/// The request as the library sees it: what concerns the protocol alone.
fn forwarded(headers: &HeaderMap, bytes: bytes::Bytes) -> Request<Full<bytes::Bytes>> {
    let mut request = Request::new(Full::new(bytes));
    *request.method_mut() = Method::POST;
    let concerns = |name: &HeaderName| {
        name == ACCEPT || name == CONTENT_TYPE || (name.as_str().starts_with("mcp-") && name != SESSION)
    };
    for (name, value) in headers.iter().filter(|(name, _)| concerns(name)) {
        request.headers_mut().append(name, value.clone());
    }
    // Who takes anything takes both kinds of answer, which the library wants
    // to see by name.
    if headers.get_all(ACCEPT).iter().any(|kind| kind == "*/*") {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        request.headers_mut().insert(ACCEPT, both);
    }
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    request
}

/// A refusal in plain text as an error like any other.
async fn in_json(response: Response) -> Answer {
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return Ok(response);
    }
    let text = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
    let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default();
    if status.is_server_error() {
        tracing::warn!(detail = text, "the MCP library failed");
        return Err(ApiError::internal());
    }
    let code = match status {
        StatusCode::NOT_ACCEPTABLE => "not_acceptable",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "invalid_request",
    };
    Err(ApiError::invalid(status, code, text))
}

/// What a call can be called off by, if it is of a session.
fn call_key(caller: &Caller, headers: &HeaderMap, id: &RequestId) -> Option<CallKey> {
    let session = headers.get(SESSION)?.to_str().ok().filter(|id| id.len() <= MAX_SESSION)?;
    // As JSON, so that `1` and `"1"` are two.
    let id = serde_json::to_string(id).unwrap_or_default();
    Some(CallKey { caller: caller.space(), session: session.to_owned(), id })
}

/// What a caller's messages are answered with.
#[derive(Clone)]
struct Server {
    context: Context,
    caller: Caller,
    headers: HeaderMap,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("cozeway", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(
            "Each tool is a bot or a workflow. Give what it should be told as `message`. \
             To go on with a conversation, give the `conversation` of its last answer."
                .to_owned(),
        );
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools(&self.context, &self.caller).await;
        Ok(ListToolsResult::with_all_items(tools.iter().map(listed).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let model = self.context.snapshot.catalog.tool(&request.name);
        let Some(model) = model.filter(|model| self.caller.may_use(&model.name)) else {
            let name: String = request.name.chars().take(128).collect();
            self.context.noted("model_not_found");
            return Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None));
        };
        self.context.journal.note(|facts| facts.model = Some(Arc::clone(model)));
        let admission = self.context.admission(&self.caller);
        let arguments = request.arguments.unwrap_or_default();
        let answering = async {
            let begun =
                run::begin(&self.context, &self.caller, &admission, &self.headers, model, arguments).await;
            let begun = begun.map_err(|refusal| refusal.0)?;
            // The permit is held until here: then the answer is whole.
            let (answered, _, _permit) = begun.answer().await;
            answered
        };
        // Ahead of everything, so that the client knows that it has come.
        tell(&context, 1.0).await;
        tokio::select! {
            answered = Box::pin(answering) => Ok({
                // Some clients leave as soon as they have it.
                self.context.journal.whole();
                match answered {
                    Ok(answered) => result(&answered),
                    Err(error) => self.failed(&error),
                }
            }.into()),
            never = go_on_telling(&context) => match never {},
            never = self.heed_others(&context.id) => match never {},
            // The client has left, or has called it off: nobody hears this.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("The call was called off.", None)),
        }
    }
}

impl Server {
    /// Has a call end when another gateway is told that it is called off.
    async fn heed_others(&self, id: &RequestId) -> std::convert::Infallible {
        if let Some(key) = call_key(&self.caller, &self.headers, id) {
            self.context.app.calls.heed_others(&key).await;
        }
        // With the body of its answer the call itself ends.
        std::future::pending().await
    }

    /// An error as a tool's result, so that the agent can act upon it.
    fn failed(&self, error: &ApiError) -> CallToolResult {
        self.context.noted(&error.code);
        let body = serde_json::from_slice(&error.body()).unwrap_or_default();
        let mut result = CallToolResult::structured_error(body);
        // Some messages begin with the code already.
        let has_code = error.message.starts_with(&*error.code);
        let code = if has_code { String::new() } else { format!("{}: ", error.code) };
        result.content = vec![ContentBlock::text(format!("{code}{}", error.message))];
        result
    }
}

/// Tells the client that its bot is at work, if it wants to be told. Says
/// whether it has been.
async fn tell(context: &RequestContext<RoleServer>, steps: f64) -> bool {
    let Some(token) = context.meta.get_progress_token() else {
        return false;
    };
    let told = ProgressNotificationParam::new(token, steps).with_message("The bot is at work.");
    context.peer.notify_progress(told).await.is_ok()
}

/// Goes on telling it every now and then.
async fn go_on_telling(context: &RequestContext<RoleServer>) -> std::convert::Infallible {
    let mut steps = 1.0;
    loop {
        tokio::time::sleep(PROGRESS).await;
        steps += 1.0;
        if !tell(context, steps).await {
            return std::future::pending().await;
        }
    }
}

/// A tool as it is listed.
fn listed(tool: &Tool) -> McpTool {
    let mut listed = McpTool::new(tool.name.clone(), tool.description.clone(), schema::input(&tool.model));
    listed.title = Some(tool.model.name.clone());
    listed.output_schema = Some(Arc::new(output()));
    listed.annotations = Some(ToolAnnotations::new().open_world(true));
    listed
}

/// What structured content is: an answer or an error.
fn output() -> JsonObject {
    let mut properties = match schema::answer() {
        Value::Object(properties) => properties,
        _ => Map::new(),
    };
    properties.insert("error".to_owned(), schema::error());
    let mut output = Map::new();
    output.insert("type".to_owned(), json!("object"));
    output.insert("properties".to_owned(), Value::Object(properties));
    output
}

/// An answer as a tool's result: the bare words, then what the agent has to
/// know of the conversation, since not every client shows it more than text.
fn result(answered: &Answered) -> CallToolResult {
    let body = serde_json::from_slice::<Value>(&answered.body()).unwrap_or_default();
    let words = body.get("answer").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut result = CallToolResult::structured(body);
    result.content = vec![ContentBlock::text(words)];
    if let Some(name) = &answered.conversation {
        let name = Value::from(name.as_str());
        let how = match answered.wants() {
            Some(Wants::Choice(_)) => {
                Some("This is a question. To answer it, call again with one of its options as `message` and")
            }
            Some(_) => Some("This is a question. To answer it, call again with the answer as `message` and"),
            None if answered.named => None,
            None => Some("To go on with this conversation, call again with"),
        };
        result.content.extend(how.map(|how| ContentBlock::text(format!("{how} `conversation` = {name}."))));
    }
    result
}
