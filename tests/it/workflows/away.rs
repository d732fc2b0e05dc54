//! Questions of workflows while the state store is away: what may be an answer
//! begins no run. Without `COZEWAY_TEST_REDIS_SERVER` this is not tested.

use std::time::Duration;

use cozeway::simulator::Script;
use cozeway::simulator::flows::{PARAMETERS, TRIP};

use crate::replicas::{Redis, state, within};
use crate::shared::golden;
use crate::support::scrape::Scrape;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED, Talk, eventually};

const WHERE: &str = "Where would you like to go?";
const ANSWER: [&str; 3] = ["plan a trip", WHERE, "Oslo"];

async fn gateway(redis: &Redis, coze: &Coze) -> Gateway {
    let models = format!(
        "[models.trip]\nworkflow_id = '{TRIP}'\ninput = 'q'\n\
         [models.list]\nworkflow_id = '{PARAMETERS}'\ninput = 'q'\n\
         [models.flow]\nworkflow_id = '{SCRIPTED}'\ninput = 'q'\n"
    );
    redis.gateway(coze, &models).await
}

fn runs(coze: &Coze) -> usize {
    coze.simulator.requests().iter().filter(|sent| sent.path == "/v1/workflow/stream_run").count()
}

#[tokio::test]
async fn an_answer_waits_for_the_store_and_a_beginning_does_not() {
    let Some(mut redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let gateway = gateway(&redis, &coze).await;
    let talk = Talk::new(&gateway, &coze, "trip");
    assert_eq!(talk.says(&["plan a trip"]).await.text(), WHERE);
    redis.0.kill();
    for talk in [&talk, &talk.field("n", 2)] {
        let refused = talk.says(&ANSWER).await;
        assert_eq!(refused.error(), (503, "state_unavailable"));
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(runs(&coze), 1);
    // A beginning answers nothing, and this workflow never asks.
    assert_eq!(talk.says(&["plan a trip"]).await.error(), (502, "upstream_requires_action"));
    let said = talk.to("list").says(&["a", "q: a", "b"]).await;
    assert_eq!((said.text(), said.note()), ("q: b", "replayed; reason=state_unavailable"));
    redis.0.start().await;
    within("the store is back", async || state(&gateway).await == "ready").await;
    assert_eq!(talk.says(&ANSWER).await.note(), "resumed");
}

#[tokio::test]
async fn a_gateway_that_has_only_resumed_knows_what_asks() {
    let Some(mut redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let (one, other) = (gateway(&redis, &coze).await, gateway(&redis, &coze).await);
    let (via_one, via_other) = (Talk::new(&one, &coze, "trip"), Talk::new(&other, &coze, "trip"));
    assert_eq!(via_one.says(&["plan a trip"]).await.text(), WHERE);
    assert_eq!(via_one.says(&ANSWER).await.note(), "resumed");
    assert_eq!(via_other.says(&ANSWER).await.error(), (409, "conversation_lost"));
    redis.0.kill();
    assert_eq!(via_other.says(&ANSWER).await.error(), (503, "state_unavailable"));
    assert_eq!(runs(&coze), 1);
}

/// A run that asks once the store has gone away.
async fn asks_too_late(stream: bool) {
    let Some(mut redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let gateway = gateway(&redis, &coze).await;
    let asks = golden::transcript_of("workflow", "workflow_stream_run_interrupt.server.sse");
    coze.simulator.script(SCRIPTED, Script::transcript(asks).after(Duration::from_secs(1)));
    let talk = Talk::new(&gateway, &coze, "flow");
    let killing = async {
        eventually("it runs", || runs(&coze) == 1).await;
        redis.0.kill();
    };
    if stream {
        let (response, ()) = tokio::join!(talk.streams(&["weather?"]), killing);
        let streamed = Streamed::of(response).await;
        assert!(!streamed.is_done());
        assert_eq!(streamed.error().unwrap()["code"], "upstream_requires_action");
    } else {
        let (said, ()) = tokio::join!(talk.says(&["weather?"]), killing);
        assert_eq!(said.error(), (502, "upstream_requires_action"));
    }
    let scrape = Scrape::of(&gateway).await;
    assert!(scrape.sum("cozeway_unremembered_turns_total", &[("model", "flow")]) > 0.0);
}

#[tokio::test]
async fn a_question_that_is_not_remembered_is_an_error() {
    asks_too_late(false).await;
}

#[tokio::test]
async fn a_streamed_question_that_is_not_remembered_ends_in_an_error() {
    asks_too_late(true).await;
}
