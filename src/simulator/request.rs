//! Reading the body of `/v3/chat` as the community server does.
//!
//! In comes JSON, out comes an [`Ask`] or the text of a binding error
//! (HTTP 400, protocol 1.4), then the messages or the text of a refusal
//! (protocol 3.2, 3.6). Stores nothing.

use serde::Deserialize;
use serde_json::Value;

use super::book::{Content, Kind};
use super::files::Files;
use super::wire::{self, Id, Map};

/// What the column for a request's text holds (protocol 8).
const MAX_REQUEST_TEXT: usize = 65_535;

/// The longest `user_id`, in characters (protocol 6(g)).
const MAX_USER_ID: usize = 60;

/// The refusal of a `file_id` that nobody has uploaded (protocol 3.2).
const NO_SUCH_FILE: &str = "code=104000008 message=upload system error : file not found\nstack=/app/application/conversation/openapi_agent_run.go:240 (*OpenapiAgentRunApplication).parseQueryContent\n";

/// A body that could be bound.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) bot: Id,
    pub(super) user_id: String,
    pub(super) stream: bool,
    pub(super) extra: Map,
    items: Vec<Item>,
    text_bytes: usize,
}

/// A message to store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) kind: Kind,
    pub(super) content: Content,
}

/// The messages of a request, sorted by what becomes of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// Stored for good, under a run of their own.
    pub(super) additional: Vec<Incoming>,
    /// What the bot is asked; `None` if there is no query.
    pub(super) query: Option<Content>,
}

#[derive(Deserialize)]
struct Body {
    bot_id: Option<Value>,
    user_id: Option<String>,
    stream: Option<bool>,
    additional_messages: Option<Vec<Item>>,
    extra_params: Option<Map>,
    // Bound for their types' sake only.
    #[serde(rename = "custom_variables")]
    _custom_variables: Option<Map>,
    #[serde(rename = "shortcut_command")]
    _shortcut_command: Option<Shortcut>,
    #[serde(rename = "meta_data")]
    _meta_data: Option<Map>,
    #[serde(rename = "parameters")]
    _parameters: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
struct Shortcut {
    #[serde(rename = "command_id")]
    _command_id: Option<String>,
    #[serde(rename = "parameters")]
    _parameters: Option<Map>,
}

#[derive(Debug, Default, Deserialize)]
struct Item {
    role: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<String>,
    content_type: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    file_url: Option<String>,
    file_id: Option<String>,
}

impl Ask {
    /// Binds a body.
    ///
    /// # Errors
    /// The text of the 400 that the server answers with.
    pub(super) fn bind(body: &Value) -> Result<Self, String> {
        if body.get("parameters").is_some_and(Value::is_string) {
            return Err("parameters field should be an object, not a string".to_owned());
        }
        let bound = Body::deserialize(body).map_err(|error| format!("bind body failed, err={error}"))?;
        let bot = match bound.bot_id {
            None | Some(Value::Null) => return Err(missing("bot_id")),
            Some(Value::String(text)) => Id::parse(&text).ok_or_else(|| not_int64(&format!("{text:?}")))?,
            Some(other) => {
                return Err(format!(
                    "bind body failed, err=json: invalid use of ,string struct tag, trying to unmarshal unquoted value into int64: {other}"
                ));
            }
        };
        let user_id = bound.user_id.ok_or_else(|| missing("user_id"))?;
        if bot == Id(0) {
            return Err(
                "code=103000000 message=invalid parameter : bot id is required\nstack=/app/api/handler/coze/agent_run_service.go:142 checkParamsV3\n/app/api/handler/coze/agent_run_service.go:105 ChatV3\n"
                    .to_owned(),
            );
        }
        Ok(Self {
            bot,
            user_id,
            stream: bound.stream.unwrap_or(true),
            extra: bound.extra_params.unwrap_or_default(),
            items: bound.additional_messages.unwrap_or_default(),
            text_bytes: wire::json(body).len(),
        })
    }

    /// Whether the request is too long to be stored (failure shape D).
    pub(super) fn is_too_long(&self) -> bool {
        self.text_bytes > MAX_REQUEST_TEXT
    }

    /// Whether the question cannot be stored for its `user_id` (shape B).
    pub(super) fn is_user_too_long(&self) -> bool {
        self.user_id.chars().count() > MAX_USER_ID
    }

