//! Nothing that the process prints, returns or exports shows a secret,
//! whatever goes wrong.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use cozeway::simulator::{DEMO_TOKEN, Options, Script, Step, demo_bots};

use crate::faults;
use crate::support::cloud;
use crate::support::gateway::request;
use crate::support::{Coze, SCRIPTED, eventually};

/// The token that Coze takes.
const TOKEN: &str = "pat_right-t0ken-never-shown";
/// One that it does not take.
const BAD_TOKEN: &str = "pat_bad-t0ken-never-shown";
const KEY: &str = "sk-right-k3y-never-shown";
const WRONG_KEY: &str = "sk-wrong-k3y-never-shown";
/// In a header that every call to Coze carries.
const DOOR: &str = "d00r-never-shown";
/// In the URL of a proxy.
const PROXY: &str = "pr0xy-never-shown";
const SECRETS: [&str; 6] = [TOKEN, BAD_TOKEN, KEY, WRONG_KEY, DOOR, PROXY];
/// What users say: in answers only.
const WORDS: &str = "w0rds-of-a-user";

/// A gateway that writes all it prints to files.
struct Watched {
    child: Child,
    folder: PathBuf,
    address: String,
    /// Everything that was returned.
    returned: Vec<String>,
}

impl Watched {
    async fn start(name: &str, config: &str, format: &str) -> Self {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("cozeway.toml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cozeway"))
            .args(["serve", "--log", "trace", "--log-format", format, "--config"])
            .arg(&file)
            .env("RUST_BACKTRACE", "full")
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("stdout")).unwrap())
            .stderr(File::create(folder.join("stderr")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let printed = || std::fs::read_to_string(folder.join("stdout")).unwrap();
        eventually("it is ready", || printed().ends_with('\n')).await;
        let address = printed().trim().strip_prefix("cozeway listens on http://").unwrap().to_owned();
        // A reload that fails must not say what it failed at.
        std::fs::write(&file, format!("{config}\n[coze.more]\ntoken = \"{BAD_TOKEN}\" \"{KEY}\"\n")).unwrap();
        Self { child, folder, address, returned: Vec::new() }
    }

    /// Sends a request and keeps everything that comes back.
    async fn send(
        &mut self,
        client: &Client,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> u16 {
        let mut request = client.request(method, format!("http://{}{path}", self.address)).body(body);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let head = format!("{:?}", response.headers());
        let body = response.bytes().await.unwrap_or_default();
        self.returned.push(format!("{head}\n{}", String::from_utf8_lossy(&body)));
        status
    }

    async fn chat(&mut self, client: &Client, key: &str, body: &Value) -> u16 {
        self.send(client, Method::POST, "/v1/chat/completions", Some(key), body.to_string()).await
    }

    async fn exports(&mut self, client: &Client) -> Vec<String> {
        let mut exported = Vec::new();
        for path in ["/metrics", "/openapi.json", "/healthz", "/readyz", "/"] {
            assert_eq!(self.send(client, Method::GET, path, None, String::new()).await, 200);
            exported.extend(self.returned.last().cloned());
        }
        exported
    }

    /// Ends it, and looks through everything.
    async fn finish(mut self, client: &Client) {
        let exported = self.exports(client).await;
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap();
        let stdout = std::fs::read_to_string(self.folder.join("stdout")).unwrap();
        let stderr =
            String::from_utf8_lossy(&std::fs::read(self.folder.join("stderr")).unwrap()).into_owned();
        // A release is built without.
        assert!(stderr.contains("TRACE") || !cfg!(debug_assertions), "--log trace says much");
        for text in self.returned.iter().chain([&stdout, &stderr]) {
            assert_hidden(text, &SECRETS);
        }
        for text in exported.iter().chain([&stdout, &stderr]) {
            assert_hidden(text, &[WORDS]);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Shows the line that gives a secret away.
#[track_caller]
fn assert_hidden(text: &str, secrets: &[&str]) {
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret));
        let shown = line.map(|line| line.chars().take(2000).collect::<String>());
        assert_eq!(shown, None, "{secret} is shown");
    }
}

/// What upstream may say that it should not.
fn indiscreet() -> Vec<Script> {
    let json = |text: String| Script::json(StatusCode::OK, text);
    let event =
        |name: &str, data: Value| Script::stream([faults::created(), faults::send(name, &data.to_string())]);
    let mut scripts = Vec::new();
    for code in [4100, 4101, 4000, 4015, 5000, 4028, 987_654] {
        scripts.push(json(
            json!({"code": code, "msg": format!("token Bearer {TOKEN} is not good")}).to_string(),
        ));
        scripts.push(event("error", json!({"code": code, "msg": format!("the token `{TOKEN}`\nstack")})));
        let failed = json!({"id": "3", "conversation_id": "2", "status": "failed",
            "last_error": {"code": code, "msg": format!("{TOKEN} expired")}});
        scripts.push(event("conversation.chat.failed", failed));
    }
    // Words in places where they make no sense.
    for data in [
        json!({"id": "1", "type": "answer", "content": {"text": WORDS}}),
        json!({"id": "1", "type": [WORDS], "content": "hm"}),
        json!({"id": {"a": WORDS}, "type": "answer", "content": "hm"}),
        json!({"id": "1", "type": "answer", "content": "hm", "conversation_id": [WORDS]}),
        json!({"id": "1", "type": WORDS, "role": 1, "content_type": WORDS, "content": 1}),
        json!(WORDS),
    ] {
        for name in [
            "conversation.message.delta",
            "conversation.message.completed",
            "conversation.chat.completed",
            "conversation.chat.created",
        ] {
            scripts.push(event(name, data.clone()));
        }
    }
    scripts.push(Script::new(
        cozeway::simulator::Head::new(StatusCode::BAD_GATEWAY, "text/html"),
        [Step::Send(format!("<p>{TOKEN} {DOOR} {WORDS}</p>").into())],
    ));
    scripts
}

fn config(coze: &Coze, closed: u16) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nupstream_timeout = \"200ms\"\n\
         [coze.local]\nbase_url = \"http://127.0.0.1:{0}\"\ntoken = \"{TOKEN}\"\nheaders = {{ x-door = \"{DOOR}\" }}\n\
         [coze.away]\nbase_url = \"http://127.0.0.1:{closed}\"\ntoken = \"{TOKEN}\"\n\
         [coze.nowhere]\nbase_url = \"http://nowhere.invalid\"\ntoken = \"{TOKEN}\"\n\
         [coze.proxied]\nbase_url = \"http://127.0.0.1:{0}\"\ntoken = \"{TOKEN}\"\nproxy = \"http://user:{PROXY}@127.0.0.1:{closed}\"\n\
         [coze.tunnelled]\nbase_url = \"https://127.0.0.1:{0}\"\ntoken = \"{TOKEN}\"\nproxy = \"http://user:{PROXY}@127.0.0.1:{0}\"\n\
         [coze.socks]\nbase_url = \"http://127.0.0.1:{0}\"\ntoken = \"{TOKEN}\"\nproxy = \"socks5://user:{PROXY}@127.0.0.1:{0}\"\n\
         [keys.test]\nkey = \"{KEY}\"\n[keys.narrow]\nkey = \"{KEY}-narrow\"\nmodels = [\"echo\"]\n",
        coze.port
    );
    for deployment in ["away", "nowhere", "proxied", "tunnelled", "socks"] {
        text += &format!("[models.{deployment}]\ncoze = \"{deployment}\"\nbot_id = \"{SCRIPTED}\"\n");
    }
    text += &format!("[models.scripted]\ncoze = \"local\"\nbot_id = \"{SCRIPTED}\"\n");
    text +=
        &format!("[models.unlucky]\ncoze = \"local\"\nbot_id = \"{SCRIPTED}\"\ntoken = \"{BAD_TOKEN}\"\n");
    for bot in demo_bots() {
        text += &format!("[models.{}]\ncoze = \"local\"\nbot_id = \"{}\"\n", bot.name, bot.bot_id);
    }
    text
}

