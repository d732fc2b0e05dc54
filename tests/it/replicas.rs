//! Several gateways over one Redis. Without `COZEWAY_TEST_REDIS_SERVER`, the
//! path of a `redis-server` or `valkey-server`, they are not tested.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use cozeway::simulator::{Script, Step};
use http::StatusCode;
use serde_json::json;

use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, SCRIPTED, Talk};

/// A Redis of a test's own.
struct Redis {
    program: PathBuf,
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    fn start() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = PathBuf::from(std::env::var_os("COZEWAY_TEST_REDIS_SERVER")?);
        let name = format!("redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = launch(&program, &folder, port);
        Some(Self { program, child, port, folder })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = launch(&self.program, &self.folder, self.port);
    }

    async fn gateway(&self, coze: &Coze, limits: &str) -> Gateway {
        let url = format!("[state]\nurl = \"redis://127.0.0.1:{}/0\"\n", self.port);
        let gateway = Gateway::with(&config(coze, "", &format!("{limits}\n{url}"))).await;
        within("the store is there", async || state(&gateway).await == "ready").await;
        gateway
    }
}

fn launch(program: &PathBuf, folder: &PathBuf, port: u16) -> Child {
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a condition, a minute at most.
async fn within(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

async fn state(gateway: &Gateway) -> String {
    let text = gateway.client.get(gateway.url("/readyz")).send().await.unwrap().text().await.unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["state"].as_str().unwrap().to_owned()
}

async fn status(gateway: &Gateway) -> StatusCode {
    gateway.ask("echo", "hi", json!({})).await.status()
}

/// A stream that hangs after its first words.
async fn held(coze: &Coze, gateway: &Gateway) -> Stream {
    let transcript = crate::shared::golden::transcript("chat_text.server.sse");
    let half = transcript.get(..transcript.len() / 2).unwrap().to_vec();
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(half.into()), Step::Hang]));
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    stream
}

#[tokio::test]
async fn a_conversation_goes_on_through_another_replica() {
    let Some(redis) = Redis::start() else { return };
    let coze = Coze::start().await;
    let (a, b) = (redis.gateway(&coze, "").await, redis.gateway(&coze, "").await);
    let (via_a, via_b) = (Talk::new(&a, &coze, "echo"), Talk::new(&b, &coze, "echo"));
    let first = via_a.says(&["one"]).await;
    first.assert("new", "one");
    let second = via_b.says(&["one", "one", "two"]).await;
    second.assert("continued", "one [one] two");
    assert_eq!(second.place(), first.place());
    // The head was claimed for all.
    via_a.says(&["one", "one", "three"]).await.assert("replayed; reason=edited", "one [one] three");
    via_a.named("n").says(&["a"]).await.assert("new", "a");
    via_b.named("n").says(&["b"]).await.assert("continued", "a [a] b");
    via_a.named(second.name()).says(&["three"]).await.assert("continued", "one [one] two [two] three");
}

#[tokio::test]
async fn limits_hold_together() {
    let Some(redis) = Redis::start() else { return };
    let coze = Coze::start().await;
    let limits = "requests_per_minute = 6\nconcurrent_requests = 2\n[limits]\nrequests_per_minute = 100";
    let (a, b) = (redis.gateway(&coze, limits).await, redis.gateway(&coze, limits).await);
    for gateway in [&a, &b, &a] {
        assert_eq!(status(gateway).await, 200);
    }
    let response = b.ask("echo", "hi", json!({})).await;
    assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "2");
    let (one, two) = (held(&coze, &a).await, held(&coze, &b).await);
    for gateway in [&a, &b] {
        let response = gateway.ask("echo", "hi", json!({})).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "0");
    }
    drop((one, two));
}

#[tokio::test]
async fn slots_and_tokens_are_counted_together() {
    let Some(redis) = Redis::start() else { return };
    let coze = Coze::start().await;
    let limits = "concurrent_requests = 1\n[limits]\ntokens_per_minute = 5";
    let (a, b) = (redis.gateway(&coze, limits).await, redis.gateway(&coze, limits).await);
    let stream = held(&coze, &a).await;
    let response = b.ask("echo", "hi", json!({})).await;
    assert_eq!(response.status(), 429);
    let text = response.text().await.unwrap();
    assert!(text.contains("concurrent requests of this API key: limit 1"), "{text}");
    drop(stream);
    // What was left is charged, or is not; the slot is free in any case.
    within("the slot is free for the other", async || {
        let response = b.ask("echo", "a few words more than five", json!({})).await;
        let over = response.status() == 429 && !response.text().await.unwrap().contains("concurrent");
        over || status(&b).await == 200
    })
    .await;
    within("the cost is known to the other", async || {
        let text = a.ask("echo", "hi", json!({})).await.text().await.unwrap();
        text.contains("tokens per minute of this gateway: limit 5")
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_dies_gives_back_what_it_held() {
    let Some(redis) = Redis::start() else { return };
    let coze = Coze::start().await;
    let limits = "concurrent_requests = 2";
    let (a, b) = (redis.gateway(&coze, limits).await, redis.gateway(&coze, limits).await);
    Talk::new(&a, &coze, "echo").named("n").says(&["one"]).await.assert("new", "one");
    let transcript = crate::shared::golden::transcript("chat_text.server.sse");
    let half = transcript.get(..transcript.len() / 2).unwrap().to_vec();
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(half.into()), Step::Hang]));
    let named = Talk::new(&a, &coze, "scripted").named("m");
    let mut one = Stream::new(named.streams(&["x"]).await);
    one.content().await;
    let two = held(&coze, &a).await;
    assert_eq!(status(&b).await, 429);
    a.signal("-KILL");
    drop((one, two));
    within("its slots are free", async || status(&b).await == 200).await;
    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(transcript.to_vec().into())]));
    let on_b = Talk::new(&b, &coze, "scripted").named("m");
    within("its conversation is free", async || on_b.says(&["y"]).await.status == 200).await;
    let unharmed = Talk::new(&b, &coze, "echo").named("n").says(&["two"]).await;
    unharmed.assert("continued", "one [one] two");
}

#[tokio::test]
async fn while_the_store_is_away_chats_without_a_name_go_on() {
    let Some(mut redis) = Redis::start() else { return };
    let coze = Coze::start().await;
    let gateway = redis.gateway(&coze, "requests_per_minute = 1000").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["one"]).await.assert("new", "one");
    talk.named("n").says(&["a"]).await.assert("new", "a");
    redis.kill();
    let away = talk.says(&["one", "one", "two"]).await;
    away.assert("replayed; reason=state_unavailable", "one [one] two");
    assert_eq!(away.header("x-conversation-id"), None);
    let refused = talk.named("n").says(&["b"]).await;
    assert_eq!(refused.error(), (503, "state_unavailable"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(state(&gateway).await, "degraded");
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    redis.start_again();
    within("the store is back", async || state(&gateway).await == "ready").await;
    talk.named("n").says(&["b"]).await.assert("continued", "a [a] b");
    talk.says(&["one", "one", "three"]).await.assert("continued", "one [one] three");
}
