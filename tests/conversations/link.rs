//! One gateway's way to the store, which can be cut.
//!
//! A gateway that is killed settles nothing any more, and its leases run out.
//! So that nobody waits half a minute for that, and so that none runs out
//! under a gateway that lives but is slow, no lease runs out by the clock
//! here: the link ends those that nobody will settle any more. Only a claim
//! whose answer is lost leaves one that has to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cozeway::store::{
    By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long a lease runs that nobody knows of.
const BRIEF: Duration = Duration::from_secs(1);

/// How long one runs that is known to be held: longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// How long the leases of a dead gateway seem to run on.
const AFTERLIFE: Duration = Duration::from_millis(100);

const TICK: Duration = Duration::from_millis(50);

/// So often a lease is ended in vain, for as long as the store is away.
const TRIES: usize = 1200;

/// A step that is done although its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Claim,
    Settle,
    Insert,
}

/// A store that one gateway sees.
#[derive(Debug)]
pub(crate) struct Link {
    store: Arc<dyn Store>,
    /// With whether the lease is long by now.
    held: Mutex<HashMap<Lease, bool>>,
    away: AtomicBool,
    dead: CancellationToken,
    busy: AtomicUsize,
    slow: AtomicUsize,
    lost: Mutex<Option<Lost>>,
    runtime: Handle,
}

impl Link {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let link = Arc::new(Self {
            store,
            held: Mutex::default(),
            away: AtomicBool::new(false),
            dead: CancellationToken::new(),
            busy: AtomicUsize::new(0),
            slow: AtomicUsize::new(0),
            lost: Mutex::default(),
            runtime: Handle::current(),
        });
        let (weak, dead) = (Arc::downgrade(&link), link.dead.clone());
        tokio::spawn(dead.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(link) = weak.upgrade() else { return };
                link.lengthen().await;
            }
        }));
        link
    }

    /// The gateway is dead: what it says now reaches nobody.
    pub(crate) fn cut(&self) {
        self.dead.cancel();
        self.abandon_all();
    }

    /// The store cannot be reached for a while, or can again.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The answers of such steps are lost from now on.
    pub(crate) fn lose(&self, lost: Option<Lost>) {
        *self.lost.lock().unwrap() = lost;
    }

    fn heard<T>(&self, step: Lost, answer: T) -> Result<T, Unavailable> {
        match *self.lost.lock().unwrap() {
            Some(lost) if lost == step => Err(Unavailable("its answer is lost".to_owned())),
            _ => Ok(answer),
        }
    }

    /// How many leases its gateway holds.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// How often it was told that another turn is in a conversation.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }

    fn step<'a, T: Send + 'a>(&'a self, step: Pending<'a, T>) -> Pending<'a, T> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(Unavailable("taken away by the test".to_owned()));
            }
            let done = self.dead.run_until_cancelled(step).await;
            let done = done.unwrap_or_else(|| Err(Unavailable("the gateway is dead".to_owned())));
            if done.as_ref().is_err_and(is_slow) {
                self.slow.fetch_add(1, Ordering::SeqCst);
            }
            done
        })
    }

    /// How often the store took too long.
    pub(crate) fn slow(&self) -> usize {
        self.slow.load(Ordering::SeqCst)
    }

    async fn claim_long(&self, by: By) -> Result<Claimed, Unavailable> {
        loop {
            let claimed = self.store.claim(by, BRIEF).await?;
            let Claimed::Lent { lease, .. } = &claimed else {
                let busy = matches!(claimed, Claimed::Busy(_));
                self.busy.fetch_add(usize::from(busy), Ordering::SeqCst);
                return Ok(claimed);
            };
            if let Err(lost) = self.heard(Lost::Claim, ()) {
                self.abandon(*lease);
                return Err(lost);
            }
            self.held.lock().unwrap().insert(*lease, false);
            if self.dead.is_cancelled() {
                self.abandon_all();
            }
            match self.store.renew(vec![*lease], LONG).await {
                Ok(lost) if lost.is_empty() => drop(self.held.lock().unwrap().insert(*lease, true)),
                // It took so long that another has it.
                Ok(_) => {
                    self.held.lock().unwrap().remove(lease);
                    continue;
                }
                // Done later.
                Err(_) => {}
            }
            return Ok(claimed);
        }
    }

    /// Lengthens what could not be lengthened at once.
    async fn lengthen(&self) {
        let brief: Vec<Lease> = {
            let held = self.held.lock().unwrap();
            held.iter().filter(|(_, long)| !**long).map(|(lease, _)| *lease).collect()
        };
        if !brief.is_empty() && self.store.renew(brief.clone(), LONG).await.is_ok() {
            let mut held = self.held.lock().unwrap();
            held.iter_mut().filter(|(lease, _)| brief.contains(lease)).for_each(|(_, long)| *long = true);
        }
    }

    fn abandon_all(&self) {
        let held: Vec<Lease> = self.held.lock().unwrap().drain().map(|(lease, _)| lease).collect();
        held.into_iter().for_each(|lease| self.abandon(lease));
    }

    /// Nobody will settle it: it runs out.
    fn abandon(&self, lease: Lease) {
        let store = Arc::clone(&self.store);
        self.runtime.spawn(async move {
            tokio::time::sleep(AFTERLIFE).await;
            for _ in 0..TRIES {
                // What was settled after all stays so.
                if store.settle(lease, Outcome::Abandon).await.is_ok() {
                    return;
                }
                tokio::time::sleep(TICK).await;
            }
        });
    }
}

/// Whether a store has not answered in time, as happens on a machine that is
/// busy with much else.
fn is_slow(away: &Unavailable) -> bool {
    ["no answer within", "no connection within", "database is locked"].iter().any(|why| away.0.contains(why))
}

/// A lease that is being settled. Whatever comes of it, the gateway cares for
/// it no longer.
struct Settling<'a>(&'a Link, Lease);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let Self(link, lease) = self;
        if link.held.lock().unwrap().remove(lease).is_some() {
            link.abandon(*lease);
        }
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
        self.step(Box::pin(self.claim_long(by)))
    }

    fn lacks(&self, root: &Key) -> bool {
        !self.dead.is_cancelled() && self.store.lacks(root)
    }

    fn renew(&self, leases: Vec<Lease>, _: Duration) -> Pending<'_, Vec<Lease>> {
        self.step(self.store.renew(leases, LONG))
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        Box::pin(async move {
            let settling = Settling(self, lease);
            let settled = self.step(self.store.settle(lease, outcome)).await;
            let settled = settled.and_then(|settled| self.heard(Lost::Settle, settled));
            if settled.is_ok() {
                self.held.lock().unwrap().remove(&lease);
            }
            drop(settling);
            settled
        })
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        self.step(Box::pin(async move {
            self.store.insert(entry).await?;
            self.heard(Lost::Insert, ())
        }))
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

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        self.step(self.store.cached(key))
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        self.step(self.store.cache(key, value, life))
    }
}
