//! Coze forgetting a conversation: noticed before anything reaches the
//! client.

use serde_json::json;

use super::usual;
use crate::support::gateway::config;
use crate::support::sse::{Item, Stream};
use crate::support::{Between, Coze, Gateway, Mishap, Talk};

/// A gateway whose calls to Coze may go wrong, and something more in its
/// config.
pub(super) async fn troubled(server: &str, more: &str) -> (Coze, Between, Gateway) {
    let coze = Coze::start().await;
    let between = Between::start(&coze).await;
    let gateway = Gateway::with(&config(&between.coze, server, more)).await;
    (coze, between, gateway)
}

/// An answer that refuses a chat in a stream (protocol 3.6, shape A).
fn refused(code: u32, text: &str) -> Mishap {
    let msg = format!("code={code} message={text}\nstack=/app/x.go:1 (*a).B\n");
    let data = json!({"code": 103_100_001, "msg": msg});
    Mishap::Answer(200, "text/event-stream", format!("event:error\ndata:{data}\n\n"))
}

/// An answer that is an error in JSON.
pub(super) fn coded(status: u16, code: u32) -> Mishap {
    Mishap::Answer(status, "application/json; charset=utf-8", json!({"code": code, "msg": "no"}).to_string())
}

/// Every way to be told that a conversation is not there.
fn ways() -> [(&'static str, Mishap); 7] {
    [
        ("another conversation", Mishap::Elsewhere),
        ("not the user's", refused(103_000_001, "unauthorized access : user not match")),
        ("not found", refused(103_000_002, "conversation not found")),
        ("not found, in JSON", coded(200, 103_000_002)),
        ("not found in the cloud", coded(400, 4200)),
        ("no such conversation in the cloud", coded(200, 4001)),
        ("none at all in the cloud", coded(400, 4002)),
    ]
}

/// Starts a new section, as Coze's own page does.
async fn clear(coze: &Coze, conversation: &str) {
    let url = format!("http://127.0.0.1:{}/v1/conversations/{conversation}/clear", coze.port);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let cleared = client.post(url).bearer_auth("pat_demo").send().await.unwrap();
    assert!(cleared.text().await.unwrap().contains("\"code\":0"));
}

#[tokio::test]
async fn a_transcript_is_replayed_in_a_fresh_conversation() {
    let (_coze, between, gateway) = troubled("", "").await;
    for (number, (way, mishap)) in ways().into_iter().enumerate() {
        let talk = Talk::new(&gateway, &between.coze, "echo").field("user", number.to_string());
        for talk in [talk.clone(), talk.named("n")] {
            let first = talk.says(&["a"]).await;
            between.next_chat(mishap.clone());
            let second = talk.says(&["a", "a", "b"]).await;
            second.assert("replayed; reason=forgotten", "a [a] b");
            assert_eq!(second.text(), "b", "{way}");
            assert_ne!(first.place(), second.place());
            assert_eq!(first.name(), second.name());
            let third = talk.says(&["a", "a", "b", "b", "c"]).await;
            third.assert("continued", "a [a] b [b] c");
            assert_eq!(third.place(), second.place());
        }
    }
    assert!(between.is_done());
}

#[tokio::test]
async fn nothing_of_the_wrong_conversation_reaches_a_streaming_client() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "context");
    for (number, (way, mishap)) in ways().into_iter().enumerate() {
        let talk = talk.field("user", number.to_string());
        let first = talk.says(&["a"]).await;
        between.next_chat(mishap);
        let response = talk.streams(&["a", first.text(), "b"]).await;
        assert_eq!(response.headers()["x-cozeway-conversation"], "replayed; reason=forgotten", "{way}");
        let streamed = Stream::new(response).collect().await;
        streamed.assert_sound();
        let text: String =
            streamed.chunks().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "user: a\nassistant: user: a\nuser: b", "{way}");
        assert_eq!(streamed.items.last(), Some(&Item::Done));
    }
}

#[tokio::test]
async fn a_cleared_conversation_is_a_forgotten_one() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.says(&["a"]).await;
    clear(&coze, first.place()).await;
    let second = talk.says(&["a", "a", "b"]).await;
    second.assert("replayed; reason=forgotten", "a [a] b");

    let talk = talk.named("n");
    let first = talk.says(&["a"]).await;
    clear(&coze, first.place()).await;
    assert_eq!(talk.says(&["b"]).await.error(), (409, "conversation_lost"));
    talk.says(&["b"]).await.assert("new", "b");
}

