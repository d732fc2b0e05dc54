//! How long Coze may take, in real time: for its head, and between events.
//!
//! The third clock, for a whole turn, runs an hour at the least: `relay`
//! tests it in paused time.

use std::time::Duration;

use cozeway::simulator::{Script, Step};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::sse::{Streamed, delta, ended};
use crate::support::{Coze, Gateway, SCRIPTED};

const PAUSE: Step = Step::Sleep(Duration::from_millis(500));

async fn start(script: Script) -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "upstream_timeout = \"1s\"").await;
    coze.simulator.script(SCRIPTED, script);
    (coze, gateway)
}

/// Not before the clock has run out, and not long after.
#[track_caller]
fn assert_one_second(taken: Duration) {
    assert!(taken >= Duration::from_secs(1) && taken < Duration::from_secs(4), "it took {taken:?}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_waited_for_as_long_as_for_an_event() {
    let (coze, gateway) = start(Script::hang()).await;
    for stream in [false, true] {
        let begun = Instant::now();
        let response = gateway.ask("scripted", "hi", json!({"stream": stream})).await;
        assert_one_second(begun.elapsed());
        assert_eq!(response.status(), 504);
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "upstream_timeout");
        assert_eq!(error["error"]["message"], "Coze did not begin to answer in time.");
    }
    coze.idle().await;
}

#[tokio::test]
async fn silence_after_the_head_is_another_clock() {
    let (coze, gateway) = start(Script::stream([Step::Hang])).await;
    let begun = Instant::now();
    let response = gateway.ask("scripted", "hi", json!({})).await;
    assert_one_second(begun.elapsed());
    assert_eq!(response.status(), 504);
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["message"], "Coze was silent for too long.");
    coze.idle().await;
}

/// Half a second before the head and before each event: three times what any
/// one silence may take.
#[tokio::test]
async fn each_event_starts_the_clock_anew() {
    let steps = || [PAUSE, delta("a"), PAUSE, delta("b"), PAUSE, delta("c"), PAUSE, delta("d"), PAUSE];
    let whole = Script::stream(steps()).then([ended()]).after(Duration::from_millis(500));
    let (coze, gateway) = start(whole).await;
    let begun = Instant::now();
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert!(streamed.is_done(), "{streamed:?}");
    assert_eq!(streamed.content(), "abcd");

    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, Script::stream(steps()).then([delta("e"), Step::Hang]));
    let begun = Instant::now();
    let streamed = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    // Five pauses, and then as long as the clock runs.
    let silence = begun.elapsed().saturating_sub(Duration::from_millis(2500));
    assert_one_second(silence);
    assert_eq!(streamed.content(), "abcde");
    let error = streamed.error().expect("it fails in band");
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("upstream_timeout"), &json!("Coze was silent for too long."))
    );
    coze.idle().await;
}
