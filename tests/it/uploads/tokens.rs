//! Tokens that change while files are on their way to Coze.

use std::path::PathBuf;

use cozeway::simulator::Options;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{inline, text, uploads, user};
use crate::support::gateway::config;
use crate::support::{Between, Coze, Gateway, Mishap, Talk, eventually};

const OLD: &str = "pat_0ld-never-shown";
const NEW: &str = "pat_n3w-never-shown";

/// A gateway whose token stands in a file.
struct Scene {
    coze: Coze,
    between: Between,
    gateway: Gateway,
    file: PathBuf,
}

impl Scene {
    /// At a Coze that takes these tokens.
    async fn new(name: &str, tokens: &[&str]) -> Self {
        let tokens = tokens.iter().map(|&token| token.to_owned()).collect();
        let coze = Coze::with(Options { tokens, ..Options::instant() }).await;
        let between = Between::start(&coze).await;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("token-{name}-{}", std::process::id()));
        std::fs::write(&file, OLD).unwrap();
        let token_file = format!("token_file = {:?}", file.display().to_string());
        let text_of = config(&between.coze, "", "").replace("token = \"pat_demo\"", &token_file);
        let gateway = Gateway::with(&text_of).await;
        Self { coze, between, gateway, file }
    }

    /// Puts a token into the file, and waits until it is known.
    async fn renew(&self, token: &str) {
        std::fs::write(&self.file, format!("{token}{}", "\n".repeat(usize::from(token == NEW)))).unwrap();
        loop {
            self.gateway.assert_well().await;
            let last = self.coze.simulator.requests().pop().unwrap();
            if last.headers["authorization"] == format!("Bearer {token}").as_str() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What Coze says of a call that was made with the old token.
fn told() -> [(&'static str, String); 2] {
    let json = json!({"code": 5000, "msg": format!("no luck with Bearer {OLD} today")}).to_string();
    let event = format!("event:error\ndata:{json}\n\n");
    [("application/json", json), ("text/event-stream", event)]
}

#[tokio::test]
async fn a_token_that_was_replaced_meanwhile_is_not_shown() {
    let scene = Scene::new("shown", &[OLD, NEW]).await;
    let look: [&[Value]; 2] = [&[text("look"), inline("a")], &[text("look")]];
    for parts in look {
        for (kind, body) in told() {
            scene.renew(OLD).await;
            let hold = CancellationToken::new();
            scene.between.next_chat(Mishap::Late(hold.clone(), Box::new(Mishap::Answer(200, kind, body))));
            let talk = Talk::new(&scene.gateway, &scene.coze, "echo");
            let (said, ()) = tokio::join!(talk.sends(json!([user(parts)])), async {
                eventually("the chat is asked for", || scene.between.is_done()).await;
                scene.renew(NEW).await;
                hold.cancel();
            });
            assert_eq!(said.error(), (502, "upstream_error"));
            assert!(said.body["error"]["message"].as_str().unwrap().contains("***"), "{}", said.body);
            let id = said.header("x-request-id").unwrap();
            let logged = scene.gateway.logged(id).await;
            assert!(logged.to_string().contains("no luck with Bearer ***"), "{logged}");
        }
    }
    assert_eq!(scene.gateway.logged_lines(OLD), 0);
}

#[tokio::test]
async fn a_token_that_is_replaced_during_an_upload_is_tried() {
    let scene = Scene::new("tried", &[NEW]).await;
    let hold = CancellationToken::new();
    let refused = json!({"code": 700_012_006, "msg": "access token invalid"}).to_string();
    let refused = Mishap::Answer(401, "application/json", refused);
    scene.between.next("/v1/files/upload", Mishap::Late(hold.clone(), Box::new(refused)));
    let talk = Talk::new(&scene.gateway, &scene.coze, "echo");
    let (said, ()) = tokio::join!(talk.sends(json!([user(&[text("look"), inline("a")])])), async {
        eventually("the file is sent", || scene.between.is_done()).await;
        scene.renew(NEW).await;
        hold.cancel();
    });
    assert_eq!((said.status, uploads(&scene.coze)), (200, 1), "{}", said.body);
}
