//! Streamed answers.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use cozeway::simulator::{Head, Script, Step};

use crate::shared::golden;
use crate::support::sse::{Item, Stream, Streamed};
use crate::support::{Coze, Gateway, KEY, SCRIPTED};

fn delta(text: &str) -> Step {
    let data = format!(
        "event:conversation.message.delta\ndata:{{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"{text}\",\"content_type\":\"text\"}}\n\n"
    );
    Step::Send(data.into())
}

fn sent(step: Step) -> Vec<u8> {
    match step {
        Step::Send(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn completed() -> Step {
    Step::Send("event:conversation.chat.completed\ndata:{\"id\":\"3\",\"conversation_id\":\"2\"}\n\nevent:conversation.stream.done\ndata:\n\n".into())
}

#[tokio::test]
async fn a_stream_is_sound_to_the_last_byte() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let response = gateway.ask("storyteller", "go", json!({"stream": true})).await;
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let streamed = Streamed::of(response).await;
    assert!(streamed.is_done());
    assert!(!streamed.content().is_empty() && !streamed.text(0, "reasoning_content").is_empty());
    assert!(streamed.chunks().all(|chunk| chunk.get("usage").is_none()), "nobody asked for usage");
    assert_eq!(streamed.finishing()["coze"]["follow_ups"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn usage_comes_in_a_chunk_of_its_own_when_asked_for() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = Streamed::of(gateway.ask("echo", "count me", more).await).await;
    let chunks: Vec<_> = streamed.chunks().collect();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[tokio::test]
async fn the_first_words_come_while_the_bot_still_speaks() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, Script::stream([delta("first"), Step::Hang]));
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    assert_eq!(stream.content().await, "first");
    assert_eq!(coze.simulator.open_streams(), 1);
}

/// The pieces of a chunked body, as they were written.
async fn pieces(gateway: &Gateway, body: &str) -> Vec<String> {
    let mut socket = TcpStream::connect(&gateway.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut pieces = Vec::new();
    while let Some((length, behind)) = rest.split_once("\r\n") {
        let (piece, behind) = behind.split_at(usize::from_str_radix(length, 16).unwrap());
        pieces.push(piece.to_owned());
        rest = behind.strip_prefix("\r\n").unwrap();
    }
    pieces
}

#[tokio::test]
async fn the_first_words_do_not_wait_for_what_came_with_them() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let words: Vec<Vec<u8>> = (0..100).map(|number| sent(delta(&format!("word {number}. ")))).collect();
    let all = [words.concat(), sent(completed())].concat();
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(all.into())]));
    let body = json!({"model": "scripted", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let pieces = pieces(&gateway, &body.to_string()).await;
    assert!(pieces[0].contains("word 0. ") && !pieces[0].contains("word 1. "), "{}", pieces[0]);
    let whole = pieces.concat();
    assert!((0..100).all(|number| whole.contains(&format!("word {number}. "))));
    assert!(whole.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn silence_is_filled_with_comments_before_and_after_the_first_word() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "keepalive = \"100ms\"").await;
    let pause = || Step::Sleep(Duration::from_millis(350));
    coze.simulator.script(SCRIPTED, Script::stream([pause(), delta("a"), pause(), delta("b"), completed()]));
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    assert!(streamed.is_done());
    assert_eq!(streamed.content(), "ab");
    let comments: Vec<bool> = streamed.items.iter().map(|item| *item == Item::Comment).collect();
    let first_word = comments.iter().position(|comment| !comment).unwrap();
    assert!(first_word >= 2, "{comments:?}");
    assert!(comments[first_word..].iter().filter(|comment| **comment).count() >= 2, "{comments:?}");
}

#[tokio::test]
async fn a_slow_head_is_silence_too() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "keepalive = \"100ms\"").await;
    let script =
        Script::transcript(golden::transcript("chat_text.server.sse")).after(Duration::from_millis(300));
    coze.simulator.script(SCRIPTED, script);
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    assert_eq!(streamed.items[0], Item::Comment);
    assert_eq!(streamed.content(), "2024 年 10 月 1 日是星期二。");
}

