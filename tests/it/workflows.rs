//! Workflows as models, by the real binary.

mod away;
mod faults;
mod memory;
mod questions;
mod resuming;

use std::time::Duration;

use serde_json::{Value, json};

use cozeway::simulator::flows::{PARAMETERS, POEM};
use cozeway::simulator::{Flow, Options, Runs};

use crate::support::between::{Between, Mishap};
use crate::support::gateway::{config, request};
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED, Talk, eventually};

/// A workflow that fails after some words.
const BROKEN: &str = "7530512345678919999";

async fn start() -> (Coze, Gateway) {
    let mut options = Options::instant();
    options.flows.push(Flow::new(BROKEN, Runs::Broken));
    let coze = Coze::with(options).await;
    let models = format!(
        "[models.poem]\nworkflow_id = '{POEM}'\ninput = 'topic'\n\
         [models.poem-whole]\nworkflow_id = '{POEM}'\ninput = 'topic'\nstream = false\nshow_debug_url = true\n\
         [models.list]\nworkflow_id = '{PARAMETERS}'\ninput = 'q'\nparameters = {{ city = '杭州', n = 1 }}\nshow_debug_url = true\n\
         [models.json]\nworkflow_id = '{PARAMETERS}'\ninput_format = 'json'\nparameters = {{ city = '杭州' }}\n\
         [models.log]\nworkflow_id = '{PARAMETERS}'\nhistory = 'log'\nsystem = {{ variable = 'persona' }}\n\
         [models.broken-flow]\nworkflow_id = '{BROKEN}'\ninput = 'q'\n\
         [models.flow]\nworkflow_id = '{SCRIPTED}'\ninput = 'q'\n\
         [models.flow-whole]\nworkflow_id = '{SCRIPTED}'\ninput = 'q'\nstream = false\n"
    );
    let gateway = Gateway::with(&config(&coze, "upstream_timeout = \"300ms\"", &models)).await;
    (coze, gateway)
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

const TEA: &str = "Of tea I sing,\na small & <quiet> thing.\u{2028}Nothing else.";

#[tokio::test]
async fn output_nodes_stream_and_the_end_node_does_not_say_it_again() {
    let (coze, gateway) = start().await;
    let answer = gateway.answer("poem", "tea").await;
    assert_eq!(text(&answer), TEA);
    assert_eq!(answer["usage"]["total_tokens"], 386);
    assert!(answer["coze"].get("debug_url").is_none() && answer["coze"]["log_id"].is_string(), "{answer}");
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = Streamed::of(gateway.ask("poem", "tea", options).await).await;
    assert!(streamed.is_done());
    assert_eq!(streamed.content(), TEA);
    let sent = coze.simulator.requests().pop().unwrap();
    assert_eq!(sent.path, "/v1/workflow/stream_run");
    assert_eq!(
        sent.body,
        json!({"workflow_id": POEM, "parameters": {"topic": "tea"}, "ext": {"user_id": "test"}})
    );
}

#[tokio::test]
async fn a_run_without_a_stream_says_the_same() {
    let (coze, gateway) = start().await;
    let answer = gateway.answer("poem-whole", "tea").await;
    assert_eq!((text(&answer), &answer["usage"]["total_tokens"]), (TEA, &json!(386)));
    assert!(answer["coze"]["debug_url"].as_str().unwrap().contains("work_flow?execute_id="), "{answer}");
    assert_eq!(coze.simulator.requests().pop().unwrap().path, "/v1/workflow/run");
    let streamed = Streamed::of(gateway.ask("poem-whole", "tea", json!({"stream": true})).await).await;
    assert!(streamed.is_done());
    assert_eq!(streamed.content(), TEA);
    let cut = gateway.ask("poem-whole", "tea", json!({"stop": "quiet"})).await.text().await.unwrap();
    assert_eq!(text(&serde_json::from_str(&cut).unwrap()), "Of tea I sing,\na small & <");
}

#[tokio::test]
async fn parameters_join_from_the_config_the_request_and_the_text() {
    let (_coze, gateway) = start().await;
    let ask = async |model: &str, text: &str, more: Value| -> Value {
        let response = gateway.ask(model, text, more).await;
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    };
    let answer =
        ask("list", "hi", json!({"parameters": {"n": 2, "deep": [{"a": null}]}, "user": "ann"})).await;
    assert_eq!(text(&answer), "city: 杭州\ndeep: [{\"a\":null}]\nn: 2\nq: hi");
    assert!(answer["coze"]["debug_url"].is_string());
    let answer =
        ask("json", r#"{"city": "北京", "day": 1}"#, json!({"parameters": {"day": 2, "m": true}})).await;
    assert_eq!(text(&answer), "city: 北京\nday: 1\nm: true");
    let refused = ask("json", "北京", json!({})).await;
    assert_eq!(refused["error"]["code"], "invalid_value", "{refused}");
    assert_eq!(refused["error"]["param"], "messages");
    let refused = ask("list", "hi", json!({"parameters": {"q": "mine"}})).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["param"]),
        (&json!("invalid_value"), &json!("parameters"))
    );
    for wrong in [json!([1]), json!("{}"), json!(1)] {
        let refused = ask("list", "hi", json!({ "parameters": wrong })).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["param"]),
            (&json!("invalid_type"), &json!("parameters"))
        );
    }
    // For a bot they mean nothing, and it is told.
    let response = gateway.ask("echo", "hi", json!({"parameters": {"n": 2}})).await;
    assert_eq!(response.headers()["x-cozeway-ignored"], "parameters");
    let response = gateway.ask("list", "hi", json!({"parameters": null})).await;
    assert!(!response.headers().contains_key("x-cozeway-ignored"));
}

