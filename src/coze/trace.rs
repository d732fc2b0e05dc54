//! What Coze has kept of one chat that nobody heard to its end.
//!
//! In come its lists, out comes whether the chat has answered and what it
//! asks. Only `/v3/chat/message/list` (protocol 3.12) tells of a text that it
//! is a question; a conversation's list (4.6) shows forms and choices.

use serde::Deserialize;

use super::chat::is_interrupt;
use super::json::Word;
use super::{Call, card};
use crate::turn::Wants;

/// What is kept of a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// How many of its messages there are.
    pub messages: usize,
    /// How many of them are answers.
    pub answers: usize,
    /// What the last one asks.
    pub asks: Option<Asks>,
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// What it wants to hear.
    pub wants: Wants,
    /// When it was asked, in seconds since 1970; `None` where Coze does not
    /// say.
    pub at: Option<u64>,
}

/// The call that asks for all messages of a chat.
#[must_use]
pub fn call(conversation: &str, chat: &str) -> Call {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("conversation_id", conversation)
        .append_pair("chat_id", chat)
        .finish();
    Call { method: http::Method::GET, path: format!("/v3/chat/message/list?{query}"), body: None }
}

#[derive(Deserialize)]
struct List<'a> {
    /// The documents call it `data`.
    #[serde(borrow, default, rename = "Messages", alias = "data")]
    messages: Option<Vec<Item<'a>>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow, default)]
    content: Word<'a>,
    #[serde(borrow, default)]
    content_type: Word<'a>,
    #[serde(borrow, default)]
    chat_id: Word<'a>,
    #[serde(borrow, default)]
    created_at: Word<'a>,
}

impl Item<'_> {
    fn at(&self) -> Option<u64> {
        self.created_at.0.parse().ok().filter(|at| *at > 0)
    }
}

/// The answer to [`call`]: the oldest message first. `None` if it makes no
/// sense.
#[must_use]
pub fn of_chat(body: &[u8]) -> Option<Trace> {
    let list: List<'_> = serde_json::from_slice(body).ok()?;
    let mut trace = Trace::default();
    let mut last = Wants::Text;
    for item in list.messages.unwrap_or_default() {
        trace.messages += 1;
        match &*item.kind.0 {
            "answer" => {
                trace.answers += 1;
                last = card::read(&item.content.0).map(|(_, wants)| wants).unwrap_or_default();
            }
            "verbose" if is_interrupt(&item.content.0) => {
                trace.asks = Some(Asks { wants: std::mem::take(&mut last), at: item.at() });
            }
            _ => {}
        }
    }
    Some(trace)
}

/// A page of a conversation's list: the newest message first. `None` if it
/// makes no sense.
#[must_use]
pub fn in_conversation(body: &[u8], chat: &str) -> Option<Trace> {
    let list: List<'_> = serde_json::from_slice(body).ok()?;
    let mut trace = Trace::default();
    for item in list.messages.iter().flatten().filter(|item| item.chat_id.0 == chat) {
        trace.messages += 1;
        if item.kind.0 == "answer" {
            trace.answers += 1;
            if trace.answers == 1 && item.content_type.0 == "card" {
                let card = card::read(&item.content.0);
                trace.asks = card.map(|(_, wants)| Asks { wants, at: item.at() });
            }
        }
    }
    Some(trace)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::turn::Field;

    const FORM: &str = r#"{"content_type":"form_schema","content":"[{\"type\":\"string\",\"name\":\"city\",\"required\":true}]"}"#;

    fn city() -> Wants {
        Wants::Form(vec![Field { name: "city".into(), kind: Some("string".into()), required: true }])
    }

    fn message(kind: &str, content: &str, content_type: &str) -> Value {
        json!({"type": kind, "content": content, "content_type": content_type, "chat_id": "7", "created_at": 1_754_000_001})
    }

    fn interrupt() -> Value {
        message("verbose", r#"{"msg_type":"interrupt","data":"","from_unit":""}"#, "text")
    }

    #[test]
    fn a_chat_tells_what_it_asks() {
        let question = message("question", "hi", "text");
        for (answer, wants) in [
            (message("answer", "where?", "text"), Wants::Text),
            (message("answer", FORM, "card"), city()),
            // The server may have kept it under another name.
            (message("answer", FORM, "text"), city()),
        ] {
            for list in ["Messages", "data"] {
                let body = json!({list: [question, answer, interrupt()], "code": 0, "msg": ""}).to_string();
                let asks = Some(Asks { wants: wants.clone(), at: Some(1_754_000_001) });
                assert_eq!(of_chat(body.as_bytes()), Some(Trace { messages: 3, answers: 1, asks }));
            }
        }
        let plain = json!({"Messages": [question, message("answer", "fine", "text")]}).to_string();
        assert_eq!(of_chat(plain.as_bytes()), Some(Trace { messages: 2, answers: 1, asks: None }));
    }

    #[test]
    fn the_servers_own_list_is_read() {
        let body = include_bytes!("../../tests/golden/bot/chat_message_list.server.json");
        assert_eq!(of_chat(body), Some(Trace { messages: 3, answers: 1, asks: None }));
    }

    #[test]
    fn a_conversations_list_shows_forms_of_the_chat_that_is_meant() {
        let other = json!({"type": "answer", "content": FORM, "content_type": "card", "chat_id": "8"});
        let list = |newest: Value| {
            json!({"data": [other, newest, message("question", "hi", "text")], "has_more": false}).to_string()
        };
        let asks = Some(Asks { wants: city(), at: Some(1_754_000_001) });
        for (newest, asks) in
            [(message("answer", FORM, "card"), asks), (message("answer", "x", "text"), None)]
        {
            let trace = in_conversation(list(newest).as_bytes(), "7");
            assert_eq!(trace, Some(Trace { messages: 2, answers: 1, asks }));
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in ["", "record not found", r#"{"data":{}}"#] {
            assert_eq!(
                (of_chat(body.as_bytes()), in_conversation(body.as_bytes(), "7")),
                (None, None),
                "{body}"
            );
        }
        assert_eq!(of_chat(br#"{"code":0,"msg":"","BaseResp":null}"#), Some(Trace::default()));
    }

    #[test]
    fn ids_are_escaped_in_the_query() {
        assert_eq!(call("1&a=b", "2").path, "/v3/chat/message/list?conversation_id=1%26a%3Db&chat_id=2");
    }
}
