//! One line per request, and never a secret in it.

use cozeway::simulator::{Script, Step};
use http::StatusCode;
use serde_json::json;

use crate::support::gateway::request;
use crate::support::{Coze, Gateway, KEY, SCRIPTED};

#[tokio::test]
async fn a_line_tells_what_was_asked_and_what_came_of_it() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let body = request("storyteller", "hi", json!({"stream": true})).to_string();
    let response = gateway
        .post(body)
        .header("x-request-id", "line-1")
        .header("x-stainless-retry-count", "2")
        .send()
        .await
        .unwrap();
    response.text().await.unwrap();
    let line = gateway.logged("line-1").await;
    assert_eq!(line["message"], "request done");
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&json!("POST"), &json!("/v1/chat/completions"), &json!(200))
    );
    assert_eq!(
        (&line["key.name"], &line["model.name"], &line["stream"]),
        (&json!("test"), &json!("storyteller"), &json!(true))
    );
    assert_eq!(line["retry_count"], "2");
    assert_eq!((&line["client.address"], &line["coze.deployment"]), (&json!("127.0.0.1"), &json!("local")));
    for field in ["duration_ms", "first_content_ms", "stream_ms", "usage.input", "usage.output"] {
        assert!(line[field].is_u64(), "{field}: {line}");
    }
    for field in ["coze.conversation_id", "coze.chat_id", "coze.log_id"] {
        assert!(line[field].is_string(), "{field}: {line}");
    }
    assert_eq!(line["outcome"], "done");
}

#[tokio::test]
async fn neither_keys_nor_tokens_nor_words_are_logged() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let secret = "the-words-of-a-user";
    for (number, model) in ["echo", "broken", "nothing", "context"].into_iter().enumerate() {
        for stream in [false, true] {
            let body = request(model, secret, json!({"stream": stream})).to_string();
            let id = format!("quiet-{number}-{stream}");
            let response = gateway.post(body).header("x-request-id", &id).send().await.unwrap();
            response.text().await.unwrap();
            gateway.logged(&id).await;
        }
    }
    let wrong = gateway
        .client
        .get(gateway.url("/v1/models"))
        .bearer_auth("sk-wrong-key")
        .header("x-request-id", "quiet-key");
    wrong.send().await.unwrap();
    gateway.logged("quiet-key").await;
    let bad = format!("{{\"model\":\"echo\",\"messages\":[{{\"role\":\"{secret}\"}}]}}");
    gateway.post(bad).header("x-request-id", "quiet-bad").send().await.unwrap();
    gateway.logged("quiet-bad").await;
    for line in gateway.log() {
        for word in [secret, KEY, "pat_demo", "sk-wrong-key"] {
            assert!(!line.contains(word), "{word} in {line}");
        }
    }
}

#[tokio::test]
async fn a_token_that_coze_repeats_goes_no_further() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let event = "event:error\ndata:{\"code\":4000,\"msg\":\"pat_demo is no good\"}\n\n";
    for (id, script) in [
        ("told-1", Script::json(StatusCode::OK, r#"{"code":4000,"msg":"bad token pat_demo"}"#)),
        ("told-2", Script::stream([Step::Send(event.into())])),
    ] {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, script);
        let body = request("scripted", "hi", json!({})).to_string();
        let response = gateway.post(body).header("x-request-id", id).send().await.unwrap();
        let answer = response.text().await.unwrap();
        assert!(answer.contains("coze_4000") && !answer.contains("pat_demo"), "{answer}");
        gateway.logged(id).await;
    }
    assert!(gateway.log().iter().all(|line| !line.contains("pat_demo")), "{:?}", gateway.log());
}
