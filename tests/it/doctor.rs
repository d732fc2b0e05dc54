//! `cozeway check --online`: what it finds, and what it says to do.

use std::path::PathBuf;
use std::process::Output;

use cozeway::simulator::flows::POEM;
use cozeway::simulator::{Behaviour, Bot, Flow, Options, Runs, Standing, bots};
use serde_json::Value;
use tokio::process::Command;

use crate::support::cloud::{self, new_key, write_key};
use crate::support::{Between, Coze, Mishap};

const TOKEN: &str = "pat_demo";
const UNPUBLISHED: &str = "7530512345678990001";
const FOREIGN: &str = "7530512345678990002";
const DRAFT: &str = "7530512345678990003";

/// A folder of its own for each test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs the program with this config.
    pub(crate) async fn run(&self, config: &str, arguments: &[&str]) -> Output {
        std::fs::write(self.0.join("cozeway.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cozeway"));
        let output = command.args(arguments).current_dir(&self.0).env_clear().output().await.unwrap();
        for text in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(text).contains(TOKEN));
        }
        output
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A server with everything that can be wrong with a bot.
async fn coze() -> Coze {
    let mut options = Options::instant();
    for (id, standing) in [(UNPUBLISHED, Standing::Unpublished), (FOREIGN, Standing::Foreign)] {
        options.bots.push(Bot { standing, ..Bot::new(id, "bot", Behaviour::Echo) });
    }
    options.flows.push(Flow { standing: Standing::Unpublished, ..Flow::new(DRAFT, Runs::Poem) });
    Coze::with(options).await
}

fn config(coze: &Coze, token: &str, models: &str) -> String {
    format!(
        "auth.mode = \"none\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\ntoken = \"{token}\"\n{models}",
        coze.port
    )
}

fn bot(id: &str) -> String {
    format!("[models.m]\nbot_id = \"{id}\"\n")
}

/// The status of each check, and what the one that failed says and advises.
async fn examine(name: &str, config: &str) -> (Vec<String>, String, String) {
    let folder = Folder::new(name);
    let output = folder.run(config, &["check", "--online", "--json"]).await;
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let online = &json["online"];
    let model = &online["models"][0];
    assert_eq!(online["ok"], model["ok"]);
    assert_eq!(output.status.code(), Some(i32::from(online["ok"] != true)));
    let checks = model["checks"].as_array().unwrap();
    let word = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let found = checks.iter().map(|check| format!("{} {}", word(check, "status"), word(check, "check")));
    let failed = checks.iter().filter(|check| check["status"] == "failed").collect::<Vec<_>>();
    assert_eq!(failed.len(), usize::from(online["ok"] != true), "one line a fault: {checks:?}");
    let failed = failed.first().copied().unwrap_or(&Value::Null);
    (found.collect(), word(failed, "says"), word(failed, "do"))
}