#[tokio::test]
async fn a_transcript_goes_where_the_config_says_or_what_was_left_out_is_told() {
    let (_coze, gateway) = start().await;
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"},
    ]);
    let body = |model: &str| json!({"model": model, "messages": messages}).to_string();
    let response = gateway.post(body("log")).send().await.unwrap();
    assert!(!response.headers().contains_key("x-cozeway-trimmed"));
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let log = r#"[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]"#;
    let shown: Value =
        serde_json::from_str(text(&answer).lines().next().unwrap().strip_prefix("log: ").unwrap()).unwrap();
    assert_eq!(shown, serde_json::from_str::<Value>(log).unwrap());
    assert!(text(&answer).ends_with("persona: be brief"), "{answer}");
    let response = gateway.post(body("list")).send().await.unwrap();
    assert_eq!(response.headers()["x-cozeway-trimmed"], "2");
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(text(&answer), "city: 杭州\nn: 1\nq: be brief\n\nthree");
}

#[tokio::test]
async fn several_answers_are_several_runs() {
    let (coze, gateway) = start().await;
    let response = gateway.ask("poem", "tea", json!({"n": 3})).await;
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
    assert_eq!(answer["usage"]["total_tokens"], 3 * 386);
    assert_eq!(coze.simulator.requests().len(), 3);
}

#[tokio::test]
async fn an_image_has_no_place_and_a_name_is_taken() {
    let (coze, gateway) = start().await;
    let image = json!([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://x/1.png"}}]);
    let body = json!({"model": "poem", "messages": [{"role": "user", "content": image}]});
    let response = gateway.post(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("unsupported_content"));
    assert_eq!(coze.simulator.requests().len(), 0);
    let body = request("poem", "tea", json!({"temperature": 1})).to_string();
    let response = gateway.post(body).header("x-conversation-id", "mine").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-cozeway-ignored"], "temperature");
}

#[tokio::test]
async fn a_node_that_fails_is_an_error_in_band() {
    let (_coze, gateway) = start().await;
    let streamed = Streamed::of(gateway.ask("broken-flow", "hi", json!({"stream": true})).await).await;
    assert_eq!(streamed.content(), "Once upon");
    assert_eq!(streamed.error().unwrap()["code"], "upstream_error");
    assert_eq!(gateway.ask("broken-flow", "hi", json!({})).await.status(), 502);
}

#[tokio::test]
async fn a_question_of_a_workflow_whose_input_is_json_is_answered_in_words() {
    let coze = Coze::start().await;
    let trip = cozeway::simulator::flows::TRIP;
    let models = format!("[models.trip]\nworkflow_id = '{trip}'\ninput_format = 'json'\n");
    let gateway = Gateway::with(&config(&coze, "", &models)).await;
    let talk = Talk::new(&gateway, &coze, "trip");
    let first = talk.says(&[r#"{"q": "plan a trip"}"#]).await;
    assert_eq!(first.text(), "Where would you like to go?");
    let second = talk.says(&[r#"{"q": "plan a trip"}"#, first.text(), "Oslo"]).await;
    assert_eq!(second.note(), "resumed");
    assert_eq!(talk.says(&["plan a trip"]).await.error(), (400, "invalid_value"));
}

#[tokio::test]
async fn a_question_outlives_a_refused_answer_to_it() {
    let coze = Coze::start().await;
    let between = Between::start(&coze).await;
    let trip = cozeway::simulator::flows::TRIP;
    let models = format!("[models.trip]\nworkflow_id = '{trip}'\ninput = 'q'\n");
    let gateway = Gateway::with(&config(&between.coze, "", &models)).await;
    let talk = Talk::new(&gateway, &between.coze, "trip");
    let first = talk.says(&["plan a trip"]).await;
    let turns = ["plan a trip", first.text(), "Oslo"];
    // As the cloud says it of a workflow that is not published just now; of a
    // conversation it would be one that is gone.
    let refused = Mishap::Answer(200, "application/json", json!({"code": 4200, "msg": "no"}).to_string());
    between.next("/v1/workflow/stream_resume", refused);
    assert_eq!(talk.says(&turns).await.error(), (502, "upstream_model_unavailable"));
    assert_eq!(talk.says(&turns).await.note(), "resumed");
}

#[tokio::test]
async fn a_question_outlives_a_client_that_leaves_while_coze_is_busy() {
    let coze = Coze::start().await;
    let between = Between::start(&coze).await;
    let trip = cozeway::simulator::flows::TRIP;
    let models = format!("[models.trip]\nworkflow_id = '{trip}'\ninput = 'q'\n");
    let gateway = Gateway::with(&config(&between.coze, "", &models)).await;
    let talk = Talk::new(&gateway, &between.coze, "trip");
    let first = talk.says(&["plan a trip"]).await;
    let turns = ["plan a trip", first.text(), "Oslo"];
    let busy = json!({"code": 4016, "msg": "Conversation occupied"}).to_string();
    for _ in 0..4 {
        between.next("/v1/workflow/stream_resume", Mishap::Answer(200, "application/json", busy.clone()));
    }
    {
        let mut answer = Box::pin(talk.streams(&turns));
        let in_the_pause = async {
            eventually("Coze has been busy four times", || between.is_done()).await;
            // The fourth pause is 800 ms long; Coze's answer takes none of it.
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            _ = &mut answer => panic!("Coze is busy"),
            () = in_the_pause => {}
        }
    }
    // Before that the question is still the first request's.
    eventually("the client's leaving is noticed", || gateway.logged_lines("client_left") > 0).await;
    let resumed = talk.says(&turns).await;
    assert_eq!((resumed.status, resumed.note()), (200, "resumed"), "{resumed:?}");
}
