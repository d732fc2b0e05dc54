//! `POST /tools/{model}` and `/tools/openapi.json`.

use http::StatusCode;
use serde_json::{Value, json};

use cozeway::simulator::bots::CONTEXT;
use cozeway::simulator::flows::{PARAMETERS, POEM, TRIP};
use cozeway::simulator::{Script, demo_bots};

use crate::support::gateway::config;
use crate::support::{Coze, Gateway, KEY, SCRIPTED};

/// Another key, which may use but one model.
const OTHER: &str = "sk-test-other-0123456789";

async fn start() -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let models = format!(
        "[models.poem]\nworkflow_id = '{POEM}'\ninput = 'topic'\ndescription = '  Writes poems. '\n\
         [models.'目录/1']\nbot_id = '{SCRIPTED}'\naliases = ['openapi_*', 'model_*']\n\
         [models.'openapi.json']\nbot_id = '{CONTEXT}'\n\
         [models.'..']\nbot_id = '{CONTEXT}'\n\
         [models.trip]\nworkflow_id = '{TRIP}'\ninput = 'input'\n\
         [models.list]\nworkflow_id = '{PARAMETERS}'\ninput = 'q'\nparameters = {{ n = 1 }}\n\
         [models.list.tool.parameters]\n\
         city = {{ description = 'Where.', required = true, enum = ['杭州', 'Paris'] }}\n\
         days = {{ type = 'integer', enum = [1, 3] }}\ntags = {{ type = 'array' }}\n\
         [models.json]\nworkflow_id = '{PARAMETERS}'\ninput_format = 'json'\n\
         [models.json.tool.parameters]\ncity = {{ required = true }}\n\
         [keys.other]\nkey = '{OTHER}'\nmodels = ['poem']\nrequests_per_minute = 2\n"
    );
    let gateway = Gateway::with(&config(&coze, "", &models)).await;
    (coze, gateway)
}

async fn post(gateway: &Gateway, key: &str, model: &str, body: &str) -> reqwest::Response {
    let url = gateway.url(&format!("/tools/{model}"));
    gateway.client.post(url).bearer_auth(key).body(body.to_owned()).send().await.unwrap()
}

