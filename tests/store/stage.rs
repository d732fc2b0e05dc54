//! The stores that a behaviour is tested with, and words to test it in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cozeway::store::memory::Memory;
use cozeway::store::sqlite::Sqlite;
use cozeway::store::{By, Claimed, Entry, Id, Key, Lease, Outcome, Settled, Store};

use crate::support::redis::{Keys, redis_url};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store, new and empty, and the way to it.
pub(crate) struct Stage {
    pub(crate) store: Arc<dyn Store>,
    kind: Kind,
    ttl: Duration,
}

enum Kind {
    Memory,
    Sqlite(Folder),
    Redis(Keys),
}

/// Runs a behaviour with every store.
#[track_caller]
pub(crate) fn each(behaviour: impl AsyncFn(&Stage)) {
    each_living(HOUR, behaviour);
}

/// Runs a behaviour with every store, its entries having this time to live.
#[track_caller]
pub(crate) fn each_living(ttl: Duration, behaviour: impl AsyncFn(&Stage)) {
    for stage in stages() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let stage = Stage { store: stage.open(ttl), kind: stage, ttl };
            behaviour(&stage).await;
        });
    }
}

fn stages() -> Vec<Kind> {
    let mut stages = vec![Kind::Memory, Kind::Sqlite(Folder::new())];
    stages.extend(redis_url().map(|url| Kind::Redis(Keys::new(url))));
    stages
}

impl Kind {
    fn open(&self, ttl: Duration) -> Arc<dyn Store> {
        match self {
            Self::Memory => Arc::new(Memory::new(ttl).unwrap()),
            Self::Sqlite(folder) => Arc::new(Sqlite::open(&folder.file(), ttl).unwrap()),
            Self::Redis(keys) => keys.open(ttl),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "a file",
            Self::Redis(_) => "Redis",
        }
    }
}

impl Stage {
    /// The same entries, as another process would find them.
    pub(crate) fn again(&self) -> Arc<dyn Store> {
        match &self.kind {
            Kind::Memory => Arc::clone(&self.store),
            other => other.open(self.ttl),
        }
    }

    pub(crate) async fn insert(&self, entry: &Entry) {
        self.store.insert(entry.clone()).await.unwrap();
    }

    pub(crate) async fn claim(&self, by: By) -> Claimed {
        self.store.claim(by, HOUR).await.unwrap()
    }

    /// Claims what is there and free.
    #[track_caller]
    pub(crate) fn lent(&self, by: By) -> impl Future<Output = Lent> {
        self.lent_for(by, HOUR)
    }

    #[track_caller]
    pub(crate) fn lent_for(&self, by: By, lease: Duration) -> impl Future<Output = Lent> {
        let caller = std::panic::Location::caller();
        async move {
            match self.store.claim(by, lease).await.unwrap() {
                Claimed::Lent { lease, entry, abandoned } => Lent { lease, entry, abandoned },
                other => panic!("{}: {other:?}, asked at {caller}", self.kind.name()),
            }
        }
    }

    pub(crate) async fn settle(&self, lease: Lease, outcome: Outcome) -> Settled {
        self.store.settle(lease, outcome).await.unwrap()
    }

    /// The ids of all entries.
    pub(crate) async fn ids(&self) -> Vec<Id> {
        self.store.list(None, 1000).await.unwrap().iter().map(|listed| listed.entry.id).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it was the store in {}", self.kind.name());
        }
    }
}

/// A folder of one test, removed after it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("cozeway-store-{}", Id::random()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("state.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a claim has lent.
pub(crate) struct Lent {
    pub(crate) lease: Lease,
    pub(crate) entry: Entry,
    pub(crate) abandoned: bool,
}

pub(crate) const ABSENT: Claimed = Claimed::Absent { begun: false };
pub(crate) const BEGUN: Claimed = Claimed::Absent { begun: true };

/// A key of its own for each number.
pub(crate) fn key(number: u8) -> Key {
    [number; 16]
}

/// An entry with this head and root, without a name.
pub(crate) fn entry(head: u8, root: u8) -> Entry {
    Entry {
        id: Id::random(),
        space: key(1),
        head: Some(key(head)),
        name: None,
        root: Some(key(root)),
        value: format!("\0remembered\n{head}").into_bytes(),
    }
}

pub(crate) fn head(head: u8, root: u8) -> By {
    By::Head { head: key(head), root: key(root) }
}

/// The entry with this name, or a new one.
pub(crate) fn name(name: u8) -> By {
    By::Name { name: key(name), space: key(1), id: Id::random() }
}

pub(crate) fn id(entry: &Entry) -> By {
    By::Id { id: entry.id, space: entry.space }
}

/// Asks again and again, until it gets an answer.
#[track_caller]
pub(crate) fn until<T>(ask: impl AsyncFn() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let polling = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let Ok(answer) = tokio::time::timeout(PATIENCE, polling).await else {
            panic!("it never came, awaited at {caller}")
        };
        answer
    }
}
