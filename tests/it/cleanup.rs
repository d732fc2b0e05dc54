//! Conversations of Coze's that nothing refers to are deleted, for models
//! that want it.

use cozeway::conversation::{Conversations, Owner, Place, Record};
use cozeway::http::App;
use cozeway::relay::Relay;
use cozeway::simulator::demo_bots;
use serde_json::json;

use crate::support::gateway::config;
use crate::support::{Coze, Gateway, Talk, eventually};

fn bot(name: &str) -> &'static str {
    demo_bots().iter().find(|bot| bot.name == name).unwrap().bot_id
}

/// Models that are tidied up after.
fn tidy(coze: &Coze) -> String {
    let echo = bot("echo");
    let broken = bot("broken");
    config(
        coze,
        "",
        &format!(
            "[models.tidy]\nbot_id = \"{echo}\"\ncleanup = true\n\
             [models.forgetful]\nbot_id = \"{echo}\"\ncleanup = true\nmemory = \"off\"\n\
             [models.failing]\nbot_id = \"{broken}\"\ncleanup = true\n[state]\nurl = \"memory:\"\n"
        ),
    )
}

/// The conversations that were deleted, in order.
fn deleted(coze: &Coze) -> Vec<String> {
    let requests = coze.simulator.requests();
    let paths = requests.iter().filter(|request| request.method == "DELETE").map(|request| &request.path);
    paths.filter_map(|path| path.strip_prefix("/v1/conversations/").map(str::to_owned)).collect()
}

async fn are_deleted(coze: &Coze, places: &[&str]) {
    eventually("they are deleted", || deleted(coze).len() >= places.len()).await;
    assert_eq!(deleted(coze), places);
}

#[tokio::test]
async fn what_is_superseded_is_deleted() {
    let coze = Coze::start().await;
    let gateway = Gateway::with(&tidy(&coze)).await;
    let talk = Talk::new(&gateway, &coze, "tidy").named("n");
    let first = talk.says(&["one"]).await;
    talk.says(&["two"]).await.assert("continued", "one [one] two");
    let branch = talk.says(&["one", "one", "other"]).await;
    branch.assert("replayed; reason=edited", "one [one] other");
    are_deleted(&coze, &[first.place()]).await;
    // Without the option nothing is.
    let untidy = Talk::new(&gateway, &coze, "echo").named("m");
    untidy.says(&["one"]).await;
    untidy.says(&["x", "y", "z"]).await.assert("replayed; reason=edited", "x [y] z");
    talk.says(&["three"]).await;
    are_deleted(&coze, &[first.place()]).await;
}

#[tokio::test]
async fn what_nobody_will_go_on_with_is_deleted() {
    let coze = Coze::start().await;
    let gateway = Gateway::with(&tidy(&coze)).await;
    let off = Talk::new(&gateway, &coze, "forgetful").says(&["one"]).await;
    are_deleted(&coze, &[off.place()]).await;
    // A first turn that failed.
    let failed = gateway.ask("failing", "hi", json!({})).await;
    assert_eq!(failed.status(), 502);
    eventually("it is deleted", || deleted(&coze).len() == 2).await;
    // One that goes on is not.
    let talk = Talk::new(&gateway, &coze, "tidy");
    talk.says(&["a"]).await;
    talk.says(&["a", "a", "b"]).await.assert("continued", "a [a] b");
    assert_eq!(deleted(&coze).len(), 2);
    let scraped = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(scraped.contains("cozeway_cleaned_conversations_total{result=\"deleted\"} 2"), "{scraped}");
}

#[tokio::test]
async fn what_has_expired_is_deleted() {
    let coze = Coze::start().await;
    let snapshot = cozeway::config::parse(&tidy(&coze), std::path::Path::new("f"), &|_| None).unwrap();
    let store = cozeway::store::memory::Memory::new(std::time::Duration::from_secs(60)).unwrap();
    let relay = Relay::default();
    let app = App::new(snapshot, relay, Conversations::new(std::sync::Arc::new(store)));
    let record = |target: &str| Record {
        owner: Owner { deployment: "local".into(), target: target.into(), ..Owner::default() }.into(),
        place: Some(Place { conversation: "75".into(), section: None, chat: "76".into() }),
        ..Record::default()
    };
    app.expired(&record(bot("storyteller")));
    app.expired(&record(bot("echo")));
    are_deleted(&coze, &["75"]).await;
}
