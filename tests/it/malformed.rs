//! Requests that are wrong: each gets its 4xx, and the next one is served.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::shared::schema;
use crate::support::scrape::Scrape;
use crate::support::sse::Streamed;
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

/// What comes over a connection until its end, which has to be a clean one.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.expect("it ends").unwrap();
    answer
}

/// A whole answer of HTTP/1.1 that is an error of ours and the last one of
/// its connection; its request id.
#[track_caller]
fn assert_last_error(name: &str, answer: &str, status: u16, code: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{name}: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {head}");
    let value = |wanted: &str| {
        let mut named = head.lines().filter_map(|line| line.strip_prefix(wanted)?.strip_prefix(": "));
        let value = named.next().unwrap_or_else(|| panic!("{name}: no {wanted} in {head}"));
        assert_eq!(named.next(), None, "{name}: {wanted} twice in {head}");
        value
    };
    assert_eq!(value("content-type"), "application/json", "{name}");
    assert_eq!(value("connection"), "close", "{name}");
    assert_eq!(value("content-length"), body.len().to_string(), "{name}");
    assert!(value("date").ends_with(" GMT"), "{name}");
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{name}: {body}"));
    schema::assert_valid(&schema::validator("error"), &error, name);
    assert_eq!(error["error"]["code"], code, "{name}");
    assert_eq!(error["error"]["type"], "invalid_request_error", "{name}");
    assert_eq!(error["error"]["param"], Value::Null, "{name}");
    value("x-request-id").to_owned()
}

/// What hyper does not take for a request.
fn garbage() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let post = |fields: &str| format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n");
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let bad = |name, bytes: Vec<u8>| (name, bytes, 400, "invalid_request");
    vec![
        bad("bytes", b"\x00\x01\x02\x03\r\n\r\n".to_vec()),
        bad("a method alone", b"GET\r\n\r\n".to_vec()),
        bad("no version", b"GET /\r\n\r\n".to_vec()),
        bad("a version to come", b"GET / HTTP/9.9\r\n\r\n".to_vec()),
        bad("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        bad("a handshake of TLS", [b"\x16\x03\x01\x02\x00\x01".as_slice(), &[0xfc; 512]].concat()),
        bad("a bad method", b"GE\x01T / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        bad("a bad path", b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        bad("a bad name of a header", post("a b: 1").into_bytes()),
        bad("a bad value of a header", post("a: \x00").into_bytes()),
        bad("a header without a colon", post("nonsense").into_bytes()),
        bad("a negative length", post("content-length: -1").into_bytes()),
        bad("a length that is no number", post("content-length: ten").into_bytes()),
        bad("two lengths", post("content-length: 1\r\ncontent-length: 2").into_bytes()),
        bad("an unknown coding", post("transfer-encoding: gzip").into_bytes()),
        (
            "a long path",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)).into_bytes(),
            414,
            "uri_too_long",
        ),
        ("many headers", post(many.trim_end()).into_bytes(), 431, "request_header_fields_too_large"),
        (
            "large headers",
            post(&format!("x: {}", "a".repeat(1 << 20))).into_bytes(),
            431,
            "request_header_fields_too_large",
        ),
    ]
}

#[tokio::test]
async fn what_is_no_http_is_an_error_like_any_other() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let good = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let cases = garbage();
    for (name, bytes, status, code) in &cases {
        let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
        stream.write_all(bytes).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = rest(&mut stream).await;
        let id = assert_last_error(name, &answer, *status, code);
        let line = gateway.logged(&id).await;
        assert_eq!((&line["status"], &line["error.code"]), (&json!(status), &json!(code)), "{name}: {line}");
        assert_eq!((&line["outcome"], &line["client.address"]), (&json!("failed"), &json!("127.0.0.1")));
        assert!(line.get("method").is_none() && line.get("path").is_none(), "{name}: {line}");

        // Behind a good request, in the same write and after its answer.
        let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
        stream.write_all(&[good, bytes.as_slice()].concat()).await.unwrap();
        let answer = rest(&mut stream).await;
        let (first, second) = answer.split_at(answer[1..].find("HTTP/1.1 ").expect("two answers") + 1);
        assert!(first.starts_with("HTTP/1.1 200 ") && first.ends_with('}'), "{name}: {first}");
        assert_last_error(name, second, *status, code);

        let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
        stream.write_all(good).await.unwrap();
        let mut first = vec![0; first.len()];
        stream.read_exact(&mut first).await.unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200 "));
        stream.write_all(bytes).await.unwrap();
        assert_last_error(name, &rest(&mut stream).await, *status, code);
        gateway.assert_well().await;
    }
    let scrape = Scrape::of(&gateway).await;
    let counted = scrape.sum("cozeway_requests_total", &[("route", "(unknown)"), ("status", "400")]);
    assert_eq!(counted, 3.0 * cases.iter().filter(|case| case.2 == 400).count() as f64);
    assert_eq!(scrape.sum("cozeway_open_requests", &[]), 1.0, "the scrape itself");
}

/// Answers that look like hyper's own are let through, byte for byte.
#[tokio::test]
async fn an_answer_that_looks_like_a_refusal_is_left_alone() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let text = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for _ in 0..3 {
        let answer = gateway.answer("echo", text).await;
        assert_eq!(answer["choices"][0]["message"]["content"], text);
        let streamed = Streamed::of(gateway.ask("echo", text, json!({"stream": true})).await).await;
        assert!(streamed.is_done());
        assert_eq!(streamed.content(), text);
        assert_eq!(gateway.ask("none", text, json!({})).await.status(), 404);
    }
}

#[tokio::test]
async fn garbage_on_the_connection_harms_nobody() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for garbage in [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage",
        b"GET /v1/models HTTP/1.1\r\nhost",
        b"",
    ] {
        let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        gateway.assert_well().await;
    }
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
