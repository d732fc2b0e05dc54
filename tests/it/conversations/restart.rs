//! What a restart finds again, and what is in the file.

use std::time::Duration;

use cozeway::simulator::Options;
use cozeway::simulator::bots::STORYTELLER;

use super::usual;
use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, Talk};

#[tokio::test]
async fn conversations_survive_a_restart_and_a_kill() {
    let (coze, mut gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let (mut named, mut unnamed) = ("a".to_owned(), "a".to_owned());
    talk.named("n").says(&["a"]).await.assert("new", "a");
    let first = talk.says(&["a"]).await;
    let id = first.name().to_owned();
    let mut transcript = vec!["a", "a"];
    for (signal, text) in [("-TERM", "b"), ("-KILL", "c"), ("-KILL", "d")] {
        gateway.restart(signal).await;
        let talk = Talk::new(&gateway, &coze, "echo");
        let last = transcript[transcript.len() - 1];
        named += &format!(" [{last}] {text}");
        talk.named("n").says(&[text]).await.assert("continued", &named);
        transcript.push(text);
        unnamed += &format!(" [{last}] {text}");
        let said = talk.says(&transcript).await;
        said.assert("continued", &unnamed);
        assert_eq!((said.place(), said.name()), (first.place(), id.as_str()));
        transcript.push(text);
    }
    gateway.restart("-KILL").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    talk.named(&id).says(&["e"]).await.assert("continued", &format!("{unnamed} [d] e"));
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_turn_loses_a_head_and_doubles_nothing() {
    let mut options = Options::instant();
    for bot in options.bots.iter_mut().filter(|bot| bot.id == STORYTELLER) {
        bot.pace = Some(Duration::from_millis(100));
    }
    let coze = Coze::with(options).await;
    let text = config(&coze, "conversation_wait = \"100ms\"\n", "");
    let mut gateway = Gateway::with(&text).await;
    let echo = Talk::new(&gateway, &coze, "echo");
    echo.says(&["a"]).await.assert("new", "a");
    let slow = Talk::new(&gateway, &coze, "storyteller");
    let mut streams = Vec::new();
    for talk in [slow.named("n"), slow.clone()] {
        let mut stream = Stream::new(talk.streams(&["a story"]).await);
        stream.next().await.unwrap();
        streams.push(stream);
    }
    gateway.restart("-KILL").await;
    drop(streams);
    let echo = Talk::new(&gateway, &coze, "echo");
    echo.says(&["a", "a", "b"]).await.assert("continued", "a [a] b");
    let slow = Talk::new(&gateway, &coze, "storyteller");
    // Nobody knows yet that the turn will not end: its lease still runs.
    assert_eq!(slow.named("n").says(&["hello?"]).await.error(), (409, "conversation_locked"));
    let response = slow.streams(&["a story", "On the last rock", "go on"]).await;
    assert_eq!(response.headers()["x-cozeway-conversation"], "replayed; reason=unknown");
}

#[tokio::test]
async fn of_messages_only_hashes_are_in_the_file() {
    let (coze, mut gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let question = "a question that nobody else asks";
    talk.named("n").says(&[question]).await;
    talk.says(&[question, question, "another one of that kind"]).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    let mut seen = 0;
    for file in std::fs::read_dir(&gateway.folder).unwrap() {
        let file = file.unwrap().path();
        let is_state = file.file_name().unwrap().to_str().unwrap().starts_with("cozeway.db");
        if is_state {
            seen += 1;
            let bytes = std::fs::read(&file).unwrap();
            for text in [question, "of that kind"] {
                let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!found, "{} holds {text:?}", file.display());
            }
        }
    }
    assert!(seen > 0, "there is a file");
}
