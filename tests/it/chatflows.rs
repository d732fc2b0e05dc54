//! Chatflows as models, by the real binary.

use http::StatusCode;
use serde_json::{Value, json};

use cozeway::simulator::flows::{APP, GUIDE};
use cozeway::simulator::{Behaviour, Flow, Options, Runs, Script, Step};

use crate::faults::coded;
use crate::shared::golden;
use crate::support::gateway::config;
use crate::support::outcome::{Outcome, assert_answers};
use crate::support::sse::Streamed;
use crate::support::talk::Said;
use crate::support::{Between, Coze, Gateway, Mishap, SCRIPTED, Talk, turns};

const ECHO: &str = "7530512345678929001";
const STORY: &str = "7530512345678929002";
const BROKEN: &str = "7530512345678929003";

const LIST: &str = "/v1/conversation/message/list";

async fn start() -> (Coze, Gateway) {
    let coze = simulated().await;
    let gateway = Gateway::with(&text(&coze, "upstream_timeout = \"300ms\"")).await;
    (coze, gateway)
}

/// The same with something between the two that can go wrong, for a gateway
/// that waits for nothing.
async fn between() -> (Coze, Between, Gateway) {
    let coze = simulated().await;
    let between = Between::start(&coze).await;
    let gateway = Gateway::with(&text(&between.coze, "conversation_wait = \"0s\"")).await;
    (coze, between, gateway)
}

async fn simulated() -> Coze {
    let mut options = Options::instant();
    let flow = |id, behaviour| Flow::new(id, Runs::Chat(behaviour));
    options.flows.extend([
        flow(ECHO, Behaviour::Echo),
        flow(STORY, Behaviour::Storyteller),
        flow(BROKEN, Behaviour::Broken),
    ]);
    Coze::with(options).await
}

fn text(coze: &Coze, server: &str) -> String {
    let models = format!(
        "[models.flow-echo]\nchatflow_id = '{ECHO}'\nbot_id = '75'\nparameters = {{ city = '杭州' }}\n\
         [models.story]\nchatflow_id = '{STORY}'\napp_id = '{APP}'\nshow_debug_url = true\nfollow_ups = true\n\
         [models.quiet]\nchatflow_id = '{STORY}'\napp_id = '{APP}'\n\
         [models.guide]\nchatflow_id = '{GUIDE}'\napp_id = '{APP}'\n\
         [models.broken-flow]\nchatflow_id = '{BROKEN}'\napp_id = '{APP}'\n\
         [models.flow]\nchatflow_id = '{SCRIPTED}'\napp_id = '{APP}'\n"
    );
    config(coze, server, &models)
}

#[tokio::test]
async fn a_chat_goes_on_as_a_bots_does() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow-echo");
    let first = talk.says(&["one"]).await;
    first.assert("new", "one");
    let second = talk.says(&["one", first.text(), "two"]).await;
    second.assert("continued", "one [one] two");
    assert_eq!(second.place(), first.place());
    let sent = coze.simulator.requests();
    let bodies: Vec<&Value> =
        sent.iter().filter(|sent| sent.path == "/v1/workflows/chat").map(|sent| &sent.body).collect();
    let [begun, on] = bodies[..] else { panic!("{sent:?}") };
    assert!(begun["parameters"]["CONVERSATION_NAME"].is_string() && begun.get("conversation_id").is_none());
    assert_eq!(
        (on["conversation_id"].as_str(), on["parameters"].get("CONVERSATION_NAME")),
        (Some(first.place()), None)
    );
    assert_eq!(
        (&on["bot_id"], &on["parameters"]["city"], on.get("app_id")),
        (&json!("75"), &json!("杭州"), None)
    );
    assert_eq!(on["additional_messages"].as_array().unwrap().len(), 1);
    // An edit is a conversation of its own.
    let edited = talk.says(&["one", "ONE", "two"]).await;
    edited.assert("replayed; reason=edited", "one [ONE] two");
    assert_ne!(edited.place(), first.place());
}

#[tokio::test]
async fn a_named_conversation_goes_on_by_what_is_new() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow-echo").named("trip");
    talk.says(&["one"]).await.assert("new", "one");
    talk.says(&["two"]).await.assert("continued", "one [one] two");
}

#[tokio::test]
async fn a_question_is_answered_in_its_place_and_only_there() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "guide");
    let asked = talk.says(&["weather?"]).await;
    assert_eq!(asked.text(), "Which city would you like to know the weather of?");
    assert_eq!(asked.body["coze"]["interrupt"], json!({"kind": "question"}));
    assert_eq!(asked.body["choices"][0]["finish_reason"], "stop");
    let answered = talk.says(&["weather?", asked.text(), "Paris"]).await;
    assert_eq!((answered.note(), answered.text()), ("resumed", "The weather in Paris will be sunny."));
    assert_eq!(answered.place(), asked.place());
    // A regeneration cannot answer it once more: it starts over.
    let again = talk.says(&["weather?", asked.text(), "Rome"]).await;
    assert_eq!(again.note(), "replayed; reason=edited");
    assert_ne!(again.place(), asked.place());
}

