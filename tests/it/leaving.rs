//! Clients that go away.

use std::time::Duration;

use serde_json::json;

use cozeway::simulator::{Options, Script, Step};

use crate::shared::golden;
use crate::support::gateway::{config, request};
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, SCRIPTED, eventually};

/// A stream that says something and then nothing more.
fn hanging() -> Script {
    let mut text = String::from_utf8(golden::transcript("chat_text.server.sse")).unwrap();
    let at = text.find("event:conversation.message.completed").unwrap();
    text.truncate(at);
    Script::stream([Step::Send(text.into()), Step::Hang])
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_closes_the_call_to_coze() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, hanging());
    let body = request("scripted", "hi", json!({"stream": true})).to_string();
    let response = gateway.post(body).header("x-request-id", "left-1").send().await.unwrap();
    let mut stream = Stream::new(response);
    stream.content().await;
    assert_eq!(coze.simulator.open_streams(), 1);
    drop(stream);
    coze.idle().await;
    let line = gateway.logged("left-1").await;
    assert_eq!(line["outcome"], "client_left", "{line}");
    assert_eq!(line["coze.chat_id"], "7530600000000000101");
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_closes_the_call_to_coze() {
    let coze = Coze::with(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    let gateway = Gateway::start(&coze).await;
    for stream in [false, true] {
        let body = request("slow", "hi", json!({"stream": stream})).to_string();
        let request_id = format!("gave-up-{stream}");
        let waiting =
            gateway.post(body).header("x-request-id", &request_id).timeout(Duration::from_millis(300)).send();
        assert!(waiting.await.unwrap_err().is_timeout());
        coze.idle().await;
        assert_eq!(gateway.logged(&request_id).await["outcome"], "client_left");
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn many_clients_that_leave_leave_nothing() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    gateway.assert_well().await;
    coze.idle().await;
    let files = gateway.open_files();
    coze.simulator.script(SCRIPTED, hanging());
    for _ in 0..3 {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
            streams.push(Stream::new(response));
        }
        for stream in &mut streams {
            stream.content().await;
        }
        assert_eq!(coze.simulator.open_streams(), 50);
        drop(streams);
        coze.idle().await;
    }
    eventually("sockets are given back", || gateway.open_files() <= files + 4).await;
}

#[tokio::test]
async fn a_chat_of_the_cloud_is_cancelled_when_nobody_waits_for_it() {
    let coze = Coze::start().await;
    let text = config(&coze, "", "").replace("[coze.local]", "[coze.local]\nkind = \"cloud\"");
    let gateway = Gateway::with(&text).await;
    let cancels =
        || coze.simulator.requests().into_iter().filter(|r| r.path == "/v3/chat/cancel").collect::<Vec<_>>();

    gateway.assert_well().await;
    assert!(cancels().is_empty(), "a chat that ended is not cancelled");

    coze.simulator.script(SCRIPTED, hanging());
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    drop(stream);
    eventually("the chat is cancelled", || cancels().len() == 1).await;
    assert_eq!(
        cancels()[0].body,
        json!({"conversation_id": "7530600000000000001", "chat_id": "7530600000000000101"})
    );

    let response = gateway.ask("scripted", "hi", json!({"stop": ["月"]})).await;
    assert_eq!(response.status(), 200);
    eventually("a cut chat is cancelled too", || cancels().len() == 2).await;
}
