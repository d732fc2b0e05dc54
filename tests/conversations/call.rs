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
    Answered {
        text: String,
        chat: String,
        finish: String,
        /// The other choices: what they say, and their chats.
        others: Vec<(String, String)>,
    },
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
    let choices = value["choices"].as_array().ok_or("an answer without choices")?;
    let mut told = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        told.push(Choice {
            text: choice["message"]["content"].as_str().ok_or("an answer without content")?.to_owned(),
            chat: chat(&value["coze"], index),
            finish: text(&choice["finish_reason"]),
        });
    }
    answered(told)
}

/// One answer as it comes.
#[derive(Default)]
struct Choice {
    text: String,
    chat: String,
    finish: String,
}

fn answered(choices: Vec<Choice>) -> Result<Outcome, String> {
    let mut choices = choices.into_iter();
    let Choice { text, chat, finish } = choices.next().ok_or("an answer without a choice")?;
    let others = choices.map(|other| (other.text, other.chat)).collect();
    Ok(Outcome::Answered { text, chat, finish, others })
}

/// What Coze calls the chat of a choice.
fn chat(coze: &Value, index: usize) -> String {
    match &coze["chats"][index] {
        Value::Null => text(&coze["chat_id"]),
        one => text(&one["chat_id"]),
    }
}

async fn stream(body: Body, leaves: bool) -> Result<Outcome, String> {
    let mut frames = body.into_data_stream();
    let mut choices: Vec<Choice> = Vec::new();
    let mut buffer = String::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| error.to_string())?;
        buffer.push_str(std::str::from_utf8(&frame).map_err(|error| error.to_string())?);
        while let Some((event, rest)) = buffer.split_once("\n\n") {
            let event = event.to_owned();
            buffer = rest.to_owned();
            let Some(data) = event.strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                return answered(choices);
            }
            let value: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
            if value.get("error").is_some() {
                return Ok(failed(200, &value["error"]));
            }
            take(&mut choices, &value);
        }
        if leaves && choices.iter().any(|choice| !choice.text.is_empty()) {
            return Ok(Outcome::Left { heard: true });
        }
    }
    Err(format!("a stream ended without an end after {} choices", choices.len()))
}

/// Takes up a chunk.
fn take(choices: &mut Vec<Choice>, value: &Value) {
    let delta = &value["choices"][0];
    let index = delta["index"].as_u64().unwrap_or_default() as usize;
    if choices.len() <= index {
        choices.resize_with(index + 1, Choice::default);
    }
    choices[index].text.push_str(delta["delta"]["content"].as_str().unwrap_or_default());
    if let Some(reason) = delta["finish_reason"].as_str() {
        choices[index].finish = reason.to_owned();
    }
    if value.get("coze").is_some() {
        choices.iter_mut().enumerate().for_each(|(at, choice)| choice.chat = chat(&value["coze"], at));
    }
}

fn failed(status: u16, error: &Value) -> Outcome {
    Outcome::Failed { status, code: text(&error["code"]), message: text(&error["message"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