async fn coze() -> Coze {
    Coze::with(Options { tokens: vec![TOKEN.to_owned(), DEMO_TOKEN.to_owned()], ..Options::instant() }).await
}

/// Requests that a client may get wrong.
async fn wrong_requests(gateway: &mut Watched, client: &Client) {
    for body in [
        "{".to_owned(),
        format!("{{\"model\":\"echo\",\"{WORDS}"),
        json!({"model": "echo", "messages": [{"role": WORDS}]}).to_string(),
        json!({"model": "echo", "messages": WORDS}).to_string(),
        json!({"model": WORDS, "messages": [{"role": "user", "content": WORDS}]}).to_string(),
        request("echo", WORDS, json!({"n": WORDS, "stop": [WORDS]})).to_string(),
        request("echo", WORDS, json!({"response_format": {"type": WORDS}})).to_string(),
        request(
            "echo",
            &"x".repeat(1 << 17),
            json!({"messages": [{"role": "user", "content": WORDS.repeat(9000)}]}),
        )
        .to_string(),
    ] {
        gateway.send(client, Method::POST, "/v1/chat/completions", Some(KEY), body).await;
    }
    for key in [None, Some(WRONG_KEY), Some(TOKEN), Some(&format!("{KEY} x")), Some(&format!("{KEY}-narrow"))]
    {
        for path in ["/v1/models", "/v1/models/storyteller", "/v1/nothing", &format!("/v1/models?key={KEY}")]
        {
            gateway.send(client, Method::GET, path, key, String::new()).await;
        }
        let body = request("storyteller", WORDS, json!({})).to_string();
        gateway.send(client, Method::POST, "/v1/chat/completions", key, body).await;
    }
    for (name, value) in
        [("authorization", format!("Basic {KEY}")), ("x-api-key", KEY.to_owned()), ("cookie", KEY.to_owned())]
    {
        let url = format!("http://{}/v1/models", gateway.address);
        let response = client.get(url).header(name, value).send().await.unwrap();
        gateway.returned.push(format!("{:?} {}", response.headers().clone(), response.text().await.unwrap()));
    }
}

