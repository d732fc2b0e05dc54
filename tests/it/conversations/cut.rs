//! Answers that are cut: by a client that leaves, by a stop string.

use std::time::Duration;

use cozeway::simulator::bots::STORYTELLER;
use cozeway::simulator::{Behaviour, Bot, Options};

use super::forgetting::{coded, troubled};
use super::usual;
use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Between, Coze, Gateway, Mishap, Talk, eventually};

const RETRIEVE: &str = "/v3/chat/retrieve";

/// Bots that take their time between two words, and one that is silent.
async fn paced(server: &str, pace: Duration) -> (Coze, Between, Gateway) {
    let mut options = Options::instant();
    options.silence = Duration::from_secs(120);
    options.bots.push(Bot { pace: Some(pace), ..Bot::new("7530512345678900043", "paced", Behaviour::Echo) });
    for bot in options.bots.iter_mut().filter(|bot| bot.id == STORYTELLER) {
        bot.pace = Some(pace);
    }
    let coze = Coze::with(options).await;
    let between = Between::start(&coze).await;
    let more = "[models.paced]\nbot_id = \"7530512345678900043\"\n";
    let gateway = Gateway::with(&config(&between.coze, server, more)).await;
    (coze, between, gateway)
}

/// Streams an answer and leaves after its first words; gives those.
async fn hang_up(talk: &Talk<'_>, texts: &[&str]) -> String {
    let mut stream = Stream::new(talk.streams(texts).await);
    stream.content().await
}

#[tokio::test]
async fn after_a_hang_up_a_transcript_is_replayed() {
    let (coze, _between, gateway) = paced("", Duration::from_millis(100)).await;
    let talk = Talk::new(&gateway, &coze, "paced");
    for (talk, note) in
        [(talk.clone(), "replayed; reason=unknown"), (talk.named("n"), "replayed; reason=cut")]
    {
        let heard = hang_up(&talk, &["abcdefgh"]).await;
        assert_ne!(heard, "abcdefgh");
        let said = talk.says(&["abcdefgh", &heard, "on"]).await;
        said.assert(note, &format!("abcdefgh [{heard}] on"));
        talk.says(&["abcdefgh", &heard, "on", "on", "and on"])
            .await
            .assert("continued", &format!("abcdefgh [{heard}] on [on] and on"));
    }
}

#[tokio::test]
async fn after_a_hang_up_a_delta_goes_on_with_cozes_words_once_the_run_has_ended() {
    let (coze, _between, gateway) = paced("", Duration::from_millis(100)).await;
    let talk = Talk::new(&gateway, &coze, "paced").named("n");
    let heard = hang_up(&talk, &["abcdefgh"]).await;
    assert_ne!(heard, "abcdefgh");
    assert_eq!(coze.simulator.running(), 1, "the run goes on by itself");
    let second = talk.says(&["ijklmnop"]).await;
    second.assert("continued", "abcdefgh [abcdefgh] ijklmnop");
    hang_up(&talk, &["qrstuvwx"]).await;
    let third = talk.says(&["yz"]).await;
    third.assert("continued", "abcdefgh [abcdefgh] ijklmnop [ijklmnop] qrstuvwx [qrstuvwx] yz");
    assert_eq!(third.place(), second.place());
}

#[tokio::test]
async fn a_stop_string_cuts_what_the_client_holds_but_not_what_coze_holds() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    for (talk, note) in
        [(talk.clone(), "replayed; reason=unknown"), (talk.named("n"), "replayed; reason=cut")]
    {
        let first = talk.field("stop", "three").says(&["one two three four"]).await;
        assert_eq!(first.text(), "one two ");
        let said = talk.says(&["one two three four", "one two ", "on"]).await;
        said.assert(note, "one two three four [one two ] on");
    }
    let talk = talk.named("deltas");
    talk.field("stop", "three").says(&["one two three four"]).await;
    talk.says(&["on"]).await.assert("continued", "one two three four [one two three four] on");
}

