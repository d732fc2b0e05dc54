//! The state store that a config names.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::State;
use crate::store::memory::Memory;
use crate::store::sqlite::Sqlite;
use crate::store::{Place, Store};

/// Opens the store.
///
/// # Errors
/// If it is a file that cannot be used.
pub(super) fn open(state: &State) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &state.place {
        Place::Memory => Arc::new(Memory::new(state.ttl).context("there is no randomness")?),
        Place::Sqlite(path) => Arc::new(Sqlite::open(path, state.ttl)?),
        Place::Redis(_) => anyhow::bail!("a Redis is not supported by this version"),
    })
}
