//! Histories that have broken a promise once, each as short as it can be.

use crate::backend::Backend;
use crate::ledger::Around;
use crate::model::Said;
use crate::stage::{Callers, MODELS};
use crate::turn::{Leaves, Space, Turn};
use crate::world::{Chat, World};
use cozeway::simulator::Trouble;
use tokio_util::sync::CancellationToken;

/// Takes turns one after another, each of a client that sends only what is
/// new, unless it has a transcript.
fn live(turns: impl FnOnce(Chat) -> Vec<Turn>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result: Result<(), String> = runtime.block_on(async {
        let model = MODELS.iter().position(|model| model.name == "signed").unwrap();
        let space = Space { key: "one", model, user: None, hint: None };
        let name = Some("main".to_owned());
        let chat =
            Chat { space, name, delta: true, system: None, said: Vec::new(), sloppy: false, own: None };
        let mut world = World::new(Backend::of(0).await, Callers::HaveKeys, vec![chat.clone()]).await;
        for turn in turns(chat) {
            world.release().await?;
            world.turns(vec![turn], Around::default()).await?;
        }
        Ok(())
    });
    result.unwrap();
}

fn says(chat: &Chat, text: &str) -> Turn {
    Turn::of(0, chat, vec![text.to_owned()])
}

#[test]
fn a_transcript_without_a_system_text_leaves_none_in_force() {
    live(|chat| {
        let brief = Some("be brief".to_owned());
        let before = vec![
            Said::User("edited".to_owned()),
            Said::Bot { words: "so".to_owned(), stored: vec!["so".to_owned()] },
        ];
        vec![
            Turn { system: brief.clone(), ..says(&chat, "one") },
            Turn { delta: false, before, ..says(&chat, "two") },
            Turn { system: brief, ..says(&chat, "three") },
        ]
    });
}

#[test]
fn what_was_cut_counts_though_the_turn_after_it_was_never_settled() {
    live(|chat| {
        let waits = Some(Trouble::Waits(CancellationToken::new(), false));
        vec![
            says(&chat, "one"),
            Turn { stop: true, ..says(&chat, "two") },
            Turn { trouble: waits, leaves: Leaves::WithItsGateway, ..says(&chat, "three") },
            says(&chat, "four"),
        ]
    });
}
