//! `/openapi.json` says what is true.

use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::shared::schema::assert_valid;
use crate::support::gateway::request;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, KEY};

async fn document(gateway: &Gateway) -> Value {
    let response = gateway.client.get(gateway.url("/openapi.json")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// The validator of a schema under `components`.
fn component(document: &Value, name: &str) -> Validator {
    assert!(document["components"]["schemas"][name].is_object(), "{name}");
    let mut schema = document.clone();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$ref"] = json!(format!("#/components/schemas/{name}"));
    jsonschema::validator_for(&schema).expect("a valid schema")
}

/// Name of the schema that an answer is described by.
fn described(document: &Value, path: &str, method: &str, response: &reqwest::Response) -> Option<String> {
    let answer = &document["paths"][path][method]["responses"][response.status().as_str()];
    assert!(answer.is_object(), "{method} {path} says nothing about {}", response.status());
    for name in response.headers().keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-") || matches!(name, "retry-after" | "retry-after-ms" | "www-authenticate") {
            assert!(answer["headers"][name].is_object(), "{method} {path} {}: {name}", response.status());
        }
    }
    let kind = response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap();
    let schema = &answer["content"][kind]["schema"];
    assert!(schema.is_object(), "{method} {path} {}: {kind}", response.status());
    Some(schema["$ref"].as_str()?.rsplit('/').next()?.to_owned())
}

#[tokio::test]
async fn every_operation_is_served_as_described() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let document = document(&gateway).await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            let needs_key = operation.get("security").is_none();
            for key in [Some(KEY), Some("sk-wrong"), None] {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let url = gateway.url(&path.replace("{id}", "echo").replace("{model}", "echo"));
                let mut sent = gateway.client.request(method.clone(), url);
                if let Some(key) = key {
                    sent = sent.bearer_auth(key);
                }
                if operation.get("requestBody").is_some() {
                    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
                    let body = match path.as_str() {
                        "/mcp" => ping,
                        "/tools/{model}" => json!({"message": "hi"}),
                        _ => request("echo", "hi", json!({})),
                    };
                    sent = sent
                        .header("content-type", "application/json")
                        .header("accept", "application/json, text/event-stream")
                        .body(body.to_string());
                }
                let response = sent.send().await.unwrap();
                let expected = if key == Some(KEY) || !needs_key { 200 } else { 401 };
                assert_eq!(response.status(), expected, "{method} {path}");
                let schema = described(&document, path, &method.as_str().to_lowercase(), &response);
                let body = response.text().await.unwrap();
                if let Some(schema) = schema {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    assert_valid(&component(&document, &schema), &body, &schema);
                }
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), document["paths"].as_object().unwrap().len());
}

#[tokio::test]
async fn answers_of_every_kind_are_as_described() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let document = document(&gateway).await;
    for model in ["storyteller", "broken", "nothing", "echo"] {
        for more in [json!({}), json!({"n": 2, "temperature": 1}), json!({"stop": [1]}), json!({"n": 9})] {
            let response = gateway.ask(model, "hi", more.clone()).await;
            let schema = described(&document, "/v1/chat/completions", "post", &response).unwrap();
            let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            assert_valid(&component(&document, &schema), &body, &format!("{model} {more}"));
        }
    }
    let chunk = component(&document, "ChatCompletionChunk");
    for more in [json!({"stream_options": {"include_usage": true}}), json!({"n": 2})] {
        let mut more = more;
        more["stream"] = json!(true);
        let response = gateway.ask("storyteller", "hi", more).await;
        described(&document, "/v1/chat/completions", "post", &response);
        for one in Streamed::of(response).await.chunks() {
            assert_valid(&chunk, one, "a chunk");
        }
    }
    let broken = Streamed::of(gateway.ask("broken", "hi", json!({"stream": true})).await).await;
    let error = json!({ "error": broken.error().expect("an error in band") });
    assert_valid(&component(&document, "ErrorResponse"), &error, "in band");
}

#[tokio::test]
async fn what_is_taken_is_what_is_described() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let described = component(&document(&gateway).await, "ChatCompletionRequest");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai");
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let body = std::fs::read(&path).unwrap();
        if cozeway::openai::chat::Request::parse(&body).is_ok() {
            // A number out of range is taken too, but no validator's value.
            let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
            taken += 1;
            assert_valid(&described, &body, &path.display().to_string());
        }
    }
    assert!(taken > 10);
    for (body, why) in [
        (json!({"messages": []}), "no model"),
        (json!({"model": "echo", "messages": []}), "no message"),
        (json!({"model": "echo", "messages": [{"role": "robot", "content": "hi"}]}), "an unknown role"),
        (json!({"model": "echo", "messages": [{"role": "user"}]}), "no content"),
        (request("echo", "hi", json!({"n": 9})), "too many answers"),
        (request("echo", "hi", json!({"logprobs": true})), "probabilities"),
        (request("echo", "hi", json!({"modalities": ["audio"], "audio": {"format": "mp3"}})), "audio"),
        (request("echo", "hi", json!({"tool_choice": "required"})), "a forced call"),
        (request("echo", "hi", json!({"temperature": "1"})), "a wrong type"),
        (request("echo", "hi", json!({"stop": []})), "an empty list"),
    ] {
        assert!(cozeway::openai::chat::Request::parse(body.to_string().as_bytes()).is_err(), "{why}");
        assert!(!described.is_valid(&body), "{why}");
    }
}
