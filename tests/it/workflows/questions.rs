//! Questions in the middle of a workflow's run.

use serde_json::json;

use cozeway::simulator::flows::TRIP;

use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, Talk};

const WHERE: &str = "Where would you like to go?";
const WHEN: &str = "When?\nsummer\nwinter";
const FORM: &str = "days (integer)\nname (string)";
const PLAN: &str = "Ann: 3 days in Oslo, winter.";

fn text(coze: &Coze) -> String {
    let models =
        format!("[models.trip]\nworkflow_id = '{TRIP}'\ninput = 'q'\n[state]\nurl = 'sqlite:state.db'\n");
    config(coze, "", &models)
}

async fn start() -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let gateway = Gateway::with(&text(&coze)).await;
    (coze, gateway)
}

/// How often a run was begun, and how often one was resumed.
fn runs(coze: &Coze) -> (usize, usize) {
    let sent = coze.simulator.requests();
    let count = |path: &str| sent.iter().filter(|sent| sent.path == path).count();
    (count("/v1/workflow/stream_run"), count("/v1/workflow/stream_resume"))
}

#[tokio::test]
async fn each_message_answers_the_question_before_it() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let first = talk.says(&["plan a trip"]).await;
    assert_eq!((first.text(), first.note()), (WHERE, "new"));
    assert_eq!(first.body["coze"]["interrupt"], json!({"kind": "question"}));
    assert_eq!(first.body["choices"][0]["finish_reason"], "stop");
    assert!(first.header("x-conversation-id").is_none());
    // What answers starts nothing, so that start parameters have no place.
    let second = talk.field("parameters", json!({"n": 1})).says(&["plan a trip", WHERE, "Oslo"]).await;
    assert_eq!((second.text(), second.note()), (WHEN, "resumed"));
    assert_eq!(second.header("x-cozeway-ignored"), Some("parameters"));
    assert_eq!(second.body["coze"]["interrupt"], json!({"kind": "choice", "options": ["summer", "winter"]}));
    let third = talk.says(&["plan a trip", WHERE, "Oslo", WHEN, "winter"]).await;
    assert_eq!((third.text(), third.note()), (FORM, "resumed"));
    let fields = json!([
        {"name": "days", "type": "integer", "required": true}, {"name": "name", "type": "string", "required": true},
    ]);
    assert_eq!(third.body["coze"]["interrupt"], json!({"kind": "form", "fields": fields}));
    let turns = ["plan a trip", WHERE, "Oslo", WHEN, "winter", FORM];
    // What is no answer to the form changes nothing.
    let refused = talk.says(&[&turns[..], &["three"]].concat()).await;
    assert_eq!(refused.error(), (400, "invalid_value"));
    let plan = talk.says(&[&turns[..], &["days: 3\nname: Ann"]].concat()).await;
    assert_eq!((plan.text(), plan.note()), (PLAN, "resumed"));
    assert_eq!(runs(&coze), (1, 3));
    let sent = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(sent["resume_data"], r#"{"days":3,"name":"Ann"}"#);
    assert_eq!((sent["workflow_id"].as_str(), sent["interrupt_type"].as_i64()), (Some(TRIP), Some(5)));
    assert_eq!(sent["ext"]["user_id"], "test");
    // After its end the next message begins anew.
    let again = talk.says(&[&turns[..], &["days: 3\nname: Ann", PLAN, "another trip"]].concat()).await;
    assert_eq!((again.text(), again.note()), (WHERE, "new"));
    assert_eq!(runs(&coze), (2, 3));
}

