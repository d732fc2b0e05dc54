//! Names of conversations: where they stand, what they mean, who waits for
//! whom.

use std::time::Duration;

use cozeway::simulator::{Bot, Options};
use serde_json::json;

use super::{sent, usual, with};
use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, Talk, turns};

#[tokio::test]
async fn a_name_stands_in_the_header_the_body_or_the_metadata() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let places = [
        talk.named("my chat"),
        talk.field("conversation_id", "my chat"),
        talk.field("metadata", json!({"conversation_id": "my chat", "other": "x"})),
        talk.named("my%20chat").field("conversation_id", "my chat"),
    ];
    let mut expected = String::new();
    for (number, talk) in places.iter().enumerate() {
        let text = number.to_string();
        let said = talk.says(&[&text]).await;
        expected += &text;
        said.assert(if number == 0 { "new" } else { "continued" }, &expected);
        assert_eq!(said.name(), "my%20chat");
        expected += &format!(" [{text}] ");
    }
    assert_eq!(coze.simulator.conversations().len(), 1);
}

#[tokio::test]
async fn names_that_differ_or_are_none_are_refused() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let long = "x".repeat(257);
    let metadata = |name: &str| json!({"conversation_id": name});
    for (talk, param) in [
        (talk.named("a").field("conversation_id", "b"), "conversation_id"),
        (talk.named("a").field("metadata", metadata("b")), "metadata.conversation_id"),
        (talk.field("conversation_id", "a").field("metadata", metadata("b")), "metadata.conversation_id"),
        (talk.named(""), "x-conversation-id"),
        (talk.named(&long), "x-conversation-id"),
        (talk.named("a%00"), "x-conversation-id"),
        (talk.named("%ff"), "x-conversation-id"),
        (talk.field("conversation_id", ""), "conversation_id"),
        (talk.field("conversation_id", long.as_str()), "conversation_id"),
        (talk.field("conversation_id", "a\nb"), "conversation_id"),
        (talk.field("metadata", metadata("\u{7f}")), "metadata.conversation_id"),
        (talk.named("a").with("x-conversation-mode", "all"), "x-conversation-mode"),
    ] {
        let said = talk.says(&["hi"]).await;
        assert_eq!((said.error(), &said.body["error"]["param"]), ((400, "invalid_value"), &json!(param)));
    }
    for (name, value) in [("conversation_id", json!(7)), ("metadata", json!({"conversation_id": 7}))] {
        assert_eq!(talk.field(name, value).says(&["hi"]).await.error(), (400, "invalid_type"));
    }
    assert!(coze.simulator.requests().is_empty());
    talk.named(&long[..256]).says(&["hi"]).await.assert("new", "hi");
}

#[tokio::test]
async fn a_name_goes_both_ways_percent_encoded() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    for (name, encoded) in [
        ("plain/name?x=1", "plain/name?x=1"),
        ("50% \"done\"", "50%25%20\"done\""),
        ("你好", "%E4%BD%A0%E5%A5%BD"),
        ("%20", "%2520"),
    ] {
        let first = talk.field("conversation_id", name).says(&["a"]).await;
        first.assert("new", "a");
        assert_eq!(first.name(), encoded);
        // As it came it can be sent again.
        let second = talk.named(first.name()).says(&["b"]).await;
        second.assert("continued", "a [a] b");
        assert_eq!((second.name(), second.place()), (encoded, first.place()));
    }
}

#[tokio::test]
async fn every_answer_names_its_conversation_and_that_name_goes_on() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.says(&["a"]).await;
    assert!(first.name().starts_with("conv_"), "{}", first.name());
    let by_id = talk.named(first.name());
    let second = by_id.says(&["b"]).await;
    second.assert("continued", "a [a] b");
    assert_eq!(second.name(), first.name());
    by_id.says(&["a", "a", "b", "b", "c"]).await.assert("continued", "a [a] b [b] c");
    let branch = by_id.says(&["a", "a", "B"]).await;
    branch.assert("replayed; reason=edited", "a [a] B");
    assert_eq!(branch.name(), first.name());
    by_id.says(&["c"]).await.assert("continued", "a [a] B [B] c");
}

#[tokio::test]
async fn an_unknown_id_is_never_a_silent_new_chat() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    for name in ["conv_", "conv_mine", "conv_0123456789abcdef0123456789abcdef"] {
        for talk in [talk.named(name), talk.field("conversation_id", name)] {
            assert_eq!(talk.says(&["hi"]).await.error(), (404, "conversation_not_found"));
            assert_eq!(talk.says(&["a", "b", "c"]).await.error(), (404, "conversation_not_found"));
        }
    }
    assert!(coze.simulator.requests().is_empty());
}

#[tokio::test]
async fn a_delta_and_the_whole_transcript_give_the_same_context() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("n");
    talk.says(&["a"]).await.assert("new", "a");
    talk.says(&["b"]).await.assert("continued", "a [a] b");
    assert_eq!(sent(&coze).1, ["b"]);
    talk.says(&["a", "a", "b", "b", "c"]).await.assert("continued", "a [a] b [b] c");
    assert_eq!(sent(&coze).1, ["c"]);
    let two = json!([{"role": "user", "content": "d"}, {"role": "user", "content": "e"}]);
    talk.sends(two).await.assert("continued", "a [a] b [b] c [c] d e");
}

