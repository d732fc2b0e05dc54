//! What every answer has in common: ids, methods, paths, CORS, protocols.

use http::Method;
use serde_json::{Value, json};

use crate::shared::schema;
use crate::support::gateway::{config, request};
use crate::support::{Coze, Gateway, KEY};

async fn started() -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    (coze, gateway)
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let (_coze, gateway) = started().await;
    let body = request("echo", "hi", json!({})).to_string();
    let response = gateway.post(body.clone()).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let response = gateway.post(body).header("x-request-id", "not fit").send().await.unwrap();
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    let response = gateway.client.get(gateway.url("/nothing")).send().await.unwrap();
    assert!(response.headers().contains_key("x-request-id"), "on errors too");
}

#[tokio::test]
async fn what_is_not_served_is_a_json_error() {
    let (_coze, gateway) = started().await;
    let validator = schema::validator("error");
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "unknown_url"),
        (Method::POST, "/v1/responses", 404, "unknown_url"),
        (Method::GET, "/v1/chat/completions/abc", 404, "unknown_url"),
        (Method::GET, "/v1/chat/completions", 405, "method_not_allowed"),
        (Method::GET, "/v1/models/none", 404, "model_not_found"),
        (Method::GET, "/v1/models/%ff", 404, "model_not_found"),
        (Method::GET, "/v1/models/%00", 404, "model_not_found"),
        (Method::DELETE, "/v1/models/echo", 405, "method_not_allowed"),
        (Method::POST, "/v1/models", 405, "method_not_allowed"),
        (Method::from_bytes(b"BREW").unwrap(), "/v1/models", 405, "method_not_allowed"),
    ] {
        let response =
            gateway.client.request(method.clone(), gateway.url(path)).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/json");
        if status == 405 {
            assert!(response.headers().contains_key("allow"), "{method} {path}");
        }
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        schema::assert_valid(&validator, &error, path);
        assert_eq!(error["error"]["code"], code, "{method} {path}");
    }
}

#[tokio::test]
async fn signs_of_life_need_no_key() {
    let (_coze, gateway) = started().await;
    for path in ["/healthz", "/"] {
        let response = gateway.client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let length = response.headers()["content-length"].clone();
        let head = gateway.client.head(gateway.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "HEAD {path}");
        assert_eq!(head.headers()["content-length"], length);
        assert_eq!(head.text().await.unwrap(), "");
    }
    let head = gateway.client.head(gateway.url("/v1/models")).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let head = gateway.client.head(gateway.url("/v1/chat/completions")).send().await.unwrap();
    assert_eq!(head.status(), 405);
}

#[tokio::test]
async fn paths_may_be_typed_in_many_ways() {
    let (_coze, gateway) = started().await;
    let body = request("echo", "hi", json!({})).to_string();
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "//v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?x=1",
    ] {
        let response =
            gateway.client.post(gateway.url(path)).bearer_auth(KEY).body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn any_page_may_ask_and_read_with_a_key() {
    let (_coze, gateway) = started().await;
    let wanted = "authorization, content-type, x-stainless-os, user-agent";
    let preflight = gateway
        .client
        .request(Method::OPTIONS, gateway.url("/v1/chat/completions"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", wanted)
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(preflight.headers()["access-control-allow-headers"], wanted);
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));

    let body = request("echo", "hi", json!({})).to_string();
    for (key, status) in [(KEY, 200), ("wrong", 401)] {
        let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key);
        let response =
            request.header("origin", "https://app.example").body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "on errors too");
        assert!(
            response.headers()["access-control-expose-headers"].to_str().unwrap().contains("x-request-id")
        );
    }
}

#[tokio::test]
async fn only_listed_origins_may_read_where_there_is_a_list() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "cors_origins = [\"https://app.example\"]").await;
    let origin = async |origin: &str| {
        let request = gateway.client.get(gateway.url("/v1/models")).bearer_auth(KEY).header("origin", origin);
        request.send().await.unwrap().headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(origin("https://app.example").await.unwrap(), "https://app.example");
    assert_eq!(origin("https://other.example").await, None);
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_too() {
    let (_coze, gateway) = started().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let body = request("echo", "hello", json!({"stream": true})).to_string();
    let asks = (0..20).map(|_| {
        let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body.clone());
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.version(), http::Version::HTTP_2);
            crate::support::sse::Streamed::of(response).await.content()
        }
    });
    for content in futures_util::future::join_all(asks).await {
        assert_eq!(content, "hello");
    }
}

#[tokio::test]
async fn a_gateway_needs_no_file() {
    let coze = Coze::start().await;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .arg("serve")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("COZE_BASE_URL", format!("http://127.0.0.1:{}", coze.port))
        .env("COZE_TOKEN", "pat_demo")
        .env("COZE_BOT_ID", cozeway::simulator::bots::ECHO)
        .env_remove("COZEWAY_CONFIG")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.unwrap();
    // The port is the default one; where another program has it, the exit
    // code says so, and there is nothing more to learn.
    if line.is_empty() {
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
        return;
    }
    assert_eq!(line, "cozeway listens on http://127.0.0.1:8787\n");
    let body = request("coze", "hi", json!({})).to_string();
    let response = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post("http://127.0.0.1:8787/v1/chat/completions");
    let answer: Value =
        serde_json::from_str(&response.body(body).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
}

#[tokio::test]
async fn a_taken_port_is_exit_code_1() {
    let (coze, gateway) = started().await;
    let text = config(&coze, "", "").replace("127.0.0.1:0", &gateway.address);
    let file = gateway.folder.join("second.toml");
    std::fs::write(&file, text).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .args(["serve", "--config"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen on"));
    assert!(output.stdout.is_empty());
}
