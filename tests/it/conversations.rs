//! The contract's sentences about conversations: which of Coze's a chat goes
//! on in, and what the bot sees of it.

mod answers;
mod cut;
mod failed;
mod forgetting;
mod names;
mod operator;
mod questions;
mod restart;
mod rounds;
mod spaces;

use serde_json::{Value, json};

use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, Talk, turns};

/// A gateway and what it talks to, with more in its config.
async fn with(more: &str) -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let gateway = Gateway::with(&config(&coze, "", more)).await;
    (coze, gateway)
}

async fn usual() -> (Coze, Gateway) {
    with("").await
}

/// What was sent to Coze last: the conversation, and the messages.
fn sent(coze: &Coze) -> (Option<String>, Vec<String>) {
    let requests = coze.simulator.requests();
    let chat =
        requests.iter().rev().find(|request| request.path.starts_with("/v3/chat") && !request.body.is_null());
    let chat = chat.expect("a chat");
    let texts = chat.body["additional_messages"].as_array().unwrap().iter();
    let texts = texts.map(|message| message["content"].as_str().unwrap().to_owned()).collect();
    (chat.path.split_once("conversation_id=").map(|(_, id)| id.to_owned()), texts)
}

#[tokio::test]
async fn only_the_new_messages_are_sent_in_that_conversation() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.says(&["one"]).await;
    first.assert("new", "one");
    let second = talk.says(&["one", "one", "two"]).await;
    second.assert("continued", "one [one] two");
    assert_eq!(sent(&coze), (Some(first.place().to_owned()), vec!["two".to_owned()]));
    let third = talk.says(&["one", "one", "two", "two", "three"]).await;
    third.assert("continued", "one [one] two [two] three");
    assert_eq!([second.place(), third.place()], [first.place(); 2]);
    assert_eq!([second.name(), third.name()], [first.name(); 2]);
    assert_eq!(coze.simulator.conversations().len(), 1);
}

#[tokio::test]
async fn several_new_messages_are_all_sent() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["one"]).await;
    let mut messages = turns(&["one", "one", "two"]);
    messages.as_array_mut().unwrap().push(json!({"role": "user", "content": "  "}));
    messages.as_array_mut().unwrap().push(json!({"role": "system", "content": "be brief"}));
    messages.as_array_mut().unwrap().push(json!({"role": "user", "content": "three"}));
    talk.sends(messages).await.assert("continued", "one [one] two be brief three");
}

#[tokio::test]
async fn a_new_conversation_gets_the_whole_transcript() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.says(&["one", "hm", "two"]).await;
    first.assert("replayed; reason=unknown", "one [hm] two");
    let second = talk.says(&["one", "hm", "two", "two", "three"]).await;
    second.assert("continued", "one [hm] two [two] three");
    assert_eq!(first.place(), second.place());
}

#[tokio::test]
async fn edits_regenerations_and_branches_each_end_in_a_conversation_of_their_own() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["a"]).await;
    let first = talk.says(&["a", "a", "b"]).await;
    let again = talk.says(&["a", "a", "b"]).await;
    again.assert("replayed; reason=edited", "a [a] b");
    let edited = talk.says(&["a", "a", "B"]).await;
    edited.assert("replayed; reason=edited", "a [a] B");
    let reworded = talk.says(&["a", "A", "b"]).await;
    reworded.assert("replayed; reason=edited", "a [A] b");
    assert_eq!(coze.simulator.conversations().len(), 4);
    // Each goes on by itself, but for those two whose words are the same.
    let on = talk.says(&["a", "a", "B", "B", "c"]).await;
    on.assert("continued", "a [a] B [B] c");
    assert_eq!((on.place(), on.name()), (edited.place(), edited.name()));
    let on = talk.says(&["a", "A", "b", "b", "c"]).await;
    assert_eq!((on.note(), on.place()), ("continued", reworded.place()));
    talk.says(&["a", "a", "b", "b", "c"]).await.assert("replayed; reason=ambiguous", "a [a] b [b] c");
    // The two are still there, by their ids.
    let on = talk.named(first.name()).says(&["c"]).await;
    on.assert("continued", "a [a] b [b] c");
    assert_eq!(on.place(), first.place());
}

#[tokio::test]
async fn concurrent_branches_each_end_in_a_conversation_of_their_own() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["a"]).await;
    let ask = |text: &'static str| {
        let talk = talk.clone();
        async move { talk.says(&["a", "a", text]).await }
    };
    let all = tokio::join!(ask("1"), ask("2"), ask("3"), ask("4"));
    let all = [all.0, all.1, all.2, all.3];
    for (number, said) in all.iter().enumerate() {
        assert_eq!(said.seen(), format!("a [a] {}", number + 1));
        assert_eq!(all.iter().filter(|other| other.place() == said.place()).count(), 1);
    }
    assert_eq!(all.iter().filter(|said| said.note() == "continued").count(), 1, "{all:?}");
}