async fn called(gateway: &Gateway, model: &str, arguments: Value) -> (StatusCode, Value) {
    let response = post(gateway, KEY, model, &arguments.to_string()).await;
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// The answer of a call that succeeds.
async fn answer(gateway: &Gateway, model: &str, arguments: Value) -> Value {
    let (status, body) = called(gateway, model, arguments).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn document(gateway: &Gateway, key: &str) -> Value {
    let url = gateway.url("/tools/openapi.json");
    let response = gateway.client.get(url).bearer_auth(key).send().await.unwrap();
    assert_eq!(
        (response.status(), response.headers()["cache-control"].to_str().unwrap()),
        (StatusCode::OK, "private, no-cache")
    );
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_call_begins_a_conversation_that_can_go_on() {
    let (coze, gateway) = start().await;
    let first = answer(&gateway, "echo", json!({"message": "one", "conversation": ""})).await;
    assert_eq!(first["answer"], "one");
    let name = first["conversation"].as_str().unwrap();
    assert!(name.starts_with("conv_"), "{first}");
    let second = answer(&gateway, "echo", json!({"message": "two", "conversation": name})).await;
    assert_eq!((&second["answer"], &second["conversation"]), (&json!("two"), &first["conversation"]));
    assert_eq!(second["coze"]["conversation_id"], first["coze"]["conversation_id"]);
    let seen = coze.simulator.context_seen(second["coze"]["chat_id"].as_str().unwrap()).unwrap();
    let texts: Vec<&str> = seen.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["one", "one", "two"]);
    // Another call without a name is another conversation, in the same words too.
    let other = answer(&gateway, "echo", json!({"message": "one", "conversation": null})).await;
    assert_ne!(other["conversation"], first["conversation"]);
    assert_ne!(other["coze"]["conversation_id"], first["coze"]["conversation_id"]);
    // A name of the client's own.
    for text in ["a", "b"] {
        let named = answer(&gateway, "echo", json!({"message": text, "conversation": "客户 7"})).await;
        assert_eq!(named["conversation"], "客户 7");
        let seen = coze.simulator.context_seen(named["coze"]["chat_id"].as_str().unwrap()).unwrap();
        assert_eq!(seen.len(), if text == "a" { 1 } else { 3 });
    }
}

#[tokio::test]
async fn thinking_is_no_part_of_an_answer_and_extras_are() {
    let (_coze, gateway) = start().await;
    let story = answer(&gateway, "storyteller", json!({"message": "a story"})).await;
    assert!(!story["answer"].as_str().unwrap().contains("<think>"), "{story}");
    assert!(!story["coze"]["follow_ups"].as_array().unwrap().is_empty(), "{story}");
    let mut keys: Vec<&String> = story.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["answer", "conversation", "coze"]);
}

#[tokio::test]
async fn what_a_workflow_asks_is_answered_in_its_conversation() {
    let (_coze, gateway) = start().await;
    let asked = answer(&gateway, "trip", json!({"message": "plan"})).await;
    assert_eq!(asked["coze"]["interrupt"]["kind"], "question", "{asked}");
    let name = asked["conversation"].as_str().unwrap().to_owned();
    let next = answer(&gateway, "trip", json!({"message": "Paris", "conversation": name})).await;
    assert!(next["coze"]["interrupt"].is_object() && next["answer"] != asked["answer"], "{next}");
    // A run without a question leaves nothing to go on with.
    let poem = answer(&gateway, "poem", json!({"message": "tea"})).await;
    assert!(poem.get("conversation").is_none(), "{poem}");
}

#[tokio::test]
async fn a_workflow_is_given_its_parameters() {
    let (coze, gateway) = start().await;
    answer(&gateway, "list", json!({"message": "m", "city": "杭州", "days": 3, "tags": ["a"]})).await;
    let sent = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(sent["parameters"], json!({"q": "m", "n": 1, "city": "杭州", "days": 3, "tags": ["a"]}));
    // As JSON Schema has it, this is the same number; Coze takes but one form.
    answer(&gateway, "list", json!({"message": "m", "city": "Paris", "days": 3.0})).await;
    let sent = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(sent["parameters"]["days"].to_string(), "3");
    // Where the text itself is parameters, these are enough.
    answer(&gateway, "json", json!({"city": "Rome"})).await;
    let sent = coze.simulator.requests().pop().unwrap().body;
    assert_eq!(sent["parameters"], json!({"city": "Rome"}));
}

#[tokio::test]
async fn a_wrong_call_is_an_error_that_names_the_argument() {
    let (coze, gateway) = start().await;
    for (model, arguments, status, code, param) in [
        ("echo", json!({}), 400, "missing_required_parameter", Some("message")),
        ("echo", json!({"message": null}), 400, "missing_required_parameter", Some("message")),
        ("echo", json!({"message": 7}), 400, "invalid_type", Some("message")),
        ("echo", json!({"message": " \n"}), 400, "invalid_value", Some("message")),
        ("echo", json!({"message": "x", "conversation": 7}), 400, "invalid_type", Some("conversation")),
        ("echo", json!({"message": "x", "conversation": "a\nb"}), 400, "invalid_value", Some("conversation")),
        ("echo", json!({"message": "x", "conversation": "conv_1"}), 404, "conversation_not_found", None),
        ("echo", json!({"message": "x", "query": "y"}), 400, "unknown_parameter", Some("query")),
        ("echo", json!(["x"]), 400, "invalid_type", None),
        ("echo", json!({"message": "x".repeat(70_000)}), 400, "context_length_exceeded", Some("message")),
        ("list", json!({"message": "x"}), 400, "missing_required_parameter", Some("city")),
        ("list", json!({"message": "x", "city": "Rome"}), 400, "invalid_value", Some("city")),
        ("list", json!({"message": "x", "city": 1}), 400, "invalid_type", Some("city")),
        ("list", json!({"message": "x", "city": "Paris", "days": 1.5}), 400, "invalid_type", Some("days")),
        ("list", json!({"message": "x", "city": "Paris", "days": 2}), 400, "invalid_value", Some("days")),
        ("json", json!({}), 400, "missing_required_parameter", Some("city")),
        ("nothing", json!({"message": "x"}), 404, "model_not_found", Some("model")),
        ("%FF", json!({"message": "x"}), 404, "model_not_found", Some("model")),
    ] {
        let before = coze.simulator.requests().len();
        let (got, body) = called(&gateway, model, arguments).await;
        let error = &body["error"];
        assert_eq!(
            (got.as_u16(), error["code"].as_str(), error["param"].as_str()),
            (status, Some(code), param),
            "{body}"
        );
        assert_eq!(coze.simulator.requests().len(), before, "nothing is sent");
    }
    let broken = post(&gateway, KEY, "echo", "{").await;
    assert_eq!(broken.status(), 400);
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(21_000_000));
    assert_eq!(post(&gateway, KEY, "echo", &large).await.status(), 413);
    let (status, body) = called(&gateway, "broken", json!({"message": "x"})).await;
    assert_eq!((status.as_u16(), body["error"]["code"].as_str()), (502, Some("upstream_error")), "{body}");
}

