//! What a client may take of the gateway: connections, time, a name.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::shared::schema;
use crate::support::gateway::request;
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
        // Those who say nothing take all places; the others are told.
        let silent = join_all((0..500).map(|_| TcpStream::connect(&gateway.address))).await;
        assert!(gateway.open_files() < before + 50 + 64 + 20, "{} files are open", gateway.open_files());
        let begun = Instant::now();
        let mut told = 0;
        while told < 5 {
            assert!(begun.elapsed() < Duration::from_secs(12), "only {told} were told");
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let asked = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body.clone());
            // Past what is cheap, connections are closed without a word.
            let Ok(answer) = asked.send().await else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            assert_eq!(answer.status(), 503, "after {:?}", begun.elapsed());
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(answer.headers()["connection"], "close");
            let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            schema::assert_valid(&validator, &error, "the refusal");
            assert_eq!(error["error"]["code"], "overloaded");
            told += 1;
        }
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
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let hits =
        metrics.lines().find(|line| line.starts_with("cozeway_limit_hits_total{limit=\"connections\""));
    let hits: u64 = hits.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    // 450 of each round have no place. With several floods at once on two
    // cores, 1,310 to 1,387 of them were counted.
    assert!(hits >= 3 * 450, "{hits} connections were refused");
    let complaints = gateway.logged_lines("there are too many connections");
    assert!((1..=3).contains(&complaints), "{complaints} lines");
}

#[tokio::test]
async fn fewer_files_than_connections_need_are_no_end() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_few_files(&coze, 300).await;
    eventually("it says so", || {
        gateway.logged_lines("no more than 54 connections are served at a time") == 1
    })
    .await;
    let silent = join_all((0..1000).map(|_| TcpStream::connect(&gateway.address))).await;
    assert!(gateway.open_files() < 300);
    drop(silent);
    let start = Instant::now();
    let body = request("echo", "hello", json!({})).to_string();
    while !gateway.post(body.clone()).send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", gateway.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
