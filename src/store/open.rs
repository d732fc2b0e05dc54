//! From a place to the store that is there.

use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::redis::{BadUrl, PREFIX, Redis};
use super::sqlite::{Sqlite, Unusable};
use super::{Place, Store};

/// A store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] Unusable),
    /// The URL names no server.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// There is no random secret for it.
    #[error("the system gives no random bytes: {0}")]
    NoRandom(#[from] getrandom::Error),
}

/// Opens a store whose entries live for `ttl` after their last use. Blocks
/// while a file is read; a server is not asked, and may be away.
///
/// # Errors
/// If there is no store that can be used.
pub fn open(place: &Place, ttl: Duration) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match place {
        Place::Memory => Arc::new(Memory::new(ttl)?),
        Place::Sqlite(path) => Arc::new(Sqlite::open(path, ttl)?),
        Place::Redis(url) => Arc::new(Redis::new(url, PREFIX, ttl)?),
    })
}
