//! One gateway's way to the store, which can be cut.
//!
//! A gateway that is killed settles nothing any more, and its leases run out.
//! So that nobody waits half a minute for that, leases are short here, and
//! the link renews them for as long as their gateway lives.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cozeway::store::{
    By, Claimed, Counts, Entry, Id, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable,
};
use tokio_util::sync::CancellationToken;

/// How long the leases of a dead gateway run on.
pub(crate) const SHORT: Duration = Duration::from_millis(2500);

const TICK: Duration = Duration::from_millis(250);

/// A store that one gateway sees.
#[derive(Debug)]
pub(crate) struct Link {
    store: Arc<dyn Store>,
    held: Mutex<HashSet<Lease>>,
    away: AtomicBool,
    dead: CancellationToken,
}

impl Link {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let dead = CancellationToken::new();
        let link = Arc::new(Self { store, held: Mutex::default(), away: AtomicBool::new(false), dead });
        let (weak, dead) = (Arc::downgrade(&link), link.dead.clone());
        tokio::spawn(dead.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(link) = weak.upgrade() else { return };
                let held: Vec<Lease> = link.held.lock().unwrap().iter().copied().collect();
                if !held.is_empty() {
                    let _away = link.store.renew(held, SHORT).await;
                }
            }
        }));
        link
    }

    /// The gateway is dead: what it says now reaches nobody.
    pub(crate) fn cut(&self) {
        self.dead.cancel();
    }

    /// The store cannot be reached for a while, or can again.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How many leases its gateway holds.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    fn step<'a, T: Send + 'a>(&'a self, step: Pending<'a, T>) -> Pending<'a, T> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(Unavailable("taken away by the test".to_owned()));
            }
            let done = self.dead.run_until_cancelled(step).await;
            done.unwrap_or_else(|| Err(Unavailable("the gateway is dead".to_owned())))
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.dead.cancel();
    }
}

impl Store for Link {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        self.step(self.store.secret())
    }

    fn claim(&self, by: By, _: Duration) -> Pending<'_, Claimed> {
        self.step(Box::pin(async move {
            let claimed = self.store.claim(by, SHORT).await?;
            if let Claimed::Lent { lease, .. } = &claimed {
                self.held.lock().unwrap().insert(*lease);
            }
            Ok(claimed)
        }))
    }

    fn renew(&self, leases: Vec<Lease>, _: Duration) -> Pending<'_, Vec<Lease>> {
        self.step(self.store.renew(leases, SHORT))
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        // Whatever comes of it, the gateway cares for it no longer.
        self.step(Box::pin(async move { self.store.settle(lease, outcome).await })).also(move || {
            self.held.lock().unwrap().remove(&lease);
        })
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        self.step(self.store.insert(entry))
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.step(self.store.purge(limit))
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        self.step(self.store.list(after, limit))
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        self.step(self.store.forget(id))
    }

    fn counts(&self) -> Pending<'_, Counts> {
        self.step(self.store.counts())
    }
}

/// Does something once a step is over, however it went.
trait Also<'a, T> {
    fn also(self, then: impl FnOnce() + Send + 'a) -> Pending<'a, T>;
}

impl<'a, T: Send + 'a> Also<'a, T> for Pending<'a, T> {
    fn also(self, then: impl FnOnce() + Send + 'a) -> Pending<'a, T> {
        Box::pin(async move {
            let result = self.await;
            then();
            result
        })
    }
}
