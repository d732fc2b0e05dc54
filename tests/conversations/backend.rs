//! The stores that a world may have: what the replicas share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cozeway::secret::Secret;
use cozeway::store::memory::Memory;
use cozeway::store::redis::{PREFIX, Redis};
use cozeway::store::sqlite::Sqlite;
use cozeway::store::{Id, Store};
use tokio::sync::Mutex;

use crate::support::redis::{FORGETS, KEEPS, Keys, Server, redis_url};

/// Nothing that a world remembers grows old in it.
const TTL: Duration = Duration::from_secs(3600);

/// A store, which every replica opens for itself where that can be.
pub(crate) enum Backend {
    /// One for all.
    Memory(Arc<dyn Store>),
    /// A file, opened by each as by a process of its own.
    File(Folder),
    /// A server of the world's own.
    Server(Arc<Mutex<Server>>, Secret, Keeps),
    /// A part of a server that others use, too.
    Shared(Keys),
}

/// Whether a server knows what it knew when it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    All,
    Nothing,
}

impl Backend {
    /// The store of a world. Where there is no server, a file does as well.
    pub(crate) async fn of(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::Memory(memory()),
            1 => Self::File(Folder::new()),
            _ => Self::redis(if seed % 9 == 8 { Keeps::Nothing } else { Keeps::All })
                .await
                .unwrap_or_else(|| Self::File(Folder::new())),
        }
    }

    async fn redis(keeps: Keeps) -> Option<Self> {
        let settings: &[&str] = if keeps == Keeps::All { &KEEPS } else { &FORGETS };
        if let Some(mut server) = Server::new(settings) {
            server.start().await;
            let url = Secret::new(server.url());
            return Some(Self::Server(Arc::new(Mutex::new(server)), url, keeps));
        }
        redis_url().map(|url| Self::Shared(Keys::new(url)))
    }

    /// The way of one replica to it.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store),
            Self::File(folder) => Arc::new(Sqlite::open(&folder.0.join("state.db"), TTL).unwrap()),
            Self::Server(_, url, _) => Arc::new(Redis::new(url, PREFIX, TTL).unwrap()),
            Self::Shared(keys) => keys.open(TTL),
        }
    }

    /// A server that can be killed under the gateways.
    pub(crate) fn server(&self) -> Option<&Arc<Mutex<Server>>> {
        match self {
            Self::Server(server, ..) => Some(server),
            _ => None,
        }
    }

    /// Whether it has forgotten everything when it is started anew.
    pub(crate) fn forgets(&self) -> bool {
        matches!(self, Self::Memory(_) | Self::Server(_, _, Keeps::Nothing))
    }

    /// Starts it anew, while nobody has it open.
    pub(crate) fn restart(&mut self) {
        if let Self::Memory(store) = self {
            *store = memory();
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::File(_) => "a file",
            Self::Server(_, _, Keeps::All) => "a server",
            Self::Server(_, _, Keeps::Nothing) => "a server that forgets",
            Self::Shared(_) => "a part of a server",
        }
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(TTL).unwrap())
}

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("conversations-{}", Id::random()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}
