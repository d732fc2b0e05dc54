//! What a client may take of the gateway: connections, time, a name.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::shared::schema;
use crate::support::gateway::request;
use crate::support::scrape::Scrape;
use crate::support::{Coze, Gateway, KEY, eventually};

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n";

/// What comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends it, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(&gateway.address).await.unwrap()
}

/// How many connections were refused.
async fn refused(gateway: &Gateway) -> f64 {
    Scrape::of(gateway).await.sum("cozeway_limit_hits_total", &[("limit", "connections")])
}

/// How many of these have been told that the gateway is full, and then
/// nothing more.
fn told(streams: &[TcpStream]) -> usize {
    let mut bytes = [0; 2048];
    let is_told = |stream: &&TcpStream| {
        // Left there, to be looked at again.
        let seen = tokio::task::unconstrained(stream.peek(&mut bytes)).now_or_never();
        matches!(seen, Some(Ok(1..))) && bytes.starts_with(b"HTTP/1.1 503 ")
    };
    streams.iter().filter(is_told).count()
}

#[tokio::test]
async fn a_flood_of_ten_times_the_connections_is_survived() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_connections = 50").await;
    gateway.assert_well().await;
    let before = gateway.open_files();
    let body = request("echo", "hello", json!({})).to_string();
    let validator = schema::validator("error");
    for round in 0..3 {
        eventually("all are gone", || gateway.open_files() <= before).await;
        let silent = join_all((0..500).map(async |_| connect(&gateway).await)).await;
        assert!(gateway.open_files() < before + 50 + 512 + 20, "{} files are open", gateway.open_files());
        // Those who say nothing take all places; everybody else is told.
        for _ in 0..5 {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let asked = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body.clone());
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), 503, "in round {round}");
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(answer.headers()["connection"], "close");
            let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            schema::assert_valid(&validator, &error, "the refusal");
            assert_eq!(error["error"]["code"], "overloaded");
        }
        eventually("the silent are told, too", || told(&silent) >= 450).await;
        assert!(told(&silent) <= 451, "the connection of before has a place as well");
        drop(silent);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let start = Instant::now();
        loop {
            let asked = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body.clone());
            if asked.send().await.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "round {round}: it does not answer again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Of each round's 500, as many have a place as there are places; then came
    // five more. They all reach the gateway, since its queue is longer than
    // this flood, and they come one by one out of it: who asks stands behind
    // them. Whoever tries again at a round's end may be refused beyond that.
    let hits = refused(&gateway).await;
    assert!(hits >= f64::from(3 * (500 - 50 + 5)), "{hits} connections were refused");
    let complaints = gateway.logged_lines("there are too many connections");
    assert!((1..=3).contains(&complaints), "{complaints} lines");
}

#[tokio::test]
async fn everybody_past_the_limit_is_told_and_sees_the_end() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_connections = 10").await;
    let validator = schema::validator("error");
    // These keep every place, since each has asked once.
    let kept = join_all((0..10).map(async |_| {
        let mut stream = connect(&gateway).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    }))
    .await;
    let files = gateway.open_files();
    let body = vec![b' '; 100_000];
    let answers = join_all((0..300).map(async |number| {
        let mut stream = connect(&gateway).await;
        // Some send more than they could have sent before they are told.
        let length = if number % 3 == 0 { body.len() } else { 0 };
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nX-Request-Id: client-{number}\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..length]).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
        read.expect("the end").unwrap_or_else(|error| panic!("{number}: {error} after {answer:?}"));
        (number, answer)
    }))
    .await;
    for (number, answer) in answers {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        let length = format!("content-length: {}", body.len());
        for line in ["content-type: application/json", "connection: close", "retry-after: 1", &length] {
            assert!(head.split("\r\n").any(|found| found == line), "{line} in {head}");
        }
        let id = head.split("\r\n").find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
        assert!(id == format!("client-{number}") || id.starts_with("req_"), "{id}");
        let error: Value = serde_json::from_str(body).unwrap();
        schema::assert_valid(&validator, &error, "the refusal");
        assert_eq!(error["error"]["code"], "overloaded");
    }
    eventually("the refused are gone", || gateway.open_files() <= files).await;
    drop(kept);
    let tried_too_early = eventually_well(&gateway).await;
    assert_eq!(refused(&gateway).await, f64::from(300 + tried_too_early));
}