#[tokio::test]
async fn a_failure_after_a_sign_of_life_comes_in_band() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "keepalive = \"100ms\"").await;
    let failing = golden::transcript("chat_error_not_published.server.sse");
    coze.simulator.script(
        SCRIPTED,
        Script::stream([Step::Sleep(Duration::from_millis(250)), Step::Send(failing.into())]),
    );
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    assert_eq!(streamed.error().unwrap()["code"], "upstream_model_unavailable");
    assert!(!streamed.is_done());
}

#[tokio::test]
async fn a_failure_after_the_first_words_ends_the_stream_in_band() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let streamed = Streamed::of(gateway.ask("broken", "hi", json!({"stream": true})).await).await;
    assert!(!streamed.content().is_empty());
    let error = streamed.error().expect("an error event at the end");
    assert_eq!(
        (error["code"].as_str(), error["type"].as_str()),
        (Some("upstream_error"), Some("server_error"))
    );
}

#[tokio::test]
async fn choices_open_in_order_and_finish_after_the_last_word() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let streamed =
        Streamed::of(gateway.ask("echo", "three of them", json!({"stream": true, "n": 3})).await).await;
    assert!(streamed.is_done());
    for index in 0..3 {
        assert_eq!(streamed.text(index, "content"), "three of them");
    }
    assert_eq!(streamed.finishing()["coze"]["chats"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn reasoning_is_shown_as_the_model_says() {
    let coze = Coze::start().await;
    let mut more = String::new();
    for rule in ["field", "both", "think", "drop"] {
        more += &format!("[models.r-{rule}]\nbot_id = \"{SCRIPTED}\"\nreasoning = \"{rule}\"\n");
    }
    let gateway = Gateway::with(&crate::support::gateway::config(&coze, "", &more)).await;
    coze.simulator.script(SCRIPTED, Script::transcript(golden::transcript("chat_reasoning.server.sse")));
    let thinking = "好的，用户问的是 9.11 与 9.9 谁大。\n先比较整数部分。";
    for (rule, content, field, other) in [
        ("field", "9.9 更大。".to_owned(), thinking, ""),
        ("both", "9.9 更大。".to_owned(), thinking, thinking),
        ("think", format!("<think>{thinking}</think>\n\n9.9 更大。"), "", ""),
        ("drop", "9.9 更大。".to_owned(), "", ""),
    ] {
        let model = format!("r-{rule}");
        let streamed = Streamed::of(gateway.ask(&model, "hi", json!({"stream": true})).await).await;
        assert_eq!(streamed.content(), content, "{rule}");
        assert_eq!(streamed.text(0, "reasoning_content"), field, "{rule}");
        assert_eq!(streamed.text(0, "reasoning"), other, "{rule}");
        let whole = gateway.answer(&model, "hi").await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], content, "{rule}");
        assert_eq!(message["reasoning_content"].as_str().unwrap_or_default(), field, "{rule}");
        assert_eq!(message["reasoning"].as_str().unwrap_or_default(), other, "{rule}");
    }
}

#[tokio::test]
async fn a_streams_body_closes_with_its_last_event() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    // Coze's stream stays open after its last event; the client's does not.
    let script = Script::new(Head::event_stream(), [delta("x"), completed(), Step::Hang]);
    coze.simulator.script(SCRIPTED, script);
    let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
    let text =
        tokio::time::timeout(Duration::from_millis(900), response.text()).await.expect("at once").unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn what_drips_after_the_chats_end_keeps_nobody_waiting() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let drip = [Step::Sleep(Duration::from_millis(200)), Step::Send(": still here\n\n".into())];
    let end = Step::Send("event:conversation.chat.completed\ndata:{}\n\n".into());
    let steps = [delta("hm"), end].into_iter().chain(std::iter::repeat_n(drip, 300).flatten());
    coze.simulator.script(SCRIPTED, Script::stream(steps));
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    let streamed = tokio::time::timeout(Duration::from_secs(6), streamed).await.expect("an end");
    assert!(streamed.is_done(), "{streamed:?}");
    coze.idle().await;
}
