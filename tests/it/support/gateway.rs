//! The gateway as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Coze, KEY, SCRIPTED, eventually};
use crate::shared::schema;

/// A running gateway; ended with the test.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: String,
    scheme: &'static str,
    pub(crate) client: reqwest::Client,
    pub(crate) folder: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

/// A config with every demo bot, the scripted one, and one key.
pub(crate) fn config(coze: &Coze, server: &str, more: &str) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{server}\n\
         [coze.local]\nbase_url = \"http://127.0.0.1:{}\"\ntoken = \"pat_demo\"\n\
         [models.scripted]\nbot_id = \"{SCRIPTED}\"\n",
        coze.port
    );
    for bot in cozeway::simulator::demo_bots() {
        text += &format!("[models.{}]\nbot_id = \"{}\"\n", bot.name, bot.bot_id);
    }
    text + &format!("[keys.test]\nkey = \"{KEY}\"\n") + more
}

impl Gateway {
    /// A gateway with the usual config.
    pub(crate) async fn start(coze: &Coze) -> Self {
        Self::with(&config(coze, "", "")).await
    }

    /// A gateway with lines of its own under `[server]`.
    pub(crate) async fn with_server(coze: &Coze, server: &str) -> Self {
        Self::with(&config(coze, server, "")).await
    }

    /// A gateway with a config of its own.
    pub(crate) async fn with(config: &str) -> Self {
        Self::in_folder(|folder| std::fs::write(folder.join("cozeway.toml"), config).unwrap()).await
    }

    /// A gateway with the `cozeway.toml` of a folder that is prepared first.
    pub(crate) async fn in_folder(prepare: impl FnOnce(&Path)) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_cozeway")), prepare).await
    }

    /// A gateway that may open so many files.
    pub(crate) async fn with_few_files(coze: &Coze, files: usize) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_cozeway")]);
        let text = config(coze, "", "");
        Self::run(shell, |folder| std::fs::write(folder.join("cozeway.toml"), text).unwrap()).await
    }

    /// A gateway that has memory of a megabyte and more from the system, and
    /// gives it back as soon as it is free: glibc's allocator would keep some.
    pub(crate) async fn with_plain_memory(text: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cozeway"));
        command.env("MALLOC_MMAP_THRESHOLD_", "1000000");
        Self::run(command, |folder| std::fs::write(folder.join("cozeway.toml"), text).unwrap()).await
    }

    async fn run(command: Command, prepare: impl FnOnce(&Path)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        prepare(&folder);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (child, scheme, address) = launch(command, &folder, &log).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, address, scheme, client, folder, log }
    }

    /// Ends the process with this signal and starts another one in its
    /// folder. It listens elsewhere, and the log goes on.
    pub(crate) async fn restart(&mut self, signal: &str) {
        self.signal(signal);
        self.ended().await;
        let command = Command::new(env!("CARGO_BIN_EXE_cozeway"));
        (self.child, self.scheme, self.address) = launch(command, &self.folder, &self.log).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A chat request with the test's key.
    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .post(self.url("/v1/chat/completions"))
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body)
    }

    /// A chat request of one user message.
    pub(crate) async fn ask(&self, model: &str, text: &str, more: Value) -> Response {
        self.post(request(model, text, more).to_string()).send().await.unwrap()
    }

    /// The whole answer to one user message.
    #[track_caller]
    pub(crate) fn answer(&self, model: &str, text: &str) -> impl Future<Output = Value> + '_ {
        let body = request(model, text, json!({})).to_string();
        async move {
            let response = self.post(body).send().await.unwrap();
            let status = response.status();
            let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            assert_eq!(status, 200, "{body}");
            schema::assert_valid(&schema::validator("chat_completion"), &body, "an answer");
            body
        }
    }

    /// The gateway still answers.
    pub(crate) async fn assert_well(&self) {
        let answer = self.answer("echo", "still there?").await;
        assert_eq!(answer["choices"][0]["message"]["content"], "still there?");
    }

    /// What it has logged by now.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The access log's lines with this request id, as soon as there is one.
    pub(crate) async fn logged(&self, request_id: &str) -> Value {
        let find = || {
            let log = self.log.lock().unwrap();
            let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut lines = lines.filter(|line| line["request_id"] == request_id);
            lines.next()
        };
        eventually("the request is logged", || find().is_some()).await;
        find().unwrap()
    }

    /// How many lines of the log hold this text.
    pub(crate) fn logged_lines(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// Puts another config in place of the one it has, as editors do.
    pub(crate) fn rewrite(&self, config: &str) {
        let new = self.folder.join("new.toml");
        std::fs::write(&new, config).unwrap();
        std::fs::rename(new, self.folder.join("cozeway.toml")).unwrap();
    }

    /// Gives it another config and waits until that is in force.
    pub(crate) async fn reload(&self, config: &str) {
        let before = self.logged_lines("SIGHUP: the new config is in force");
        self.rewrite(config);
        self.signal("-HUP");
        eventually("the new config is in force", || {
            self.logged_lines("SIGHUP: the new config is in force") > before
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done =
            std::process::Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.expect("it ends").unwrap()
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Starts a process with the config of a folder, and waits until it listens.
async fn launch(
    mut command: Command,
    folder: &Path,
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, &'static str, String) {
    let mut child = command
        .args(["serve", "--log-format", "json", "--config"])
        .arg(folder.join("cozeway.toml"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let kept = Arc::clone(log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().unwrap().push(line);
        }
    });
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = out.next_line().await.unwrap().unwrap_or_else(|| {
        panic!("the gateway did not start: {:?}", log.lock().unwrap());
    });
    let url = line.strip_prefix("cozeway listens on ").expect("the ready line");
    match url.split_once("://").unwrap() {
        ("http", address) => (child, "http", address.to_owned()),
        // The name that certificates of tests are for.
        ("https", address) => {
            let port = address.rsplit_once(':').unwrap().1;
            (child, "https", format!("localhost:{port}"))
        }
        _ => panic!("{line}"),
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A request of one user message.
pub(crate) fn request(model: &str, text: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