#[tokio::test]
async fn a_delta_is_lost_and_its_name_starts_anew() {
    let (_coze, between, gateway) = troubled("", "").await;
    for (number, (way, mishap)) in ways().into_iter().enumerate() {
        let talk = Talk::new(&gateway, &between.coze, "echo").field("user", number.to_string());
        let named = talk.named("n");
        named.says(&["a"]).await.assert("new", "a");
        between.next_chat(mishap.clone());
        let lost = named.says(&["b"]).await;
        assert_eq!(lost.error(), (409, "conversation_lost"), "{way}");
        // SDKs would try again by themselves, and lose it without a word.
        assert_eq!(lost.header("x-should-retry"), Some("false"));
        named.says(&["b"]).await.assert("new", "b");
        named.says(&["c"]).await.assert("continued", "b [b] c");

        // An id of the gateway's own is gone with what it named.
        let first = talk.says(&["a"]).await;
        let by_id = talk.named(first.name());
        between.next_chat(mishap.clone());
        let response = by_id.streams(&["b"]).await;
        assert_eq!(response.status(), 409, "{way}");
        assert_eq!(by_id.says(&["b"]).await.error(), (404, "conversation_not_found"));
    }
}

#[tokio::test]
async fn a_client_that_is_told_so_can_send_the_whole_transcript() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    between.next_chat(Mishap::Elsewhere);
    assert_eq!(talk.says(&["b"]).await.error(), (409, "conversation_lost"));
    talk.says(&["a", "a", "b"]).await.assert("replayed; reason=unknown", "a [a] b");
    talk.says(&["c"]).await.assert("continued", "a [a] b [b] c");
}

#[tokio::test]
async fn the_same_error_on_a_fresh_conversation_is_nobodys_forgetting() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    for talk in [talk.clone(), talk.named("n")] {
        between.next_chat(refused(103_000_001, "unauthorized access : agent not match"));
        assert_eq!(talk.says(&["a"]).await.error(), (502, "upstream_auth_failed"));
        talk.says(&["a"]).await.assert("new", "a");
    }
    assert_eq!(between.coze.simulator.conversations().len(), 2, "it was not tried again");
}

#[tokio::test]
async fn it_is_tried_in_one_fresh_conversation_and_no_more() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    between.next_chat(coded(200, 103_000_002));
    between.next_chat(coded(200, 103_000_001));
    assert_eq!(talk.says(&["a", "a", "b"]).await.error(), (502, "upstream_auth_failed"));
    // As before: what was not replayed is not forgotten here either.
    between.next_chat(coded(200, 103_000_002));
    talk.says(&["a", "a", "b"]).await.assert("replayed; reason=forgotten", "a [a] b");
}

#[tokio::test]
async fn an_id_outlives_a_replay_that_fails() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    let first = talk.says(&["a"]).await;
    let by_id = talk.named(first.name());
    between.next_chat(coded(200, 103_000_002));
    between.next_chat(coded(200, 103_000_001));
    assert_eq!(by_id.says(&["a", "a", "b"]).await.error(), (502, "upstream_auth_failed"));
    clear(&between.coze, first.place()).await;
    by_id.says(&["a", "a", "b"]).await.assert("replayed; reason=forgotten", "a [a] b");
    by_id.says(&["c"]).await.assert("continued", "a [a] b [b] c");
}

#[tokio::test]
async fn a_replay_that_coze_cannot_store_is_trimmed_or_refused() {
    let echo = cozeway::simulator::bots::ECHO;
    let more = format!("[models.strict]\nbot_id = \"{echo}\"\noverflow = \"reject\"\n");
    let (_coze, between, gateway) = troubled("", &more).await;
    let texts: Vec<String> = ["a", "b", "c"].map(|text| text.repeat(16_000)).into();
    let [a, b, c] = [&texts[0], &texts[1], &texts[2]].map(String::as_str);
    for (user, model) in ["echo", "strict"].into_iter().enumerate() {
        let talk = Talk::new(&gateway, &between.coze, model).field("user", user.to_string());
        talk.says(&[a]).await;
        let second = talk.says(&[a, a, b]).await;
        assert_eq!((second.note(), second.header("x-cozeway-trimmed")), ("continued", None));
        between.next_chat(Mishap::Elsewhere);
        let third = talk.says(&[a, a, b, b, c]).await;
        if model == "strict" {
            assert_eq!(third.error(), (400, "context_length_exceeded"));
            between.next_chat(Mishap::Elsewhere);
            assert_eq!(talk.says(&[a, a, b, b, c]).await.error(), (400, "context_length_exceeded"));
        } else {
            third.assert("replayed; reason=forgotten", &format!("{b} [{b}] {c}"));
            assert_eq!(third.header("x-cozeway-trimmed"), Some("2"));
        }
    }
}
