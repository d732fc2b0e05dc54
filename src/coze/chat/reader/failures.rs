//! The events by which Coze tells of a failure.

use std::borrow::Cow;

use super::parse;
use crate::coze::chat::wire::{Chat, Fault, Word};
use crate::coze::error;
use crate::turn::Failure;

/// A code with its message.
pub(super) fn fault(code: &Word<'_>, message: &Word<'_>) -> Failure {
    error::failure(code.0.parse().unwrap_or(0), &message.0)
}

/// `conversation.chat.failed`: a chat object with `last_error`
/// (`chat_failed.cloud.sse`) or the error itself (`chat_failed.docs.sse`).
pub(super) fn chat_failed(data: &[u8]) -> Failure {
    let Ok(chat) = parse::<Chat<'_>>(data) else {
        return error::failure(0, "the chat failed");
    };
    match &chat.last_error {
        Some(last) if !last.code.0.is_empty() => fault(&last.code, &last.msg),
        _ => fault(&chat.code, &chat.msg),
    }
}

/// `error`: an object with code and message, an empty one, or plain text.
pub(super) fn error_event(data: &[u8]) -> Failure {
    match serde_json::from_slice::<Fault<'_>>(data) {
        Ok(Fault { code, msg }) => fault(&code, &msg),
        Err(_) => {
            let text: Cow<'_, str> = String::from_utf8_lossy(data.get(..4096).unwrap_or(data));
            error::failure(0, &text)
        }
    }
}
