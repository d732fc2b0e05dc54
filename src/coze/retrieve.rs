//! `GET /v3/chat/retrieve` and `POST /v3/chat/cancel` (protocol 3.10, 3.11).

use std::borrow::Cow;

use serde::Deserialize;

use super::Call;
use super::chat::Counts;
use crate::turn::Usage;

/// The call that asks what became of a chat.
#[must_use]
pub fn retrieve(conversation: &str, chat: &str) -> Call {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("conversation_id", conversation)
        .append_pair("chat_id", chat)
        .finish();
    Call { method: http::Method::GET, path: format!("/v3/chat/retrieve?{query}"), body: None }
}

/// The call that ends a chat early. Only the cloud's ends it; the community
/// server just marks it.
#[must_use]
pub fn cancel(conversation: &str, chat: &str) -> Call {
    let body = serde_json::json!({ "conversation_id": conversation, "chat_id": chat });
    Call {
        method: http::Method::POST,
        path: "/v3/chat/cancel".to_owned(),
        body: Some(body.to_string().into()),
    }
}

/// What became of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether its usage may still grow.
    pub running: bool,
    /// Whether it has failed.
    pub failed: bool,
    /// What it has cost, where Coze says so.
    pub usage: Option<Usage>,
}

/// The answer to [`retrieve`]; `None` if it makes no sense.
#[must_use]
pub fn state(body: &[u8]) -> Option<State> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Chat<'a>,
    }
    #[derive(Deserialize)]
    struct Chat<'a> {
        #[serde(borrow, default)]
        status: Option<Cow<'a, str>>,
        #[serde(borrow)]
        usage: Option<Counts<'a>>,
    }
    let Chat { status, usage } = serde_json::from_slice::<Envelope<'_>>(body).ok()?.data;
    // The last is the community server's mark on a run that goes on.
    let running =
        matches!(status.as_deref(), Some("created" | "in_progress" | "conversation.chat.cancelled"));
    let failed = matches!(status.as_deref(), Some("failed" | "expired" | "deleted"));
    Some(State { running, failed, usage: usage.and_then(|usage| usage.usage()) })
}

/// The usage in the answer to [`retrieve`]; `None` where there is none.
#[must_use]
pub fn usage(body: &[u8]) -> Option<Usage> {
    state(body)?.usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_the_servers_form() {
        let body = br#"{"data":{"id":"1","status":"completed","usage":{"token_count":633,"output_count":19,"input_count":614}},"code":0,"msg":"","BaseResp":null}"#;
        assert_eq!(usage(body), Some(Usage { input: 614, output: 19 }));
    }

    #[test]
    fn a_chat_without_usage_has_none() {
        for body in [
            "",
            "nonsense",
            r#"{"code":1}"#,
            r#"{"data":{"status":"in_progress"}}"#,
            r#"{"data":{"usage":null}}"#,
        ] {
            assert_eq!(usage(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_chat_that_goes_on_is_told_from_one_that_has_ended() {
        for (status, running, failed) in [
            (r#""created""#, true, false),
            (r#""in_progress""#, true, false),
            (r#""conversation.chat.cancelled""#, true, false),
            (r#""completed""#, false, false),
            (r#""canceled""#, false, false),
            (r#""failed""#, false, true),
            ("null", false, false),
        ] {
            let body = format!(r#"{{"data":{{"status":{status}}},"code":0}}"#);
            assert_eq!(state(body.as_bytes()), Some(State { running, failed, usage: None }), "{status}");
        }
        assert_eq!(state(b"record not found"), None);
    }

    #[test]
    fn ids_are_escaped_in_the_query() {
        assert_eq!(retrieve("1&a=b", "2").path, "/v3/chat/retrieve?conversation_id=1%26a%3Db&chat_id=2");
    }
}
