//! Questions that a bot asks back: who may answer them.

use cozeway::simulator::Script;
use serde_json::json;

use super::cut::form;
use super::usual;
use crate::support::{SCRIPTED, Talk, turns};
use crate::uploads::{inline, text, uploads, user};

const QUESTION: &str = "Which city would you like to know the weather of?";
const ANSWER: &str = "The weather in Paris will be sunny.";

#[tokio::test]
async fn one_user_message_answers_the_question() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "ask");
    for talk in [talk.clone(), talk.named("n")] {
        let asked = talk.says(&["weather?"]).await;
        assert_eq!(asked.text(), QUESTION);
        let answered = talk.says(&["weather?", QUESTION, "Paris"]).await;
        assert_eq!((answered.note(), answered.text()), ("resumed", ANSWER));
        assert_eq!(answered.place(), asked.place());
        let asked = talk.says(&["weather?", QUESTION, "Paris", ANSWER, "and tomorrow?"]).await;
        assert_eq!((asked.note(), asked.text()), ("continued", QUESTION));
    }
}

#[tokio::test]
async fn a_delta_answers_the_question() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "ask").named("n");
    let says = async |text: &str| {
        let message = json!({"role": "user", "content": text});
        talk.sends(json!([{"role": "system", "content": "S"}, message])).await
    };
    assert_eq!(says("weather?").await.text(), QUESTION);
    // The system text is the one that is known.
    let answered = says("Paris").await;
    assert_eq!((answered.note(), answered.text()), ("resumed", ANSWER));
    assert_eq!(says("and tomorrow?").await.note(), "continued");
    let answered = talk.says(&["Rome"]).await;
    assert_eq!((answered.note(), answered.text()), ("resumed", "The weather in Rome will be sunny."));
}

#[tokio::test]
async fn anything_else_is_a_chat_that_is_replayed() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "ask");
    let transcript = |more: &[serde_json::Value]| {
        let mut messages = turns(&["weather?", QUESTION]);
        messages.as_array_mut().unwrap().extend(more.iter().cloned());
        messages
    };
    let user = |text: &str| json!({"role": "user", "content": text});
    let system = json!({"role": "system", "content": "be brief"});
    let tool = json!({"role": "tool", "tool_call_id": "c1", "content": "Paris"});
    let cases = [
        ("two messages", transcript(&[user("Paris"), user("please")]), "[Q] Paris please"),
        ("new system text", transcript(&[system, user("Paris")]), "[Q] be brief Paris"),
        ("what a tool has said", transcript(&[tool]), "[Q] [c1 returned] Paris"),
    ];
    for (number, (what, messages, seen)) in cases.into_iter().enumerate() {
        let talk = talk.field("user", number.to_string());
        for talk in [talk.clone(), talk.named("n")] {
            let asked = talk.says(&["weather?"]).await;
            let replayed = talk.sends(messages.clone()).await;
            assert_eq!((replayed.status, replayed.note()), (200, "replayed; reason=question"), "{what}");
            assert_ne!(replayed.place(), asked.place());
            let shown = replayed.seen().replace(QUESTION, "Q");
            assert_eq!(shown, format!("weather? {seen}"), "{what}");
        }
    }
}

#[tokio::test]
async fn a_delta_that_is_no_answer_is_rebuilt() {
    let (coze, gateway) = usual().await;
    let user = |text: &str| json!({"role": "user", "content": text});
    let system = json!({"role": "system", "content": "be brief"});
    let tool = json!({"role": "tool", "tool_call_id": "c1", "content": "Paris"});
    let cases = [
        ("two messages", json!([user("Paris"), user("please")]), "Paris please"),
        ("new system text", json!([system, user("Paris")]), "be brief Paris"),
        ("what a tool has said", json!([tool]), "[c1 returned] Paris"),
    ];
    for (number, (what, messages, seen)) in cases.into_iter().enumerate() {
        let talk = Talk::new(&gateway, &coze, "ask").named(&number.to_string());
        let asked = talk.says(&["weather?"]).await;
        let rebuilt = talk.sends(messages).await;
        assert_eq!((rebuilt.status, rebuilt.note()), (200, "rebuilt; reason=question"), "{what}");
        assert_ne!(rebuilt.place(), asked.place());
        assert_eq!(rebuilt.seen().replace(QUESTION, "Q"), format!("weather? [Q] {seen}"), "{what}");
    }
}

#[tokio::test]
async fn an_edited_chat_is_no_answer() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "ask");
    talk.says(&["weather?"]).await;
    let said = talk.says(&["weather!", QUESTION, "Paris"]).await;
    assert_eq!((said.note(), said.text()), ("replayed; reason=unknown", QUESTION));
    let said = talk.says(&["weather?", "Which?", "Paris"]).await;
    assert_eq!((said.note(), said.text()), ("replayed; reason=edited", QUESTION));
    let said = talk.says(&["weather?", QUESTION, "Paris"]).await;
    assert_eq!((said.note(), said.text()), ("resumed", ANSWER), "the question still waits");
}

#[tokio::test]
async fn an_image_that_does_not_fill_in_a_form_is_not_uploaded() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "scripted").named("my form");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    coze.simulator.script(SCRIPTED, Script::transcript(form(now).0));
    assert_eq!(talk.says(&["weather?"]).await.text(), "city (string)\nday (string)");
    for parts in [vec![text("Paris")], vec![text("Paris"), inline("map")]] {
        let refused = talk.sends(json!([user(&parts)])).await;
        assert_eq!((refused.error(), uploads(&coze)), ((400, "invalid_value"), 0));
        assert_eq!((refused.name(), refused.note()), ("my%20form", "resumed"));
    }
    let filled = talk.sends(json!([user(&[text("city: Paris\nday: Monday"), inline("map")])])).await;
    assert_eq!((filled.note(), uploads(&coze)), ("resumed", 1));
}
