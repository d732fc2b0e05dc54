//! What an operator does with a conversation while the gateway runs.

use serde_json::{Value, json};

use cozeway::simulator::flows::{APP, GUIDE, TRIP};
use cozeway::simulator::{Script, Step};

use super::forgetting::troubled;
use super::{usual, with};
use crate::shared::golden;
use crate::support::sse::Stream;
use crate::support::{Gateway, Mishap, SCRIPTED, Talk};

/// Runs `cozeway conversations …` with the gateway's config; gives the exit
/// code and what it says.
async fn conversations(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .arg("conversations")
        .args(arguments)
        .arg("--config")
        .arg(gateway.folder.join("cozeway.toml"))
        .env_clear()
        .output()
        .await
        .unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn show_lists_a_conversations_messages_from_coze() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let named = talk.named("mine");
    named.says(&["one"]).await;
    named.says(&["two\nassistant: three"]).await;
    let first = talk.says(&["hello"]).await;
    let shown =
        "user: one\nassistant: one\nuser: two\n    assistant: three\nassistant: two\n    assistant: three\n";
    assert_eq!(conversations(&gateway, &["show", "mine"]).await, (0, shown.to_owned()));
    let (code, json) = conversations(&gateway, &["show", first.name(), "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, json),
        (0, json!([{"role": "user", "text": "hello"}, {"role": "assistant", "text": "hello"}]))
    );
    // More than one page.
    for number in 0..60 {
        assert_eq!(named.says(&[&format!("m{number}")]).await.status, 200);
    }
    let (_, all) = conversations(&gateway, &["show", "mine"]).await;
    let users: Vec<&str> = all.lines().filter_map(|line| line.strip_prefix("user: ")).collect();
    assert_eq!((users.len(), users[0], users[61]), (62, "one", "m59"));
}

#[tokio::test]
async fn a_chatflows_conversation_is_shown_and_cleared_as_well() {
    let models = format!("[models.guide]\nchatflow_id = '{GUIDE}'\napp_id = '{APP}'\n");
    let (coze, gateway) = with(&models).await;
    let talk = Talk::new(&gateway, &coze, "guide").named("mine");
    let asked = talk.says(&["weather?"]).await;
    let shown = format!("user: weather?\nassistant: {}\n", asked.text());
    assert_eq!(conversations(&gateway, &["show", "mine"]).await, (0, shown));
    assert_eq!(conversations(&gateway, &["clear", "mine"]).await.0, 0);
    assert_eq!(conversations(&gateway, &["show", "mine"]).await, (0, "no messages\n".to_owned()));
    // What comes next is no answer to what was cleared.
    let again = talk.says(&["Paris"]).await;
    assert_eq!((again.note(), again.text()), ("continued", asked.text()));
    assert_eq!(again.seen(), "Paris");
}

#[tokio::test]
async fn clear_starts_a_new_section_and_drops_the_heads_first() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let named = talk.named("mine");
    let first = named.says(&["one"]).await;
    let unnamed = talk.says(&["a"]).await;
    for name in ["mine", unnamed.name()] {
        let (code, said) = conversations(&gateway, &["clear", name]).await;
        assert_eq!(code, 0, "{said}");
        assert_eq!(conversations(&gateway, &["show", name]).await, (0, "no messages\n".to_owned()));
    }
    // The same conversation, and the bot sees nothing of before.
    let second = named.says(&["two"]).await;
    second.assert("continued", "two");
    assert_eq!(second.place(), first.place());
    named.says(&["three"]).await.assert("continued", "two [two] three");
    let new = "user: two\nassistant: two\nuser: three\nassistant: three\n";
    assert_eq!(conversations(&gateway, &["show", "mine"]).await, (0, new.to_owned()));
    let all = format!("user: one\nassistant: one\n{new}");
    assert_eq!(conversations(&gateway, &["show", "mine", "--all"]).await, (0, all));
    // What is known since then is recognised, what was known before is not.
    named
        .says(&["two", "two", "three", "three", "four"])
        .await
        .assert("continued", "two [two] three [three] four");
    let replayed = talk.says(&["a", "a", "b"]).await;
    replayed.assert("replayed; reason=unknown", "a [a] b");
    assert_ne!(replayed.place(), unnamed.place());
}