/// Past the limit a client that speaks HTTP/2, and one whose first bytes come
/// one by one, are told in their own way.
#[tokio::test]
async fn whatever_they_speak_they_are_told() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_connections = 1").await;
    gateway.assert_well().await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let answer = http2.get(gateway.url("/v1/models")).header("x-request-id", "two").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (503, http::Version::HTTP_2));
    assert_eq!(answer.headers()["x-request-id"], "two");

    let mut slow = connect(&gateway).await;
    slow.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\n\r\n" {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with('}'), "{answer}");
}

/// Waits until it serves again; says how often it did not.
async fn eventually_well(gateway: &Gateway) -> u32 {
    let start = Instant::now();
    let mut refusals = 0;
    let body = request("echo", "hello", json!({})).to_string();
    while !gateway.post(body.clone()).send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", gateway.log());
        refusals += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refusals
}

#[tokio::test]
async fn fewer_files_than_connections_need_are_no_end() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_few_files(&coze, 300).await;
    eventually("it says so", || {
        gateway.logged_lines("no more than 54 connections are served at a time") == 1
    })
    .await;
    let before = gateway.open_files();
    let silent = join_all((0..1000).map(async |_| connect(&gateway).await)).await;
    eventually("all but those with a place are told", || told(&silent) == 1000 - 54).await;
    let open = gateway.open_files();
    assert!(open < before + 54 + 64 + 20, "{open} files are open");
    drop(silent);
    eventually_well(&gateway).await;
}

/// Real time: 30 s.
#[tokio::test]
async fn slow_heads_and_slow_bodies_are_not_waited_for() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_connections = 50").await;
    let heads = join_all((0..20).map(async |_| {
        let mut stream = connect(&gateway).await;
        let start = Instant::now();
        for byte in HEAD.bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            if tokio::time::timeout(Duration::from_secs(1), stream.readable()).await.is_ok() {
                break;
            }
        }
        assert_eq!(rest(&mut stream).await, "");
        start.elapsed().as_secs()
    }));
    let bodies = join_all((0..20).map(async |_| {
        let mut stream = connect(&gateway).await;
        let start = Instant::now();
        let begun = format!("{HEAD}authorization: Bearer {KEY}\r\n\r\n{{\"model\"");
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(
            answer.contains("\"code\":\"request_timeout\"") && answer.contains("connection: close"),
            "{answer}"
        );
        start.elapsed().as_secs()
    }));
    let others = async {
        for _ in 0..20 {
            gateway.assert_well().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (heads, bodies, ()) = futures_util::future::join3(heads, bodies, others).await;
    assert!(heads.iter().all(|seconds| (14..20).contains(seconds)), "{heads:?}");
    assert!(bodies.iter().all(|seconds| (29..36).contains(seconds)), "{bodies:?}");
}

#[tokio::test]
async fn trusted_proxies_say_who_the_client_is() {
    let coze = Coze::start().await;
    let trusting = Gateway::with_server(&coze, "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]").await;
    let wary = Gateway::start(&coze).await;
    for (gateway, id, address) in [(&trusting, "one", "203.0.113.9"), (&wary, "two", "127.0.0.1")] {
        let body = request("echo", "hi", json!({})).to_string();
        let forwarded = "1.1.1.1, 203.0.113.9, 10.1.2.3";
        let request = gateway.post(body).header("x-forwarded-for", forwarded).header("x-request-id", id);
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert_eq!(gateway.logged(id).await["client.address"], address);
    }
}
