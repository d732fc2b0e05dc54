//! One message of JSON-RPC: bytes in, a value or a refusal out. Knows the
//! frame alone, no method.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::http::respond;

/// The body is no JSON.
const PARSE_ERROR: i32 = -32700;

/// It is no message of JSON-RPC.
const INVALID_REQUEST: i32 = -32600;

/// The parameters do not fit the method.
pub(super) const INVALID_PARAMS: i32 = -32602;

/// Why a message is not taken.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: i32,
    says: String,
    /// The message's own, or null.
    id: Value,
}

impl Refusal {
    pub(super) fn new(code: i32, says: impl Into<String>, message: &Value) -> Self {
        let id = message.get("id").filter(|id| is_id(id)).cloned().unwrap_or_default();
        Self { code, says: says.into(), id }
    }

    /// In one word, for the log.
    pub(super) fn code(&self) -> &'static str {
        match self.code {
            PARSE_ERROR => "invalid_json",
            INVALID_PARAMS => "invalid_params",
            _ => "invalid_request",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, says, id } = self;
        let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": says } });
        let mut response = respond::json(error.to_string().into_bytes());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

/// Reads one message.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Refusal> {
    let message: Value = serde_json::from_slice(bytes).map_err(|error| {
        Refusal::new(PARSE_ERROR, format!("The body is not valid JSON: {error}."), &Value::Null)
    })?;
    match fault(&message) {
        Some(says) => Err(Refusal::new(INVALID_REQUEST, says, &message)),
        None => Ok(message),
    }
}

/// What makes a value no message.
fn fault(message: &Value) -> Option<&'static str> {
    let Some(object) = message.as_object() else {
        let is_batch = message.is_array();
        return Some(if is_batch {
            "Batches are not taken: send one message."
        } else {
            "The body must be an object."
        });
    };
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Some("'jsonrpc' must be \"2.0\".");
    }
    if object.get("id").is_some_and(|id| !is_id(id)) {
        return Some("'id' must be a string or a whole number.");
    }
    let answers = object.contains_key("result") || object.contains_key("error");
    match object.get("method") {
        Some(Value::String(method)) if !method.is_empty() => {}
        None if answers && object.contains_key("id") => return None,
        _ => return Some("'method' must be a string."),
    }
    let is_wrong = object.get("params").is_some_and(|params| !params.is_object());
    is_wrong.then_some("'params' must be an object.")
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64()
}