#[tokio::test]
async fn a_beginning_is_a_delta_unless_it_says_that_it_is_the_whole() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("n");
    let whole = talk.with("x-conversation-mode", "transcript");
    whole.says(&["a"]).await.assert("new", "a");
    talk.with("x-conversation-mode", "delta").says(&["a"]).await.assert("continued", "a [a] a");
    whole.says(&["a"]).await.assert("replayed; reason=edited", "a");
    talk.says(&["b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn a_branch_under_a_name_takes_the_name_along() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("n");
    let first = talk.says(&["a"]).await;
    talk.says(&["b"]).await;
    let branch = talk.says(&["a", "a", "B"]).await;
    branch.assert("replayed; reason=edited", "a [a] B");
    assert_eq!(branch.name(), "n");
    let on = talk.says(&["c"]).await;
    on.assert("continued", "a [a] B [B] c");
    assert_eq!(on.place(), branch.place());
    assert_ne!(on.place(), first.place());
    talk.says(&["a", "a", "b", "b", "c"]).await.assert("replayed; reason=edited", "a [a] b [b] c");
}

#[tokio::test]
async fn system_text_is_not_repeated_in_deltas_until_it_changes() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("n");
    let says = async |system: &str, text: &str| {
        let message = json!({"role": "user", "content": text});
        talk.sends(json!([{"role": "system", "content": system}, message])).await
    };
    says("S", "a").await.assert("new", "S a");
    says("S", "b").await.assert("continued", "S a [a] b");
    talk.says(&["c"]).await.assert("continued", "S a [a] b [b] c");
    says("T", "d").await.assert("continued", "S a [a] b [b] c [c] T d");
    says("T", "e").await.assert("continued", "S a [a] b [b] c [c] T d [d] e");
    says("S", "f").await.assert("continued", "S a [a] b [b] c [c] T d [d] e [e] S f");
}

#[tokio::test]
async fn several_answers_at_once_go_on_nowhere() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["a"]).await;
    let said = talk.field("n", 2).says(&["a", "a", "b"]).await;
    assert_eq!((said.status, said.note()), (200, "replayed; reason=choices"));
    assert_eq!(said.header("x-conversation-id"), None);
    let chats = said.body["coze"]["chats"].as_array().expect("chats");
    for chat in chats {
        let seen = crate::support::talk::seen(&coze.simulator, chat["chat_id"].as_str().unwrap());
        assert_eq!(seen, "a [a] b");
    }
    assert_eq!(chats.len(), 2);
    talk.says(&["a", "a", "b"]).await.assert("continued", "a [a] b");
    let said = talk.named("n").field("n", 2).says(&["a"]).await;
    assert_eq!((said.error(), &said.body["error"]["param"]), ((400, "invalid_value"), &json!("n")));
}

/// The usual bots, and `paced`, which takes its time between two words.
async fn paced(server: &str, pace: Duration) -> (Coze, Gateway) {
    let mut options = Options::instant();
    options.silence = Duration::from_secs(60);
    let bot = Bot::new("7530512345678900042", "paced", cozeway::simulator::Behaviour::Echo);
    options.bots.push(Bot { pace: Some(pace), ..bot });
    let coze = Coze::with(options).await;
    let more = "[models.paced]\nbot_id = \"7530512345678900042\"\n";
    let gateway = Gateway::with(&config(&coze, server, more)).await;
    (coze, gateway)
}

#[tokio::test]
async fn a_second_request_waits_for_the_first() {
    let (coze, gateway) = paced("", Duration::from_millis(100)).await;
    let talk = Talk::new(&gateway, &coze, "paced").named("n");
    let mut first = Stream::new(talk.streams(&["word"]).await);
    first.content().await;
    let (second, first) = tokio::join!(talk.says(&["next"]), first.collect());
    assert_eq!(first.finishing()["choices"][0]["finish_reason"], "stop");
    second.assert("continued", "word [word] next");
}

#[tokio::test]
async fn a_second_request_that_has_waited_long_enough_is_told_to_come_again() {
    let (coze, gateway) = paced("conversation_wait = \"150ms\"\n", Duration::ZERO).await;
    let talk = Talk::new(&gateway, &coze, "slow").named("n");
    let running = {
        let talk = talk.clone();
        async move { talk.streams(&["first"]).await }
    };
    let mut running = Box::pin(running);
    let begun = std::time::SystemTime::now();
    let second = tokio::select! {
        _ = &mut running => panic!("it is silent"),
        second = async {
            crate::support::eventually("the first is at Coze", || coze.simulator.running() == 1).await;
            talk.says(&["second"]).await
        } => second,
    };
    assert_eq!(second.error(), (409, "conversation_locked"));
    let again: u64 = second.header("retry-after").expect("when to come again").parse().unwrap();
    assert!(again >= 1);
    assert!(begun.elapsed().unwrap() >= Duration::from_millis(150), "it was waited for");
    // Other names, and chats without one, wait for nobody.
    let echo = Talk::new(&gateway, &coze, "echo");
    echo.named("n").says(&["a"]).await.assert("new", "a");
    echo.says(&["a"]).await.assert("new", "a");
}

#[tokio::test]
async fn a_conversation_with_a_name_is_found_by_that_alone() {
    let (coze, gateway) = with("").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.named("n").says(&["a"]).await.assert("new", "a");
    talk.says(&["a", "a", "b"]).await.assert("replayed; reason=unknown", "a [a] b");
    talk.named("m").says(&["a", "a", "b"]).await.assert("replayed; reason=unknown", "a [a] b");
    let said = talk.named("n").sends(turns(&["a", "a", "b"])).await;
    said.assert("continued", "a [a] b");
}

#[tokio::test]
async fn an_empty_assistant_message_too_makes_it_the_whole_transcript() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("thinking");
    talk.says(&["a"]).await.assert("new", "a");
    talk.sends(turns(&["a", "", "b"])).await.assert("replayed; reason=edited", "a b");
}