    /// Sorts the messages (protocol 3.2).
    ///
    /// # Errors
    /// The text of the refusal (failure shape A).
    pub(super) fn messages(&self, files: &Files) -> Result<Messages, String> {
        let mut messages = Messages::default();
        let last = self.items.len().checked_sub(1);
        for (index, item) in self.items.iter().enumerate() {
            let incoming = item.read(files)?;
            if Some(index) == last && item.role.as_deref() == Some("user") {
                // An empty query is a query, too (protocol 3.7).
                messages.query = Some(incoming.map(|incoming| incoming.content).unwrap_or_default());
            } else {
                messages.additional.extend(incoming);
            }
        }
        Ok(messages)
    }
}

impl Item {
    /// The message to store; `None` if the server drops it silently.
    fn read(&self, files: &Files) -> Result<Option<Incoming>, String> {
        if !matches!(self.role.as_deref(), Some("user" | "assistant")) {
            return Err("additional message role only support user and assistant".to_owned());
        }
        // The type decides, not the role: an assistant's message without one
        // becomes a question.
        let kind = match self.kind.as_deref() {
            None | Some("" | "question") => Kind::Question,
            Some("answer") => Kind::Answer,
            Some(_) => return Err("additional message type only support question and answer now".to_owned()),
        };
        let content = self.content.as_deref().unwrap_or_default();
        let content = match self.content_type.as_deref() {
            Some("text") if content.is_empty() => return Ok(None),
            Some("text") => Content { text: content.to_owned(), ..Content::default() },
            _ if kind == Kind::Answer => {
                return Err("additional message type answer only support text content".to_owned());
            }
            Some("object_string") => match read_object(content, files)? {
                Some(content) => content,
                None => return Ok(None),
            },
            _ => Content::default(),
        };
        Ok(Some(Incoming { kind, content }))
    }
}

/// Reads an `object_string`; `None` if it is no JSON.
fn read_object(object: &str, uploads: &Files) -> Result<Option<Content>, String> {
    let Ok(parts) = serde_json::from_str::<Vec<Part>>(object) else { return Ok(None) };
    let mut content = Content { object: Some(object.to_owned()), ..Content::default() };
    let mut text = None;
    let mut files = String::new();
    for part in parts {
        let kind = part.kind.unwrap_or_default();
        match kind.as_str() {
            // Only the first text is used (protocol 3.2).
            "text" => text = text.or(part.text),
            "image" | "file" => {
                let url = match (part.file_url, part.file_id) {
                    (Some(url), _) if !url.is_empty() => url,
                    (_, Some(id)) => uploads.url(&id).ok_or_else(|| NO_SUCH_FILE.to_owned())?,
                    _ => continue,
                };
                if kind == "image" {
                    content.images.push(url);
                } else {
                    // Files are only ever named in the text (protocol 6(h)).
                    files.push_str("  this is a file:");
                    files.push_str(&url);
                }
            }
            _ => {}
        }
    }
    content.text = text.unwrap_or_default() + &files;
    Ok(Some(content))
}

/// The text for a parameter that is not in the body (`param_missing.server.json`).
pub(super) fn missing(field: &str) -> String {
    format!(
        "'{field}' field is a 'required' parameter, but the request body does not have this parameter '{field}'"
    )
}

fn not_int64(value: &str) -> String {
    format!(
        "bind body failed, err=json: invalid use of ,string struct tag, trying to unmarshal {value} into int64"
    )
}

impl Content {
    /// Whether there is nothing in it that a bot could be asked.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.images.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sorted(items: Value) -> Result<Messages, String> {
        Ask::bind(&json!({"bot_id": "1", "user_id": "", "additional_messages": items}))
            .unwrap()
            .messages(&Files::default())
    }

    fn text(text: &str) -> Content {
        Content { text: text.to_owned(), ..Content::default() }
    }

