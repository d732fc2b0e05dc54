//! Turns that come to nothing: after a failed one the question stays at Coze,
//! a refused one leaves no trace.

use serde_json::json;

use super::forgetting::{coded, troubled};
use crate::support::gateway::config;
use crate::support::sse::{Item, Stream};
use crate::support::{Coze, Mishap, Talk};

const LIST: &str = "/v1/conversation/message/list";

#[tokio::test]
async fn after_a_failed_turn_a_transcript_is_replayed() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    for (number, mishap) in [Mishap::FailsAtOnce, Mishap::FailsLate].into_iter().enumerate() {
        let talk = talk.field("user", number.to_string());
        for (talk, reason) in [(talk.clone(), "edited"), (talk.named("n"), "failed")] {
            let first = talk.says(&["a"]).await;
            between.next_chat(mishap.clone());
            assert_eq!(talk.says(&["a", "a", "b"]).await.error(), (502, "upstream_error"));
            let again = talk.says(&["a", "a", "b"]).await;
            assert_eq!((again.status, again.seen().as_str()), (200, "a [a] b"));
            let known = [format!("replayed; reason={reason}"), "replayed; reason=unknown".to_owned()];
            assert!(known.contains(&again.note().to_owned()), "{}", again.note());
            assert_ne!(again.place(), first.place());
            talk.says(&["a", "a", "b", "b", "c"]).await.assert("continued", "a [a] b [b] c");
        }
    }
}

#[tokio::test]
async fn after_a_failed_turn_a_delta_is_rebuilt_up_to_the_last_good_chat() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    for (number, mishap) in [Mishap::FailsAtOnce, Mishap::FailsLate].into_iter().enumerate() {
        let talk = talk.named(&number.to_string());
        talk.says(&["a"]).await;
        let second = talk.says(&["b"]).await;
        for _ in 0..2 {
            between.next_chat(mishap.clone());
            assert_eq!(talk.says(&["lost"]).await.error(), (502, "upstream_error"));
        }
        let again = talk.says(&["c"]).await;
        again.assert("rebuilt; reason=failed", "a [a] b [b] c");
        assert_ne!(again.place(), second.place());
        let on = talk.says(&["d"]).await;
        on.assert("continued", "a [a] b [b] c [c] d");
        assert_eq!(on.place(), again.place());
        // It is known by its transcript, too.
        let whole = talk.says(&["a", "a", "b", "b", "c", "c", "d", "d", "e"]).await;
        whole.assert("continued", "a [a] b [b] c [c] d [d] e");
    }
}

#[tokio::test]
async fn a_stream_that_broke_in_the_middle_is_a_failed_turn() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    between.next_chat(Mishap::FailsLate);
    let streamed = Stream::new(talk.streams(&["lost"]).await).collect().await;
    assert!(matches!(streamed.items.last(), Some(Item::Error(_))), "{streamed:?}");
    talk.says(&["b"]).await.assert("rebuilt; reason=failed", "a [a] b");
}

#[tokio::test]
async fn a_first_turn_that_failed_leaves_nothing_behind() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    between.next_chat(Mishap::FailsLate);
    assert_eq!(talk.says(&["lost"]).await.error(), (502, "upstream_error"));
    talk.says(&["a"]).await.assert("new", "a");
}

#[tokio::test]
async fn a_long_conversation_is_rebuilt_page_by_page() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    let mut expected = String::new();
    for turn in 0..60 {
        let text = turn.to_string();
        talk.says(&[&text]).await;
        expected += &format!("{text} [{text}] ");
    }
    between.next_chat(Mishap::FailsLate);
    talk.says(&["lost"]).await;
    talk.says(&["on"]).await.assert("rebuilt; reason=failed", &format!("{expected}on"));
    let pages = between.coze.simulator.requests().iter().filter(|call| call.path.starts_with(LIST)).count();
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn images_and_system_texts_are_rebuilt_once() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    let says = async |message: serde_json::Value| {
        talk.sends(json!([{"role": "system", "content": "S"}, {"role": "user", "content": message}])).await
    };
    let image = json!([
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]);
    says(image).await.assert("new", "S look https://example.com/cat.png");
    between.next_chat(Mishap::FailsLate);
    assert_eq!(says(json!("lost")).await.error(), (502, "upstream_error"));
    let said = says(json!("and?")).await;
    said.assert("rebuilt; reason=failed", "S look https://example.com/cat.png [look] and?");
}

#[tokio::test]
async fn a_changed_system_text_of_a_failed_turn_is_sent_again() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    let says = async |system: &str, text: &str| {
        let message = json!({"role": "user", "content": text});
        talk.sends(json!([{"role": "system", "content": system}, message])).await
    };
    says("S", "a").await.assert("new", "S a");
    between.next_chat(Mishap::FailsLate);
    assert_eq!(says("T", "lost").await.error(), (502, "upstream_error"));
    says("T", "b").await.assert("rebuilt; reason=failed", "S a [a] T b");
    says("T", "c").await.assert("continued", "S a [a] T b [b] c");
}

#[tokio::test]
async fn a_system_text_is_not_trimmed_when_its_conversation_is_rebuilt() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    let says = async |text: &str| {
        let message = json!({"role": "user", "content": text});
        talk.sends(json!([{"role": "system", "content": "S"}, message])).await
    };
    let [a, b] = ["a", "b"].map(|text| text.repeat(16_000));
    says(&a).await;
    says(&b).await.assert("continued", &format!("S {a} [{a}] {b}"));
    between.next_chat(Mishap::FailsLate);
    assert_eq!(says("lost").await.error(), (502, "upstream_error"));
    let said = says("c").await;
    assert_eq!(said.header("x-cozeway-trimmed"), Some("1"));
    said.assert("rebuilt; reason=failed", &format!("S [{a}] {b} [{b}] c"));
}

