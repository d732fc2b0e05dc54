//! The stores that a world may have: what the replicas share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cozeway::store::memory::Memory;
use cozeway::store::sqlite::Sqlite;
use cozeway::store::{Id, Store};

/// Nothing that a world remembers grows old in it.
const TTL: Duration = Duration::from_secs(3600);

/// A store, which every replica opens for itself where that can be.
pub(crate) enum Backend {
    /// One for all.
    Memory(Arc<dyn Store>),
    /// A file, opened by each as by a process of its own.
    File(Folder),
}

impl Backend {
    /// The store of a world.
    pub(crate) fn of(seed: u64) -> Self {
        match seed % 2 {
            0 => Self::Memory(memory()),
            _ => Self::File(Folder::new()),
        }
    }

    /// The way of one replica to it.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store),
            Self::File(folder) => Arc::new(Sqlite::open(&folder.0.join("state.db"), TTL).unwrap()),
        }
    }

    /// Starts it anew, while nobody has it open. Says whether it still knows
    /// what it knew.
    pub(crate) fn restart(&mut self) -> bool {
        match self {
            Self::Memory(store) => {
                *store = memory();
                false
            }
            Self::File(_) => true,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::File(_) => "a file",
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