#[tokio::test]
async fn whatever_goes_wrong_no_secret_is_shown() {
    let coze = coze().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut gateway = Watched::start("keys", &config(&coze, closed), "json").await;
    let client = Client::builder().no_proxy().build().unwrap();
    let h2 = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();

    for client in [&client, &h2] {
        for stream in [false, true] {
            let more = json!({"stream": stream, "user": "ann"});
            assert_eq!(gateway.chat(client, KEY, &request("echo", WORDS, more.clone())).await, 200);
            let shown = gateway.returned.last().unwrap().contains(WORDS);
            assert!(stream || shown, "answers do show them");
            assert_eq!(gateway.chat(client, KEY, &request("storyteller", WORDS, more.clone())).await, 200);
            assert_eq!(gateway.chat(client, KEY, &request("unlucky", WORDS, more.clone())).await, 502);
            for model in ["context", "broken", "ask"] {
                gateway.chat(client, KEY, &request(model, WORDS, more.clone())).await;
            }
        }
        wrong_requests(&mut gateway, client).await;
    }
    for model in ["away", "nowhere", "proxied", "tunnelled", "socks"] {
        for _ in 0..6 {
            let status = gateway.chat(&client, KEY, &request(model, WORDS, json!({}))).await;
            assert!([502, 503].contains(&status), "{model}: {status}");
        }
    }
    let scripts = faults::cases().into_iter().map(|(_, script, _)| script).chain(indiscreet());
    for script in scripts {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, script);
        for stream in [false, true] {
            gateway.chat(&client, KEY, &request("scripted", WORDS, json!({"stream": stream}))).await;
        }
    }
    gateway.finish(&client).await;
}

#[tokio::test]
async fn a_token_that_is_passed_on_is_not_shown_either() {
    let coze = coze().await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nupstream_timeout = \"200ms\"\n[auth]\nmode = \"passthrough\"\n\
         [coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n[models.scripted]\nbot_id = \"{SCRIPTED}\"\n\
         [models.echo]\nbot_id = \"{}\"\n",
        coze.port,
        cozeway::simulator::bots::ECHO
    );
    let mut gateway = Watched::start("passthrough", &text, "text").await;
    let client = Client::builder().no_proxy().build().unwrap();
    for stream in [false, true] {
        let more = json!({"stream": stream});
        assert_eq!(gateway.chat(&client, TOKEN, &request("echo", WORDS, more.clone())).await, 200);
        assert_eq!(gateway.chat(&client, BAD_TOKEN, &request("echo", WORDS, more.clone())).await, 401);
        assert_eq!(gateway.chat(&client, TOKEN, &request("7530512345678900002", WORDS, more)).await, 200);
    }
    for script in indiscreet() {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, script);
        for stream in [false, true] {
            gateway.chat(&client, TOKEN, &request("scripted", WORDS, json!({"stream": stream}))).await;
        }
    }
    gateway.finish(&client).await;
}

#[tokio::test]
async fn reloads_keep_them_too() {
    let coze = coze().await;
    let good = config(&coze, 1);
    let mut gateway = Watched::start("reloads", &good, "json").await;
    let file = gateway.folder.join("cozeway.toml");
    let log = gateway.folder.join("stderr");
    let refusals = || {
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        text.lines().filter(|line| line.contains("the new config is refused")).count()
    };
    let pid = gateway.child.id().unwrap().to_string();
    for (from, to) in [
        ("token = \"", "tokn = \""),
        ("key = \"", "key = 1 # \""),
        ("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\""),
        ("base_url = \"http://", &format!("base_url = \"http://u:{TOKEN}@")),
        ("models = [", &format!("models = [\"{KEY}\", ")),
    ] {
        let before = refusals();
        std::fs::write(&file, good.replace(from, to)).unwrap();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        eventually("the config is refused", || refusals() > before).await;
    }
    let better = good.replace(&format!("token = \"{BAD_TOKEN}\""), &format!("token = \"{BAD_TOKEN}-2\""));
    std::fs::write(&file, better).unwrap();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let text = || String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    eventually("what changed is told by name", || text().contains("unlucky")).await;
    let client = Client::builder().no_proxy().build().unwrap();
    gateway.chat(&client, KEY, &request("unlucky", WORDS, json!({}))).await;
    gateway.finish(&client).await;
}