#[tokio::test]
async fn no_question_is_answered_twice_or_by_something_else() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    talk.says(&["plan a trip"]).await;
    let answer = ["plan a trip", WHERE, "Oslo"];
    let lost = (409, "conversation_lost");
    let two = json!([
        {"role": "user", "content": "plan a trip"}, {"role": "assistant", "content": WHERE},
        {"role": "user", "content": "hm"}, {"role": "user", "content": "Oslo"},
    ]);
    assert_eq!(talk.sends(two).await.error(), lost);
    assert_eq!(talk.says(&answer).await.text(), WHEN);
    for _ in 0..2 {
        let refused = talk.says(&answer).await;
        assert_eq!(refused.error(), lost);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("Start again"));
    }
    assert_eq!(talk.says(&["plan a trip", WHERE, "Rome"]).await.error(), lost);
    // The question that waits is still there.
    assert_eq!(talk.says(&["plan a trip", WHERE, "Oslo", WHEN, "winter"]).await.text(), FORM);
    // Another beginning is another run.
    assert_eq!(talk.says(&["plan two trips"]).await.text(), WHERE);
    assert_eq!(runs(&coze), (2, 2));
}

#[tokio::test]
async fn a_question_is_in_the_way_of_no_chat_that_begins_alike() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    // Another chat of the same key, which was not asked anything there.
    for _ in 0..2 {
        let other = talk.says(&["plan a trip", "Take a walk.", "where?"]).await;
        assert_eq!((other.text(), other.note()), (WHERE, "new"));
    }
    let longer = talk.says(&["plan a trip", "Take a walk.", "how?", "On foot.", "where?"]).await;
    assert_eq!((longer.text(), longer.note()), (WHERE, "new"));
    assert_eq!(runs(&coze), (4, 0));
    assert_eq!(talk.says(&["plan a trip", WHERE, "Oslo"]).await.text(), WHEN);
}

#[tokio::test]
async fn what_comes_after_an_answered_question_begins_a_run_however_the_last_one_ended() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let turns = ["plan a trip", WHERE, "Oslo", WHEN, "winter", FORM, "days: 3\nname: Ann", PLAN];
    for end in [1, 3, 5, 7] {
        assert_eq!(talk.says(&turns[..end]).await.text(), turns[end]);
    }
    // One that is regenerated, and one that follows words cut short.
    for _ in 0..2 {
        let again = talk.says(&[&turns[..], &["another trip"]].concat()).await;
        assert_eq!((again.text(), again.note()), (WHERE, "new"));
    }
    let after_a_cut = talk.says(&[&turns[..], &["thanks", "You are w", "a third trip"]].concat()).await;
    assert_eq!((after_a_cut.text(), after_a_cut.note()), (WHERE, "new"));
    assert_eq!(runs(&coze), (4, 3));
    // But what was once asked stays asked.
    for end in [3, 5, 7] {
        assert_eq!(talk.says(&turns[..end]).await.error(), (409, "conversation_lost"), "{end}");
    }
    assert_eq!(runs(&coze), (4, 3));
}

#[tokio::test]
async fn of_answers_at_the_same_time_one_counts() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    talk.says(&["plan a trip"]).await;
    let turns = ["plan a trip", WHERE, "Oslo"];
    let answers = futures_util::future::join_all((0..8).map(|_| talk.says(&turns))).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|said| said.status == 200);
    assert_eq!(good.iter().map(|said| said.text()).collect::<Vec<_>>(), [WHEN]);
    assert!(bad.iter().all(|said| said.error() == (409, "conversation_lost")));
    assert_eq!(runs(&coze), (1, 1));
}

#[tokio::test]
async fn what_two_have_asked_alike_is_nobodys() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    talk.says(&["plan a trip"]).await;
    talk.says(&["plan a trip"]).await;
    assert_eq!(talk.says(&["plan a trip", WHERE, "Oslo"]).await.error(), (409, "conversation_lost"));
    // With users of their own they are told apart.
    let [ann, bob] = ["ann", "bob"].map(|user| talk.field("user", user));
    ann.says(&["plan a trip"]).await;
    bob.says(&["plan a trip"]).await;
    assert_eq!(ann.says(&["plan a trip", WHERE, "Oslo"]).await.text(), WHEN);
    assert_eq!(bob.says(&["plan a trip", WHERE, "Rome"]).await.text(), WHEN);
}