#[tokio::test]
async fn a_cut_answer_counts_as_coze_keeps_it() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow-echo").named("n");
    talk.says(&["a"]).await.assert("new", "a");
    let cut = talk.field("stop", "two").says(&["one two three"]).await;
    assert_eq!(cut.text(), "one ");
    let on = talk.says(&["b"]).await;
    on.assert("continued", "a [a] one two three [one two three] b");
    assert_eq!(on.place(), cut.place());
    // Several messages would be taken for an answer, had it been a question.
    talk.field("stop", "two").says(&["one two"]).await;
    let more = talk.sends(json!([{"role": "user", "content": "c"}, {"role": "user", "content": "d"}])).await;
    more.assert("rebuilt; reason=cut", "a [a] one two three [one two three] b [b] one two [one two] c d");
    assert_ne!(more.place(), cut.place());
}

#[tokio::test]
async fn a_question_of_which_the_client_has_heard_a_part_is_answered_in_its_place() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "guide").named("n");
    let cut = talk.field("stop", "would").says(&["weather?"]).await;
    assert_eq!(cut.text(), "Which city ");
    let answered = talk.says(&["Paris"]).await;
    assert_eq!((answered.note(), answered.text()), ("continued", "The weather in Paris will be sunny."));
    assert_eq!(answered.place(), cut.place());
}

#[tokio::test]
async fn a_cut_form_of_a_chatflow_is_filled_in() {
    let (coze, between, gateway) = between().await;
    let talk = Talk::new(&gateway, &between.coze, "flow").named("n");
    let transcript = |file: &str| Script::transcript(golden::transcript_of("chatflow", file));
    coze.simulator.script(SCRIPTED, transcript("chatflow_interrupt_card.server.sse"));
    coze.simulator.script(SCRIPTED, transcript("chatflow_text.server.sse"));
    let cut = talk.field("stop", "string").says(&["weather?"]).await;
    assert_eq!(cut.text(), "city (");
    let stream = golden::transcript_of("chatflow", "chatflow_interrupt_card.server.sse");
    let stream = String::from_utf8(stream).unwrap();
    let data = stream.lines().filter_map(|line| line.strip_prefix("data:"));
    let card = data
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .find(|data| data["content_type"] == "card");
    between.next(LIST, Mishap::Answer(200, "application/json", json!({"data": [card.unwrap()]}).to_string()));
    let filled = talk.says(&["Paris"]).await;
    assert_eq!((filled.note(), filled.text()), ("resumed", "中午吃啥了"));
    let body = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(body["additional_messages"][0]["content"], "city:Paris");
}

#[tokio::test]
async fn what_coze_has_kept_of_a_chat_that_does_not_end_is_sent_again() {
    let (_coze, between, gateway) = between().await;
    let listed = |of: &Said, texts: &[&str]| {
        let chat = of.body["coze"]["chat_id"].clone();
        let message =
            |text: &&str| json!({"role": "user", "type": "question", "content": text, "chat_id": chat});
        json!({"data": texts.iter().map(message).collect::<Vec<_>>(), "has_more": false}).to_string()
    };
    let answer = |body: String| Mishap::Answer(200, "application/json", body);
    let talk = Talk::new(&gateway, &between.coze, "flow-echo").named("n");
    let first = talk.says(&["a"]).await;
    let cut = talk.field("stop", "two").says(&["one two"]).await;
    // No answer is there: but what the user has said.
    let only = listed(&cut, &["one two"]);
    for _ in 0..2 {
        between.next(LIST, answer(only.clone()));
    }
    talk.says(&["b"]).await.assert("rebuilt; reason=cut", "one two b");
    // Nothing of it is there: then only what was before.
    talk.field("stop", "two").says(&["one two"]).await;
    between.next(LIST, answer(listed(&first, &["a"])));
    talk.says(&["c"]).await.assert("rebuilt; reason=cut", "one two b [b] c");
    talk.field("stop", "two").says(&["one two"]).await;
    between.next(LIST, answer("<html>".to_owned()));
    assert_eq!(talk.says(&["d"]).await.error(), (502, "upstream_error"));
    let forgotten = answer(json!({"code": 103_000_002, "msg": "conversation not found"}).to_string());
    between.next(LIST, forgotten);
    assert_eq!(talk.says(&["d"]).await.error(), (409, "conversation_lost"));
}

