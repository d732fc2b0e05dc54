//! Several gateways over one Redis. Without `COZEWAY_TEST_REDIS_SERVER`, the
//! path of a `redis-server` or `valkey-server`, they are not tested.

use cozeway::simulator::{Script, Step};
use http::StatusCode;
use serde_json::json;

use crate::shared::redis::{FORGETS, KEEPS, Server};
use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, SCRIPTED, Talk};

/// A Redis of a test's own.
pub(crate) struct Redis(pub(crate) Server);

impl Redis {
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&KEEPS).await
    }

    async fn with(settings: &[&str]) -> Option<Self> {
        let mut server = Server::new(settings)?;
        server.start().await;
        Some(Self(server))
    }

    pub(crate) async fn gateway(&self, coze: &Coze, limits: &str) -> Gateway {
        let url = format!("[state]\nurl = \"{}/0\"\n", self.0.url());
        let gateway = Gateway::with(&config(coze, "", &format!("{limits}\n{url}"))).await;
        within("the store is there", async || state(&gateway).await == "ready").await;
        gateway
    }
}

/// Waits for a condition, a minute at most.
pub(crate) async fn within(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

pub(crate) async fn state(gateway: &Gateway) -> String {
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
    let Some(redis) = Redis::start().await else { return };
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
    let Some(redis) = Redis::start().await else { return };
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
    let Some(redis) = Redis::start().await else { return };
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
    let Some(redis) = Redis::start().await else { return };
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
    let Some(mut redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let gateway = redis.gateway(&coze, "requests_per_minute = 1000").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["one"]).await.assert("new", "one");
    talk.named("n").says(&["a"]).await.assert("new", "a");
    redis.0.kill();
    let away = talk.says(&["one", "one", "two"]).await;
    away.assert("replayed; reason=state_unavailable", "one [one] two");
    assert_eq!(away.header("x-conversation-id"), None);
    let refused = talk.named("n").says(&["b"]).await;
    assert_eq!(refused.error(), (503, "state_unavailable"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(state(&gateway).await, "degraded");
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    redis.0.start().await;
    within("the store is back", async || state(&gateway).await == "ready").await;
    talk.named("n").says(&["b"]).await.assert("continued", "a [a] b");
    talk.says(&["one", "one", "three"]).await.assert("continued", "one [one] three");
}

#[tokio::test]
async fn gateways_agree_on_names_again_after_the_store_has_forgotten_everything() {
    let Some(mut redis) = Redis::with(&FORGETS).await else { return };
    let coze = Coze::start().await;
    let old = redis.gateway(&coze, "").await;
    let via_old = Talk::new(&old, &coze, "echo").named("n");
    via_old.says(&["one"]).await.assert("new", "one");
    redis.0.kill();
    within("the store is away", async || state(&old).await == "degraded").await;
    redis.0.start().await;
    let new = redis.gateway(&coze, "").await;
    let via_new = Talk::new(&new, &coze, "echo").named("n");
    via_new.says(&["two"]).await.assert("new", "two");
    // Only while it has not found the store again it may refuse.
    let mut third = via_old.says(&["three"]).await;
    while third.status != 200 {
        assert_eq!(third.error(), (503, "state_unavailable"));
        third = via_old.says(&["three"]).await;
    }
    third.assert("continued", "two [two] three");
    via_new.says(&["four"]).await.assert("continued", "two [two] three [three] four");
}

/// Ten turns of a chat through questions: what the user says, and what is said
/// to it.
const GUIDE: [(&str, &str); 10] = {
    const ASKED: &str = "Which city would you like to know the weather of?";
    [
        ("weather?", ASKED),
        ("Paris", "The weather in Paris will be sunny."),
        ("and tomorrow?", ASKED),
        ("Rome", "The weather in Rome will be sunny."),
        ("and then?", ASKED),
        ("Oslo", "The weather in Oslo will be sunny."),
        ("once more", ASKED),
        ("Bern", "The weather in Bern will be sunny."),
        ("a last time", ASKED),
        ("Graz", "The weather in Graz will be sunny."),
    ]
};

/// The same of a workflow, which begins anew after its last answer.
const TRIP: [(&str, &str); 10] = {
    const WHERE: &str = "Where would you like to go?";
    const WHEN: &str = "When?\nsummer\nwinter";
    const FORM: &str = "days (integer)\nname (string)";
    [
        ("plan a trip", WHERE),
        ("Oslo", WHEN),
        ("winter", FORM),
        ("days: 3\nname: Ann", "Ann: 3 days in Oslo, winter."),
        ("another trip", WHERE),
        ("Rome", WHEN),
        ("summer", FORM),
        ("{\"days\": 5, \"name\": \"Ben\"}", "Ben: 5 days in Rome, summer."),
        ("a third one", WHERE),
        ("Bern", WHEN),
    ]
};

#[tokio::test]
async fn a_chat_of_ten_turns_through_questions_goes_on_over_replicas_and_restarts() {
    use cozeway::simulator::flows;
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let models = format!(
        "[models.guide]\nchatflow_id = '{}'\napp_id = '{}'\n[models.trip]\nworkflow_id = '{}'\ninput = 'q'\n",
        flows::GUIDE,
        flows::APP,
        flows::TRIP
    );
    let mut gateways = [redis.gateway(&coze, &models).await, redis.gateway(&coze, &models).await];
    for (model, turns) in [("guide", GUIDE), ("trip", TRIP)] {
        for named in [false, true] {
            let mut transcript: Vec<&str> = Vec::new();
            let mut places = Vec::new();
            for (number, (says, hears)) in turns.into_iter().enumerate() {
                match number {
                    3 => gateways[number % 2].restart("-TERM").await,
                    6 => gateways[number % 2].restart("-KILL").await,
                    _ => {}
                }
                let talk = Talk::new(&gateways[number % 2], &coze, model);
                let said = if named {
                    talk.named("mine").says(&[says]).await
                } else {
                    transcript.push(says);
                    talk.says(&transcript).await
                };
                assert_eq!(said.status, 200, "{model}, {number}: {}", said.body);
                assert_eq!(said.text(), hears, "{model}, {number}");
                let is_answer =
                    turns[..number].last().is_some_and(|(_, asked)| asked.ends_with(['?', 'r', ')']));
                assert_eq!(said.note() == "resumed", is_answer, "{model}, {number}: {}", said.note());
                transcript.push(hears);
                places.extend(said.body["coze"]["conversation_id"].as_str().map(str::to_owned));
            }
            places.dedup();
            assert_eq!(places.len(), usize::from(model == "guide"), "{places:?}");
        }
    }
    // What was answered is not answered again, by either.
    let again: Vec<&str> =
        TRIP[..1].iter().flat_map(|&(says, hears)| [says, hears]).chain(["Oslo"]).collect();
    for gateway in &gateways {
        assert_eq!(Talk::new(gateway, &coze, "trip").says(&again).await.error(), (409, "conversation_lost"));
    }
}