#[tokio::test]
async fn keys_see_and_use_their_own_tools_within_their_own_limits() {
    let (coze, gateway) = start().await;
    let mine = document(&gateway, KEY).await;
    let others = document(&gateway, OTHER).await;
    assert_eq!(others["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/poem"]);
    assert_eq!(mine["paths"].as_object().unwrap().len(), demo_bots().len() + 8);
    let call = r#"{"message":"x"}"#;
    let refused = post(&gateway, OTHER, "echo", call).await;
    assert_eq!(refused.status(), 403);
    for key in ["sk-wrong", ""] {
        assert_eq!(post(&gateway, key, "poem", call).await.status(), 401);
        let url = gateway.url("/tools/openapi.json");
        assert_eq!(gateway.client.get(url).bearer_auth(key).send().await.unwrap().status(), 401);
    }
    for left in ["1", "0"] {
        let response = post(&gateway, OTHER, "poem", call).await;
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["x-ratelimit-remaining-requests"].to_str().unwrap()
            ),
            (200, left)
        );
    }
    let over = post(&gateway, OTHER, "poem", call).await;
    assert_eq!(over.status(), 429);
    assert!(over.headers().contains_key("retry-after"));
    // Whose conversation it is, the key says.
    let named = json!({"message": "x", "conversation": "n"});
    let mine = answer(&gateway, "echo", named).await;
    assert!(mine["coze"]["conversation_id"].is_string());
    assert!(coze.simulator.open_streams() == 0);
}

