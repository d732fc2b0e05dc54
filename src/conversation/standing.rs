//! How the memory is, and what keeps it in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Conversations, LEASE, Record};
use crate::store::{Counts, Lease, Unavailable};

/// How the store was when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Health {
    away: AtomicBool,
    entries: AtomicU64,
    named: AtomicU64,
    expired: AtomicU64,
}

/// How the memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the store answered when it was last asked.
    pub up: bool,
    /// How many conversations it held when that was last asked.
    pub counts: Counts,
    /// How many were forgotten since nobody had used them for long.
    pub expired: u64,
}

impl Conversations {
    /// Says of every turn that it goes on. To be called every [`RENEWAL`](super::RENEWAL).
    ///
    /// # Errors
    /// If the store is away; the leases go on running then.
    pub async fn renew(&self) -> Result<(), Unavailable> {
        let leases: Vec<Lease> = self.leases().iter().copied().collect();
        if leases.is_empty() {
            return Ok(());
        }
        // A lost one is noticed when its turn ends.
        for lost in self.seen(self.shared.store.renew(leases, LEASE).await)? {
            self.leases().remove(&lost);
        }
        Ok(())
    }

    /// Looks how much there is. To be called every few seconds.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn look(&self) -> Result<(), Unavailable> {
        let counts = self.seen(self.shared.store.counts().await)?;
        let health = &self.shared.health;
        health.entries.store(counts.entries, Ordering::Relaxed);
        health.named.store(counts.named, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets at most so many conversations that nobody has used for long;
    /// gives what was remembered of them.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn purge(&self, limit: usize) -> Result<Vec<Record>, Unavailable> {
        let entries = self.seen(self.shared.store.purge(limit).await)?;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.shared.health.expired.fetch_add(count, Ordering::Relaxed);
        Ok(entries.iter().map(|entry| Record::from_bytes(&entry.value).unwrap_or_default()).collect())
    }

    /// How the memory is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Health { away, entries, named, expired } = &self.shared.health;
        Standing {
            up: !away.load(Ordering::Relaxed),
            counts: Counts { entries: entries.load(Ordering::Relaxed), named: named.load(Ordering::Relaxed) },
            expired: expired.load(Ordering::Relaxed),
        }
    }

    /// Takes note of whether the store answered. That it goes and comes back
    /// is said once.
    pub(super) fn seen<T>(&self, result: Result<T, Unavailable>) -> Result<T, Unavailable> {
        let away = result.as_ref().err();
        match (self.shared.health.away.swap(away.is_some(), Ordering::Relaxed), away) {
            (false, Some(away)) => {
                tracing::error!(
                    "{away}: chats without a name are not remembered, those with one are refused"
                );
            }
            (true, None) => tracing::info!("the state store is back"),
            _ => {}
        }
        result
    }
}