#[tokio::test]
async fn two_people_with_one_key_and_the_same_words_are_not_mixed() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let (ann, bob) = (talk.says(&["hi"]).await, talk.says(&["hi"]).await);
    assert_ne!(ann.place(), bob.place());
    let ann = talk.says(&["hi", "hi", "I am Ann"]).await;
    ann.assert("replayed; reason=ambiguous", "hi [hi] I am Ann");
    let bob = talk.says(&["hi", "hi", "I am Bob"]).await;
    bob.assert("replayed; reason=ambiguous", "hi [hi] I am Bob");
    let ann = talk.says(&["hi", "hi", "I am Ann", "I am Ann", "who?"]).await;
    ann.assert("continued", "hi [hi] I am Ann [I am Ann] who?");
    let bob = talk.says(&["hi", "hi", "I am Bob", "I am Bob", "who?"]).await;
    bob.assert("continued", "hi [hi] I am Bob [I am Bob] who?");
}

#[tokio::test]
async fn a_client_that_answers_at_once_finds_its_conversation() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let mut texts: Vec<String> = Vec::new();
    for turn in 0..20 {
        let text = format!("turn {turn}");
        texts.push(text.clone());
        let transcript: Vec<&str> = texts.iter().map(String::as_str).collect();
        let response = talk.streams(&transcript).await;
        let note = if turn == 0 { "new" } else { "continued" };
        assert_eq!(response.headers()["x-cozeway-conversation"], note);
        let name = response.headers()["x-conversation-id"].clone();
        let streamed = Streamed::of(response).await;
        assert_eq!(streamed.finishing()["choices"][0]["finish_reason"], "stop");
        assert!(name.to_str().unwrap().starts_with("conv_"));
        texts.push(text);
    }
    assert_eq!(coze.simulator.conversations().len(), 1);
}

#[tokio::test]
async fn explicit_remembers_only_what_has_a_name() {
    let more = format!(
        "[models.explicit]\nbot_id = \"{}\"\nmemory = \"explicit\"\n",
        cozeway::simulator::bots::ECHO
    );
    let (coze, gateway) = with(&more).await;
    let talk = Talk::new(&gateway, &coze, "explicit");
    let first = talk.says(&["a"]).await;
    first.assert("new; reason=unnamed", "a");
    assert_eq!(first.header("x-conversation-id"), None);
    talk.says(&["a", "a", "b"]).await.assert("replayed; reason=unnamed", "a [a] b");
    talk.named("n").says(&["a"]).await.assert("new", "a");
    talk.named("n").says(&["b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn off_never_remembers() {
    let more = format!("[models.off]\nbot_id = \"{}\"\nmemory = \"off\"\n", cozeway::simulator::bots::ECHO);
    let (coze, gateway) = with(&more).await;
    let talk = Talk::new(&gateway, &coze, "off");
    for talk in [talk.clone(), talk.named("n")] {
        for _ in 0..2 {
            let said = talk.says(&["a", "a", "b"]).await;
            said.assert("replayed; reason=off", "a [a] b");
            assert_eq!(said.header("x-conversation-id"), None);
        }
    }
    let said = talk.field("conversation_id", "n").field("temperature", 1).says(&["a"]).await;
    said.assert("new; reason=off", "a");
    assert_eq!(said.header("x-cozeway-ignored"), Some("temperature, conversation_id"));
    assert_eq!(talk.says(&["a"]).await.header("x-cozeway-ignored"), None);
    assert_eq!(talk.named("conv_unknown").says(&["a"]).await.status, 200);
    // What names no conversation anywhere is wrong here too.
    assert_eq!(talk.named("%0a").says(&["a"]).await.error(), (400, "invalid_value"));
}

#[tokio::test]
async fn what_clients_do_to_an_answer_changes_nothing() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    for (number, sent_back) in [
        "caf\u{e9} ol\u{e9}\nok",
        "cafe\u{301} ole\u{301}\nok",
        "caf\u{e9} ol\u{e9}\r\nok",
        "\n caf\u{e9} ol\u{e9}\nok \n\n",
        "<think>hm</think>\n\ncaf\u{e9} ol\u{e9}\nok",
        "<details type=\"reasoning\" done=\"true\">\n<summary>Thought</summary>\n> hm\n</details>\ncaf\u{e9} ol\u{e9}\nok",
    ]
    .iter()
    .enumerate()
    {
        // The user's own words count as they are.
        let talk = talk.field("user", format!("user {number}"));
        talk.says(&["caf\u{e9} ol\u{e9}\nok"]).await.assert("new", "caf\u{e9} ol\u{e9}\nok");
        let said = talk.says(&["caf\u{e9} ol\u{e9}\nok", sent_back, "go on"]).await;
        said.assert("continued", "caf\u{e9} ol\u{e9}\nok [caf\u{e9} ol\u{e9}\nok] go on");
    }
}

#[tokio::test]
async fn whatever_else_differs_is_another_text() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["Two  words."]).await;
    for other in ["two  words.", "Two words.", "Two  words", "Two  words.\n\nMore", "<b>Two  words.</b>"] {
        let said = talk.says(&["Two  words.", other, "go on"]).await;
        said.assert("replayed; reason=edited", &format!("Two  words. [{other}] go on"));
    }
    let said = talk.says(&["Two  words. ", "Two  words.", "go on"]).await;
    assert_eq!(said.note(), "replayed; reason=unknown", "the user's words are taken literally");
    assert_eq!(talk.says(&["Two  words.", "Two  words.", "go on"]).await.note(), "continued");
}

