//! Requests that are wrong: each gets its 4xx, and the next one is served.

use std::path::PathBuf;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::shared::schema;
use crate::support::{Coze, Gateway, KEY};

fn cases() -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai/malformed.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn body(case: &Value) -> Vec<u8> {
    match case["body_hex"].as_str() {
        Some(hex) => hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect(),
        None => case["body"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn every_malformed_body_is_a_400_that_names_the_field() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let validator = schema::validator("error");
    let cases = cases();
    assert!(cases.len() >= 60);
    for case in &cases {
        let name = &case["name"];
        let response = gateway.post(body(case)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), case["status"].as_u64().unwrap() as u16, "{name}");
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        schema::assert_valid(&validator, &error, "an error");
        assert_eq!(
            (&error["error"]["code"], &error["error"]["param"]),
            (&case["code"], &case["param"]),
            "{name}: {error}"
        );
        assert_eq!(error["error"]["type"], "invalid_request_error", "{name}");
    }
    assert!(coze.simulator.requests().is_empty(), "nothing of it reached Coze");
    gateway.assert_well().await;
}

#[tokio::test]
async fn any_content_type_will_do_for_json() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY);
        let body = r#"{"model":"echo","messages":[{"role":"user","content":"hi"}]}"#;
        let response = request.header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{kind}");
    }
}

/// Sends raw bytes and reads the answer until the connection closes or, for
/// a connection that stays, one answer is there.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    // The gateway may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn garbage_on_the_connection_harms_nobody() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let well = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 60\r\n\r\n{:<60}",
        r#"{"model":"echo","messages":[{"role":"user","content":"hi"}]}"#
    );
    for garbage in [
        b"\x00\x01\x02\x03\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20], b"\r\n\r\n".to_vec()].concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage".to_vec(),
    ] {
        let _ = raw(&gateway, &garbage).await;
        gateway.assert_well().await;
    }
    // A good request, and garbage behind it on the same connection.
    let answer = raw(&gateway, format!("{well}\x00\x01garbage\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"content\":\"hi\""), "{answer}");
    gateway.assert_well().await;
}

#[tokio::test]
async fn two_requests_in_one_write_are_answered_in_order() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let one = |text: &str| {
        let body = format!(r#"{{"model":"echo","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = raw(&gateway, (one("first") + &one("second")).as_bytes()).await;
    let first = answer.find("\"content\":\"first\"").expect("the first answer");
    let second = answer.find("\"content\":\"second\"").expect("the second answer");
    assert!(first < second);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_request() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 1000\r\n\r\n{{\"model\""
    );
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(coze.simulator.requests().is_empty());
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_however_it_is_sent() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_body = \"100KB\"").await;
    let big = vec![b' '; 300_000];
    let chunked = futures_util::stream::iter(
        big.clone().chunks(1000).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    for body in [reqwest::Body::from(big), reqwest::Body::wrap_stream(chunked)] {
        let response = gateway.post(body).send().await.unwrap();
        assert_eq!(response.status(), 413);
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "request_too_large");
    }
    gateway.assert_well().await;
}

/// A client that sends all before it looks for an answer, and then still
/// finds one.
#[tokio::test]
async fn a_refusal_is_seen_by_who_sends_a_large_body() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let body = vec![b' '; 10_000_000];
    for (method, path, key, status) in [
        ("POST", "/v1/chat/completions", "sk-wrong-key-0123456789", 401),
        ("POST", "/v1/nothing", KEY, 404),
        ("PUT", "/v1/models", KEY, 405),
        ("OPTIONS", "/v1/models", KEY, 204),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes(), "{path}");
    }
}

#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_refused_at_once() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_body = \"100KB\"").await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nexpect: 100-continue\r\ncontent-length: 200000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(2), read).await.unwrap().unwrap();
    assert_eq!(answer, *b"HTTP/1.1 413");
}