#[tokio::test]
async fn the_other_commands_keep_them_too() {
    let coze = coze().await;
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-commands-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = async |arguments: &[&str], config: &str| {
        let file: &Path = &folder.join("cozeway.toml");
        std::fs::write(file, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cozeway"))
            .args(arguments)
            .env("COZEWAY_CONFIG", file)
            .env("COZEWAY_LOG", "trace")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        for text in [&output.stdout, &output.stderr] {
            assert_hidden(&String::from_utf8_lossy(text), &SECRETS);
        }
        output.status.code()
    };
    let good = config(&coze, 1);
    for arguments in [&["check"][..], &["check", "--json"]] {
        assert_eq!(run(arguments, &good).await, Some(0));
    }
    for (from, to) in [
        ("token = \"", "token = \" \n"),
        ("token = \"", "tokn = \""),
        ("key = \"", "key = 1 # \""),
        ("base_url = \"http://127", "base_url = \"nonsense-127"),
        ("http://user:", "socks4://user:"),
        ("x-door = \"", "x-door = \"\\u0007"),
        ("x-door", "authorization"),
        ("base_url = \"http://", &format!("base_url = \"http://u:{TOKEN}@")),
        ("bot_id = \"", &format!("bot_id = \"{TOKEN}")),
        ("models = [", &format!("models = [\"{KEY}\", ")),
        ("listen = \"", &format!("listen = \"{KEY}")),
        ("upstream_timeout = \"", &format!("upstream_timeout = \"{KEY}")),
    ] {
        let bad = good.replace(from, to);
        for arguments in [&["check"][..], &["check", "--json"], &["serve"]] {
            assert_eq!(run(arguments, &bad).await, Some(2), "{from} as {to}");
        }
    }
    for key in [KEY, WRONG_KEY] {
        let url = format!("http://127.0.0.1:{}", coze.port);
        run(&["chat", "echo", "hi", "--url", &url, "--key", key], &good).await;
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn neither_the_key_of_an_app_nor_what_it_gets_is_shown() {
    let (pem, public) = cloud::new_key();
    let coze = coze().await;
    coze.simulator.become_cloud(cloud::cloud(public));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("app-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    cloud::write_key(&folder, &pem);
    let key_file = format!("private_key_file = \"{}\"", folder.join("app.pem").display());
    let config = cloud::config(&coze, "").replace("private_key_file = \"app.pem\"", &key_file);
    let config = config.replace(crate::support::KEY, KEY);
    let client = Client::builder().no_proxy().build().unwrap();
    let mut gateway = Watched::start("app", &config, "json").await;
    let chat = request("echo", WORDS, json!({}));
    assert_eq!(gateway.chat(&client, KEY, &chat).await, 200);
    let token = coze.simulator.good_tokens().remove(0);
    // Another token, then none: what Coze is sent is in its refusal.
    coze.simulator.revoke_tokens();
    assert_eq!(gateway.chat(&client, KEY, &chat).await, 200);
    let other = coze.simulator.good_tokens().remove(0);
    coze.simulator.become_cloud(cloud::cloud(cloud::new_key().1));
    assert_eq!(gateway.chat(&client, KEY, &chat).await, 502);
    let asked = coze.simulator.requests();
    let jwts = asked.iter().filter(|request| request.path == "/api/permission/oauth2/token");
    let jwts: Vec<String> = jwts
        .map(|request| request.headers["authorization"].to_str().unwrap().replace("Bearer ", ""))
        .collect();
    assert!(jwts.len() >= 2);
    let mut secrets: Vec<&str> = jwts.iter().flat_map(|jwt| jwt.split('.')).collect();
    secrets.extend([token.as_str(), other.as_str(), &pem.0.lines().nth(1).unwrap()[..64]]);
    let printed = std::fs::read_to_string(gateway.folder.join("stderr")).unwrap();
    for text in gateway.returned.iter().chain([&printed]) {
        assert_hidden(text, &secrets);
    }
    gateway.finish(&client).await;
    let _ = std::fs::remove_dir_all(&folder);
}
