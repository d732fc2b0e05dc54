//! How the memory is, and what keeps it in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Conversations, LEASE, Record};
use crate::store::{Counts, Lease, Unavailable};

/// How many leases are renewed in one step of the store.
const RENEWED_AT_ONCE: usize = 100;

/// How the store was when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Health {
    away: AtomicBool,
    /// How many looks went well in a row.
    good: AtomicU64,
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
    /// How many new ones the store could not write after all.
    pub lost: u64,
}

impl Conversations {
    /// Says of every turn that it goes on. To be called every [`RENEWAL`](super::RENEWAL).
    ///
    /// # Errors
    /// If the store is away; the leases go on running then.
    pub async fn renew(&self) -> Result<(), Unavailable> {
        let leases: Vec<Lease> = self.leases().iter().copied().collect();
        // Not all at once: the store does nothing else meanwhile.
        for some in leases.chunks(RENEWED_AT_ONCE) {
            // A lost one is noticed when its turn ends.
            for lost in self.seen(self.shared.store.renew(some.to_vec(), LEASE).await)? {
                self.leases().remove(&lost);
            }
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
        // A store may answer what is read and refuse what is written: it is
        // back once nothing has failed from one look to the next.
        if health.good.fetch_add(1, Ordering::Relaxed) > 0 && health.away.swap(false, Ordering::Relaxed) {
            tracing::info!("the state store is back");
        }
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
        let Health { away, entries, named, expired, .. } = &self.shared.health;
        Standing {
            up: !away.load(Ordering::Relaxed),
            counts: Counts { entries: entries.load(Ordering::Relaxed), named: named.load(Ordering::Relaxed) },
            expired: expired.load(Ordering::Relaxed),
            lost: self.shared.store.lost(),
        }
    }

    /// Takes note of whether the store answered. That it is away is said
    /// once; that it is back is for [`look`](Self::look) to say.
    pub(super) fn seen<T>(&self, result: Result<T, Unavailable>) -> Result<T, Unavailable> {
        if let Err(away) = &result {
            self.shared.health.good.store(0, Ordering::Relaxed);
            if !self.shared.health.away.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "{away}: chats without a name are not remembered, those with one are refused"
                );
            }
        }
        result
    }
}