#[tokio::test]
async fn what_coze_has_forgotten_is_sent_again() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow-echo");
    let first = talk.says(&["one"]).await;
    coze.simulator.forget(first.place());
    let second = talk.says(&["one", "one", "two"]).await;
    second.assert("replayed; reason=forgotten", "one [one] two");
    let named = talk.named("trip");
    let first = named.says(&["one"]).await;
    coze.simulator.forget(first.place());
    assert_eq!(named.says(&["two"]).await.error(), (409, "conversation_lost"));
}

#[tokio::test]
async fn suggestions_usage_and_the_debug_page_are_told() {
    let (_coze, gateway) = start().await;
    let answer = gateway.answer("story", "a story").await;
    assert_eq!(answer["coze"]["follow_ups"].as_array().unwrap().len(), 3);
    assert!(answer["coze"]["debug_url"].is_string(), "{answer}");
    let quiet = gateway.answer("quiet", "a story").await;
    assert_eq!((quiet["coze"].get("follow_ups"), quiet["coze"].get("debug_url")), (None, None));
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    assert_eq!(count("prompt_tokens"), 7);
    let streamed = Streamed::of(gateway.ask("story", "a story", json!({"stream": true})).await).await;
    assert!(streamed.is_done());
    assert_eq!(streamed.content(), answer["choices"][0]["message"]["content"].as_str().unwrap());
}

#[tokio::test]
async fn fifty_new_messages_are_the_most() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow-echo");
    let texts = |count: usize| (0..count).map(|index| format!("m{index}")).collect::<Vec<_>>();
    let send = async |count| {
        let texts = texts(count);
        talk.sends(turns(&texts.iter().map(String::as_str).collect::<Vec<_>>())).await
    };
    assert_eq!(send(49).await.status, 200);
    let refused = send(51).await;
    assert_eq!(refused.error(), (400, "context_length_exceeded"));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("51 new messages"), "{refused:?}");
    // Nothing of it was kept: the conversation goes on.
    assert_eq!(talk.says(&["x"]).await.status, 200);
}

#[tokio::test]
async fn what_is_rebuilt_leaves_out_the_oldest_beyond_fifty() {
    let (coze, gateway) = start().await;
    let texts: Vec<String> = (0..49).map(|index| format!("m{index}")).collect();
    let first: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Two messages are no answer: what was said so far is sent again.
    let two = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    let talk = Talk::new(&gateway, &coze, "guide").named("long");
    let asked = talk.says(&first).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let rebuilt = talk.sends(two).await;
    assert_eq!((rebuilt.status, rebuilt.note()), (200, "rebuilt; reason=question"), "{rebuilt:?}");
    assert_eq!(rebuilt.header("x-cozeway-trimmed"), Some("2"));
    let seen = rebuilt.seen();
    assert!(seen.starts_with("m2 [m3] m4 ") && seen.ends_with(" a b"), "{seen}");
}