    #[test]
    fn binding_errors_have_the_transcripts_texts() {
        let cases = [
            (json!({"user_id": "u"}), "'bot_id' field is a 'required' parameter"),
            (
                json!({"bot_id": "1"}),
                "'user_id' field is a 'required' parameter, but the request body does not have this parameter 'user_id'",
            ),
            (json!({"bot_id": 1, "user_id": "u"}), "bind body failed, err="),
            (json!({"bot_id": "x", "user_id": "u"}), "bind body failed, err="),
            (
                json!({"bot_id": "0", "user_id": "u"}),
                "code=103000000 message=invalid parameter : bot id is required\nstack=",
            ),
            (
                json!({"bot_id": "1", "user_id": "u", "parameters": "{}"}),
                "parameters field should be an object, not a string",
            ),
            (json!({"bot_id": "1", "user_id": "u", "custom_variables": {"n": 1}}), "bind body failed, err="),
        ];
        for (body, expected) in cases {
            let error = Ask::bind(&body).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_last_message_is_the_query_if_it_is_the_users() {
        let user = |content: &str| json!({"role": "user", "content": content, "content_type": "text"});
        let answer = json!({"role": "assistant", "type": "answer", "content": "a", "content_type": "text"});
        let messages = sorted(json!([user("q1"), answer, user("q2")])).unwrap();
        assert_eq!(messages.query, Some(text("q2")));
        let kinds: Vec<Kind> = messages.additional.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [Kind::Question, Kind::Answer]);
        let messages = sorted(json!([user("q1"), answer])).unwrap();
        assert_eq!((messages.query, messages.additional.len()), (None, 2));
        assert_eq!(sorted(json!([])).unwrap(), Messages::default());
    }

    #[test]
    fn an_assistant_without_a_type_is_stored_as_the_user() {
        let items = json!([{"role": "assistant", "content": "a", "content_type": "text"}]);
        let stored = sorted(items).unwrap().additional;
        assert_eq!(stored, [Incoming { kind: Kind::Question, content: text("a") }]);
    }

    #[test]
    fn without_a_content_type_the_content_is_lost() {
        let item = json!({"role": "user", "content": "lost"});
        let messages = sorted(json!([item, item])).unwrap();
        assert_eq!(messages.additional, [Incoming { kind: Kind::Question, content: Content::default() }]);
        assert_eq!(messages.query, Some(Content::default()));
    }

    #[test]
    fn other_roles_and_types_are_refused() {
        for role in ["system", "tool", "developer", ""] {
            let items = json!([{"role": role, "content": "x", "content_type": "text"}]);
            assert!(sorted(items).unwrap_err().contains("only support user and assistant"));
        }
        let items = json!([{"role": "user", "type": "verbose", "content": "x", "content_type": "text"}]);
        assert!(sorted(items).unwrap_err().contains("only support question and answer"));
    }

    #[test]
    fn of_an_object_string_the_first_text_and_the_images_count() {
        let object = json!([
            {"type": "text", "text": "one"}, {"type": "image", "file_url": "http://h/i.png"},
            {"type": "text", "text": "two"}, {"type": "audio", "file_url": "http://h/a"},
            {"type": "file", "file_url": "http://h/f"},
        ])
        .to_string();
        let items = json!([{"role": "user", "content": object, "content_type": "object_string"}]);
        let query = sorted(items).unwrap().query.unwrap();
        assert_eq!(query.text, "one  this is a file:http://h/f");
        assert_eq!(query.images, ["http://h/i.png"]);
    }

    #[test]
    fn a_bad_object_string_is_an_empty_query_and_an_unknown_file_a_refusal() {
        let item =
            |content: &str| json!([{"role": "user", "content": content, "content_type": "object_string"}]);
        assert!(sorted(item("no json")).unwrap().query.unwrap().is_empty());
        let error = sorted(item(r#"[{"type":"image","file_id":"7"}]"#)).unwrap_err();
        assert!(error.starts_with("code=104000008 message="));
    }

    #[test]
    fn the_columns_limits_are_counted_as_the_server_does() {
        let ask = |user: &str, content: &str| {
            let message = json!({"role": "user", "content": content, "content_type": "text"});
            Ask::bind(&json!({"bot_id": "1", "user_id": user, "additional_messages": [message]})).unwrap()
        };
        assert!(!ask("u", &"x".repeat(65_000)).is_too_long());
        assert!(ask("u", &"<".repeat(11_000)).is_too_long());
        assert!(!ask(&"你".repeat(60), "x").is_user_too_long());
        assert!(ask(&"你".repeat(61), "x").is_user_too_long());
    }
}