#[tokio::test]
async fn thinking_that_a_client_sends_back_changes_nothing() {
    let more = format!(
        "[models.think]\nbot_id = \"{}\"\nreasoning = \"think\"\n",
        cozeway::simulator::bots::STORYTELLER
    );
    let (coze, gateway) = with(&more).await;
    for model in ["think", "storyteller"] {
        let talk = Talk::new(&gateway, &coze, model);
        let first = talk.says(&["a story"]).await;
        assert_eq!(first.text().starts_with("<think>"), model == "think");
        let second = talk.says(&["a story", first.text(), "another"]).await;
        assert_eq!((second.note(), second.place()), ("continued", first.place()), "{model}");
    }
}

#[tokio::test]
async fn another_system_text_is_another_transcript_where_it_is_shown() {
    let bot = cozeway::simulator::bots::ECHO;
    let more = format!(
        "[models.drop]\nbot_id = \"{bot}\"\nsystem = \"drop\"\n\
         [models.variable]\nbot_id = \"{bot}\"\nsystem = {{ variable = \"persona\" }}\n"
    );
    let (coze, gateway) = with(&more).await;
    let ask = async |model: &str, system: &str, texts: &[&str]| {
        let mut messages = turns(texts);
        messages.as_array_mut().unwrap().insert(0, json!({"role": "system", "content": system}));
        // One bot: each model has a space of its own by the user.
        Talk::new(&gateway, &coze, model).field("user", model).sends(messages).await
    };
    ask("echo", "S", &["a"]).await.assert("new", "S a");
    ask("echo", "S", &["a", "a", "b"]).await.assert("continued", "S a [a] b");
    ask("echo", "T", &["a", "a", "b", "b", "c"]).await.assert("replayed; reason=unknown", "T a [a] b [b] c");

    ask("drop", "S", &["a"]).await.assert("new", "a");
    ask("drop", "T", &["a", "a", "b"]).await.assert("continued", "a [a] b");

    ask("variable", "S", &["a"]).await.assert("new", "a");
    ask("variable", "T", &["a", "a", "b"]).await.assert("continued", "a [a] b");
    let requests = coze.simulator.requests();
    assert_eq!(requests.last().unwrap().body["custom_variables"], json!({"persona": "T"}));
}

fn image(text: &str, url: &str) -> Value {
    json!({"role": "user", "content": [
        {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]})
}

#[tokio::test]
async fn images_in_the_history_are_there_once() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let cat = image("look", "https://example.com/cat.png");
    talk.sends(json!([cat])).await.assert("new", "look https://example.com/cat.png");
    let more = |image: &Value| json!([image, {"role": "assistant", "content": "look"}, {"role": "user", "content": "and?"}]);
    let said = talk.sends(more(&image("look", "https://example.com/dog.png"))).await;
    said.assert("replayed; reason=unknown", "look https://example.com/dog.png [look] and?");
    talk.sends(more(&cat)).await.assert("continued", "look https://example.com/cat.png [look] and?");
}

#[tokio::test]
async fn what_was_done_with_a_conversation_is_in_the_log_too() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.says(&["a"]).await;
    for (texts, mode, reason) in [
        (&["a", "a", "b"][..], "continued", None),
        (&["a", "a", "c"], "replayed", Some("edited")),
        (&["x"], "new", None),
    ] {
        let said = talk.says(texts).await;
        let line = gateway.logged(said.header("x-request-id").unwrap()).await;
        let field = |name: &str| line[name].as_str().or_else(|| line["fields"][name].as_str());
        assert_eq!(
            (field("conversation.mode"), field("conversation.reason")),
            (Some(mode), reason),
            "{line}"
        );
    }
}
