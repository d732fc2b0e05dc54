//! What is measured: the mock, nginx and cozeway with their configs.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::answer::Void;
use crate::exchange::Target;
use crate::process::{Folder, OTHERS, Process, SERVERS};
use crate::scenario::Scenario;

/// The key of the measured gateways.
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";

/// What the model without a memory has behind its name.
pub(crate) const FORGETFUL: &str = "-off";

/// A process, and how it is asked.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) target: Target,
}

/// What the mock has counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) held: usize,
    pub(crate) unknown: usize,
}

/// The programs, and where their files are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) cozeway: PathBuf,
    pub(crate) nginx: PathBuf,
    /// `[state] url` of the gateway; `{}` is the folder.
    pub(crate) state: String,
    pub(crate) folder: Folder,
}

fn target(address: &str, prefix: &str, is_coze: bool, headers: String) -> Result<Target, Void> {
    let address: SocketAddr = address.parse().map_err(|_| Void::new(format!("no address: {address}")))?;
    Ok(Target { address, prefix: prefix.to_owned(), is_coze, headers })
}

/// A header line with a key.
pub(crate) fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// Starts the mock, as OpenAI's API.
pub(crate) fn mock() -> Result<Server, Void> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = Process::start(command.arg("mock").stdout(Stdio::piped()), OTHERS)?;
    let address = process.first_line()?;
    Ok(Server { process, target: target(&address, "", false, bearer("sk-mock"))? })
}

impl Server {
    /// The same server, asked as Coze is.
    pub(crate) fn as_coze(&self) -> Target {
        Target { is_coze: true, headers: bearer("pat_mock"), ..self.target.clone() }
    }

    /// What the mock has counted.
    pub(crate) async fn counts(&self) -> Result<Counts, Void> {
        let mut stream = TcpStream::connect(self.target.address).await?;
        stream.write_all(b"GET /mock HTTP/1.1\r\nHost: mock\r\n\r\n").await?;
        let mut answer = Vec::new();
        loop {
            let at = answer.iter().position(|byte| *byte == b'{');
            if let Some(Ok(counts)) = at.map(|at| serde_json::from_slice(&answer[at..])) {
                return Ok(counts);
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(Void::new("the mock does not tell"));
            }
        }
    }

    /// Waits until so many streams are held at the mock.
    pub(crate) async fn wait_for_held(&self, at_most: usize) -> Result<(), Void> {
        let began = Instant::now();
        while self.counts().await?.held > at_most {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(Void::new("streams of clients that have left are still held"));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Programs {
    /// Starts nginx in front of the mock.
    pub(crate) async fn nginx(&self, mock: &Server) -> Result<Server, Void> {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = self.folder.0.join("nginx");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        let upstream = mock.target.address;
        let config = format!(
            "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid nginx.pid;\n\
             error_log error.log warn;\n\
             events {{ worker_connections 20000; }}\n\
             http {{\n  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;\n  \
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n  \
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n  \
             upstream mock {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}\n  \
             server {{\n    listen {free} backlog=4096;\n    location / {{\n      \
             proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection \"\";\n      \
             proxy_buffering off; proxy_read_timeout 3600s;\n    }}\n  }}\n}}\n"
        );
        std::fs::write(&file, config)?;
        let mut command = Command::new(&self.nginx);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start(&mut command, SERVERS)?;
        process.measure_children().await?;
        let server = Server { process, target: Target { address: free, ..mock.target.clone() } };
        server.wait_for_port().await?;
        Ok(server)
    }

    /// Starts a gateway with everything that it can do turned on.
    pub(crate) fn cozeway(&self, mock: &Server) -> Result<Server, Void> {
        let folder = self.folder.0.join("cozeway");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("cozeway.toml");
        std::fs::write(&file, self.config(mock, &folder.to_string_lossy()))?;
        let mut command = Command::new(&self.cozeway);
        command
            .args(["serve", "--log", "info", "--log-format", "json", "--config"])
            .arg(&file)
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("access.log"))?);
        let mut process = Process::start(&mut command, SERVERS)?;
        let line = process.first_line()?;
        let address = line.rsplit("http://").next().unwrap_or_default();
        Ok(Server { process, target: target(address, "", false, bearer(KEY))? })
    }

    fn config(&self, mock: &Server, folder: &str) -> String {
        let limits = "requests_per_minute = 1000000000\ntokens_per_minute = 1000000000\n\
                      concurrent_requests = 100000\n";
        let state = self.state.replace("{}", folder);
        let upstream = mock.target.address;
        let mut config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [coze.mock]\nbase_url = \"http://{upstream}\"\nkind = \"studio\"\ntoken = \"pat_mock\"\n\
             [state]\nurl = \"{state}\"\n[keys.bench]\nkey = \"{KEY}\"\n{limits}[limits]\n{limits}"
        );
        for scenario in Scenario::ALL {
            let (name, bot) = (scenario.model(), scenario.bot());
            let _ = write!(
                config,
                "[models.{name}]\nbot_id = \"{bot}\"\nmemory = \"auto\"\n\
                 [models.{name}{FORGETFUL}]\nbot_id = \"{bot}\"\nmemory = \"off\"\n"
            );
        }
        config
    }

    /// What the gateway has left behind: that all of its work was done is not
    /// taken on trust.
    pub(crate) fn traces(&self, gateway: &Server) -> Result<String, Void> {
        let folder = self.folder.0.join("cozeway");
        let log = std::fs::read(folder.join("access.log"))?;
        let lines = log.iter().filter(|byte| **byte == b'\n').count();
        let file =
            self.state.strip_prefix("sqlite:").map(|path| path.replace("{}", &folder.to_string_lossy()));
        let store = match file.map(|path| std::fs::metadata(path).map_or(0, |file| file.len())) {
            None => self.state.clone(),
            Some(0) => "memory: this version does not write the SQLite file that it was told to".to_owned(),
            Some(_) => "SQLite".to_owned(),
        };
        let rss = gateway.process.rss()? / 1024.0;
        Ok(format!(
            "cozeway wrote {lines} lines of access log; its state went to {store}; its RSS after the rows of \
             CPU, rates and waits was {rss:.0} MiB."
        ))
    }
}

impl Server {
    /// Waits until it takes connections.
    pub(crate) async fn wait_for_port(&self) -> Result<(), Void> {
        let began = Instant::now();
        while TcpStream::connect(self.target.address).await.is_err() {
            if began.elapsed() > Duration::from_secs(60) {
                return Err(Void::new("it does not come to listen"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