#[tokio::test]
async fn the_document_describes_what_is_taken_and_given() {
    let (_coze, gateway) = start().await;
    let document = document(&gateway, KEY).await;
    assert_eq!(document["servers"][0]["url"], format!("http://{}/tools", gateway.address));
    for (path, item) in document["paths"].as_object().unwrap() {
        let name = item["post"]["operationId"].as_str().unwrap();
        assert!((1..=64).contains(&name.len()), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{name}");
        for field in ["summary", "description"] {
            assert!(!item["post"][field].as_str().unwrap().is_empty(), "{path}");
        }
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        jsonschema::validator_for(schema).expect("a valid schema");
    }
    let of = |path: &str| &document["paths"][path]["post"];
    let text = document.to_string();
    assert!(!text.contains("$ref"), "not every importer follows one");
    assert_eq!(of("/poem")["description"], "Writes poems.");
    // That of the bot at Coze, and one that has none.
    let echo = demo_bots().iter().find(|bot| bot.name == "echo").unwrap();
    assert_eq!(of("/echo")["description"], echo.description);
    // A name that is hard to write in a path has that of its tool there.
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        assert_eq!(*path, format!("/{}", item["post"]["operationId"].as_str().unwrap()));
    }
    for (begins, says) in [("/openapi_json_", "user: x"), ("/model_", "user: x")] {
        let path = paths.keys().find(|path| path.starts_with(begins)).unwrap();
        let given = answer(&gateway, path.trim_start_matches('/'), json!({"message": "x"})).await;
        assert_eq!(given["answer"], says, "and not what takes every other name");
    }
    let list = &of("/list")["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(list["required"], json!(["message", "city"]));
    assert_eq!(
        list["properties"]["city"],
        json!({"type": "string", "description": "Where.", "enum": ["杭州", "Paris"]})
    );
    assert_eq!(list["properties"]["tags"], json!({"type": "array", "items": {}}));

    // What is described is what is answered, at the place that is described.
    let schema = &of("/echo")["responses"]["200"]["content"]["application/json"]["schema"];
    let given = answer(&gateway, "echo", json!({"message": "x"})).await;
    assert!(jsonschema::validator_for(schema).unwrap().is_valid(&given), "{given}");
    let response = post(&gateway, KEY, "%E7%9B%AE%E5%BD%95%2F1", r#"{"message":"x"}"#).await;
    assert_ne!(response.status(), 404);
}

#[tokio::test]
async fn descriptions_are_asked_for_once_and_a_failure_is_no_failure() {
    let (coze, gateway) = start().await;
    let asked =
        || coze.simulator.requests().iter().filter(|request| request.path.starts_with("/v1/bots/")).count();
    // All at the same time, and then once more.
    futures_util::future::join_all((0..30).map(|_| document(&gateway, KEY))).await;
    document(&gateway, KEY).await;
    // Two models are one bot, which is not known there; that is remembered, too.
    assert_eq!(asked(), demo_bots().len() + 1);
}

#[tokio::test]
async fn calls_are_logged_and_counted_as_requests_are() {
    let (_coze, gateway) = start().await;
    let url = gateway.url("/tools/echo");
    let sent =
        gateway.client.post(url).bearer_auth(KEY).header("x-request-id", "tool-1").body(r#"{"message":"x"}"#);
    let response = sent.send().await.unwrap();
    assert_eq!(response.headers()["x-cozeway-conversation"], "new");
    assert!(response.headers()["x-conversation-id"].to_str().unwrap().starts_with("conv_"));
    drop(response.bytes().await.unwrap());
    let line = gateway.logged("tool-1").await;
    assert_eq!(
        (&line["model.name"], &line["key.name"], &line["outcome"]),
        (&json!("echo"), &json!("test"), &json!("done"))
    );
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"route="/tools/{model}",model="echo",key="test",status="200",outcome="done""#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_that_gives_up_frees_the_run() {
    let (coze, gateway) = start().await;
    coze.simulator.script(SCRIPTED, Script::hang());
    let url = gateway.url("/tools/scripted");
    let sent = gateway.client.post(url).bearer_auth(KEY).body(r#"{"message":"x"}"#);
    let waiting = sent.timeout(std::time::Duration::from_millis(300)).send();
    assert!(waiting.await.unwrap_err().is_timeout());
    coze.idle().await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_coze_that_says_nothing_of_its_bots_holds_nobody_up() {
    // It takes connections, and never answers.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let coze = Coze::start().await;
    let port = deaf.local_addr().unwrap().port();
    let mut text = config(&coze, "", "").replace("\nbot_id", "\ncoze = 'local'\nbot_id");
    text += &format!("[coze.deaf]\nbase_url = 'http://127.0.0.1:{port}'\ntoken = 'x'\n");
    for id in 1..=30 {
        text += &format!("[models.deaf-{id}]\ncoze = 'deaf'\nbot_id = '{id}'\n");
    }
    let gateway = Gateway::with(&text).await;
    let begun = tokio::time::Instant::now();
    let document = document(&gateway, KEY).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(
        document["paths"]["/deaf-30"]["post"]["description"],
        "Asks the bot deaf-30 and gives its answer."
    );
}
