//! A store in memory: for one process, and gone with it.
//!
//! In come the steps of [`Store`], each under one lock that is never held
//! across an await. Bounded: past [`CAPACITY`] the entry that was unused for
//! longest goes. Never touches a disk or a socket.

mod cache;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Settled, Store};
use cache::Cache;
use table::Table;

/// So many entries are remembered, some 100 MB of them.
pub const CAPACITY: usize = 200_000;

/// So many values are cached, some 2 MB of them.
const MOST_CACHED: usize = 10_000;

/// The store.
#[derive(Debug)]
pub struct Memory {
    table: Mutex<Table>,
    cache: Mutex<Cache>,
    secret: [u8; 32],
}

impl Memory {
    /// An empty store with this time to live.
    ///
    /// # Errors
    /// If the system gives no random bytes for the secret.
    pub fn new(ttl: Duration) -> Result<Self, getrandom::Error> {
        Self::bounded(ttl, CAPACITY)
    }

    /// An empty store for at most `capacity` entries, and those that are lent.
    ///
    /// # Errors
    /// If the system gives no random bytes for the secret.
    pub fn bounded(ttl: Duration, capacity: usize) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let (table, cache) = (Table::new(ttl, capacity), Cache::new(MOST_CACHED));
        Ok(Self { table: Mutex::new(table), cache: Mutex::new(cache), secret })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// No step leaves what is behind a lock half changed, so a panic elsewhere
/// spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step that needs no waiting, but is not done before it is awaited.
fn step<'a, T: Send + 'a>(step: impl FnOnce() -> T + Send + 'a) -> Pending<'a, T> {
    Box::pin(async move { Ok(step()) })
}

impl Store for Memory {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        step(|| self.secret)
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        step(move || self.table().claim(by, lease, Instant::now()))
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        step(move || self.table().renew(leases, lease, Instant::now()))
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        step(move || self.table().settle(lease, outcome, Instant::now()))
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        step(move || self.table().insert(entry, Instant::now()))
    }

    fn insert_now(&self, entry: Entry) -> Option<Entry> {
        self.table().insert(entry, Instant::now());
        None
    }

    fn known_secret(&self) -> Option<[u8; 32]> {
        Some(self.secret)
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        step(move || self.table().purge(limit, Instant::now()))
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        step(move || self.table().list(after, limit, Instant::now()))
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        step(move || self.table().forget(id, Instant::now()))
    }

    fn counts(&self) -> Pending<'_, Counts> {
        step(|| self.table().counts())
    }

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        step(move || lock(&self.cache).get(&key, Instant::now()))
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        step(move || {
            let now = Instant::now();
            // Far more than any value lives.
            let end = now + life.min(Duration::from_secs(365 * 24 * 3600));
            lock(&self.cache).put(key, value, end, now);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8) -> Entry {
        let key = Some([number; 16]);
        Entry { id: Id([number; 16]), space: [0; 16], head: key, name: None, root: key, value: vec![number] }
    }

    async fn ids(store: &Memory) -> Vec<u8> {
        store.list(None, 100).await.unwrap().iter().map(|listed| listed.entry.id.0[0]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_store_drops_what_was_unused_for_longest() {
        let store = Memory::bounded(Duration::from_secs(3600), 3).unwrap();
        for number in 1..=3 {
            store.insert(entry(number)).await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let by = By::Head { head: [1; 16], root: [1; 16] };
        let claimed = store.claim(by, Duration::from_secs(60)).await.unwrap();
        let Claimed::Lent { lease, entry: first, .. } = claimed else { panic!("{claimed:?}") };
        store.insert(entry(4)).await.unwrap();
        assert_eq!(ids(&store).await, [1, 3, 4], "what is lent stays, however old");
        tokio::time::advance(Duration::from_secs(1)).await;
        store.settle(lease, Outcome::Keep(first)).await.unwrap();
        store.insert(entry(5)).await.unwrap();
        store.insert(entry(6)).await.unwrap();
        assert_eq!(store.counts().await.unwrap().entries, 3);
        assert_eq!(ids(&store).await, [1, 5, 6], "settling is a use");
    }

    #[tokio::test(start_paused = true)]
    async fn a_month_passes() {
        let month = Duration::from_secs(30 * 24 * 3600);
        let store = Memory::new(month).unwrap();
        store.insert(entry(1)).await.unwrap();
        tokio::time::advance(month.saturating_sub(Duration::from_secs(1))).await;
        assert!(store.purge(10).await.unwrap().is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ids(&store).await.is_empty());
        assert_eq!(store.purge(10).await.unwrap(), [entry(1)]);
    }
}