#[tokio::test]
async fn a_question_survives_a_restart_and_a_kill() {
    let (coze, mut gateway) = start().await;
    Talk::new(&gateway, &coze, "trip").says(&["plan a trip"]).await;
    gateway.restart("-TERM").await;
    let second = Talk::new(&gateway, &coze, "trip").says(&["plan a trip", WHERE, "Oslo"]).await;
    assert_eq!(second.text(), WHEN);
    gateway.restart("-KILL").await;
    let third =
        Talk::new(&gateway, &coze, "trip").says(&["plan a trip", WHERE, "Oslo", WHEN, "summer"]).await;
    assert_eq!((third.text(), third.note()), (FORM, "resumed"));
    assert_eq!(runs(&coze), (1, 2));
}

#[tokio::test]
async fn another_gateway_over_the_same_state_brings_the_answer() {
    let (coze, gateway) = start().await;
    Talk::new(&gateway, &coze, "trip").says(&["plan a trip"]).await;
    let url = format!("url = 'sqlite:{}'", gateway.folder.join("state.db").display());
    let other = Gateway::with(&text(&coze).replace("url = 'sqlite:state.db'", &url)).await;
    let second = Talk::new(&other, &coze, "trip").says(&["plan a trip", WHERE, "Oslo"]).await;
    assert_eq!(second.text(), WHEN);
    let third =
        Talk::new(&gateway, &coze, "trip").says(&["plan a trip", WHERE, "Oslo", WHEN, "summer"]).await;
    assert_eq!(third.text(), FORM);
}

#[tokio::test]
async fn under_a_name_the_new_message_is_enough() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip").named("mine");
    assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    let second = talk.says(&["Oslo"]).await;
    assert_eq!((second.text(), second.note(), second.name()), (WHEN, "resumed", "mine"));
    assert_eq!(talk.says(&["winter"]).await.text(), FORM);
    assert_eq!(talk.says(&[r#"{"days": 3, "name": "Ann"}"#]).await.text(), PLAN);
    assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    coze.simulator.forget_questions();
    assert_eq!(talk.says(&["Oslo"]).await.error(), (409, "conversation_lost"));
}

#[tokio::test]
async fn what_coze_has_forgotten_is_lost() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    talk.says(&["plan a trip"]).await;
    coze.simulator.forget_questions();
    for _ in 0..2 {
        let refused = talk.says(&["plan a trip", WHERE, "Oslo"]).await;
        assert_eq!(refused.error(), (409, "conversation_lost"), "{refused:?}");
    }
    assert_eq!(runs(&coze), (1, 1));
}

#[tokio::test]
async fn streams_ask_and_resume_too() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let asked = Streamed::of(talk.streams(&["plan a trip"]).await).await;
    assert!(asked.is_done());
    assert_eq!(asked.content(), WHERE);
    let resumed = Streamed::of(talk.streams(&["plan a trip", WHERE, "Oslo"]).await).await;
    assert!(resumed.is_done());
    assert_eq!(resumed.content(), WHEN);
}

#[tokio::test]
async fn where_nothing_is_remembered_a_question_is_an_error() {
    let (_coze, gateway) = start().await;
    let response = gateway.ask("trip", "plan a trip", json!({"n": 2})).await;
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("upstream_requires_action"));
}

#[tokio::test]
async fn several_answers_to_a_question_are_refused_and_it_still_waits() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let two = talk.field("n", 2);
    assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    let answer = ["plan a trip", WHERE, "Oslo"];
    let refused = two.says(&answer).await;
    assert_eq!((refused.error(), &refused.body["error"]["param"]), ((400, "invalid_value"), &json!("n")));
    assert_eq!(runs(&coze), (1, 0));
    assert_eq!(talk.says(&answer).await.text(), WHEN);
    assert_eq!(two.says(&answer).await.error(), (409, "conversation_lost"));
    assert_eq!(runs(&coze), (1, 1));
    // Where nothing was asked there are as many runs as answers.
    let elsewhere = two.says(&["plan a trip", "Take a walk.", "where?"]).await;
    assert_eq!(elsewhere.error(), (502, "upstream_requires_action"));
    let (begun, resumed) = runs(&coze);
    assert!(begun > 1 && resumed == 1, "{begun} {resumed}");
}

