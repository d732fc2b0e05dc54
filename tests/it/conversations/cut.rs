//! Answers that are cut: by a client that leaves, by a stop string.

use std::time::Duration;

use cozeway::simulator::bots::STORYTELLER;
use cozeway::simulator::{Behaviour, Bot, Options, Script, Step};
use serde_json::json;

use super::forgetting::{coded, troubled};
use super::usual;
use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Between, Coze, Gateway, Mishap, SCRIPTED, Talk, eventually};

const RETRIEVE: &str = "/v3/chat/retrieve";
const OF_CHAT: &str = "/v3/chat/message/list";
const LIST: &str = "/v1/conversation/message/list";

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
    let system = |text: &str| json!([{"role": "system", "content": "S"}, {"role": "user", "content": text}]);
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

const QUESTION: &str = "Which city would you like to know the weather of?";

#[tokio::test]
async fn a_question_that_was_cut_is_answered_as_one() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "ask");
    let asked = |name: &str| {
        let talk = talk.named(name);
        async move {
            let cut = talk.field("stop", "would").says(&["weather?"]).await;
            assert_eq!((cut.status, cut.text()), (200, "Which city "));
            talk
        }
    };
    let answered = asked("n").await.says(&["Paris"]).await;
    assert_eq!((answered.note(), answered.text()), ("resumed", "The weather in Paris will be sunny."));
    // Anything else is no answer to it.
    let user = |text: &str| json!({"role": "user", "content": text});
    let rebuilt = asked("m").await.sends(json!([user("Paris"), user("please")])).await;
    assert_eq!((rebuilt.status, rebuilt.note()), (200, "rebuilt; reason=question"));
    assert_eq!(rebuilt.seen().replace(QUESTION, "Q"), "weather? [Q] Paris please");
    let system = json!([{"role": "system", "content": "S"}, user("Paris")]);
    let rebuilt = asked("s").await.sends(system).await;
    assert_eq!((rebuilt.status, rebuilt.note()), (200, "rebuilt; reason=question"));
    assert_eq!(rebuilt.seen().replace(QUESTION, "Q"), "weather? [Q] S Paris");
    // Who sends what it was told has no question to answer.
    let whole = asked("t").await.says(&["weather?", "Which city ", "Paris"]).await;
    assert_eq!(whole.note(), "replayed; reason=cut");
}

#[tokio::test]
async fn where_coze_cannot_say_whether_it_asked_a_cut_answer_goes_on_as_one() {
    let (_coze, between, gateway) = troubled("", "").await;
    for (number, trouble) in
        [Mishap::Answer(500, "text/plain", "no".into()), coded(400, 4000)].into_iter().enumerate()
    {
        let talk = Talk::new(&gateway, &between.coze, "echo").named(&number.to_string());
        talk.field("stop", "two").says(&["one two"]).await;
        between.next(OF_CHAT, trouble);
        talk.says(&["on"]).await.assert("continued", "one two [one two] on");
    }
    let talk = Talk::new(&gateway, &between.coze, "echo").named("n");
    talk.field("stop", "two").says(&["one two"]).await;
    between.next(OF_CHAT, coded(429, 4013));
    assert_eq!(talk.says(&["on"]).await.error(), (429, "upstream_rate_limited"));
    between.next(OF_CHAT, coded(200, 4200));
    assert_eq!(talk.says(&["on"]).await.error(), (409, "conversation_lost"));
}

