//! `cozeway bots`: what the tokens can reach, as entries for the config.

use cozeway::simulator::cloud::Space;
use cozeway::simulator::{Behaviour, Bot, Options, Standing, bots};

use crate::doctor::{Folder, text};
use crate::support::cloud::{self, new_key, write_key};
use crate::support::{Between, Coze, Mishap};

/// A config without models and keys.
fn config(coze: &Coze, kind: &str) -> String {
    format!(
        "[coze.here]\nbase_url = \"http://127.0.0.1:{}\"\nkind = \"{kind}\"\ntoken = \"pat_demo\"\n",
        coze.port
    )
}

#[tokio::test]
async fn every_page_of_a_clouds_bots_is_listed_as_entries_that_can_be_used() {
    let mut options = Options::instant();
    let ids: Vec<String> = (0..120).map(|index| format!("75305123456789{index:05}")).collect();
    options.bots = ids.iter().map(|id| Bot::new(id, "我的 \"bot\"\n[auth]", Behaviour::Echo)).collect();
    options.bots[7].standing = Standing::Unpublished;
    let coze = Coze::with(options).await;
    let (pem, public) = new_key();
    let mut spaces: Vec<Space> = (0..60)
        .map(|index| Space { id: format!("8{index:03}"), name: format!("Space\n{index}"), bots: Vec::new() })
        .collect();
    spaces[0].bots = ids[..105].to_vec();
    spaces[59].bots = ids[105..].to_vec();
    coze.simulator.become_cloud(cloud::Cloud { spaces, ..cloud::cloud(public) });
    let folder = Folder::new("bots");
    write_key(&folder.0, &pem);
    let output = folder.run(&cloud::oauth(&coze), &["bots"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let listed = text(&output.stdout);
    // What was printed is pasted behind what there is.
    let pasted = format!("auth.mode = \"none\"\n{}{listed}", cloud::oauth(&coze));
    let output = folder.run(&pasted, &["check", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let models = json["models"].as_array().unwrap();
    let mut found: Vec<&str> = models.iter().map(|model| model["bot_id"].as_str().unwrap()).collect();
    found.sort_unstable();
    let mut published: Vec<&str> = ids.iter().map(String::as_str).collect();
    published.remove(7);
    assert_eq!(found, published);
    assert!(listed.contains("# cloud, workspace Space 59: 15 published"), "{listed}");
}

#[tokio::test]
async fn pages_that_are_shorter_than_asked_for_are_not_the_last() {
    let coze = Coze::start().await;
    let (pem, public) = new_key();
    let one = cloud::cloud(public);
    let demo = one.spaces[0].bots.len();
    coze.simulator.become_cloud(cloud::Cloud { page: 3, ..one });
    let folder = Folder::new("short");
    write_key(&folder.0, &pem);
    let output = folder.run(&cloud::oauth(&coze), &["bots"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let listed = text(&output.stdout);
    assert_eq!(listed.matches("[models.").count(), demo, "{listed}");
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_off_and_that_is_said() {
    let coze = Coze::start().await;
    let (pem, public) = new_key();
    let spaces = (0..201)
        .map(|index| Space { id: format!("8{index:03}"), name: "none".to_owned(), bots: Vec::new() })
        .collect();
    coze.simulator.become_cloud(cloud::Cloud { spaces, page: 1, ..cloud::cloud(public) });
    let folder = Folder::new("long");
    write_key(&folder.0, &pem);
    let output = folder.run(&cloud::oauth(&coze), &["bots"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).matches("# cloud, workspace").count(), 200);
    let told = text(&output.stderr);
    assert!(told.contains("cloud: the workspaces: only the first 200 are listed"), "{told}");
}

#[tokio::test]
async fn a_page_that_comes_again_and_again_is_told_of() {
    let coze = Coze::start().await;
    let (pem, public) = new_key();
    coze.simulator.become_cloud(cloud::cloud(public));
    let between = Between::start(&coze).await;
    let page = r#"{"code":0,"data":{"items":[{"id":"7530512345678990001","name":"again"},{"name":"no id"}],"total":9}}"#;
    for _ in 0..2 {
        between.next("/v1/bots", Mishap::Answer(200, "application/json", page.to_owned()));
    }
    let folder = Folder::new("again");
    write_key(&folder.0, &pem);
    let output = folder.run(&cloud::oauth(&between.coze), &["bots"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(between.is_done());
    assert_eq!(text(&output.stdout).matches("[models.again").count(), 1, "{}", text(&output.stdout));
    let told = text(&output.stderr);
    assert!(told.contains("the bots of the workspace \"Demo\": only the first 1 are listed"), "{told}");
}

#[tokio::test]
async fn a_community_server_has_no_list_but_ids_are_looked_up() {
    let coze = Coze::start().await;
    let folder = Folder::new("ids");
    let output = folder.run(&config(&coze, "studio"), &["bots"]).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("here: Coze Studio has no list of bots. Give ids"));

    let output = folder.run(&config(&coze, "studio"), &["bots", bots::ECHO]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let entry = format!("[models.echo]\ncoze = \"here\"\nbot_id = \"{}\"\ndescription = ", bots::ECHO);
    assert!(text(&output.stdout).contains(&entry), "{}", text(&output.stdout));

    let output = folder.run(&config(&coze, "studio"), &["bots", "7530512345678999000", bots::ASK]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("[models.ask]"));
    assert!(text(&output.stderr).contains("bot 7530512345678999000: here: "), "{}", text(&output.stderr));

    let output = folder.run(&config(&coze, "studio"), &["bots", "x"]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_cloud_that_refuses_is_told_of() {
    let coze = Coze::start().await;
    let folder = Folder::new("refused");
    let output = folder.run(&config(&coze, "cloud"), &["bots"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("here: the workspaces: "), "{}", text(&output.stderr));
}
