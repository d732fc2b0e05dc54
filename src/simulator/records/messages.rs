//! Messages over the API (protocol 3.12, 4.6).

use axum::body::Body;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::NOT_YOURS;
use crate::simulator::Simulator;
use crate::simulator::book::{Kind, Stored};
use crate::simulator::server::{coded, json_response, plain, uncoded};
use crate::simulator::wire::{self, Chat, Id, Listed, Message};

/// How many messages a list has if it is not said (protocol 4.6).
const DEFAULT_LIMIT: i64 = 50;

/// `GET /v3/chat/message/list` (protocol 3.12; `chat_message_list.server.json`).
pub(in crate::simulator) fn of_chat(
    simulator: &Simulator,
    owner: usize,
    conversation: Id,
    chat: Id,
) -> Response<Body> {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(rename = "Messages", skip_serializing_if = "Vec::is_empty")]
        messages: Vec<Message<'a>>,
        code: u32,
        msg: &'static str,
        #[serde(rename = "BaseResp")]
        base: (),
    }
    let book = simulator.book();
    if book.conversation(conversation).is_none_or(|known| known.owner != owner) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("code=103000001 message={NOT_YOURS}"));
    }
    let messages = book
        .run(chat)
        .map(|run| run.messages.iter().map(|message| detailed(&run.chat, message)).collect())
        .unwrap_or_default();
    json_response(&wire::json(&Found { messages, code: 0, msg: "", base: () }))
}

fn detailed<'a>(chat: &Chat, message: &'a Stored) -> Message<'a> {
    Message {
        id: message.id,
        conversation_id: chat.conversation_id,
        bot_id: message.bot,
        role: message.kind.role(),
        kind: message.kind.name(),
        content: message.shown(),
        content_type: if message.content.object.is_some() { "mix" } else { "text" },
        meta_data: &message.meta,
        chat_id: chat.id,
        section_id: chat.section_id,
        created_at: message.created_at,
        reasoning_content: Some(&message.reasoning),
    }
}

fn listed<'a>(chat: &Chat, message: &'a Stored) -> Listed<'a> {
    Listed {
        id: message.id,
        bot_id: message.bot,
        role: message.kind.role(),
        content: message.shown(),
        conversation_id: chat.conversation_id,
        meta_data: &message.meta,
        created_at: message.created_at,
        updated_at: message.created_at,
        chat_id: chat.id,
        content_type: if message.content.object.is_some() { "object_string" } else { "text" },
        kind: message.kind.name(),
        section_id: chat.section_id,
        reasoning_content: &message.reasoning,
    }
}

/// `POST /v1/conversation/message/list` (protocol 4.6; `message_list.server.json`).
pub(in crate::simulator) fn of_conversation(
    simulator: &Simulator,
    owner: usize,
    conversation: Id,
    body: &Value,
) -> Response<Body> {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        data: Vec<Listed<'a>>,
        has_more: bool,
        first_id: Id,
        last_id: Id,
        code: u32,
        msg: &'static str,
    }
    let book = simulator.book();
    match book.conversation(conversation) {
        None => return coded(103_000_002, "conversation not found"),
        // `conversation_not_owner.server.json`.
        Some(known) if known.owner != owner => return coded(103_000_001, NOT_YOURS),
        Some(_) => {}
    }
    let limit = body.get("limit").and_then(Value::as_i64).unwrap_or(DEFAULT_LIMIT);
    let Ok(limit) = usize::try_from(limit) else { return uncoded() };
    let chat = optional_id(body, "chat_id");
    let mut messages: Vec<Listed<'_>> = book
        .messages(conversation)
        .filter(|(_, message)| matches!(message.kind, Kind::Question | Kind::Answer))
        .filter(|(run, _)| chat.is_none_or(|chat| run.id == chat))
        .map(|(run, message)| listed(run, message))
        .collect();
    let place = |messages: &[Listed<'_>], id: Id| messages.iter().position(|message| message.id == id);
    if let Some(id) = optional_id(body, "before_id") {
        // The ones that are newer, oldest first.
        if let Some(at) = place(&messages, id) {
            messages.drain(..=at);
        }
    } else {
        if let Some(at) = optional_id(body, "after_id").and_then(|id| place(&messages, id)) {
            messages.truncate(at);
        }
        messages.reverse();
    }
    let has_more = messages.len() > limit || limit == 0;
    messages.truncate(limit);
    let end = |message: Option<&Listed<'_>>| message.map_or(Id(0), |message| message.id);
    let (first_id, last_id) = (end(messages.first()), end(messages.last()));
    json_response(&wire::json(&Found { data: messages, has_more, first_id, last_id, code: 0, msg: "" }))
}

fn optional_id(body: &Value, field: &str) -> Option<Id> {
    body.get(field)?.as_str().and_then(Id::parse)
}
