//! `POST /v1/conversation/message/list`: what Coze holds of a conversation
//! (protocol 4.6).
//!
//! In come pages, the newest message first; out come the messages up to a
//! chat, the oldest first, as a bot can be shown them again.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Call, Kind};
use crate::turn::{Attachment, Media, Message, Role, Source};

/// How many messages one page has.
const PAGE: usize = 50;

/// The call that asks for a page: the newest messages, or those before one.
#[must_use]
pub fn list(kind: Kind, conversation: &str, before: Option<&str>) -> Call {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("conversation_id", conversation)
        .finish();
    // The newest first is what both kinds give by default.
    let mut body = serde_json::json!({ "limit": PAGE, "order": "desc" });
    if let (Some(id), Some(fields)) = (before, body.as_object_mut()) {
        let cursor = match kind {
            // Means "older than" there (protocol 4.6).
            Kind::Studio => "after_id",
            Kind::Cloud => "before_id",
        };
        fields.insert(cursor.to_owned(), id.into());
    }
    Call {
        method: http::Method::POST,
        path: format!("/v1/conversation/message/list?{query}"),
        body: Some(body.to_string().into()),
    }
}

/// The messages of a conversation while its pages come.
#[derive(Debug)]
pub struct Listing {
    until: Until,
    section: Option<String>,
    found: bool,
    /// The newest first.
    messages: Vec<Message>,
}

/// Where the messages that count end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// With this chat.
    With(String),
    /// Before this chat.
    Without(String),
    /// Nowhere: all of them count.
    End,
}

/// What a page was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// There are older messages, before this one.
    More(String),
    /// The last one.
    Last,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Item<'a>>>,
    #[serde(default)]
    has_more: bool,
    #[serde(borrow, default)]
    last_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    chat_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    section_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Listing {
    /// Wants everything up to there; of one section, if that is known: a bot
    /// sees no other (protocol 3.3).
    #[must_use]
    pub fn new(until: Until, section: Option<String>) -> Self {
        Self { until, section, found: false, messages: Vec::new() }
    }

    /// Takes a page; `None` if it makes no sense.
    pub fn push(&mut self, body: &[u8]) -> Option<Page> {
        let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
        let items = answer.data.unwrap_or_default();
        let is_empty = items.is_empty();
        for item in items {
            // What is newer than the last chat that counts belongs to turns
            // that failed.
            let is_it = match &self.until {
                Until::With(chat) | Until::Without(chat) => item.chat_id.as_deref() == Some(chat.as_str()),
                Until::End => true,
            };
            self.found |= is_it;
            let elsewhere = item.section_id.as_deref().zip(self.section.as_deref());
            if elsewhere.is_some_and(|(its, wanted)| its != wanted) {
                continue;
            }
            if self.found && !(is_it && matches!(self.until, Until::Without(_))) {
                self.messages.extend(message(&item));
            }
        }
        match answer.last_id {
            Some(id) if answer.has_more && !is_empty && id != "0" => Some(Page::More(id.into_owned())),
            _ => Some(Page::Last),
        }
    }

    /// Whether the chat has been found.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.found
    }

    /// How many messages there are by now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages, the oldest first.
    #[must_use]
    pub fn into_messages(mut self) -> Vec<Message> {
        self.messages.reverse();
        self.messages
    }
}

/// A listed message as a bot can be shown it; `None` if there is nothing to
/// show.
fn message(item: &Item<'_>) -> Option<Message> {
    let role = match (item.role.as_deref(), item.kind.as_deref()) {
        (Some("assistant"), Some("answer")) => Role::Assistant,
        (Some("user"), Some("question")) => Role::User,
        _ => return None,
    };
    let content = item.content.as_deref().unwrap_or_default();
    let message = match item.content_type.as_deref() {
        Some("object_string") => parts(role, content)?,
        Some("card") => Message::text(role, super::card::text(content)),
        _ => Message::text(role, content),
    };
    (!message.text.trim().is_empty() || !message.attachments.is_empty()).then_some(message)
}