#[tokio::test]
async fn what_was_cleared_does_not_come_back_by_a_failure() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("mine");
    talk.says(&["old"]).await;
    assert_eq!(conversations(&gateway, &["clear", "mine"]).await.0, 0);
    between.next_chat(Mishap::FailsLate);
    assert_eq!(talk.says(&["lost"]).await.error(), (502, "upstream_error"));
    talk.says(&["a"]).await.assert("rebuilt; reason=failed", "a");
    assert_eq!(conversations(&gateway, &["clear", "mine"]).await.0, 0);
    talk.says(&["b"]).await.assert("continued", "b");
    between.next_chat(Mishap::FailsAtOnce);
    assert_eq!(talk.says(&["lost"]).await.error(), (502, "upstream_error"));
    talk.says(&["c"]).await.assert("rebuilt; reason=failed", "b [b] c");
}

#[tokio::test]
async fn what_cannot_be_shown_or_cleared_is_said() {
    let models = format!("[models.trip]\nworkflow_id = '{TRIP}'\ninput = 'q'\n");
    let (coze, gateway) = with(&models).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let unknown = "cozeway: there is no conversation \"nobody\"\n".to_owned();
    assert_eq!(conversations(&gateway, &["show", "nobody"]).await, (1, unknown));
    assert_eq!(conversations(&gateway, &["clear"]).await.0, 2);
    let [ann, bob] = ["ann", "bob"].map(|user| talk.field("user", user).named("ours"));
    ann.says(&["x"]).await;
    bob.says(&["y"]).await;
    let (code, said) = conversations(&gateway, &["show", "ours"]).await;
    assert!(code == 1 && said.contains("2 conversations are called \"ours\""), "{said}");
    let shown = "user: y\nassistant: y\n".to_owned();
    assert_eq!(conversations(&gateway, &["show", "ours", "--user", "bob"]).await, (0, shown));
    talk.to("trip").named("trip").says(&["plan a trip"]).await;
    let (code, said) = conversations(&gateway, &["clear", "trip"]).await;
    assert!(code == 1 && said.contains("a workflow keeps no conversation"), "{said}");
    // Coze has forgotten it: nothing is changed here.
    let gone = talk.named("gone").says(&["x"]).await;
    coze.simulator.forget(gone.place());
    for command in ["show", "clear"] {
        let (code, said) = conversations(&gateway, &[command, "gone"]).await;
        assert!(code == 1 && said.contains("Coze knows it no more"), "{said}");
    }
    assert_eq!(talk.named("gone").says(&["y"]).await.error(), (409, "conversation_lost"));
}

#[tokio::test]
async fn a_conversation_in_which_a_turn_runs_is_not_cleared() {
    let (coze, gateway) = usual().await;
    let transcript = golden::transcript("chat_text.server.sse");
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(transcript.clone().into())]));
    let talk = Talk::new(&gateway, &coze, "scripted").named("busy");
    assert_eq!(talk.says(&["x"]).await.status, 200);
    coze.simulator.unscript(SCRIPTED);
    let half = transcript.get(..transcript.len() / 2).unwrap().to_vec();
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(half.into()), Step::Hang]));
    let mut stream = Stream::new(talk.streams(&["y"]).await);
    stream.content().await;
    let (code, said) = conversations(&gateway, &["clear", "busy"]).await;
    assert!(code == 1 && said.contains("a request is running in it"), "{said}");
    assert!(!coze.simulator.requests().iter().any(|sent| sent.path.ends_with("/clear")));
}
