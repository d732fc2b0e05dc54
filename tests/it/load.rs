//! Much at once, and much of one thing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use cozeway::simulator::{Script, Step};

use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED};

fn delta_frame() -> (String, String) {
    let start = "event:conversation.message.delta\ndata:{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content_type\":\"text\",\"content\":\"";
    (start.to_owned(), "\"}\n\n".to_owned())
}

fn completed() -> Step {
    Step::Send("event:conversation.chat.completed\ndata:{\"id\":\"3\",\"conversation_id\":\"2\"}\n\nevent:conversation.stream.done\ndata:\n\n".into())
}

#[tokio::test]
async fn one_event_of_16_mib_passes() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let (start, end) = delta_frame();
    let unit = "你好\\u003c\\n0123456789";
    let times = (16 << 20) / unit.len() as u64;
    let big = Step::SendRepeated { prefix: start.into(), unit: unit.into(), times, suffix: end.into() };
    coze.simulator.script(SCRIPTED, Script::stream([big, completed()]));
    let expected = "你好<\n0123456789".repeat(times as usize);
    let whole = gateway.answer("scripted", "hi").await;
    assert!(whole["choices"][0]["message"]["content"] == expected.as_str());
    let text = gateway.ask("scripted", "hi", json!({"stream": true})).await.text().await.unwrap();
    let content: String = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert!(content == expected);
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_hundred_thousand_deltas_pass() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let (start, end) = delta_frame();
    let unit = format!("{start}x{end}");
    let many = Step::SendRepeated { prefix: "".into(), unit: unit.into(), times: 100_000, suffix: "".into() };
    coze.simulator.script(SCRIPTED, Script::stream([many, completed()]));
    let text = gateway.ask("scripted", "hi", json!({"stream": true})).await.text().await.unwrap();
    assert_eq!(text.matches("{\"content\":\"x\"}").count(), 100_000);
    assert!(text.ends_with("data: [DONE]\n\n"));
    let whole = gateway.answer("scripted", "hi").await;
    assert_eq!(whole["choices"][0]["message"]["content"].as_str().unwrap().len(), 100_000);
}

/// Small writes cost far more than what they hold.
#[tokio::test]
async fn what_comes_at_once_leaves_in_few_writes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut coze = Coze::start().await;
    coze.port = listener.local_addr().unwrap().port();
    let gateway = Gateway::start(&coze).await;
    let (start, end) = delta_frame();
    let Step::Send(last) = completed() else { unreachable!() };
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let delta = format!("{start}x{end}");
    for event in std::iter::repeat_n(delta.as_bytes(), 100).chain([&*last]) {
        bytes.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        bytes.extend_from_slice(event);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
    let (mut text, mut writes) = (Vec::new(), 0);
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
        writes += 1;
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("{\"content\":\"x\"}").count(), 100);
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(writes < 50, "101 chunks at once came in {writes} writes");
}

#[tokio::test]
async fn five_thousand_messages_of_history_are_taken() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let mut messages = Vec::new();
    for turn in 0..2500 {
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
    }
    messages.push(json!({"role": "user", "content": "last"}));
    let body = json!({"model": "echo", "messages": messages}).to_string();
    let response = gateway.post(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let trimmed: usize = response.headers()["x-cozeway-trimmed"].to_str().unwrap().parse().unwrap();
    let sent = coze.simulator.requests().pop().unwrap().body;
    let kept = sent["additional_messages"].as_array().unwrap();
    assert_eq!(kept.len() + trimmed, 5001);
    assert_eq!(kept.last().unwrap()["content"], "last");
    assert_eq!(kept[kept.len() - 2]["content"], "answer 2499");
}

#[tokio::test]
async fn two_hundred_streams_at_once_keep_to_themselves() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let asks = (0..200).map(|number| {
        let gateway = &gateway;
        async move {
            let text = format!("stream number {number} of many");
            let streamed = Streamed::of(gateway.ask("echo", &text, json!({"stream": true})).await).await;
            assert_eq!(streamed.content(), text);
        }
    });
    tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(asks)).await.unwrap();
    coze.idle().await;
}

#[tokio::test]
async fn memory_comes_back_after_large_answers() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let (start, end) = delta_frame();
    let big = Step::SendRepeated {
        prefix: start.into(),
        unit: "x".repeat(1024).into(),
        times: 8 * 1024,
        suffix: end.into(),
    };
    coze.simulator.script(SCRIPTED, Script::stream([big, completed()]));
    let mut after = Vec::new();
    for _ in 0..8 {
        gateway.ask("scripted", "hi", json!({"stream": true})).await.text().await.unwrap();
        after.push(gateway.resident_kib());
    }
    let (second, last) = (after[1], after[7]);
    assert!(last < second + 48 * 1024, "resident memory grows with every answer: {after:?} KiB");
}

#[tokio::test]
async fn one_after_another_requests_share_a_connection_to_coze() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for _ in 0..20 {
        gateway.assert_well().await;
        gateway.ask("storyteller", "hi", json!({"stream": true})).await.text().await.unwrap();
    }
    assert!(coze.simulator.connections() <= 4, "{} connections", coze.simulator.connections());
}
