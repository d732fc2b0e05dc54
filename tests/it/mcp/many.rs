//! Many sessions at once, and several gateways.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use cozeway::simulator::Options;

use super::{call, exchange, messages, sent, start};
use crate::replicas::{Redis, within};
use crate::support::scrape::Scrape;
use crate::support::{Coze, Gateway, KEY, eventually};

/// A whole session of a client: the handshake, the list, and two calls of one
/// conversation. Each step may go to another gateway.
async fn session(client: &reqwest::Client, gateways: [&Gateway; 4], number: usize) {
    let post = async |request: RequestBuilder| client.execute(request.build().unwrap()).await.unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    // Before there is a session there is no version to name.
    let mut hello = sent(gateways[0], KEY, &hello).build().unwrap();
    hello.headers_mut().remove("mcp-protocol-version");
    let response = client.execute(hello).await.unwrap();
    assert_eq!(response.status(), 200);
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    drop(messages(response).await);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let listed = messages(post(sent(gateways[1], KEY, &list)).await).await;
    let tools = listed[0]["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "echo"), "{listed:?}");
    let mut name = Value::Null;
    for (gateway, text) in
        [(gateways[2], format!("first {number}")), (gateways[3], format!("second {number}"))]
    {
        let call =
            call("echo", json!({"message": text, "conversation": name}), json!({"progressToken": number}));
        let response = post(sent(gateway, KEY, &call).header("mcp-session-id", &session)).await;
        let told = messages(response).await;
        assert!(told.iter().rev().skip(1).all(|note| note["params"]["progressToken"] == number), "{told:?}");
        let answer = &told.last().unwrap()["result"]["structuredContent"];
        assert_eq!(answer["answer"], text, "{answer}");
        assert!(name.is_null() || name == answer["conversation"], "{answer}");
        name = answer["conversation"].clone();
    }
}

#[tokio::test]
async fn a_hundred_sessions_at_once_do_not_mix() {
    let (coze, gateway) = start(Options::instant()).await;
    gateway.assert_well().await;
    let files = gateway.open_files();
    // Its connections are as many as its requests race for, and are gone with
    // it.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sessions = (0..100).map(|number| session(&client, [&gateway; 4], number));
    futures_util::future::join_all(sessions).await;
    drop(client);
    coze.idle().await;
    within("nothing is left but connections to Coze that may be used again", async || {
        let scrape = Scrape::of(&gateway).await;
        let kept = scrape.samples.iter().find(|one| one.name == "cozeway_upstream_open_connections");
        let kept = kept.unwrap().value;
        (gateway.open_files().saturating_sub(files) as f64) <= kept + 1.0
    })
    .await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_session_may_go_through_several_gateways() {
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let (a, b) = (redis.gateway(&coze, "").await, redis.gateway(&coze, "").await);
    for (number, gateways) in [[&a, &b, &a, &b], [&b, &a, &b, &a]].into_iter().enumerate() {
        session(&a.client, gateways, number).await;
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(exchange(&a, KEY, list.clone()).await, exchange(&b, KEY, list).await);
}

#[tokio::test]
async fn a_call_is_called_off_through_another_gateway() {
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::with(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    let (a, b) = (redis.gateway(&coze, "").await, redis.gateway(&coze, "").await);
    let calling = sent(&a, KEY, &call("slow", json!({"message": "x"}), json!({})));
    let response = calling.header("mcp-session-id", "s1").send().await.unwrap();
    eventually("Coze is asked", || coze.simulator.open_streams() == 1).await;
    let off = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    for session in ["s2", "s1"] {
        assert_eq!(coze.simulator.open_streams(), 1);
        let taken = sent(&b, KEY, &off).header("mcp-session-id", session).send().await.unwrap();
        assert_eq!(taken.status(), 202);
    }
    coze.idle().await;
    assert!(messages(response).await.is_empty(), "nothing answers what was called off");
}
