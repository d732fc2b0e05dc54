//! The event by which Coze tells that a chat has failed.

use crate::coze::chat::wire::Chat;
use crate::coze::error;
use crate::coze::json::{fault, parse_plain};
use crate::turn::Failure;

/// `conversation.chat.failed`: a chat object with `last_error`
/// (`chat_failed.cloud.sse`) or the error itself (`chat_failed.docs.sse`).
pub(super) fn chat_failed(data: &[u8]) -> Failure {
    let Ok(chat) = parse_plain::<Chat<'_>>(data) else {
        return error::failure(0, "the chat failed");
    };
    match &chat.last_error {
        Some(last) if !last.code.0.is_empty() => fault(&last.code, &last.msg),
        _ => fault(&chat.code, &chat.msg),
    }
}
