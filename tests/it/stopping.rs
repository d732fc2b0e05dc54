//! SIGTERM.

use std::time::Duration;

use serde_json::json;

use cozeway::simulator::{Script, Step};

use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, SCRIPTED};

fn delta(text: &str) -> Step {
    let data = format!(
        "event:conversation.message.delta\ndata:{{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"{text}\",\"content_type\":\"text\"}}\n\n"
    );
    Step::Send(data.into())
}

#[tokio::test]
async fn a_stream_in_flight_may_finish() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    let end = Step::Send("event:conversation.chat.completed\ndata:{}\n\nevent:done\ndata:\n\n".into());
    coze.simulator.script(
        SCRIPTED,
        Script::stream([delta("a"), Step::Sleep(Duration::from_millis(600)), delta("b"), end]),
    );
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    assert_eq!(stream.content().await, "a");
    gateway.signal("-TERM");
    let refused = async {
        while reqwest::Client::new().get(gateway.url("/healthz")).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(500), refused)
        .await
        .expect("no new connection while the stream goes on");
    let rest = stream.collect().await;
    assert!(rest.is_done(), "{rest:?}");
    assert_eq!(rest.content(), "b");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    gateway.assert_well().await;
    let told = std::time::SystemTime::now();
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(told.elapsed().unwrap() < Duration::from_secs(5), "an idle kept connection holds nobody up");
}

#[tokio::test]
async fn a_stream_that_will_not_end_is_not_waited_for_forever() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::with_server(&coze, "shutdown_grace = \"200ms\"").await;
    coze.simulator.script(SCRIPTED, Script::stream([delta("a"), Step::Hang]));
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let rest = stream.collect().await;
    assert!(!rest.is_done(), "nobody may take it for a whole answer: {rest:?}");
    assert!(!rest.ended || rest.error().is_some(), "{rest:?}");
}

#[tokio::test]
async fn streams_of_http_2_in_flight_may_finish() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    let end = Step::Send("event:conversation.chat.completed\ndata:{}\n\nevent:done\ndata:\n\n".into());
    coze.simulator.script(
        SCRIPTED,
        Script::stream([delta("a"), Step::Sleep(Duration::from_millis(600)), delta("b"), end]),
    );
    gateway.client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
        assert_eq!(response.version(), http::Version::HTTP_2);
        let mut stream = Stream::new(response);
        assert_eq!(stream.content().await, "a");
        streams.push(stream);
    }
    gateway.signal("-TERM");
    for stream in streams {
        let rest = stream.collect().await;
        assert!(rest.is_done(), "{rest:?}");
        assert_eq!(rest.content(), "b");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}
