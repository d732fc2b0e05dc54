//! `POST /mcp`: the Model Context Protocol, byte by byte.

mod frames;
mod many;

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use cozeway::simulator::flows::TRIP;
use cozeway::simulator::{Options, Script};

use crate::support::gateway::config;
use crate::support::{Coze, Gateway, KEY, SCRIPTED, eventually};

/// Another key, which may use but one model.
const OTHER: &str = "sk-test-other-0123456789";

async fn start(options: Options) -> (Coze, Gateway) {
    let coze = Coze::with(options).await;
    let models = format!(
        "[models.trip]\nworkflow_id = '{TRIP}'\ninput = 'input'\n\
         [models.'a.b']\nbot_id = '{SCRIPTED}'\n\
         [keys.other]\nkey = '{OTHER}'\nmodels = ['echo', 'slow']\nrequests_per_minute = 3\n"
    );
    let gateway = Gateway::with(&config(&coze, "upstream_timeout = \"20s\"", &models)).await;
    (coze, gateway)
}

/// A message as a client of the old handshake sends it.
fn sent(gateway: &Gateway, key: &str, message: &Value) -> RequestBuilder {
    gateway
        .client
        .post(gateway.url("/mcp"))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-06-18")
        .body(message.to_string())
}

/// The messages of an answer, in whichever form it comes.
async fn messages(response: Response) -> Vec<Value> {
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    if kind.starts_with("application/json") {
        return vec![serde_json::from_str(&text).unwrap()];
    }
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// All messages that answer one.
async fn exchange(gateway: &Gateway, key: &str, message: Value) -> Vec<Value> {
    let response = sent(gateway, key, &message).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let messages = messages(response).await;
    assert_eq!(messages.last().unwrap()["id"], message["id"]);
    messages
}

fn call(name: &str, arguments: Value, meta: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
}

/// The result of a tool.
async fn result(gateway: &Gateway, name: &str, arguments: Value) -> Value {
    let mut messages = exchange(gateway, KEY, call(name, arguments, json!({}))).await;
    assert_eq!(messages.len(), 1, "nothing but the result: {messages:?}");
    messages.remove(0)["result"].take()
}

async fn names(gateway: &Gateway, key: &str) -> Vec<String> {
    let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list", "params": {}});
    let messages = exchange(gateway, key, list).await;
    let tools = messages[0]["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn texts(result: &Value) -> Vec<&str> {
    result["content"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_old_handshake_begins_a_session_of_which_nothing_is_kept() {
    let (_coze, gateway) = start(Options::instant()).await;
    for (asked, told) in
        [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("2099-01-01", "2025-11-25")]
    {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let request = sent(&gateway, KEY, &hello).build().unwrap();
        let (mut request, client) = (request, &gateway.client);
        request.headers_mut().remove("mcp-protocol-version");
        let response = client.execute(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let answer = messages(response).await.remove(0);
        assert_eq!(answer["result"]["protocolVersion"], told, "{answer}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "cozeway");
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let taken = sent(&gateway, KEY, &ready).header("mcp-session-id", &session).send().await.unwrap();
        assert_eq!((taken.status().as_u16(), taken.text().await.unwrap().as_str()), (202, ""));
    }
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let sent = gateway.client.request(method, gateway.url("/mcp")).bearer_auth(KEY);
        assert_eq!(sent.send().await.unwrap().status(), 405);
    }
}

#[tokio::test]
async fn tools_are_listed_by_key() {
    let (_coze, gateway) = start(Options::instant()).await;
    assert_eq!(names(&gateway, OTHER).await, ["echo", "slow"]);
    let mine = names(&gateway, KEY).await;
    assert!(
        mine.contains(&"trip".to_owned()) && mine.iter().any(|name| name.starts_with("a_b_")),
        "{mine:?}"
    );
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let tools = exchange(&gateway, KEY, list).await.remove(0)["result"]["tools"].take();
    let echo = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "echo").unwrap();
    assert_eq!((&echo["title"], &echo["description"]), (&json!("echo"), &json!("Says what you said.")));
    assert_eq!(echo["inputSchema"]["required"], json!(["message"]));
    for tool in tools.as_array().unwrap() {
        for schema in ["inputSchema", "outputSchema"] {
            jsonschema::validator_for(&tool[schema]).expect("a valid schema");
        }
    }
    // What a key may not use is not there for it.
    let refused = exchange(&gateway, OTHER, call("storyteller", json!({"message": "x"}), json!({}))).await;
    assert_eq!(refused[0]["error"]["code"], -32602, "{refused:?}");
    for key in ["sk-wrong", ""] {
        let response = sent(&gateway, key, &call("echo", json!({}), json!({}))).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_call_is_answered_in_words_and_as_an_object_and_can_go_on() {
    let (coze, gateway) = start(Options::instant()).await;
    let first = result(&gateway, "echo", json!({"message": "one"})).await;
    let content = &first["structuredContent"];
    let name = content["conversation"].as_str().unwrap();
    assert_eq!((first["isError"].as_bool(), &content["answer"]), (Some(false), &json!("one")));
    assert_eq!(texts(&first)[0], "one");
    assert!(texts(&first)[1].ends_with(&format!("`conversation` = \"{name}\".")), "{first}");
    let second = result(&gateway, "echo", json!({"message": "two", "conversation": name})).await;
    assert_eq!(texts(&second), ["two"], "what the agent has said it knows");
    let chat = second["structuredContent"]["coze"]["chat_id"].as_str().unwrap();
    assert_eq!(coze.simulator.context_seen(chat).unwrap().len(), 3);
    // The same conversation as over plain HTTP.
    let url = gateway.url("/tools/echo");
    let body = json!({"message": "three", "conversation": name}).to_string();
    let third =
        gateway.client.post(url).bearer_auth(KEY).body(body).send().await.unwrap().text().await.unwrap();
    let third: Value = serde_json::from_str(&third).unwrap();
    assert_eq!(third["coze"]["conversation_id"], content["coze"]["conversation_id"]);
}

#[tokio::test]
async fn a_question_is_a_result_that_says_how_to_answer_it() {
    let (_coze, gateway) = start(Options::instant()).await;
    for tool in ["ask", "trip"] {
        let asked = result(&gateway, tool, json!({"message": "hello"})).await;
        let content = &asked["structuredContent"];
        assert!(content["coze"]["interrupt"].is_object(), "{asked}");
        assert!(texts(&asked)[1].starts_with("This is a question."), "{asked}");
        let again = json!({"message": "Paris", "conversation": content["conversation"]});
        let next = result(&gateway, tool, again).await;
        assert_eq!(next["isError"], false, "{next}");
        assert_ne!(next["structuredContent"]["answer"], content["answer"], "it went on");
    }
}

#[tokio::test]
async fn a_failure_is_a_result_with_our_code() {
    let (_coze, gateway) = start(Options::instant()).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let schema = exchange(&gateway, KEY, list).await[0]["result"]["tools"][0]["outputSchema"].clone();
    let output = jsonschema::validator_for(&schema).unwrap();
    for (tool, arguments, code) in [
        ("broken", json!({"message": "x"}), "upstream_error"),
        ("echo", json!({}), "missing_required_parameter"),
        ("echo", json!({"message": "x", "y": 1}), "unknown_parameter"),
        ("echo", json!({"message": "x", "conversation": "conv_0"}), "conversation_not_found"),
        ("echo", json!({"message": "x".repeat(70_000)}), "context_length_exceeded"),
    ] {
        let failed = result(&gateway, tool, arguments).await;
        assert_eq!(failed["isError"], true, "{failed}");
        assert_eq!(failed["structuredContent"]["error"]["code"], code);
        assert!(output.is_valid(&failed["structuredContent"]), "{failed}");
        assert!(texts(&failed)[0].starts_with(&format!("{code}: ")), "{failed}");
        assert_eq!(texts(&failed)[0].matches(code).count(), 1, "{failed}");
    }
    // Over a limit, too, and the head says how it stands.
    let call = call("echo", json!({"message": "x"}), json!({}));
    for _ in 0..3 {
        exchange(&gateway, OTHER, call.clone()).await;
    }
    let response = sent(&gateway, OTHER, &call).send().await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-limit-requests"], "3");
    let over = messages(response).await;
    assert_eq!(over[0]["result"]["structuredContent"]["error"]["code"], "rate_limit_exceeded", "{over:?}");
    // What only asks what there is costs nothing.
    assert_eq!(names(&gateway, OTHER).await.len(), 2);
}

#[tokio::test]
async fn a_client_is_told_of_progress_while_it_waits() {
    let (_coze, gateway) =
        start(Options { silence: Duration::from_millis(2500), ..Options::instant() }).await;
    let told =
        exchange(&gateway, KEY, call("slow", json!({"message": "x"}), json!({"progressToken": "p"}))).await;
    let (answer, notes) = told.split_last().unwrap();
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert!(notes.len() >= 3, "at once, and every second: {notes:?}");
    let mut last = 0.0;
    for note in notes {
        assert_eq!(
            (&note["method"], &note["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("p"))
        );
        let progress = note["params"]["progress"].as_f64().unwrap();
        assert!(progress > last, "{notes:?}");
        last = progress;
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_run() {
    let (coze, gateway) = start(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    for meta in [json!({}), json!({"progressToken": 1})] {
        let sent = sent(&gateway, KEY, &call("slow", json!({"message": "x"}), meta));
        let waiting = async { messages(sent.send().await.unwrap()).await };
        tokio::select! {
            messages = waiting => panic!("{messages:?}"),
            () = eventually("Coze is asked", || coze.simulator.open_streams() == 1) => {}
        }
        coze.idle().await;
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_call_is_called_off_by_its_own_client_alone() {
    let (coze, gateway) = start(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    let off = |id: Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    let calling =
        sent(&gateway, KEY, &call("slow", json!({"message": "x"}), json!({}))).header("mcp-session-id", "s1");
    let response = calling.send().await.unwrap();
    eventually("Coze is asked", || coze.simulator.open_streams() == 1).await;
    for (key, session, id) in
        [(KEY, "s2", json!(7)), (KEY, "s1", json!("7")), (KEY, "s1", json!(8)), (OTHER, "s1", json!(7))]
    {
        let taken = sent(&gateway, key, &off(id)).header("mcp-session-id", session).send().await.unwrap();
        assert_eq!(taken.status(), 202);
    }
    assert_eq!(coze.simulator.open_streams(), 1);
    sent(&gateway, KEY, &off(json!(7))).header("mcp-session-id", "s1").send().await.unwrap();
    coze.idle().await;
    assert!(messages(response).await.is_empty(), "nothing answers what was called off");
}

#[tokio::test]
async fn failures_of_coze_are_logged_and_those_of_the_agent_are_counted() {
    let (coze, gateway) = start(Options::instant()).await;
    coze.simulator.script(SCRIPTED, Script::reset());
    let name = names(&gateway, KEY).await.into_iter().find(|name| name.starts_with("a_b_")).unwrap();
    for (name, arguments, id, level, code) in [
        (name.as_str(), json!({"message": "x"}), "mcp-1", "WARN", json!("upstream_error")),
        ("echo", json!({}), "mcp-2", "INFO", json!("missing_required_parameter")),
        ("echo", json!({"message": "x"}), "mcp-3", "INFO", Value::Null),
    ] {
        let response = sent(&gateway, KEY, &call(name, arguments, json!({}))).header("x-request-id", id);
        drop(messages(response.send().await.unwrap()).await);
        let line = gateway.logged(id).await;
        assert_eq!((&line["level"], &line["error.code"]), (&json!(level), &code), "{line}");
        assert_eq!(
            (&line["path"], &line["key.name"], &line["status"]),
            (&json!("/mcp"), &json!("test"), &json!(200))
        );
    }
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"route="/mcp",model="echo",key="test",status="200",outcome="done""#),
        "{metrics}"
    );
    assert!(
        !gateway.log().iter().any(|line| line.contains("rmcp")),
        "the library writes no lines of its own"
    );
}