#[tokio::test]
async fn a_stop_string_that_does_not_come_cuts_nothing() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").field("stop", "zzz");
    talk.says(&["a"]).await;
    talk.says(&["a", "a", "b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn a_run_that_does_not_end_keeps_deltas_out_and_no_transcript() {
    let (coze, _between, gateway) =
        paced("conversation_wait = \"300ms\"\nkeepalive = \"300ms\"\n", Duration::ZERO).await;
    let talk = Talk::new(&gateway, &coze, "slow").named("n");
    // A sign of life, and no word: then it is given up.
    let mut stream = Stream::new(talk.streams(&["a"]).await);
    stream.next().await.unwrap();
    drop(stream);
    eventually("nobody reads that answer", || coze.simulator.open_streams() == 0).await;
    for _ in 0..2 {
        let said = talk.says(&["b"]).await;
        assert_eq!(said.error(), (409, "conversation_locked"));
        assert!(said.header("retry-after").is_some());
    }
    assert_eq!(coze.simulator.running(), 1, "nothing was begun beside it");
    let whole = Stream::new(talk.streams(&["a", "hm", "b"]).await);
    drop(whole);
    assert_eq!(coze.simulator.conversations().len(), 2);
}

#[tokio::test]
async fn a_cut_run_that_failed_is_rebuilt_up_to_the_last_good_chat() {
    // Who waits no longer has to do with what there is.
    let (_coze, between, gateway) = troubled("conversation_wait = \"0s\"", "").await;
    let failed = Mishap::Answer(200, "application/json", r#"{"data":{"status":"failed"},"code":0}"#.into());
    for (number, (mishap, reason)) in [
        (failed, "failed"),
        // It cannot say, or knows it no more.
        (Mishap::Answer(500, "text/plain", "record not found".into()), "cut"),
        (coded(400, 4000), "cut"),
    ]
    .into_iter()
    .enumerate()
    {
        let talk = Talk::new(&gateway, &between.coze, "echo").named(&number.to_string());
        talk.says(&["a"]).await;
        talk.field("stop", "st").says(&["lost"]).await;
        between.next(RETRIEVE, mishap);
        talk.says(&["b"]).await.assert(&format!("rebuilt; reason={reason}"), "a [a] b");
        talk.says(&["c"]).await.assert("continued", "a [a] b [b] c");
    }
}

#[tokio::test]
async fn a_first_turn_that_was_cut_and_failed_leaves_nothing_to_rebuild() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.field("stop", "st").says(&["lost"]).await;
    between.next(
        RETRIEVE,
        Mishap::Answer(200, "application/json", r#"{"data":{"status":"failed"},"code":0}"#.into()),
    );
    talk.says(&["b"]).await.assert("rebuilt; reason=failed", "b");
    talk.says(&["c"]).await.assert("continued", "b [b] c");
}

#[tokio::test]
async fn how_a_cut_run_ended_is_asked_again() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.field("stop", "two").says(&["one two"]).await;
    between.next(RETRIEVE, Mishap::Answer(500, "text/plain", "busy".into()));
    talk.says(&["on"]).await.assert("continued", "one two [one two] on");
}

#[tokio::test]
async fn what_was_said_before_a_cut_run_that_failed_is_not_lost() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    let failed =
        || Mishap::Answer(200, "application/json", r#"{"data":{"status":"failed"},"code":0}"#.into());
    talk.field("stop", "st").says(&["a", "b", "lost"]).await;
    between.next(RETRIEVE, failed());
    talk.says(&["c"]).await.assert("rebuilt; reason=failed", "a [b] c");
    talk.says(&["d"]).await.assert("continued", "a [b] c [c] d");
    // A system text, too, was said before.
    let system = |text: &str| serde_json::json!([{"role": "system", "content": "S"}, {"role": "user", "content": text}]);
    let talk = Talk::new(&gateway, &between.coze, "echo").named("m");
    talk.field("stop", "st").sends(system("lost")).await;
    between.next(RETRIEVE, failed());
    talk.says(&["b"]).await.assert("rebuilt; reason=failed", "S b");
    talk.sends(system("c")).await.assert("continued", "S b [b] c");
}

#[tokio::test]
async fn a_cut_conversation_that_coze_has_forgotten_is_lost() {
    let (_coze, between, gateway) = troubled("", "").await;
    for (number, code) in [103_000_001, 4001, 4200].into_iter().enumerate() {
        let talk = Talk::new(&gateway, &between.coze, "echo").named(&number.to_string());
        talk.field("stop", "two").says(&["one two"]).await;
        between.next(RETRIEVE, coded(200, code));
        assert_eq!(talk.says(&["on"]).await.error(), (409, "conversation_lost"));
        talk.says(&["a"]).await.assert("new", "a");
    }
}

#[tokio::test]
async fn a_cut_conversation_waits_while_coze_refuses_to_say_how_it_ended() {
    let (_coze, between, gateway) = troubled("", "").await;
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.field("stop", "two").says(&["one two"]).await;
    between.next(RETRIEVE, coded(429, 4013));
    assert_eq!(talk.says(&["on"]).await.error(), (429, "upstream_rate_limited"));
    between.next(RETRIEVE, coded(200, 700_012_006));
    assert_eq!(talk.says(&["on"]).await.error(), (502, "upstream_auth_failed"));
    talk.says(&["on"]).await.assert("continued", "one two [one two] on");
}
