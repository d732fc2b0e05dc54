//! Scripts, requests, and whether an answer says what its script does.

use std::time::Duration;

use bytes::Bytes;
use cozeway::simulator::{Script, Step};
use serde::Deserialize;
use serde_json::json;

use crate::process::Gateway;
use crate::{BOT, KEY};

const START: &str = "event:conversation.message.delta\ndata:{\"id\":\"7530512345678000001\",\
    \"conversation_id\":\"7530512345678000002\",\"bot_id\":\"7530512345678999999\",\"role\":\"assistant\",\
    \"type\":\"answer\",\"content_type\":\"text\",\"chat_id\":\"7530512345678000003\",\"section_id\":\
    \"7530512345678000002\",\"created_at\":1700000000,\"updated_at\":1700000000,\"content\":\"";
const END: &str = "\"}\n\n";

/// What every delta says, but the large one.
pub(crate) const WORD: &str = " word";

/// One delta of [`WORD`].
pub(crate) fn delta() -> Bytes {
    format!("{START}{WORD}{END}").into()
}

/// One delta of this many bytes of text.
pub(crate) fn large_delta(bytes: u64) -> Step {
    Step::SendRepeated {
        prefix: START.into(),
        unit: "0123456789abcde ".into(),
        times: bytes / 16,
        suffix: END.into(),
    }
}

/// This many deltas in as few chunks as there can be.
pub(crate) fn deltas(times: u64) -> Step {
    Step::SendRepeated { prefix: Bytes::new(), unit: delta(), times, suffix: Bytes::new() }
}

/// The end of a chat, usage included.
pub(crate) fn completed() -> Step {
    let text = "event:conversation.chat.completed\ndata:{\"id\":\"7530512345678000003\",\
        \"conversation_id\":\"7530512345678000002\",\"bot_id\":\"7530512345678999999\",\"status\":\"completed\",\
        \"usage\":{\"token_count\":12,\"output_count\":7,\"input_count\":5}}\n\n\
        event:done\ndata:\"[DONE]\"\n\n";
    Step::Send(text.into())
}

/// A delta and the end, in one write.
pub(crate) fn short() -> Script {
    let (delta, Step::Send(end)) = (delta(), completed()) else { unreachable!() };
    Script::transcript([delta, end].concat())
}

/// Deltas in HTTP chunks of their own, this far apart, and the end.
pub(crate) fn paced(count: usize, pause: Duration) -> Script {
    let mut steps = Vec::new();
    for _ in 0..count {
        if !pause.is_zero() {
            steps.push(Step::Sleep(pause));
        }
        steps.push(Step::Send(delta()));
    }
    steps.push(completed());
    Script::stream(steps)
}

/// A chat request's body: this many messages before the last.
pub(crate) fn request(stream: bool, messages: usize) -> Bytes {
    let mut list = Vec::new();
    for number in 0..messages {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        list.push(json!({"role": role, "content": format!("message {number} of a long conversation")}));
    }
    list.push(json!({"role": "user", "content": "Say one word, please."}));
    json!({"model": "scripted", "stream": stream, "messages": list}).to_string().into()
}

/// Asks a gateway.
pub(crate) async fn ask(client: &reqwest::Client, gateway: &Gateway, body: &Bytes) -> reqwest::Response {
    let request = client.post(gateway.url()).bearer_auth(KEY).header("content-type", "application/json");
    let response = request.body(body.clone()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// Asks Coze as the gateway does.
pub(crate) async fn ask_coze(client: &reqwest::Client, port: u16) -> reqwest::Response {
    let body = json!({"bot_id": BOT, "user_id": "bench", "stream": true, "additional_messages": [
        {"role": "user", "type": "question", "content": "Say one word, please.", "content_type": "text"}]});
    let request = client.post(format!("http://127.0.0.1:{port}/v3/chat")).bearer_auth("pat_demo");
    let response =
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// The text of a whole answer.
pub(crate) fn text_of_whole(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Completion {
        choices: [Choice; 1],
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        content: String,
    }
    let Completion { choices: [choice] } = serde_json::from_slice(body).expect("a completion");
    choice.message.content
}

/// The text of a streamed answer that must have come to its proper end.
pub(crate) fn text_of_stream(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Delta,
    }
    #[derive(Deserialize)]
    struct Delta {
        content: Option<String>,
    }
    let body = std::str::from_utf8(body).expect("UTF-8");
    let chunks = body.strip_suffix("data: [DONE]\n\n").expect("the proper end");
    let mut text = String::new();
    for event in chunks.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let chunk: Chunk =
            serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("a chunk");
        for choice in chunk.choices {
            text += choice.delta.content.as_deref().unwrap_or_default();
        }
    }
    text
}

/// Asks, reads all, and checks the text's length and end.
pub(crate) async fn converse(
    client: &reqwest::Client,
    gateway: &Gateway,
    body: &Bytes,
    stream: bool,
    expected: &str,
) {
    let answer = ask(client, gateway, body).await.bytes().await.unwrap();
    let text = if stream { text_of_stream(&answer) } else { text_of_whole(&answer) };
    assert!(text == expected, "{} bytes of text instead of {}", text.len(), expected.len());
}

/// Reads a stream until this much of it holds the text.
pub(crate) async fn read_until(response: &mut reqwest::Response, needle: &[u8], times: usize) {
    let mut read = Vec::new();
    let finder = memchr::memmem::Finder::new(needle);
    while finder.find_iter(&read).count() < times {
        let chunk = response.chunk().await.unwrap().expect("the text comes before the end");
        read.extend_from_slice(&chunk);
    }
}
