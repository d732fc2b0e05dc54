//! The JSON and the event bytes as the community server writes them.
//!
//! In come values, out come bytes: compact, fields in the transcripts' order,
//! HTML-escaped like Go's encoder (protocol 3.4). Decides nothing.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A map of strings as Go writes it: sorted by key.
pub(super) type Map = BTreeMap<String, String>;

/// An id: a number here, a string of digits in every JSON (protocol 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u64);

impl Id {
    /// Reads an id as the server does: the digits of a positive `int64`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number: i64 = text.parse().ok()?;
        u64::try_from(number).ok().map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The chat object (protocol 3.5; `chat_text.server.sse`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Chat {
    pub(super) id: Id,
    pub(super) conversation_id: Id,
    pub(super) bot_id: Id,
    pub(super) created_at: u64,
    pub(super) completed_at: u64,
    pub(super) failed_at: u64,
    pub(super) status: &'static str,
    /// Only `/v3/chat/retrieve` has it (`chat_retrieve.server.json`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Usage>,
    pub(super) section_id: Id,
}

/// Token counts under the names of `chat_retrieve.server.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) token_count: usize,
    pub(super) output_count: usize,
    pub(super) input_count: usize,
}

/// The message object of events and of `/v3/chat/message/list`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) id: Id,
    pub(super) conversation_id: Id,
    pub(super) bot_id: Id,
    pub(super) role: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) content: &'a str,
    pub(super) content_type: &'static str,
    pub(super) meta_data: &'a Map,
    pub(super) chat_id: Id,
    pub(super) section_id: Id,
    pub(super) created_at: u64,
    /// Absent on the question of an interrupt (`chat_interrupt_text.server.sse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
}

/// The message object of `/v1/conversation/message/list`
/// (`message_list.server.json`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Listed<'a> {
    pub(super) id: Id,
    pub(super) bot_id: Id,
    pub(super) role: &'static str,
    pub(super) content: &'a str,
    pub(super) conversation_id: Id,
    pub(super) meta_data: &'a Map,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    pub(super) chat_id: Id,
    pub(super) content_type: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) section_id: Id,
    pub(super) reasoning_content: &'a str,
}

/// A code with its text: the data of `event:error` and the body of errors.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fault<'a> {
    pub(super) code: u32,
    pub(super) msg: &'a str,
}

/// Compact JSON with Go's HTML escapes (protocol 3.4).
pub(super) fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).expect("values of strings, numbers and maps serialise");
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// One event: no space after the colon, LF only (protocol 3.4).
pub(super) fn event(name: &str, data: &str) -> Bytes {
    let mut bytes = BytesMut::with_capacity(name.len() + data.len() + 16);
    bytes.put_slice(b"event:");
    bytes.put_slice(name.as_bytes());
    bytes.put_slice(b"\ndata:");
    bytes.put_slice(data.as_bytes());
    bytes.put_slice(b"\n\n");
    bytes.freeze()
}

/// `event:error` (protocol 3.6).
pub(super) fn error_event(code: u32, msg: &str) -> Bytes {
    event("error", &json(&Fault { code, msg }))
}

/// The `meta_data.bot_state` that every message of a bot carries.
pub(super) fn bot_state(bot: Id) -> String {
    #[derive(Serialize)]
    struct State {
        bot_id: Id,
        agent_name: &'static str,
        agent_id: Id,
        awaiting: Id,
    }
    json(&State { bot_id: bot, agent_name: "", agent_id: bot, awaiting: bot })
}

/// The content of the verbose message before `chat.completed` (protocol 3.5).
pub(super) fn finish_verbose() -> String {
    verbose("generate_answer_finish", r#"{"finish_reason":0,"fin_data":""}"#)
}

/// The content of a message of type `knowledge`: JSON in JSON
/// (`chat_tools.server.sse`).
pub(super) fn knowledge(slice: &str) -> String {
    #[derive(Serialize)]
    struct Recall {
        msg_type: &'static str,
        data: String,
    }
    #[derive(Serialize)]
    struct Found<'a> {
        chunks: [Chunk<'a>; 1],
        ori_req: &'static str,
        status_code: u32,
    }
    #[derive(Serialize)]
    struct Chunk<'a> {
        slice: &'a str,
        score: f32,
    }
    let found = Found { chunks: [Chunk { slice, score: 0.5 }], ori_req: "", status_code: 0 };
    json(&Recall { msg_type: "knowledge_recall", data: json(&found) })
}

/// The content of the verbose message of an interrupt (protocol 3.9).
pub(super) fn interrupt_verbose() -> String {
    verbose("interrupt", "")
}

fn verbose(msg_type: &str, data: &str) -> String {
    #[derive(Serialize)]
    struct Verbose<'a> {
        msg_type: &'a str,
        data: &'a str,
        from_unit: &'a str,
    }
    json(&Verbose { msg_type, data, from_unit: "" })
}