fn parts(role: Role, content: &str) -> Option<Message> {
    let parts: Vec<Part<'_>> = serde_json::from_str(content).ok()?;
    let mut message = Message::text(role, "");
    for part in parts {
        let media = match part.kind.as_deref() {
            Some("text") => {
                message.text.extend(part.text.as_deref());
                continue;
            }
            Some("image") => Media::Image,
            Some("file") => Media::File,
            Some("audio") => Media::Audio,
            _ => continue,
        };
        // Coze's own URL of what was uploaded does not last.
        let source = match (part.file_id, part.file_url) {
            (Some(id), _) if !id.is_empty() => Source::Kept(id.into_owned()),
            (_, Some(url)) if !url.is_empty() => Source::Url(url.into_owned()),
            _ => continue,
        };
        if role == Role::User {
            message.attachments.push(Attachment { media, source });
        }
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_up_to_a_chat_are_given_the_oldest_first() {
        let mut listing = Listing::new(Until::With("c2".into()), None);
        let page = r#"{"data":[
            {"id":"9","role":"user","type":"question","content":"failed","content_type":"text","chat_id":"c3"},
            {"id":"8","role":"assistant","type":"answer","content":"two","content_type":"text","chat_id":"c2"},
            {"id":"7","role":"user","type":"question","content":"[{\"type\":\"text\",\"text\":\"look\"},{\"type\":\"image\",\"file_url\":\"https://x/y\"}]","content_type":"object_string","chat_id":"c2"}
        ],"has_more":true,"first_id":"9","last_id":"7","code":0,"msg":""}"#;
        assert_eq!(listing.push(page.as_bytes()), Some(Page::More("7".into())));
        let page = r#"{"data":[
            {"id":"6","role":"assistant","type":"answer","content":"one","content_type":"text","chat_id":"c1"},
            {"id":"5","role":"user","type":"question","content":"","content_type":"text","chat_id":"c1"}
        ],"has_more":false,"first_id":"6","last_id":"5","code":0,"msg":""}"#;
        assert_eq!(listing.push(page.as_bytes()), Some(Page::Last));
        assert!(listing.has_found());
        let look = Message {
            attachments: vec![Attachment::image("https://x/y")],
            ..Message::text(Role::User, "look")
        };
        assert_eq!(
            listing.into_messages(),
            [Message::text(Role::Assistant, "one"), look, Message::text(Role::Assistant, "two")]
        );
    }

    #[test]
    fn what_was_uploaded_is_shown_again_by_its_id() {
        let mut listing = Listing::new(Until::End, None);
        let page = r#"{"data":[{"role":"user","type":"question","content":"[{\"type\":\"image\",\"file_id\":\"7\",\"file_url\":\"http://minio/x\"},{\"type\":\"file\",\"file_id\":\"8\"},{\"type\":\"video\",\"file_id\":\"9\"}]","content_type":"object_string"}]}"#;
        assert_eq!(listing.push(page.as_bytes()), Some(Page::Last));
        let kept = |media, id: &str| Attachment { media, source: Source::Kept(id.to_owned()) };
        let attachments = vec![kept(Media::Image, "7"), kept(Media::File, "8")];
        assert_eq!(listing.into_messages(), [Message { attachments, ..Message::text(Role::User, "") }]);
    }

    #[test]
    fn a_chat_may_be_left_out_with_all_that_is_newer() {
        let mut listing = Listing::new(Until::Without("c2".into()), None);
        let page = r#"{"data":[
            {"role":"assistant","type":"answer","content":"two","content_type":"text","chat_id":"c2"},
            {"role":"user","type":"question","content":"what?","content_type":"text","chat_id":"c2"},
            {"role":"user","type":"question","content":"before","content_type":"text","chat_id":"c1"}
        ],"has_more":false}"#;
        assert_eq!(listing.push(page.as_bytes()), Some(Page::Last));
        assert!(listing.has_found());
        assert_eq!(listing.into_messages(), [Message::text(Role::User, "before")]);
    }

    #[test]
    fn what_was_said_before_a_conversation_was_cleared_does_not_count() {
        let page = r#"{"data":[
            {"role":"assistant","type":"answer","content":"new","content_type":"text","chat_id":"c2","section_id":"s2"},
            {"role":"user","type":"question","content":"hi","content_type":"text","chat_id":"c2"},
            {"role":"assistant","type":"answer","content":"old","content_type":"text","chat_id":"c1","section_id":"s1"}
        ],"has_more":false}"#;
        for (section, expected) in [(Some("s2"), &["hi", "new"][..]), (None, &["old", "hi", "new"])] {
            for until in [Until::With("c2".into()), Until::End] {
                let mut listing = Listing::new(until, section.map(str::to_owned));
                assert_eq!(listing.push(page.as_bytes()), Some(Page::Last));
                let texts: Vec<String> =
                    listing.into_messages().into_iter().map(|message| message.text).collect();
                assert_eq!(texts, expected);
            }
        }
    }

    #[test]
    fn a_page_without_messages_is_the_last() {
        for body in [
            r#"{"has_more":true,"first_id":"0","last_id":"0","code":0,"msg":""}"#,
            r#"{"data":null,"has_more":false,"code":0}"#,
        ] {
            assert_eq!(Listing::new(Until::With("1".into()), None).push(body.as_bytes()), Some(Page::Last));
        }
        assert_eq!(Listing::new(Until::With("1".into()), None).push(b"<html>"), None);
    }

    #[test]
    fn the_call_goes_back_in_time() {
        let call = list(Kind::Studio, "1", Some("7"));
        assert_eq!(call.path, "/v1/conversation/message/list?conversation_id=1");
        let body: serde_json::Value = serde_json::from_slice(&call.body.unwrap()).unwrap();
        assert_eq!(body, serde_json::json!({"limit": 50, "order": "desc", "after_id": "7"}));
    }
}
