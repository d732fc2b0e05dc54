//! Whole answers.

use serde_json::{Value, json};

use cozeway::simulator::{Script, Step};

use crate::shared::{golden, schema};
use crate::support::{Coze, Gateway, SCRIPTED};

#[tokio::test]
async fn a_whole_answer_is_a_valid_completion() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let answer = gateway.answer("storyteller", "Tell me a story").await;
    schema::assert_valid(&schema::validator("chat_completion"), &answer, "the answer");
    let choice = &answer["choices"][0];
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "storyteller");
    assert_eq!(choice["finish_reason"], "stop");
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty());
    assert!(!choice["message"]["reasoning_content"].as_str().unwrap().is_empty());
    assert_eq!(answer["coze"]["follow_ups"].as_array().unwrap().len(), 3);
    for id in ["conversation_id", "chat_id", "log_id"] {
        assert!(!answer["coze"][id].as_str().unwrap().is_empty(), "{id}");
    }
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert!(count("completion_tokens") > 0);
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
}

#[tokio::test]
async fn whole_and_streamed_answers_agree() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for file in [
        "chat_multi_answer.server.sse",
        "chat_reasoning.docs.sse",
        "chat_tools.server.sse",
        "chat_full.docs.sse",
    ] {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, Script::transcript(golden::transcript(file)));
        let whole = gateway.answer("scripted", "hi").await;
        let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
        let streamed = crate::support::sse::Streamed::of(response).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], streamed.content(), "{file}");
        assert_eq!(
            message["reasoning_content"].as_str().unwrap_or_default(),
            streamed.text(0, "reasoning_content"),
            "{file}"
        );
        assert_eq!(whole["coze"]["follow_ups"], streamed.finishing()["coze"]["follow_ups"], "{file}");
    }
}

#[tokio::test]
async fn thinking_without_text_is_a_success_with_empty_content() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let message = r#"{"id":"1","conversation_id":"2","chat_id":"3","role":"assistant","type":"answer","content":"","content_type":"text","reasoning_content":"hm"}"#;
    let body = format!(
        "event:conversation.message.delta\ndata:{message}\n\nevent:conversation.chat.completed\ndata:{{\"id\":\"3\",\"conversation_id\":\"2\"}}\n\nevent:done\ndata:\"[DONE]\"\n\n"
    );
    coze.simulator.script(SCRIPTED, Script::transcript(body));
    let answer = gateway.answer("scripted", "hi").await;
    assert_eq!(answer["choices"][0]["message"]["content"], "");
    assert_eq!(answer["choices"][0]["message"]["reasoning_content"], "hm");
}

#[tokio::test]
async fn usage_is_asked_for_where_the_stream_has_none() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let text = String::from_utf8(golden::transcript("chat_text.server.sse")).unwrap();
    let without = text.replace("input_tokens", "x").replace("output_tokens", "y");
    coze.simulator.script(SCRIPTED, Script::transcript(without));
    let retrieved =
        || coze.simulator.requests().iter().filter(|r| r.path.starts_with("/v3/chat/retrieve")).count();

    gateway.ask("scripted", "hi", json!({"stream": true})).await.text().await.unwrap();
    assert_eq!(retrieved(), 0, "nobody wants to know");

    let answer = gateway.answer("scripted", "hi").await;
    assert_eq!(retrieved(), 1);
    assert!(answer.get("usage").is_none(), "Coze knows no such chat, and nothing is invented: {answer}");

    let response = gateway
        .ask("scripted", "hi", json!({"stream": true, "stream_options": {"include_usage": true}}))
        .await;
    let streamed = crate::support::sse::Streamed::of(response).await;
    assert_eq!(retrieved(), 2);
    let last = streamed.chunks().last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn several_choices_come_in_order_with_their_chats_and_the_sum_of_usage() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let one = gateway.answer("echo", "same").await;
    let response = gateway.ask("echo", "same", json!({"n": 3})).await;
    let three: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    schema::assert_valid(&schema::validator("chat_completion"), &three, "three choices");
    let choices = three["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.iter().all(|choice| choice["message"]["content"] == "same"));
    let chats = three["coze"]["chats"].as_array().unwrap();
    let mut ids: Vec<&str> = chats.iter().map(|chat| chat["chat_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each is a chat of its own");
    let total = |answer: &Value| answer["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(total(&three), 3 * total(&one));
}

#[tokio::test]
async fn one_failed_choice_fails_the_request() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let good = || Script::transcript(golden::transcript("chat_text.server.sse"));
    for script in [good(), Script::transcript(golden::transcript("chat_error_midstream.server.sse")), good()]
    {
        coze.simulator.script(SCRIPTED, script);
    }
    let response = gateway.ask("scripted", "hi", json!({"n": 3})).await;
    assert_eq!(response.status(), 502);
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "upstream_error");
}

#[tokio::test]
async fn a_stop_string_cuts_and_frees_the_upstream() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let delta = |text: &str| {
        format!(
            "event:conversation.message.delta\ndata:{{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"{text}\",\"content_type\":\"text\"}}\n\n"
        )
    };
    let script =
        Script::stream([Step::Send(delta("one ST").into()), Step::Send(delta("OP two").into()), Step::Hang]);
    coze.simulator.script(SCRIPTED, script);
    for stream in [false, true] {
        let response = gateway.ask("scripted", "hi", json!({"stop": ["STOP"], "stream": stream})).await;
        assert_eq!(response.status(), 200);
        if stream {
            let streamed = crate::support::sse::Streamed::of(response).await;
            assert!(streamed.is_done());
            assert_eq!(streamed.content(), "one ");
        } else {
            let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            assert_eq!(answer["choices"][0]["message"]["content"], "one ");
            assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        }
        coze.idle().await;
        // Whoever wants to know what it cost is told if Coze knows by now.
        let asked =
            coze.simulator.requests().iter().filter(|r| r.path.starts_with("/v3/chat/retrieve")).count();
        assert_eq!(asked, 1, "for the whole answer, not for the stream");
    }
}