/// The bot object of `GET /v1/bots/:bot_id` (`bot_info.server.json`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct BotInfo<'a> {
    bot_id: Id,
    name: &'a str,
    description: &'a str,
    icon_url: &'static str,
    create_time: u64,
    update_time: u64,
    version: &'static str,
    prompt_info: Prompt,
    onboarding_info: Onboarding<'a>,
    bot_mode: u32,
    plugin_info_list: Value,
    workflow_info_list: Value,
    shortcut_commands: Value,
    default_user_input_type: &'static str,
    suggest_reply_info: Value,
    background_image_info: Value,
    variables: Value,
}

#[derive(Clone, Debug, Serialize)]
struct Prompt {
    prompt: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Onboarding<'a> {
    prologue: &'a str,
    suggested_questions: Value,
}

impl<'a> BotInfo<'a> {
    /// The object of a bot that has a name and a description and no more.
    pub(super) fn new(bot_id: Id, name: &'a str, description: &'a str) -> Self {
        Self {
            bot_id,
            name,
            description,
            icon_url: "",
            create_time: 0,
            update_time: 0,
            version: "1754000000123",
            prompt_info: Prompt { prompt: "" },
            onboarding_info: Onboarding { prologue: "", suggested_questions: json!([]) },
            bot_mode: 0,
            plugin_info_list: Value::Null,
            workflow_info_list: Value::Null,
            shortcut_commands: Value::Null,
            default_user_input_type: "",
            suggest_reply_info: Value::Null,
            background_image_info: Value::Null,
            variables: Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../tests/golden/bot/chat_text.server.sse");
    const TOOLS: &str = include_str!("../../tests/golden/bot/chat_tools.server.sse");

    const BOT: Id = Id(7_530_512_345_678_901_248);

    fn answer<'a>(id: u64, content: &'a str, meta_data: &'a Map) -> Message<'a> {
        Message {
            id: Id(id),
            conversation_id: Id(7_530_600_000_000_000_001),
            bot_id: BOT,
            role: "assistant",
            kind: "answer",
            content,
            content_type: "text",
            meta_data,
            chat_id: Id(7_530_600_000_000_000_101),
            section_id: Id(7_530_600_000_000_000_002),
            created_at: 1_754_000_001,
            reasoning_content: Some(""),
        }
    }

    #[test]
    fn a_whole_text_answer_has_the_transcripts_bytes() {
        let mut chat = Chat {
            id: Id(7_530_600_000_000_000_101),
            conversation_id: Id(7_530_600_000_000_000_001),
            bot_id: BOT,
            created_at: 1_754_000_000,
            completed_at: 0,
            failed_at: 0,
            status: "in_progress",
            usage: None,
            section_id: Id(7_530_600_000_000_000_002),
        };
        let mut meta = Map::from([("bot_state".to_owned(), bot_state(BOT))]);
        let mut bytes = BytesMut::new();
        bytes.put(event("conversation.chat.created", &json(&chat)));
        bytes.put(event("conversation.chat.in_progress", &json(&chat)));
        for text in ["2", "0", "24 年 10 月 1 日", "是", "星期二", "。"] {
            let message = answer(7_530_600_000_000_000_103, text, &meta);
            bytes.put(event("conversation.message.delta", &json(&message)));
        }
        let bare = meta.clone();
        for (key, value) in [("token", "633"), ("input_tokens", "614"), ("output_tokens", "19")] {
            meta.insert(key.to_owned(), value.to_owned());
        }
        meta.insert("time_cost".to_owned(), "2.3".to_owned());
        let whole = answer(7_530_600_000_000_000_103, "2024 年 10 月 1 日是星期二。", &meta);
        bytes.put(event("conversation.message.completed", &json(&whole)));
        let finish = finish_verbose();
        let verbose = Message { kind: "verbose", ..answer(7_530_600_000_000_000_190, &finish, &bare) };
        bytes.put(event("conversation.message.completed", &json(&verbose)));
        chat.status = "completed";
        chat.completed_at = 1_754_000_004;
        bytes.put(event("conversation.chat.completed", &json(&chat)));
        bytes.put(event("conversation.stream.done", ""));
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), TEXT);
    }

    #[test]
    fn text_is_escaped_as_the_transcripts_are() {
        let meta = Map::from([("bot_state".to_owned(), bot_state(BOT))]);
        let message = answer(7_530_600_000_000_000_106, "24~33℃ <b>注意</b> A&B。", &meta);
        let bytes = event("conversation.message.delta", &json(&message));
        assert!(TOOLS.contains(std::str::from_utf8(&bytes).unwrap()));
        assert_eq!(json(&"\u{2028}\u{2029}"), r#""\u2028\u2029""#);
    }

    #[test]
    fn errors_have_the_transcripts_bytes() {
        let role = include_bytes!("../../tests/golden/bot/chat_error_role.server.sse");
        let refused = error_event(103_100_001, "additional message role only support user and assistant");
        assert_eq!(refused[..], role[..]);
    }

    #[test]
    fn only_digits_of_an_int64_are_an_id() {
        assert_eq!(Id::parse("7530512345678901248"), Some(BOT));
        for text in ["", "-1", "x", "99999999999999999999", " 1"] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
