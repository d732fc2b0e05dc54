//! Redis or Valkey servers: one of a test's own, to be killed and started
//! again, and a part of one that all tests share.
//!
//! `COZEWAY_TEST_REDIS_SERVER` names the program of the one,
//! `COZEWAY_TEST_REDIS` is the URL of the other; without them there is none.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cozeway::secret::Secret;
use cozeway::store::redis::Redis;
use cozeway::store::{Id, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// With this it knows, when it is started again, all that it has answered.
pub(crate) const KEEPS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// With this it has forgotten everything then.
pub(crate) const FORGETS: [&str; 2] = ["--appendonly", "no"];

/// No start takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with the test.
pub(crate) struct Server {
    program: OsString,
    folder: PathBuf,
    port: u16,
    more: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server that is not started yet, with some settings.
    pub(crate) fn new(more: &[&str]) -> Option<Self> {
        let program = std::env::var_os("COZEWAY_TEST_REDIS_SERVER")?;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("redis-{}", Id::random()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let more = more.iter().map(|&setting| setting.to_owned()).collect();
        Some(Self { program, folder, port: free_port(), more, child: None })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let starting = async {
            while !self.answers().await {
                // It ends at once where it cannot have its port yet.
                let runs = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
                if !runs {
                    self.child = Some(self.launch());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, starting).await.expect("a server that answers");
    }

    fn launch(&self) -> Child {
        Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--dir"])
            .arg(&self.folder)
            .args(&self.more)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program of a server")
    }

    async fn answers(&self) -> bool {
        let asking = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.ok()?;
            Some(&answer == b"+PONG")
        };
        self.child.is_some() && asking.await.unwrap_or_default()
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a server that runs");
            child.wait().expect("its end");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _best_effort = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server that tests share, if there is one.
pub(crate) fn redis_url() -> Option<Secret> {
    std::env::var("COZEWAY_TEST_REDIS").ok().map(Secret::new)
}

/// The keys of one test on a server, removed after it.
pub(crate) struct Keys {
    url: Secret,
    prefix: String,
}

impl Keys {
    pub(crate) fn new(url: Secret) -> Self {
        Self { url, prefix: format!("cozeway-test:{}:", Id::random()) }
    }

    pub(crate) fn open(&self, ttl: Duration) -> Arc<dyn Store> {
        Arc::new(Redis::new(&self.url, &self.prefix, ttl).expect("a URL"))
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url.expose()).expect("a URL");
        client.get_connection_with_timeout(PATIENCE).expect("a server that answers")
    }

    /// All keys, without the prefix.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        let mut connection = self.connect();
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(1000);
            let (next, page): (u64, Vec<Vec<u8>>) =
                scan.query(&mut connection).expect("a server that answers");
            keys.extend(page.into_iter().map(|key| key[self.prefix.len()..].to_vec()));
            cursor = next;
            if cursor == 0 {
                keys.sort();
                keys.dedup();
                return keys;
            }
        }
    }

    pub(crate) fn full(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), key].concat()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut connection = self.connect();
        for key in self.all() {
            redis::cmd("DEL").arg(self.full(&key)).exec(&mut connection).expect("a server that answers");
        }
    }
}

/// A port that nobody has, and that nobody is given while the server is down:
/// below those that connections get.
fn free_port() -> u16 {
    loop {
        let Id([one, two, ..]) = Id::random();
        let port = 10_000 + u16::from_be_bytes([one, two]) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
