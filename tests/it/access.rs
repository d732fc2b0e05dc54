//! Who may call what.

use std::time::Duration;

use serde_json::{Value, json};

use cozeway::simulator::{DEMO_TOKEN, Options};

use crate::support::gateway::{config, request};
use crate::support::{Coze, Gateway, KEY};

async fn refused(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn without_a_right_key_there_is_nothing() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let body = request("echo", "hi", json!({})).to_string();
    let url = gateway.url("/v1/chat/completions");
    let none = gateway.client.post(&url).body(body.clone()).send().await.unwrap();
    assert_eq!(none.headers()["www-authenticate"], "Bearer");
    assert_eq!(refused(none).await, (401, "missing_api_key".into()));
    for key in ["wrong", "pat_demo", &KEY[..KEY.len() - 1], &format!("{KEY}x")] {
        let response = gateway.client.post(&url).bearer_auth(key).body(body.clone()).send().await.unwrap();
        assert_eq!(refused(response).await, (401, "invalid_api_key".into()));
    }
    for path in ["/v1/models", "/v1/models/echo"] {
        let response = gateway.client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(refused(response).await, (401, "missing_api_key".into()));
    }
    assert!(coze.simulator.requests().is_empty());
}

#[tokio::test]
async fn a_key_sees_and_uses_only_its_models() {
    let coze = Coze::start().await;
    let more = "[keys.narrow]\nkey = \"sk-narrow-0123456789abcdef\"\nmodels = [\"echo\", \"desk/*\"]\n\
        [models.\"desk/one two\"]\nbot_id = \"1\"\n"
        .replace("desk/one two", "desk/one%two");
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    let get = |path: &str, key: &'static str| gateway.client.get(gateway.url(path)).bearer_auth(key).send();
    let narrow = "sk-narrow-0123456789abcdef";
    let list: Value =
        serde_json::from_str(&get("/v1/models", narrow).await.unwrap().text().await.unwrap()).unwrap();
    crate::shared::schema::assert_valid(&crate::shared::schema::validator("model_list"), &list, "the list");
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["desk/one%two", "echo"]);
    for path in ["/v1/models/desk%2Fone%25two", "/models/desk/one%25two", "//v1//models/desk%2fone%25two"] {
        let response = get(path, narrow).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let model: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        crate::shared::schema::assert_valid(&crate::shared::schema::validator("model"), &model, "a model");
        assert_eq!(model["id"], "desk/one%two");
    }
    assert_eq!(
        refused(get("/v1/models/context", narrow).await.unwrap()).await,
        (404, "model_not_found".into())
    );
    assert_eq!(refused(get("/v1/models/nothing", KEY).await.unwrap()).await, (404, "model_not_found".into()));
    let body = request("context", "hi", json!({})).to_string();
    let response = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(narrow)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(refused(response).await, (403, "model_not_allowed".into()));
    let response = gateway.ask("nothing", "hi", json!({})).await;
    assert_eq!(refused(response).await, (404, "model_not_found".into()));
}

#[tokio::test]
async fn aliases_and_beginnings_lead_to_their_model() {
    let coze = Coze::start().await;
    let bot = cozeway::simulator::bots::ECHO;
    let more = format!("[models.main]\nbot_id = \"{bot}\"\naliases = [\"gpt-4o\", \"gpt-*\"]\n");
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    for name in ["main", "gpt-4o", "gpt-5-nano"] {
        let answer = gateway.answer(name, "hi").await;
        assert_eq!(answer["model"], name, "the client's own word comes back");
    }
    // Repeated in every chunk, a name of megabytes would fill the memory.
    let long = gateway.ask(&format!("gpt-{}", "x".repeat(1 << 20)), "hi", json!({"stream": true})).await;
    assert_eq!(refused(long).await, (404, "model_not_found".into()));
    let list: Value = serde_json::from_str(
        &gateway
            .client
            .get(gateway.url("/models"))
            .bearer_auth(KEY)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"gpt-4o") && ids.contains(&"main") && !ids.contains(&"gpt-*"), "{ids:?}");
}

