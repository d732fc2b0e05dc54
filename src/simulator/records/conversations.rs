//! Conversations over the API (protocol 4.1-4.5).

use axum::body::Body;
use http::Response;
use serde::Serialize;
use serde_json::Value;

use super::Answered;
use crate::simulator::Simulator;
use crate::simulator::book::Conversation;
use crate::simulator::server::{Query, bad_request, coded, json_response};
use crate::simulator::wire::{self, Id, Map};

/// The connector "API" (protocol 1.2).
const CONNECTOR: &str = "1024";

#[derive(Serialize)]
struct Info<'a> {
    id: Id,
    created_at: u64,
    meta_data: &'a Option<Map>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator_d: Option<String>,
    connector_id: &'static str,
    last_section_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

impl<'a> Info<'a> {
    /// With neither name nor user.
    fn bare(place: &'a Conversation) -> Self {
        Self {
            id: place.id,
            created_at: place.created_at,
            meta_data: &place.meta,
            creator_d: None,
            connector_id: CONNECTOR,
            last_section_id: place.section,
            name: None,
            user_id: None,
        }
    }

    fn named(place: &'a Conversation) -> Self {
        Self { name: Some(&place.name), ..Self::bare(place) }
    }
}

/// `POST /v1/conversation/create` (protocol 4.1; `conversation_create.server.json`).
pub(in crate::simulator) fn create(simulator: &Simulator, owner: usize, body: &Value) -> Response<Body> {
    #[derive(Serialize)]
    struct Created<'a> {
        code: u32,
        msg: &'static str,
        data: Info<'a>,
    }
    let bot = match body.get("bot_id") {
        None | Some(Value::Null) => None,
        Some(_) => match super::body_id(body, "bot_id") {
            Ok(id) => Some(id),
            Err(text) => return bad_request(&text),
        },
    };
    let meta = match body.get("meta_data").map(|meta| serde_json::from_value(meta.clone())).transpose() {
        Ok(meta) => meta.flatten(),
        Err(error) => return bad_request(&format!("bind body failed, err={error}")),
    };
    let user_id = body.get("user_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut book = simulator.book();
    let id = book.create(owner, bot, user_id, meta);
    let Some(place) = book.conversation(id) else { return not_found() };
    let data = Info { user_id: Some(&place.user_id), ..Info::bare(place) };
    json_response(&wire::json(&Created { code: 0, msg: "", data }))
}

/// `GET /v1/conversation/retrieve` (protocol 4.3; `conversation_retrieve.server.json`).
pub(in crate::simulator) fn retrieve(simulator: &Simulator, owner: usize, id: Id) -> Response<Body> {
    #[derive(Serialize)]
    struct Retrieved<'a> {
        #[serde(rename = "ConversationData")]
        data: Info<'a>,
        code: u32,
        msg: &'static str,
        #[serde(rename = "BaseResp")]
        base: (),
    }
    let book = simulator.book();
    let Some(place) = book.conversation(id).filter(|place| place.owner == owner) else {
        return not_found();
    };
    let data = Info { creator_d: Some((owner + 1).to_string()), ..Info::named(place) };
    json_response(&wire::json(&Retrieved { data, code: 0, msg: "", base: () }))
}

/// `PUT /v1/conversations/:id` (protocol 4.4; `conversation_update.server.json`).
pub(in crate::simulator) fn rename(
    simulator: &Simulator,
    owner: usize,
    id: Id,
    body: &Value,
) -> Response<Body> {
    let mut book = simulator.book();
    let Some(place) = book.conversation_mut(id).filter(|place| place.owner == owner) else {
        return not_found();
    };
    // The column holds 255 characters (protocol 8).
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    place.name = name.chars().take(255).collect();
    json_response(&wire::json(&Answered::new(Info::named(place))))
}

/// `DELETE /v1/conversations/:id` (protocol 4.4; `conversation_delete.server.json`).
pub(in crate::simulator) fn delete(simulator: &Simulator, owner: usize, id: Id) -> Response<Body> {
    let mut book = simulator.book();
    let Some(place) = book.conversation_mut(id).filter(|place| place.owner == owner) else {
        return not_found();
    };
    place.deleted = true;
    json_response(r#"{"code":0,"msg":"","BaseResp":null}"#)
}

#[derive(Serialize)]
struct Enveloped<T> {
    code: u32,
    msg: &'static str,
    data: T,
    #[serde(rename = "BaseResp")]
    base: (),
}

/// `POST /v1/conversations/:id/clear` (protocol 4.5; `conversation_clear.server.json`).
pub(in crate::simulator) fn clear(simulator: &Simulator, owner: usize, id: Id) -> Response<Body> {
    #[derive(Serialize)]
    struct Section {
        id: Id,
        conversation_id: Id,
    }
    let mut book = simulator.book();
    if book.conversation(id).is_none_or(|place| place.owner != owner) {
        return not_found();
    }
    match book.clear(id) {
        Some(section) => json_response(&wire::json(&Enveloped {
            code: 0,
            msg: "",
            data: Section { id: section, conversation_id: id },
            base: (),
        })),
        None => not_found(),
    }
}

/// `GET /v1/conversations` (protocol 4.2), with the server's odd paging.
pub(in crate::simulator) fn list(simulator: &Simulator, owner: usize, query: &Query) -> Response<Body> {
    #[derive(Serialize)]
    struct Listed<'a> {
        // Null when there is none (`conversations_list_empty.server.json`).
        conversations: Option<Vec<Info<'a>>>,
        has_more: bool,
    }
    let bot = match query.required("bot_id") {
        Ok(id) => id,
        Err(text) => return bad_request(&text),
    };
    let user = query.get("user_id").filter(|user| !user.is_empty());
    let book = simulator.book();
    let mut found: Vec<Info<'_>> = book
        .conversations()
        .filter(|place| place.owner == owner && place.bot == Some(bot) && !place.deleted)
        .filter(|place| user.is_none_or(|user| place.user_id == user))
        .map(|place| Info { user_id: Some(&place.user_id), ..Info::named(place) })
        .collect();
    if !query.get("sort_order").is_some_and(|order| order.eq_ignore_ascii_case("asc")) {
        found.reverse();
    }
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let has_more = match number("page_size").filter(|size| *size > 0) {
        Some(size) => {
            let skipped = number("page_num").unwrap_or(1).saturating_sub(1).saturating_mul(size);
            found.drain(..skipped.min(found.len()));
            let more = found.len() > size;
            found.truncate(size);
            more
        }
        // Without a size the server counts one too many: it says there is
        // more and cuts the last one off.
        None => found.pop().is_some(),
    };
    let conversations = (!found.is_empty()).then_some(found);
    json_response(&wire::json(&Enveloped {
        code: 0,
        msg: "",
        data: Listed { conversations, has_more },
        base: (),
    }))
}

/// `conversation_not_found.server.json`.
fn not_found() -> Response<Body> {
    coded(103_000_002, "conversation not found")
}
