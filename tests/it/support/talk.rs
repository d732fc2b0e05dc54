//! A client that talks to a bot, and what the bot saw of it.

use cozeway::simulator::Simulator;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Coze, Gateway, KEY};

/// Somebody who talks to one model in one way.
#[derive(Clone)]
pub(crate) struct Talk<'a> {
    gateway: &'a Gateway,
    simulator: Simulator,
    model: String,
    key: String,
    headers: Vec<(String, String)>,
    /// More fields of the body.
    fields: Value,
}

/// A whole answer, or an error.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    simulator: Simulator,
}

/// Texts as messages, the user's and the assistant's in turn.
pub(crate) fn turns(texts: &[&str]) -> Value {
    let role = |index| if index % 2 == 0 { "user" } else { "assistant" };
    texts.iter().enumerate().map(|(index, text)| json!({"role": role(index), "content": text})).collect()
}

impl<'a> Talk<'a> {
    pub(crate) fn new(gateway: &'a Gateway, coze: &Coze, model: &str) -> Self {
        let (model, key) = (model.to_owned(), KEY.to_owned());
        let (headers, fields) = (Vec::new(), json!({}));
        Self { gateway, simulator: coze.simulator.clone(), model, key, headers, fields }
    }

    /// The same in a conversation of this name.
    pub(crate) fn named(&self, name: &str) -> Self {
        self.with("x-conversation-id", name)
    }

    /// The same with one more header.
    pub(crate) fn with(&self, header: &str, value: &str) -> Self {
        let mut talk = self.clone();
        talk.headers.push((header.to_owned(), value.to_owned()));
        talk
    }

    /// The same with one more field in the body.
    pub(crate) fn field(&self, name: &str, value: impl Into<Value>) -> Self {
        let mut talk = self.clone();
        talk.fields[name] = value.into();
        talk
    }

    /// The same with another key.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same with another model.
    pub(crate) fn to(&self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self.clone() }
    }

    /// Sends texts, the user's and the assistant's in turn.
    pub(crate) async fn says(&self, texts: &[&str]) -> Said {
        self.sends(turns(texts)).await
    }

    /// Sends messages.
    pub(crate) async fn sends(&self, messages: Value) -> Said {
        let response = self.request(&messages).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        Said { status, headers, body, simulator: self.simulator.clone() }
    }

    /// Sends texts and wants a stream.
    pub(crate) async fn streams(&self, texts: &[&str]) -> Response {
        self.field("stream", true).request(&turns(texts)).send().await.unwrap()
    }

    fn request(&self, messages: &Value) -> RequestBuilder {
        let mut body = json!({"model": self.model, "messages": messages});
        for (name, value) in self.fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let url = self.gateway.url("/v1/chat/completions");
        let mut request = self.gateway.client.post(url).bearer_auth(&self.key).body(body.to_string());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }
}

impl Said {
    /// What was done with the conversation, and why.
    #[track_caller]
    pub(crate) fn note(&self) -> &str {
        self.header("x-cozeway-conversation").unwrap_or_else(|| panic!("{self:?}"))
    }

    /// What the conversation is called.
    #[track_caller]
    pub(crate) fn name(&self) -> &str {
        self.header("x-conversation-id").unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The answer's text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        self.body["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Coze's conversation.
    #[track_caller]
    pub(crate) fn place(&self) -> &str {
        self.body["coze"]["conversation_id"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }

    /// What the bot was shown.
    #[track_caller]
    pub(crate) fn seen(&self) -> String {
        let chat = self.body["coze"]["chat_id"].as_str().unwrap_or_else(|| panic!("{self:?}"));
        seen(&self.simulator, chat)
    }

    /// It is an answer; this was done with the conversation, and the bot was
    /// shown this.
    #[track_caller]
    pub(crate) fn assert(&self, note: &str, seen: &str) {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!((self.note(), self.seen().as_str()), (note, seen));
    }
}

/// What the bot was shown in a chat, its own words in brackets.
#[track_caller]
pub(crate) fn seen(simulator: &Simulator, chat: &str) -> String {
    let seen = simulator.context_seen(chat).expect("the chat is known");
    let seen = seen.iter().map(|message| {
        let text: String =
            [message.text.clone()].into_iter().chain(message.images.clone()).collect::<Vec<_>>().join(" ");
        if message.role == "assistant" { format!("[{text}]") } else { text }
    });
    seen.collect::<Vec<_>>().join(" ")
}