#[tokio::test]
async fn in_passthrough_mode_the_callers_token_goes_to_coze() {
    let coze =
        Coze::with(Options { tokens: vec![DEMO_TOKEN.into(), "pat_of_ann".into()], ..Options::instant() })
            .await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n\
         [models.echo]\nbot_id = \"{}\"\n[auth]\nmode = \"passthrough\"\n",
        coze.port,
        cozeway::simulator::bots::ECHO
    );
    let gateway = Gateway::with(&text).await;
    let ask = |model: &str, token: &'static str| {
        let body = request(model, "hi", json!({"user": "ann"})).to_string();
        gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(token).body(body).send()
    };
    assert_eq!(ask("echo", "pat_of_ann").await.unwrap().status(), 200);
    let sent = coze.simulator.requests().pop().unwrap();
    assert_eq!(sent.headers["authorization"], "Bearer pat_of_ann");
    assert_eq!(sent.body["user_id"], "ann");
    assert_eq!(
        ask(cozeway::simulator::bots::CONTEXT, "pat_of_ann").await.unwrap().status(),
        200,
        "digits are a bot id"
    );
    assert_eq!(refused(ask("echo", "pat_unknown").await.unwrap()).await, (401, "invalid_api_key".into()));
    let body = request("echo", "hi", json!({})).to_string();
    let none = gateway.client.post(gateway.url("/v1/chat/completions")).body(body).send().await.unwrap();
    assert_eq!(refused(none).await, (401, "missing_api_key".into()));
}

#[tokio::test]
async fn without_keys_only_this_machine_is_served() {
    let coze = Coze::start().await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\ntoken = \"pat_demo\"\n\
         [models.echo]\nbot_id = \"{}\"\n[auth]\nmode = \"none\"\n",
        coze.port,
        cozeway::simulator::bots::ECHO
    );
    let gateway = Gateway::with(&text).await;
    let ask = |header: &'static str, value: &'static str| {
        let body = request("echo", "hi", json!({})).to_string();
        gateway.client.post(gateway.url("/v1/chat/completions")).header(header, value).body(body).send()
    };
    for (header, value) in
        [("x-y", "z"), ("origin", "http://localhost:3000"), ("host", "localhost"), ("host", "[::1]:1")]
    {
        let response = ask(header, value).await.unwrap();
        assert_eq!(response.status(), 200, "{header}: {value}");
        if header == "origin" {
            assert_eq!(response.headers()["access-control-allow-origin"], value);
        }
    }
    for (header, value, code) in [
        ("host", "evil.example", "host_not_allowed"),
        ("host", "localhost.evil.example", "host_not_allowed"),
        ("origin", "https://evil.example", "origin_not_allowed"),
        ("origin", "null", "origin_not_allowed"),
    ] {
        assert_eq!(refused(ask(header, value).await.unwrap()).await, (403, code.into()), "{header}: {value}");
    }
    let preflight = gateway
        .client
        .request(http::Method::OPTIONS, gateway.url("/v1/models"))
        .header("origin", "https://evil.example");
    let response = preflight.send().await.unwrap();
    assert!(response.headers().get("access-control-allow-origin").is_none());
    // The key that a client sends out of habit changes nothing.
    let body = request("echo", "hi", json!({})).to_string();
    let response = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth("whatever")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(coze.simulator.requests().pop().unwrap().headers["authorization"], "Bearer pat_demo");
}

#[tokio::test]
async fn a_token_file_is_read_again_after_a_refusal() {
    let coze = Coze::start().await;
    let folder =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("coze");
    std::fs::write(&file, "pat_old\n").unwrap();
    let text = config(&coze, "", "")
        .replace("token = \"pat_demo\"", &format!("token_file = {:?}", file.display().to_string()));
    let gateway = Gateway::with(&text).await;
    assert_eq!(
        refused(gateway.ask("echo", "hi", json!({})).await).await,
        (502, "upstream_auth_failed".into())
    );
    assert_eq!(coze.simulator.requests().len(), 1, "the same token is not tried twice");
    std::fs::write(&file, "pat_demo\n").unwrap();
    // At once: the file is looked at once a second, but after a refusal in any case.
    gateway.assert_well().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_token_file_that_changes_is_read_again() {
    let coze =
        Coze::with(Options { tokens: vec!["pat_one".into(), "pat_two".into()], ..Options::instant() }).await;
    let folder =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tokens-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("coze");
    std::fs::write(&file, "pat_one").unwrap();
    let text = config(&coze, "", "")
        .replace("token = \"pat_demo\"", &format!("token_file = {:?}", file.display().to_string()));
    let gateway = Gateway::with(&text).await;
    gateway.assert_well().await;
    std::fs::write(&file, "pat_two").unwrap();
    let mut used = String::new();
    for _ in 0..100 {
        gateway.assert_well().await;
        used = coze.simulator.requests().pop().unwrap().headers["authorization"].to_str().unwrap().to_owned();
        if used == "Bearer pat_two" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(used, "Bearer pat_two");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn in_passthrough_mode_a_gateway_needs_no_models() {
    let coze = Coze::start().await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n\
         [auth]\nmode = \"passthrough\"\n",
        coze.port
    );
    let gateway = Gateway::with(&text).await;
    let body = request(cozeway::simulator::bots::ECHO, "hi", json!({})).to_string();
    let response =
        gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(DEMO_TOKEN).body(body);
    assert_eq!(response.send().await.unwrap().status(), 200);
}
