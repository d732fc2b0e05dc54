//! The endpoints beside `/v3/chat`: what became of chats, conversations and
//! messages, and what bots there are (protocol 3.10-3.12, 4.1-4.8).
//!
//! In come ids, out comes JSON in the transcripts' form.

mod conversations;
mod messages;

pub(super) use conversations::{clear, create, delete, list, rename, retrieve as retrieve_conversation};
pub(super) use messages::{of_chat, of_conversation};

use axum::body::Body;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::Simulator;
use super::bots::{Bot, Standing};
use super::flows::{Flow, Runs};
use super::server::{bad_request, coded, json_response, plain};
use super::wire::{self, BotInfo, Chat, Id};

/// `{"data":…,"code":0,"msg":"","BaseResp":null}`.
#[derive(Debug, Serialize)]
pub(super) struct Answered<T> {
    data: T,
    code: u32,
    msg: &'static str,
    #[serde(rename = "BaseResp")]
    base: (),
}

impl<T> Answered<T> {
    /// A success with this payload.
    pub(super) fn new(data: T) -> Self {
        Self { data, code: 0, msg: "", base: () }
    }
}

/// Where the simulated server refuses to say more.
const NOT_YOURS: &str = "unauthorized access : permission denied";

/// `POST /v3/chat/cancel`: only relabels the run (protocol 3.10).
pub(super) fn cancel(simulator: &Simulator, owner: usize, body: &Value) -> Response<Body> {
    #[derive(Serialize)]
    struct Cancelled<'a> {
        #[serde(rename = "ChatV3ChatDetail")]
        detail: &'a Chat,
        #[serde(rename = "BaseResp")]
        base: (),
    }
    let (conversation, chat) = match (body_id(body, "conversation_id"), body_id(body, "chat_id")) {
        (Ok(conversation), Ok(chat)) => (conversation, chat),
        (Err(text), _) | (_, Err(text)) => return bad_request(&text),
    };
    let mut book = simulator.book();
    if book.conversation(conversation).is_none_or(|known| known.owner != owner) {
        return inner(103_000_001, NOT_YOURS);
    }
    let Some(run) = book.run_mut(chat) else { return inner(103_200_003, "record not found") };
    if !matches!(run.chat.status, "created" | "in_progress") {
        // `chat_cancel_too_late.server.json`.
        return inner(103_200_005, "in progress can not be cancelled");
    }
    run.chat.status = "conversation.chat.cancelled";
    json_response(&wire::json(&Cancelled { detail: &run.chat, base: () }))
}

fn inner(code: u32, message: &str) -> Response<Body> {
    bad_request(&format!(
        "code={code} message={message}\nstack=/app/application/conversation/openapi_agent_run.go:720 (*OpenapiAgentRunApplication).CancelRun\n"
    ))
}

/// An id that a JSON body must have as a string.
pub(super) fn body_id(body: &Value, field: &str) -> Result<Id, String> {
    match body.get(field) {
        None | Some(Value::Null) => Err(super::request::missing(field)),
        Some(value) => value
            .as_str()
            .and_then(Id::parse)
            .ok_or_else(|| format!("bind body failed, err=json: cannot unmarshal {value} into int64")),
    }
}

/// `GET /v3/chat/retrieve` (protocol 3.11; `chat_retrieve.server.json`).
pub(super) fn retrieve(simulator: &Simulator, owner: usize, conversation: Id, chat: Id) -> Response<Body> {
    let book = simulator.book();
    // It is not checked that the chat is in that conversation.
    if book.conversation(conversation).is_none_or(|known| known.owner != owner) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("code=103000001 message={NOT_YOURS}"));
    }
    match book.run(chat) {
        Some(run) => json_response(&wire::json(&Answered::new(&run.chat))),
        None => plain(StatusCode::INTERNAL_SERVER_ERROR, "record not found"),
    }
}

/// `GET /v1/bots/:bot_id` (protocol 4.8; `bot_info.server.json`).
pub(super) fn bot(simulator: &Simulator, id: Id) -> Response<Body> {
    #[derive(Serialize)]
    struct Info<'a> {
        data: BotInfo<'a>,
        code: u32,
        msg: &'static str,
    }
    match published(simulator, id) {
        Ok(bot) => {
            let data = BotInfo::new(id, &bot.name, &bot.description);
            json_response(&wire::json(&Info { data, code: 0, msg: "" }))
        }
        Err(refusal) => refusal.answer(),
    }
}

/// `GET /v1/bot/get_online_info`: the same object without an envelope
/// (protocol 4.8; `bot_online_info.server.json`).
pub(super) fn online(simulator: &Simulator, id: Id) -> Response<Body> {
    match published(simulator, id) {
        Ok(bot) => json_response(&wire::json(&BotInfo::new(id, &bot.name, &bot.description))),
        Err(refusal) => refusal.answer(),
    }
}

/// `GET /v1/workflows/:id`: only the role that a chatflow plays (protocol
/// 5.6).
pub(super) fn workflow(simulator: &Simulator, id: Id) -> Response<Body> {
    let id = id.to_string();
    match simulator.options().flows.iter().find(|flow| flow.id == id) {
        Some(Flow { standing: Standing::Unpublished, .. }) => coded(720_702_011, "workflow not published"),
        Some(Flow { runs: Runs::Chat(_), .. }) => {
            json_response(r#"{"data":{"role":{"id":"0","workflow_id":"0","name":""}},"BaseResp":null}"#)
        }
        Some(_) => coded(777_777_780, "conversation workflow not found"),
        None => coded(720_702_004, "workflow not found"),
    }
}

/// Why nothing is said about a bot.
struct Refusal(u32, String);

impl Refusal {
    fn answer(&self) -> Response<Body> {
        coded(self.0, &self.1)
    }
}

/// A bot that is the caller's and published.
fn published(simulator: &Simulator, id: Id) -> Result<Bot, Refusal> {
    let Some(bot) = simulator.bot(&id.to_string()) else {
        return Err(Refusal(100_000_003, "unauthorized access : agent not exist".to_owned()));
    };
    match bot.standing {
        Standing::Published => Ok(bot),
        Standing::Foreign => Err(Refusal(110_000_001, "agent not own".to_owned())),
        // `bot_not_published.server.json`.
        Standing::Unpublished => Err(Refusal(
            100_000_000,
            format!("invalid parameter : agent not published, agentID={id} connectorID=1024"),
        )),
    }
}
