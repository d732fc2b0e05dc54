//! One request to a gateway, and what its client makes of the answer.

use axum::body::Body;
use cozeway::http::Service;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    /// The header `x-conversation-id`.
    pub(crate) name: Option<String>,
    /// The header `x-cozeway-conversation`.
    pub(crate) note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A whole answer.
    Answered { text: String, chat: String, finish: String },
    /// An error, as HTTP or in band.
    Failed { status: u16, code: String, message: String },
    /// The client has left; whether it had heard of the answer's beginning.
    Left { heard: bool },
}

impl Reply {
    pub(crate) fn left() -> Self {
        Self { outcome: Outcome::Left { heard: false }, name: None, note: None }
    }
}

/// Makes a call; leaves after the first words, if it is to.
///
/// # Errors
/// If the answer makes no sense.
pub(crate) async fn call(service: Service, call: Call, leaves: bool) -> Result<Reply, String> {
    let mut request = http::Request::post("/v1/chat/completions").header("content-type", "application/json");
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Body::from(call.body.to_string())).map_err(|error| error.to_string())?;
    let response = service.respond(request).await;
    let status = response.status().as_u16();
    let (head, body) = response.into_parts();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
    let (name, note) = (header("x-conversation-id"), header("x-cozeway-conversation"));
    let streamed = header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let outcome = if streamed { stream(body, leaves).await? } else { whole(status, body).await? };
    Ok(Reply { outcome, name, note })
}

async fn whole(status: u16, body: Body) -> Result<Outcome, String> {
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if status != 200 {
        return Ok(failed(status, &value["error"]));
    }
    let choice = &value["choices"][0];
    Ok(Outcome::Answered {
        text: choice["message"]["content"].as_str().ok_or("an answer without content")?.to_owned(),
        chat: text(&value["coze"]["chat_id"]),
        finish: text(&choice["finish_reason"]),
    })
}

async fn stream(body: Body, leaves: bool) -> Result<Outcome, String> {
    let mut frames = body.into_data_stream();
    let (mut said, mut chat, mut finish) = (String::new(), String::new(), String::new());
    let mut buffer = String::new();
    let mut pending = Vec::new();
    while let Some(frame) = frames.next().await {
        pending.extend_from_slice(&frame.map_err(|error| error.to_string())?);
        let whole = std::str::from_utf8(&pending).map_err(|error| error.to_string())?.to_owned();
        pending.clear();
        buffer.push_str(&whole);
        while let Some((event, rest)) = buffer.split_once("\n\n") {
            let event = event.to_owned();
            buffer = rest.to_owned();
            let Some(data) = event.strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                return Ok(Outcome::Answered { text: said, chat, finish });
            }
            let value: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
            if value.get("error").is_some() {
                return Ok(failed(200, &value["error"]));
            }
            let choice = &value["choices"][0];
            said.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if let Some(reason) = choice["finish_reason"].as_str() {
                finish = reason.to_owned();
            }
            if let Some(id) = value["coze"]["chat_id"].as_str() {
                chat = id.to_owned();
            }
        }
        if leaves && !said.is_empty() {
            return Ok(Outcome::Left { heard: true });
        }
    }
    Err(format!("a stream ended without an end after {said:?}"))
}

fn failed(status: u16, error: &Value) -> Outcome {
    Outcome::Failed { status, code: text(&error["code"]), message: text(&error["message"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