#[tokio::test]
async fn what_coze_does_not_list_any_more_is_lost() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    between.next_chat(Mishap::FailsLate);
    talk.says(&["lost"]).await;
    between.next(LIST, coded(200, 103_000_002));
    assert_eq!(talk.says(&["b"]).await.error(), (409, "conversation_lost"));
    talk.says(&["b"]).await.assert("new", "b");
}

#[tokio::test]
async fn while_coze_cannot_list_it_the_conversation_waits() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    between.next_chat(Mishap::FailsLate);
    talk.says(&["lost"]).await;
    for (mishap, error) in [
        (coded(500, 500), (502, "upstream_error")),
        (Mishap::Answer(200, "application/json", "<html>".into()), (502, "upstream_error")),
        (coded(429, 4013), (429, "upstream_rate_limited")),
    ] {
        between.next(LIST, mishap);
        assert_eq!(talk.says(&["b"]).await.error(), error);
    }
    talk.says(&["b"]).await.assert("rebuilt; reason=failed", "a [a] b");
}

/// Refusals after which nothing has happened at Coze.
fn refusals() -> [(Mishap, (u16, &'static str)); 5] {
    [
        (coded(429, 4013), (429, "upstream_rate_limited")),
        (coded(200, 700_012_006), (502, "upstream_auth_failed")),
        (coded(200, 4016), (409, "conversation_locked")),
        (coded(200, 4028), (429, "insufficient_quota")),
        (coded(200, 4015), (502, "upstream_model_unavailable")),
    ]
}

#[tokio::test]
async fn a_refused_turn_is_put_back_and_the_next_try_goes_on() {
    // A busy conversation would be waited for.
    let (_coze, between, gateway) = troubled("conversation_wait = \"0s\"", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    let first = talk.says(&["a"]).await;
    let named = talk.named("n");
    named.says(&["a"]).await;
    for (mishap, error) in refusals() {
        between.next_chat(mishap.clone());
        assert_eq!(talk.says(&["a", "a", "b"]).await.error(), error);
        between.next_chat(mishap);
        assert_eq!(named.says(&["b"]).await.error(), error);
    }
    let second = talk.says(&["a", "a", "b"]).await;
    second.assert("continued", "a [a] b");
    assert_eq!(second.place(), first.place());
    named.says(&["b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn a_coze_that_cannot_be_reached_leaves_a_conversation_as_it_was() {
    let (coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    let first = talk.says(&["a"]).await;
    // Another deployment's address under the same name, where nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = |port| config(&Coze { simulator: coze.simulator.clone(), port }, "", "");
    gateway.reload(&config(closed)).await;
    assert_eq!(talk.says(&["a", "a", "b"]).await.error(), (503, "upstream_unreachable"));
    gateway.reload(&config(between.coze.port)).await;
    let second = talk.says(&["a", "a", "b"]).await;
    second.assert("continued", "a [a] b");
    assert_eq!(second.place(), first.place());
}

#[tokio::test]
async fn a_turn_that_is_too_long_leaves_a_conversation_as_it_was() {
    let echo = cozeway::simulator::bots::ECHO;
    let more = format!("[models.strict]\nbot_id = \"{echo}\"\noverflow = \"reject\"\n");
    let (_coze, between, gateway) = troubled("", &more).await;
    let talk = Talk::new(&gateway, &between.coze, "strict").named("n");
    talk.says(&["a"]).await;
    let long = "x".repeat(40_000);
    assert_eq!(talk.says(&[&long, &long, "b"]).await.error(), (400, "context_length_exceeded"));
    assert_eq!(talk.says(&[&"x".repeat(62_000)]).await.error(), (400, "context_length_exceeded"));
    talk.says(&["b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn what_a_continued_turn_had_to_leave_out_is_told() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.says(&["a"]).await;
    let (x, y) = ("x".repeat(40_000), "y".repeat(40_000));
    let two = json!([{"role": "user", "content": x}, {"role": "user", "content": y}]);
    let said = talk.sends(two).await;
    said.assert("continued", &format!("a [a] {y}"));
    assert_eq!(said.header("x-cozeway-trimmed"), Some("1"));
}

#[tokio::test]
async fn a_conversation_of_long_answers_is_rebuilt() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    for _ in 0..20 {
        talk.says(&[&"x".repeat(20_000)]).await;
    }
    between.next_chat(Mishap::FailsLate);
    assert_eq!(talk.says(&["lost"]).await.error(), (502, "upstream_error"));
    let said = talk.says(&["on"]).await;
    assert_eq!((said.status, said.note()), (200, "rebuilt; reason=failed"));
    assert!(said.seen().ends_with("x] on"), "{}", said.seen().len());
}

#[tokio::test]
async fn an_error_names_no_conversation_that_came_to_nothing() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo");
    for texts in [&["a"][..], &["a", "b", "c"]] {
        between.next_chat(Mishap::FailsLate);
        let failed = talk.says(texts).await;
        assert_eq!((failed.status, failed.header("x-conversation-id")), (502, None), "{texts:?}");
    }
    let first = talk.says(&["one"]).await;
    between.next_chat(Mishap::FailsLate);
    let failed = talk.says(&["one", "one", "two"]).await;
    assert_eq!((failed.status, failed.name()), (502, first.name()));
    talk.named(failed.name()).says(&["on"]).await.assert("rebuilt; reason=failed", "one [one] on");
}
