//! Coze shows a bot the last rounds of a conversation only.

use cozeway::simulator::{Behaviour, Bot, Options};

use crate::support::gateway::config;
use crate::support::{Coze, Gateway, Talk};

const SHORT: &str = "7530512345678900055";

/// A bot that is shown three rounds, and a gateway that knows it.
async fn short() -> (Coze, Gateway) {
    let mut options = Options::instant();
    options.bots.push(Bot { rounds: 3, ..Bot::new(SHORT, "short", Behaviour::Echo) });
    let coze = Coze::with(options).await;
    let more = format!("[models.short]\nbot_id = \"{SHORT}\"\nhistory_rounds = 3\n");
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    (coze, gateway)
}

#[tokio::test]
async fn a_transcript_loses_nothing_however_long_it_grows() {
    let (coze, gateway) = short().await;
    let plain = Talk::new(&gateway, &coze, "short");
    for talk in [plain.named("n"), plain] {
        let mut texts: Vec<String> = Vec::new();
        let mut notes = Vec::new();
        for turn in 0..8 {
            texts.push(turn.to_string());
            let transcript: Vec<&str> = texts.iter().map(String::as_str).collect();
            let said = talk.says(&transcript).await;
            let shown = transcript.iter().enumerate();
            let shown =
                shown.map(|(at, text)| if at % 2 == 0 { (*text).to_owned() } else { format!("[{text}]") });
            assert_eq!(said.seen(), shown.collect::<Vec<_>>().join(" "));
            notes.push(said.note().to_owned());
            texts.push(turn.to_string());
        }
        let full = "replayed; reason=history_full";
        assert_eq!(notes, ["new", "continued", "continued", full, "continued", full, "continued", full]);
    }
}

#[tokio::test]
async fn deltas_go_on_where_the_bot_has_stopped_to_look() {
    let (coze, gateway) = short().await;
    let talk = Talk::new(&gateway, &coze, "short").named("n");
    let first = talk.says(&["0"]).await;
    for turn in 1..5 {
        let said = talk.says(&[&turn.to_string()]).await;
        assert_eq!((said.note(), said.place()), ("continued", first.place()));
    }
    talk.says(&["5"]).await.assert("continued", "2 [2] 3 [3] 4 [4] 5");
}
