//! The gateway as a process, and what the kernel says of it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::{BOT, Bench, KEY};

/// A running gateway; ended when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: String,
    pub(crate) spawned: Instant,
    folder: PathBuf,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) all: u64,
    /// What is not backed by a file: heap and stacks.
    pub(crate) anonymous: u64,
}

impl Gateway {
    pub(crate) async fn start(bench: &Bench) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cozeway-footprint-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("cozeway.toml");
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [coze.local]\nbase_url = \"http://127.0.0.1:{}\"\ntoken = \"pat_demo\"\n\
             [models.scripted]\nbot_id = \"{BOT}\"\n[keys.bench]\nkey = \"{KEY}\"\n",
            bench.port
        );
        std::fs::write(&file, config).unwrap();

        let spawned = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cozeway"))
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A line of log a request is written as in real use.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = out.next_line().await.unwrap().expect("the gateway starts");
        let address = line.strip_prefix("cozeway listens on http://").expect("the ready line").to_owned();
        Self { child, address, spawned, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.address)
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id().expect("it runs"))).join(name)
    }

    /// CPU time of all its threads, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(self.proc("task")).unwrap() {
            let path = task.unwrap().path().join("schedstat");
            // A thread may end while one looks.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        nanoseconds as f64 / 1e3
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells");
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Memory { all: field("VmRSS:"), anonymous: field("RssAnon:") }
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    pub(crate) async fn end(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How many files one process may have open.
pub(crate) fn file_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the kernel tells");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}