#[tokio::test]
async fn images_and_the_flows_own_parameters_are_refused() {
    let (_coze, gateway) = start().await;
    let image = json!([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x/1.png"}}]);
    let body = json!({"model": "flow-echo", "messages": [{"role": "user", "content": image}]});
    let response = gateway.post(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("unsupported_content"));
    let response = gateway.ask("flow-echo", "hi", json!({"parameters": {"CONVERSATION_NAME": "x"}})).await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("\"param\":\"parameters\""));
    let response = gateway.ask("flow-echo", "hi", json!({"parameters": {"city": "北京"}})).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_form_is_filled_in_by_lines_or_json() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "flow");
    let transcript = |file: &str| Script::transcript(golden::transcript_of("chatflow", file));
    let form = "city (string)";
    for (answer, sent) in
        [("Paris", "city:Paris"), ("city: Rome", "city:Rome"), (r#"{"city": "Oslo"}"#, "city:Oslo")]
    {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, transcript("chatflow_interrupt_card.server.sse"));
        coze.simulator.script(SCRIPTED, transcript("chatflow_text.server.sse"));
        let asked = talk.says(&[answer]).await;
        assert_eq!(asked.text(), form);
        assert_eq!(asked.body["coze"]["interrupt"]["fields"][0]["name"], "city");
        let resumed = talk.says(&[answer, form, answer]).await;
        assert_eq!((resumed.note(), resumed.text()), ("resumed", "中午吃啥了"));
        let body = coze.simulator.requests().pop().unwrap().body;
        assert_eq!(body["additional_messages"][0]["content"], sent);
        assert_eq!(body["conversation_id"], "7530600000000000001");
    }
}

fn send(event: &str, data: &str) -> Step {
    Step::Send(format!("id: 1\nevent: {event}\ndata: {data}\n\n").into())
}

#[tokio::test]
async fn every_fault_has_its_answer() {
    use Outcome::{After, Before, Fine};
    let transcript = |file: &str| Script::transcript(golden::transcript_of("chatflow", file));
    let delta = || {
        send(
            "conversation.message.delta",
            r#"{"id":"1","conversation_id":"2","chat_id":"3","type":"answer","content":"hm","content_type":"text"}"#,
        )
    };
    let completed =
        || send("conversation.chat.completed", r#"{"id":"3","conversation_id":"2","status":"completed"}"#);
    let broken = || Before(502, "upstream_error");
    let cases: Vec<(&str, Script, Outcome)> = vec![
        (
            "an error with its code in a string",
            transcript("chatflow_error.server.sse"),
            After(502, "upstream_error"),
        ),
        ("an error in plain text", transcript("chatflow_raw_error.server.sse"), broken()),
        (
            "a name is wanted",
            Script::json(
                StatusCode::OK,
                golden::transcript_of("chatflow", "chatflow_prestream_error.server.json"),
            ),
            broken(),
        ),
        ("not published", coded(720702011), Before(502, "upstream_model_unavailable")),
        ("a bad token", coded(700012006), Before(502, "upstream_auth_failed")),
        (
            "an unknown path",
            Script::json(StatusCode::UNAUTHORIZED, r#"{"code":401,"msg":"missing session_key in cookie"}"#),
            Before(502, "upstream_unsupported"),
        ),
        (
            "a code that is a string and known",
            Script::stream([send("error", r#"{"code":"4013","msg":"slow"}"#)]),
            Before(429, "upstream_rate_limited"),
        ),
        ("zero bytes", Script::stream([]), broken()),
        ("cancelled: the stream just ends", Script::stream([delta()]), After(502, "upstream_error")),
        ("reset after words", Script::stream([delta(), Step::Reset]), After(502, "upstream_error")),
        ("silence after words", Script::stream([delta(), Step::Hang]), After(504, "upstream_timeout")),
        ("no answer", Script::stream([completed(), send("done", "{}")]), broken()),
        ("no done", Script::stream([delta(), completed()]), Fine("hm")),
        ("done with nonsense", Script::stream([delta(), completed(), send("done", "?")]), Fine("hm")),
    ];
    let (coze, gateway) = start().await;
    for (name, script, outcome) in cases {
        assert_answers(name, &coze, &gateway, "flow", script, outcome).await;
    }
    let streamed = Streamed::of(gateway.ask("broken-flow", "hi", json!({"stream": true})).await).await;
    assert_eq!(streamed.error().unwrap()["code"], "upstream_error");
}

/// A page of Coze's list: messages with their roles, of the chat of an answer.
fn page(of: &Said, messages: &[(&str, &str, &str)]) -> Mishap {
    let chat = &of.body["coze"]["chat_id"];
    let listed = messages.iter().rev().map(|(role, content, content_type)| {
        let kind = if *role == "user" { "question" } else { "answer" };
        json!({"role": role, "type": kind, "content": content, "content_type": content_type, "chat_id": chat})
    });
    let body = json!({"data": listed.collect::<Vec<_>>(), "has_more": false}).to_string();
    Mishap::Answer(200, "application/json", body)
}

#[tokio::test]
async fn a_chatflow_that_still_talks_when_time_is_up_is_rebuilt_with_what_it_has_said() {
    let (_coze, between, gateway) = between().await;
    let talk = Talk::new(&gateway, &between.coze, "flow-echo").named("n");
    let cut = talk.field("stop", "two").says(&["one two"]).await;
    for _ in 0..2 {
        between.next(LIST, page(&cut, &[("user", "one two", "text"), ("assistant", "one", "text")]));
    }
    let said = talk.says(&["b"]).await;
    said.assert("rebuilt; reason=cut", "one two [one] b");
    assert_ne!(said.place(), cut.place());
}

#[tokio::test]
async fn an_image_that_coze_lists_by_its_url_alone_is_left_out_of_what_is_rebuilt() {
    let (_coze, between, gateway) = between().await;
    let talk = Talk::new(&gateway, &between.coze, "flow-echo").named("n");
    let image = r#"{"type":"image","file_url":"https://x/1.png"}"#;
    let (alone, look) = (format!("[{image}]"), format!(r#"[{{"type":"text","text":"look"}},{image}]"#));
    let cut = talk.field("stop", "two").says(&["one two"]).await;
    for _ in 0..2 {
        between
            .next(LIST, page(&cut, &[("user", &alone, "object_string"), ("user", &look, "object_string")]));
    }
    talk.says(&["b"]).await.assert("rebuilt; reason=cut", "look b");
}
