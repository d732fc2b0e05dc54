//! Frames that are wrong, and those of the revision without a handshake.

use serde_json::{Value, json};

use cozeway::simulator::Options;

use super::{exchange, messages, sent, start};
use crate::support::{Gateway, KEY};

/// Bodies that are no message, or none that can be answered: with the status
/// and JSON-RPC's code.
fn malformed() -> Vec<(String, u16, i64)> {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let mut bodies: Vec<(String, u16, i64)> = [
        ("", 400, -32700),
        (" ", 400, -32700),
        ("{", 400, -32700),
        ("nonsense", 400, -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}", 400, -32700),
        ("{'jsonrpc':'2.0'}", 400, -32700),
        ("\u{feff}{}", 400, -32700),
        ("{}", 400, -32600),
        ("[]", 400, -32600),
        ("null", 400, -32600),
        ("7", 400, -32600),
        ("\"ping\"", 400, -32600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", 400, -32600),
        (r#"{"id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","result":{}}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, 400, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, 400, -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[]}}"#,
            400,
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nothing"}}"#, 200, -32602),
        // The last of a name counts, for the library as for us.
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"zebra","method":"zebra"}"#, 200, -32601),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"nothing"}}"#,
            200,
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"zebra"}"#, 200, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x"}}"#, 200, -32601),
    ]
    .into_iter()
    .map(|(body, status, code)| (body.to_owned(), status, code))
    .collect();
    bodies.push((deep, 400, -32700));
    bodies
}

#[tokio::test]
async fn a_wrong_frame_is_an_error_of_json_rpc() {
    let (coze, gateway) = start(Options::instant()).await;
    for (body, status, code) in malformed() {
        let request = sent(&gateway, KEY, &Value::Null).body(body.clone());
        let response = request.send().await.unwrap();
        let shown: String = body.chars().take(100).collect();
        assert_eq!(response.status(), status, "{shown}");
        let answer = messages(response).await.remove(0);
        assert_eq!(
            (&answer["jsonrpc"], &answer["error"]["code"]),
            (&json!("2.0"), &json!(code)),
            "{shown}: {answer}"
        );
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    assert!(coze.simulator.requests().is_empty(), "nothing reaches Coze");
    gateway.assert_well().await;
}

#[tokio::test]
async fn what_is_no_message_at_all_is_refused_as_everywhere() {
    let (_coze, gateway) = start(Options::instant()).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (header, value, status, code) in [
        ("accept", "application/json", 406, "not_acceptable"),
        ("content-type", "text/plain", 415, "unsupported_media_type"),
        ("mcp-protocol-version", "1999-01-01", 400, ""),
        ("accept", "", 406, "not_acceptable"),
    ] {
        let mut request = sent(&gateway, KEY, &Value::Null).body(ping).build().unwrap();
        request.headers_mut().insert(header, value.parse().unwrap());
        let response = gateway.client.execute(request).await.unwrap();
        assert_eq!(response.status(), status, "{header}");
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(code.is_empty() || body["error"]["code"] == code, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    // Who takes anything takes both.
    let mut anything = sent(&gateway, KEY, &Value::Null).body(ping).build().unwrap();
    anything.headers_mut().insert("accept", "*/*".parse().unwrap());
    let answered = gateway.client.execute(anything).await.unwrap();
    assert_eq!(answered.status(), 200, "{answered:?}");
    let large = sent(&gateway, KEY, &Value::Null).body("x".repeat(21_000_000)).send().await.unwrap();
    assert_eq!(large.status(), 413);
    // Any host and origin is served that the other routes serve.
    let elsewhere = sent(&gateway, KEY, &Value::Null).body(ping).header("host", "bots.example.com");
    let elsewhere = elsewhere.header("origin", "https://app.example.com").send().await.unwrap();
    assert_eq!(
        (elsewhere.status().as_u16(), &elsewhere.headers()["access-control-allow-origin"]),
        (200, &"*".parse().unwrap())
    );
}

/// A message of the revision without a handshake, with the headers that it
/// has to have.
fn stateless(
    gateway: &Gateway,
    method: &str,
    mut params: Value,
    name: Option<&str>,
) -> reqwest::RequestBuilder {
    let version = "2026-07-28";
    let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = version.into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "c", "version": "1"});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = sent(gateway, KEY, &message).build().unwrap();
    request.headers_mut().insert("mcp-protocol-version", version.parse().unwrap());
    let request =
        reqwest::RequestBuilder::from_parts(gateway.client.clone(), request).header("mcp-method", method);
    match name {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

#[tokio::test]
async fn the_revision_without_a_handshake_is_spoken_too() {
    let (_coze, gateway) = start(Options::instant()).await;
    let response = stateless(&gateway, "server/discover", json!({}), None).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("mcp-session-id"));
    let found = messages(response).await.remove(0);
    let versions = found["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")), "{found}");

    let listed = stateless(&gateway, "tools/list", json!({}), None).send().await.unwrap();
    let listed = messages(listed).await.remove(0);
    assert_eq!(listed["result"]["resultType"], "complete", "{listed}");

    let params = json!({"name": "echo", "arguments": {"message": "x"}, "_meta": {"progressToken": 3}});
    let called = stateless(&gateway, "tools/call", params.clone(), Some("echo")).send().await.unwrap();
    let told = messages(called).await;
    assert_eq!(told.first().unwrap()["method"], "notifications/progress", "{told:?}");
    assert_eq!(told.last().unwrap()["result"]["structuredContent"]["answer"], "x");

    let wrong = stateless(&gateway, "tools/call", params, Some("other")).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert_eq!(messages(wrong).await[0]["error"]["code"], -32020);
    // What this revision has no more is as unknown as what never was.
    for method in ["zebra", "initialize", "ping"] {
        let unknown = stateless(&gateway, method, json!({}), None).send().await.unwrap();
        assert_eq!(unknown.status(), 404, "{method}");
        assert_eq!(messages(unknown).await[0]["error"]["code"], -32601, "{method}");
    }
    // The old one is spoken to the same address.
    let ping = exchange(&gateway, KEY, json!({"jsonrpc": "2.0", "id": 5, "method": "ping"})).await;
    assert_eq!(ping[0]["result"], json!({}));
}