/// A bot's form: what its stream says, and what Coze has kept of it.
pub(super) fn form(asked_at: u64) -> (String, String) {
    let fields = r#"[{"type":"string","name":"city","required":true},{"type":"string","name":"day"}]"#;
    let card = json!({"content_type": "form_schema", "content": fields}).to_string();
    let message = |kind: &str, content: &str, content_type: &str| {
        json!({
            "id": kind, "conversation_id": "1", "chat_id": "2", "section_id": "3", "role": "assistant",
            "type": kind, "content": content, "content_type": content_type, "created_at": asked_at,
        })
    };
    let interrupt = message("verbose", r#"{"msg_type":"interrupt","data":"","from_unit":""}"#, "text");
    let card = message("answer", &card, "card");
    let chat = json!({"id": "2", "conversation_id": "1", "section_id": "3", "status": "completed"});
    let events = [
        ("conversation.chat.created", &chat),
        ("conversation.message.completed", &card),
        ("conversation.message.completed", &interrupt),
        ("conversation.chat.completed", &chat),
    ];
    let stream: String = events.iter().map(|(name, data)| format!("event:{name}\ndata:{data}\n\n")).collect();
    (stream + "event:conversation.stream.done\ndata:\n\n", json!({"Messages": [card, interrupt]}).to_string())
}

#[tokio::test]
async fn a_form_that_was_cut_is_filled_in() {
    let (coze, between, gateway) = troubled("", "").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let kept = |text: &str| Mishap::Answer(200, "application/json", text.to_owned());
    let ended = || kept(r#"{"data":{"status":"completed"},"code":0}"#);
    let answer = "event:conversation.chat.created\ndata:{\"id\":\"4\",\"conversation_id\":\"1\"}\n\n\
         event:conversation.message.completed\n\
         data:{\"id\":\"5\",\"type\":\"answer\",\"content\":\"fine\",\"content_type\":\"text\"}\n\n\
         event:conversation.chat.completed\ndata:{\"id\":\"4\",\"conversation_id\":\"1\"}\n\n\
         event:conversation.stream.done\ndata:\n\n";
    let (stream, messages) = form(now);
    // A stop string cuts it, and a client that leaves.
    for leaves in [false, true] {
        let name = if leaves { "left" } else { "stopped" };
        let talk = Talk::new(&gateway, &between.coze, "scripted").named(name);
        if leaves {
            let (heard, _) = stream.split_once("event:conversation.chat.completed").unwrap();
            let steps = [Step::Send(heard.to_owned().into()), Step::Hang];
            coze.simulator.script(SCRIPTED, Script::stream(steps));
            hang_up(&talk, &["weather?"]).await;
            coze.idle().await;
        } else {
            coze.simulator.script(SCRIPTED, Script::transcript(stream.clone()));
            assert_eq!(talk.field("stop", "day").says(&["weather?"]).await.text(), "city (string)\n");
        }
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, Script::transcript(answer));
        // What does not fill it in is told, and changes nothing.
        for (says, sent) in [("Paris", None), ("city: Paris\nday: Monday", Some("city:Paris\nday:Monday"))] {
            between.next(RETRIEVE, ended());
            between.next(OF_CHAT, kept(&messages));
            let said = talk.says(&[says]).await;
            let Some(sent) = sent else {
                assert_eq!(said.error(), (400, "invalid_value"));
                continue;
            };
            assert_eq!((said.status, said.note(), said.text()), (200, "resumed", "fine"));
            let requests = coze.simulator.requests();
            let request = requests.iter().rfind(|sent| sent.path.starts_with("/v3/chat?")).unwrap();
            assert_eq!(request.body["additional_messages"][0]["content"], sent);
        }
        coze.simulator.unscript(SCRIPTED);
    }
    // One that is too old is none.
    let (stream, messages) = form(now - 100_000);
    let talk = Talk::new(&gateway, &between.coze, "scripted").named("old");
    coze.simulator.script(SCRIPTED, Script::transcript(stream));
    talk.field("stop", "day").says(&["weather?"]).await;
    between.next(RETRIEVE, ended());
    between.next(OF_CHAT, kept(&messages));
    between.next(LIST, kept(&messages.replace("Messages", "data")));
    assert_eq!(talk.says(&["city: Paris\nday: Monday"]).await.note(), "rebuilt; reason=question");
}
