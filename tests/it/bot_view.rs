//! What the client sends is what the bot sees, once.

use serde_json::{Value, json};

use crate::support::gateway::config;
use crate::support::{Coze, Gateway};

/// What the `context` bot saw of these messages.
async fn context(gateway: &Gateway, messages: Value) -> String {
    let body = json!({"model": "context", "messages": messages});
    let response = gateway.post(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_message_once_and_in_order() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let seen = context(
        &gateway,
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": "and kind"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two <b>&amp;"},
            {"role": "user", "content": "  "},
            {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "text", "text": "four"}]},
        ]),
    )
    .await;
    assert_eq!(seen, "user: be brief\n\nand kind\nuser: one\nassistant: two <b>&amp;\nuser: three\nfour");
}

#[tokio::test]
async fn a_tool_round_trip_is_told_in_words() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let seen = context(
        &gateway,
        json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"杭州\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ]),
    )
    .await;
    assert_eq!(
        seen,
        "user: weather?\nassistant: [called weather({\"city\":\"杭州\"})]\nuser: [weather returned] sunny"
    );
}

#[tokio::test]
async fn an_image_url_goes_along() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let seen = context(
        &gateway,
        json!([{"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]}]),
    )
    .await;
    assert!(seen.contains("look") && seen.contains("https://example.com/cat.png"), "{seen}");
}

#[tokio::test]
async fn every_request_starts_a_conversation_of_its_own() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let first = gateway.answer("context", "one").await;
    let second = gateway.answer("context", "two").await;
    assert_ne!(first["coze"]["conversation_id"], second["coze"]["conversation_id"]);
    assert_eq!(second["choices"][0]["message"]["content"], "user: two");
}

#[tokio::test]
async fn system_texts_go_by_the_models_rule() {
    let coze = Coze::start().await;
    let bot = cozeway::simulator::bots::CONTEXT;
    let more = format!(
        "[models.drop]\nbot_id = \"{bot}\"\nsystem = \"drop\"\n\
         [models.reject]\nbot_id = \"{bot}\"\nsystem = \"reject\"\n\
         [models.variable]\nbot_id = \"{bot}\"\nsystem = {{ variable = \"persona\" }}\n"
    );
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": messages});
        let response = gateway.post(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let (_, answer) = ask("drop").await;
    assert_eq!(answer["choices"][0]["message"]["content"], "user: hi");
    let (_, answer) = ask("variable").await;
    assert_eq!(answer["choices"][0]["message"]["content"], "user: hi");
    let sent = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(sent["custom_variables"], json!({"persona": "be brief"}));
    let (status, error) = ask("reject").await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("messages[0].role")));
}

#[tokio::test]
async fn users_of_different_keys_never_meet() {
    let coze = Coze::start().await;
    let more =
        "[keys.other]\nkey = \"sk-other-0123456789abcdef\"\nuser_headers = [\"x-openwebui-user-id\"]\n";
    let gateway = Gateway::with(&config(&coze, "", more)).await;
    let user_id = async |key: &str, body: Value, header: Option<&str>| {
        let mut body = body;
        body["model"] = json!("echo");
        body["messages"] = json!([{"role": "user", "content": "hi"}]);
        let mut request =
            gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key).body(body.to_string());
        if let Some(user) = header {
            request = request.header("x-openwebui-user-id", user);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
        coze.simulator.requests().pop().unwrap().body["user_id"].as_str().unwrap().to_owned()
    };
    let key = crate::support::KEY;
    let other = "sk-other-0123456789abcdef";
    assert_eq!(user_id(key, json!({"user": "ann"}), None).await, "test:ann");
    assert_eq!(user_id(other, json!({"user": "ann"}), None).await, "other:ann");
    assert_eq!(user_id(key, json!({"safety_identifier": "bob"}), None).await, "test:bob");
    assert_eq!(user_id(key, json!({}), Some("eve")).await, "test", "this key's headers are not trusted");
    assert_eq!(user_id(other, json!({}), Some("eve")).await, "other:eve");
    let long = user_id(key, json!({"user": "x".repeat(200)}), None).await;
    assert_eq!(long.chars().count(), 60);
}

#[tokio::test]
async fn a_transcript_that_coze_cannot_store_is_trimmed_or_refused() {
    let coze = Coze::start().await;
    let bot = cozeway::simulator::bots::CONTEXT;
    let more = format!("[models.strict]\nbot_id = \"{bot}\"\noverflow = \"reject\"\n");
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    let long = |name: &str| format!("{name} {}", "<".repeat(5000));
    let body = |model: &str| {
        json!({"model": model, "messages": [
            {"role": "system", "content": "keep me"},
            {"role": "user", "content": long("first")}, {"role": "assistant", "content": long("second")},
            {"role": "user", "content": long("third")}, {"role": "user", "content": "last"}]})
        .to_string()
    };
    let response = gateway.post(body("context")).send().await.unwrap();
    assert_eq!(response.headers()["x-cozeway-trimmed"], "1");
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let seen = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let starts: Vec<&str> = seen.lines().map(|line| line.split(" <").next().unwrap()).collect();
    assert_eq!(starts, ["user: keep me", "assistant: second", "user: third", "user: last"]);

    let response = gateway.post(body("strict")).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "context_length_exceeded");

    let response = gateway.ask("context", &"x".repeat(62_000), json!({})).await;
    assert_eq!(response.status(), 400);
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("context_length_exceeded"));
}

#[tokio::test]
async fn what_cannot_be_honoured_is_named() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let response = gateway
        .ask("echo", "hi", json!({"temperature": 0.5, "max_tokens": 10, "seed": null, "stream": true}))
        .await;
    assert_eq!(response.headers()["x-cozeway-ignored"], "max_tokens, temperature");
    let response = gateway.ask("echo", "hi", json!({})).await;
    assert!(response.headers().get("x-cozeway-ignored").is_none());
}

#[tokio::test]
async fn coze_is_always_asked_to_stream() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    gateway.answer("echo", "hi").await;
    let sent = coze.simulator.requests().pop().unwrap();
    assert_eq!(sent.path, "/v3/chat");
    assert_eq!(sent.body["stream"], true);
    assert_eq!(sent.headers["authorization"], "Bearer pat_demo");
}

#[tokio::test]
async fn what_tools_said_does_not_push_the_question_out() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let mut messages = vec![json!({"role": "user", "content": "the question"})];
    for id in ["a", "b", "c"] {
        let call = json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": id.repeat(25_000)}));
    }
    let body = json!({"model": "echo", "messages": messages}).to_string();
    let response = gateway.post(body).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-cozeway-trimmed"]),
        (200, &"2".parse().unwrap())
    );
    let sent = coze.simulator.requests().pop().unwrap().body;
    let sent: Vec<&str> = sent["additional_messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].as_str().unwrap())
        .collect();
    assert_eq!(sent.len(), 5, "the question and two calls with their results");
    assert_eq!(sent[0], "the question");
    assert!(sent[4].starts_with("[look returned] ccc"));
}