#[tokio::test]
async fn a_question_that_nobody_can_answer_is_not_told() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip").field("n", 2);
    let response = talk.streams(&["plan a trip"]).await;
    assert_eq!(response.status(), 502);
    let text = response.text().await.unwrap();
    assert!(text.contains("upstream_requires_action") && !text.contains(WHERE), "{text}");
}

#[tokio::test]
async fn a_question_that_a_stop_string_cuts_still_waits() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let named = talk.named("mine");
    for talk in [&talk, &named] {
        assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    }
    let cut = named.field("stop", "\nsummer").says(&["Oslo"]).await;
    assert_eq!((cut.status, cut.text()), (200, "When?"));
    assert_eq!(named.says(&["winter"]).await.text(), FORM);
    // A transcript holds other words than Coze.
    let turns = ["plan a trip", WHERE, "Oslo"];
    assert_eq!(talk.field("stop", "\nsummer").says(&turns).await.text(), "When?");
    let turns = ["plan a trip", WHERE, "Oslo", "When?", "winter"];
    assert_eq!(talk.says(&turns).await.error(), (409, "conversation_lost"));
}

#[tokio::test]
async fn a_first_question_survives_a_kill_right_behind_it() {
    let (coze, mut gateway) = start().await;
    for number in 0..5 {
        let begins = format!("plan trip {number}");
        assert_eq!(Talk::new(&gateway, &coze, "trip").says(&[&begins]).await.text(), WHERE);
        gateway.restart("-KILL").await;
        let second = Talk::new(&gateway, &coze, "trip").says(&[&begins, WHERE, "Oslo"]).await;
        assert_eq!((second.text(), second.note()), (WHEN, "resumed"), "{number}");
    }
}

#[tokio::test]
async fn under_a_name_only_its_answer_ends_a_question() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip").named("mine");
    let turns = ["plan a trip", WHERE, "Oslo", WHEN, "winter", FORM, "days: 3\nname: Ann", PLAN];
    assert_eq!(talk.says(&turns[..1]).await.text(), WHERE);
    assert_eq!(talk.says(&turns[..3]).await.text(), WHEN);
    let user = |text: &str| json!({"role": "user", "content": text});
    let system = json!([{"role": "system", "content": "S"}, user("winter")]);
    let two = json!([user("hm"), user("winter")]);
    for _ in 0..2 {
        for refused in
            [talk.says(&turns[..3]).await, talk.sends(system.clone()).await, talk.sends(two.clone()).await]
        {
            assert_eq!(refused.error(), (409, "conversation_lost"));
            assert_eq!((refused.name(), refused.note()), ("mine", "resumed; reason=question"));
        }
    }
    let third = talk.says(&turns[..5]).await;
    assert_eq!((third.text(), third.note()), (FORM, "resumed"));
    assert_eq!(talk.says(&turns[..7]).await.text(), PLAN);
    // Its answer is in no case one more beginning.
    for _ in 0..2 {
        assert_eq!(talk.says(&turns[..7]).await.error(), (409, "conversation_lost"));
    }
    assert_eq!(runs(&coze), (1, 3));
    let another = talk.says(&[&turns[..], &["another trip"]].concat()).await;
    assert_eq!((another.text(), another.note()), (WHERE, "new"));
}

#[tokio::test]
async fn under_a_name_a_message_that_is_all_of_the_transcript_begins_a_run() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "trip").named("mine");
    let whole = talk.with("x-conversation-mode", "transcript");
    for number in 1..=3 {
        let begun = whole.says(&["plan a trip"]).await;
        assert_eq!((begun.text(), begun.note(), runs(&coze)), (WHERE, "new", (number, 0)));
    }
    assert_eq!(talk.says(&["plan a trip", WHERE, "Oslo"]).await.text(), WHEN);
}
