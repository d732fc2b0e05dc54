//! Many sessions at once, and several gateways.

use std::time::Duration;

use serde_json::{Value, json};

use cozeway::simulator::Options;

use super::{call, exchange, messages, names, sent, start};
use crate::replicas::Redis;
use crate::support::{Coze, Gateway, KEY, eventually};

/// A whole session: the handshake, the list, and two calls of one
/// conversation. Each step may go to another gateway.
async fn session(gateways: [&Gateway; 4], number: usize) {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    // Before there is a session there is no version to name.
    let mut hello = sent(gateways[0], KEY, &hello).build().unwrap();
    hello.headers_mut().remove("mcp-protocol-version");
    let response = gateways[0].client.execute(hello).await.unwrap();
    assert_eq!(response.status(), 200);
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    drop(messages(response).await);
    assert!(names(gateways[1], KEY).await.contains(&"echo".to_owned()));
    let mut name = Value::Null;
    for (gateway, text) in
        [(gateways[2], format!("first {number}")), (gateways[3], format!("second {number}"))]
    {
        let call =
            call("echo", json!({"message": text, "conversation": name}), json!({"progressToken": number}));
        let response = sent(gateway, KEY, &call).header("mcp-session-id", &session).send().await.unwrap();
        let answer = messages(response).await.pop().unwrap()["result"]["structuredContent"].take();
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
    let sessions = (0..100).map(|number| session([&gateway; 4], number));
    futures_util::future::join_all(sessions).await;
    coze.idle().await;
    // Only connections that may be used again are left: less than one for
    // each of the 500 messages.
    eventually("nothing else is left", || gateway.open_files() <= files + 450).await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_session_may_go_through_several_gateways() {
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let (a, b) = (redis.gateway(&coze, "").await, redis.gateway(&coze, "").await);
    for (number, gateways) in [[&a, &b, &a, &b], [&b, &a, &b, &a]].into_iter().enumerate() {
        session(gateways, number).await;
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