#[tokio::test]
async fn a_good_bot_is_good_and_nothing_is_left_behind() {
    let coze = coze().await;
    let folder = Folder::new("good");
    let models = format!("{}[models.poem]\nworkflow_id = \"{POEM}\"\ninput = \"topic\"\n", bot(bots::ECHO));
    let output = folder.run(&config(&coze, TOKEN, &models), &["check", "--online"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_, online) = text(&output.stdout).split_once("\nonline m\n").unwrap();
    assert_eq!(
        online,
        "  ok         reachable\n  ok         token\n  ok         bot\n  ok         owner\n  ok         published\n  \
         ok         conversation\n  ok         upload\n\nonline poem\n  ok         reachable\n  ok         token\n  \
         skipped    workflow: Coze Studio says nothing of it unless it is run\n"
    );
    assert!(coze.simulator.conversations().is_empty());
    assert!(!coze.simulator.requests().iter().any(|asked| asked.path.starts_with("/v3/chat")));
    // Without --online nobody is asked.
    let before = coze.simulator.requests().len();
    folder.run(&config(&coze, TOKEN, &models), &["check"]).await;
    assert_eq!(coze.simulator.requests().len(), before);
}

#[tokio::test]
async fn each_fault_of_a_bot_is_told_in_one_line() {
    let coze = coze().await;
    for (name, token, id, check, says, advice) in [
        ("token", "pat_other", bots::ECHO, "token", "refused", "API authorization"),
        ("gone", TOKEN, "7530512345678990009", "bot", "agent not exist", "/bot/"),
        ("foreign", TOKEN, FOREIGN, "owner", "", "the user who made the bot"),
        (
            "draft",
            TOKEN,
            UNPUBLISHED,
            "published",
            "not published",
            "click Publish at the top right, tick API",
        ),
    ] {
        let (found, said, advised) = examine(name, &config(&coze, token, &bot(id))).await;
        assert_eq!(found.last().unwrap(), &format!("failed {check}"), "{name}: {found:?}");
        assert!(said.contains(says) && advised.contains(advice), "{name}: {said} -> {advised}");
    }
}

#[tokio::test]
async fn each_fault_of_a_way_is_told_in_one_line() {
    let coze = coze().await;
    let closed = Coze { port: 1, simulator: coze.simulator.clone() };
    let (found, said, advised) = examine("away", &config(&closed, TOKEN, &bot(bots::ECHO))).await;
    assert_eq!(found, ["failed reachable"]);
    assert!(said.contains("cannot be reached") && advised.contains("base_url"), "{said} -> {advised}");

    let between = Between::start(&coze).await;
    let page = || Mishap::Answer(200, "text/html", "<html>".to_owned());
    between.next("/v1/bots/7530512345678900001", page());
    let (found, said, advised) = examine("page", &config(&between.coze, TOKEN, &bot(bots::ECHO))).await;
    assert_eq!(found, ["failed reachable"]);
    assert!(said.contains("no API of Coze") && advised.contains("8888"), "{said} -> {advised}");

    let refused = || Mishap::Answer(200, "application/json", r#"{"code":4101,"msg":"no rights"}"#.to_owned());
    between.next("/v1/conversation/create", refused());
    let (found, said, advised) = examine("create", &config(&between.coze, TOKEN, &bot(bots::ECHO))).await;
    assert_eq!(found.last().unwrap(), "failed conversation");
    assert!(said.contains("4101") && advised.contains("permission"), "{said} -> {advised}");

    let refused = r#"{"code":104000008,"msg":"storage"}"#.to_owned();
    between.next("/v1/files/upload", Mishap::Answer(200, "application/json", refused));
    let (found, said, advised) = examine("upload", &config(&between.coze, TOKEN, &bot(bots::ECHO))).await;
    assert_eq!(found.last().unwrap(), "failed upload");
    assert!(said.contains("104000008") && advised.contains("MinIO"), "{said} -> {advised}");

    let text = config(&coze, TOKEN, &bot(bots::ECHO)).replace("token =", "kind = \"cloud\"\ntoken =");
    let (found, _, advised) = examine("kind", &text).await;
    assert_eq!(found, ["failed reachable"]);
    assert!(advised.contains("kind = \"studio\""), "{advised}");
}

#[tokio::test]
async fn a_workflow_that_is_not_published_is_found() {
    let coze = coze().await;
    let workflow = |id: &str| format!("[models.m]\nworkflow_id = \"{id}\"\ninput = \"topic\"\n");
    let (found, _, advised) = examine("draft-flow", &config(&coze, TOKEN, &workflow(DRAFT))).await;
    assert_eq!(found, ["ok reachable", "ok token", "failed workflow"]);
    assert!(advised.contains("Publish"), "{advised}");
    // A cloud says it of one that is published, too.
    let (_, public) = new_key();
    coze.simulator.become_cloud(cloud::cloud(public));
    for (id, last) in [(DRAFT, "failed workflow"), (POEM, "ok workflow")] {
        let text = config(&coze, TOKEN, &workflow(id)).replace("token =", "kind = \"cloud\"\ntoken =");
        let (found, ..) = examine("cloud-flow", &text).await;
        assert_eq!(found.last().unwrap(), last);
    }
}

#[tokio::test]
async fn a_cloud_is_examined_with_the_token_of_its_app() {
    let (pem, public) = new_key();
    let coze = coze().await;
    let folder = Folder::new("app");
    write_key(&folder.0, &pem);
    let models = |id: &str| format!("auth.mode = \"none\"\n{}{}", cloud::oauth(&coze), bot(id));
    let findings = async |id: &str| {
        let output = folder.run(&models(id), &["check", "--online", "--json"]).await;
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let token = &json["models"][0]["token"];
        assert_eq!((token["source"].as_str(), token["app_id"].as_str()), (Some("oauth"), Some(cloud::APP)));
        let checks = json["online"]["models"][0]["checks"].as_array().unwrap().clone();
        let line = |check: &Value| format!("{} {}", check["status"], check["check"]).replace('"', "");
        (checks.iter().map(line).collect::<Vec<_>>(), checks.last().unwrap().clone())
    };
    coze.simulator.become_cloud(cloud::cloud(public.clone()));
    let (found, _) = findings(bots::ECHO).await;
    assert_eq!(
        found,
        [
            "ok reachable",
            "ok token",
            "ok region",
            "ok clock",
            "ok bot",
            "ok owner",
            "ok published",
            "ok conversation",
            "ok upload"
        ]
    );
    for (id, last) in
        [(UNPUBLISHED, "failed published"), (FOREIGN, "failed owner"), ("7530512345678990009", "failed bot")]
    {
        assert_eq!(findings(id).await.0.last().unwrap(), last);
    }
    // A wrong clock is told of before it ends everything, and when it does.
    coze.simulator.become_cloud(cloud::Cloud { clock: 90, ..cloud::cloud(public.clone()) });
    let (found, _) = findings(bots::ECHO).await;
    assert!(found.contains(&"failed clock".to_owned()), "{found:?}");
    coze.simulator.become_cloud(cloud::Cloud { clock: 7200, ..cloud::cloud(public) });
    let (found, last) = findings(bots::ECHO).await;
    assert_eq!(found, ["ok reachable", "failed clock"]);
    assert!(last["says"].as_str().unwrap().contains("s behind Coze's"), "{last}");
    let (_, other) = new_key();
    coze.simulator.become_cloud(cloud::cloud(other));
    let (found, last) = findings(bots::ECHO).await;
    assert_eq!(found, ["ok reachable", "failed token"]);
    assert!(last["do"].as_str().unwrap().contains("fingerprint"), "{last}");
}

#[tokio::test]
async fn a_token_of_the_other_cloud_is_told_to_be_that() {
    let coze = coze().await;
    let (_, public) = new_key();
    coze.simulator.become_cloud(cloud::cloud(public));
    let text = config(&coze, "pat_other", &bot(bots::ECHO)).replace("token =", "kind = \"cloud\"\ntoken =");
    let (found, said, advised) = examine("region", &text).await;
    assert_eq!(found, ["ok reachable", "failed token"]);
    assert!(said.contains("4100") && advised.contains("a token of another Coze"), "{said} -> {advised}");
}

#[tokio::test]
async fn where_callers_bring_their_tokens_only_the_way_is_examined() {
    let coze = coze().await;
    let text = config(&coze, TOKEN, &bot(bots::ECHO)).replace("\"none\"", "\"passthrough\"");
    let (found, ..) = examine("passthrough", &text).await;
    assert_eq!(found, ["ok reachable", "skipped token"]);
}
