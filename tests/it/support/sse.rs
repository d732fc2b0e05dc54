//! A streamed answer as a client sees it.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

use cozeway::simulator::Step;

use crate::shared::schema;

/// A piece of Coze's stream that says something.
pub(crate) fn delta(text: &str) -> Step {
    let data = format!(
        "event:conversation.message.delta\ndata:{{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"{text}\",\"content_type\":\"text\"}}\n\n"
    );
    Step::Send(data.into())
}

/// The end of Coze's stream.
pub(crate) fn ended() -> Step {
    Step::Send("event:conversation.chat.completed\ndata:{}\n\nevent:done\ndata:\n\n".into())
}

/// Reads a stream piece by piece.
#[derive(Debug)]
pub(crate) struct Stream {
    response: Response,
    /// Bytes: the network cuts anywhere, in the middle of a character too.
    buffer: Vec<u8>,
}

/// What stands between two blank lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Comment,
    Chunk(Value),
    Error(Value),
    Done,
}

/// A whole stream.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) items: Vec<Item>,
    /// Whether the body came to its proper end.
    pub(crate) ended: bool,
}

impl Stream {
    pub(crate) fn new(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Self { response, buffer: Vec::new() }
    }

    /// The next item; `None` at the end of the body, proper or not.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, reqwest::Error> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let item = parse(std::str::from_utf8(&self.buffer[..end]).unwrap());
                self.buffer.drain(..end + 2);
                return Ok(Some(item));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match chunk.await.expect("something comes within 20 s")? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    assert_eq!(self.buffer, b"", "the stream ends with a whole event");
                    return Ok(None);
                }
            }
        }
    }

    /// Reads until a chunk has content.
    pub(crate) async fn content(&mut self) -> String {
        loop {
            match self.next().await.unwrap().expect("content before the end") {
                Item::Chunk(chunk) => {
                    if let Some(text) =
                        chunk["choices"][0]["delta"]["content"].as_str().filter(|t| !t.is_empty())
                    {
                        return text.to_owned();
                    }
                }
                Item::Comment => {}
                other => panic!("{other:?} before content"),
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn collect(mut self) -> Streamed {
        let mut items = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Streamed { items, ended: true },
                Err(_) => return Streamed { items, ended: false },
            }
        }
    }
}

fn parse(item: &str) -> Item {
    if item.starts_with(':') {
        return Item::Comment;
    }
    let data = item.strip_prefix("data: ").unwrap_or_else(|| panic!("neither data nor comment: {item:?}"));
    assert!(!data.contains('\n'), "one line an event: {item:?}");
    if data == "[DONE]" {
        return Item::Done;
    }
    let value: Value = serde_json::from_str(data).expect("JSON");
    if value.get("error").is_some() {
        assert!(value.get("choices").is_none());
        schema::assert_valid(&schema::validator("error"), &value, "an error event");
        return Item::Error(value);
    }
    Item::Chunk(value)
}

impl Streamed {
    pub(crate) async fn of(response: Response) -> Self {
        let streamed = Stream::new(response).collect().await;
        streamed.assert_sound();
        streamed
    }

    /// Every chunk is valid, and what is promised of the order holds.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let validator = schema::validator("chat_completion_chunk");
        let chunks: Vec<&Value> = self.chunks().collect();
        for chunk in &chunks {
            schema::assert_valid(&validator, chunk, "a chunk");
            for name in ["id", "created", "model", "object"] {
                assert_eq!(chunk[name], chunks[0][name], "{name} is the same in all chunks");
            }
        }
        let mut roles = Vec::new();
        let mut finished = Vec::new();
        for chunk in &chunks {
            for choice in chunk["choices"].as_array().unwrap() {
                let index = choice["index"].as_u64().unwrap();
                assert!(!finished.contains(&index), "nothing follows a finish: {chunk}");
                if choice["delta"].get("role").is_some() {
                    assert!(!roles.contains(&index), "the role comes once: {chunk}");
                    roles.push(index);
                }
                assert!(roles.contains(&index), "the first chunk carries the role: {chunk}");
                if !choice["finish_reason"].is_null() {
                    finished.push(index);
                }
            }
        }
        assert!(roles.is_sorted(), "choices open in order: {roles:?}");
        let done = self.items.iter().position(|item| *item == Item::Done);
        let error = self.items.iter().position(|item| matches!(item, Item::Error(_)));
        assert!(done.is_none_or(|at| at + 1 == self.items.len()), "nothing follows [DONE]");
        assert!(error.is_none_or(|at| at + 1 == self.items.len()), "nothing follows an error");
        assert!(done.is_none() || error.is_none());
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Value> {
        self.items.iter().filter_map(|item| match item {
            Item::Chunk(chunk) => Some(chunk),
            _ => None,
        })
    }

    /// What the chunks of one choice say in a field of their deltas.
    pub(crate) fn text(&self, index: u64, field: &str) -> String {
        let choices = self.chunks().flat_map(|chunk| chunk["choices"].as_array().unwrap());
        choices
            .filter(|choice| choice["index"] == index)
            .filter_map(|choice| choice["delta"][field].as_str())
            .collect()
    }

    pub(crate) fn content(&self) -> String {
        self.text(0, "content")
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.items.last() == Some(&Item::Done)
    }

    /// The error at its end, if it ended so.
    pub(crate) fn error(&self) -> Option<&Value> {
        match self.items.last() {
            Some(Item::Error(error)) if self.ended => Some(&error["error"]),
            _ => None,
        }
    }

    /// The chunk that finishes the last choice.
    pub(crate) fn finishing(&self) -> &Value {
        self.chunks()
            .filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null())
            .last()
            .expect("a finish")
    }
}
