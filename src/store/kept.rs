//! Claims that nobody waits for any more are put back.
//!
//! In come the steps of [`Store`], out go the same to the store behind. Who
//! drops a claim (a client that hangs up while it is made) leaves it either
//! done or not done; one that is done would hold its entry until the lease
//! has run out. Here every claim that was begun is made to its end, and given
//! back if there is nobody to take it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{
    By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable,
};

/// A store that loses no claim.
#[derive(Debug)]
pub struct Kept(Arc<dyn Store>);

/// A claim that is made. Dropped half-way it goes on by itself.
struct Making {
    /// Until it is made.
    claim: Option<Pending<'static, Claimed>>,
    /// Whether it was begun: what was not, is not made.
    begun: bool,
    store: Arc<dyn Store>,
    runtime: Handle,
}

impl Kept {
    /// Keeps the claims of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

impl Future for Making {
    type Output = Result<Claimed, Unavailable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(claim) = &mut self.claim else { return Poll::Pending };
        let made = ready!(claim.as_mut().poll(cx));
        self.claim = None;
        Poll::Ready(made)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take().filter(|_| self.begun) {
            let store = Arc::clone(&self.store);
            self.runtime.spawn(async move {
                if let Ok(Claimed::Lent { lease, entry, abandoned }) = claim.await {
                    give_back(&*store, lease, entry, abandoned).await;
                }
            });
        }
    }
}

/// Puts back what a claim has lent, in the background.
pub fn give_back_later(store: &Arc<dyn Store>, lease: Lease, entry: Entry, abandoned: bool) {
    let store = Arc::clone(store);
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { give_back(&*store, lease, entry, abandoned).await });
    }
}

async fn give_back(store: &dyn Store, lease: Lease, entry: Entry, abandoned: bool) {
    let outcome = if abandoned {
        // It stays so: what has happened to it is not known.
        Outcome::Abandon
    } else if entry.value.is_empty() {
        // One that the claim has made holds nothing.
        Outcome::Drop
    } else {
        Outcome::Keep(entry)
    };
    if let Err(away) = store.settle(lease, outcome).await {
        tracing::debug!(%away, "a claim that nobody waits for could not be put back");
    }
}

impl Store for Kept {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        self.0.secret()
    }

    fn known_secret(&self) -> Option<[u8; 32]> {
        self.0.known_secret()
    }

    fn shared(&self) -> Option<&dyn super::shared::Shared> {
        self.0.shared()
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        let store = Arc::clone(&self.0);
        let claim = Box::pin(async move { store.claim(by, lease).await });
        Box::pin(async move {
            let (store, runtime) = (Arc::clone(&self.0), Handle::current());
            Making { claim: Some(claim), begun: false, store, runtime }.await
        })
    }

    fn lacks(&self, root: &Key) -> bool {
        self.0.lacks(root)
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        self.0.renew(leases, lease)
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        self.0.settle(lease, outcome)
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        self.0.insert(entry)
    }

    fn insert_now(&self, entry: Entry) -> Option<Entry> {
        self.0.insert_now(entry)
    }

    fn insert_for_good(&self, entry: Entry) -> Pending<'_, ()> {
        self.0.insert_for_good(entry)
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.0.purge(limit)
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        self.0.list(after, limit)
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        self.0.forget(id)
    }

    fn counts(&self) -> Pending<'_, Counts> {
        self.0.counts()
    }

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        self.0.cached(key)
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        self.0.cache(key, value, life)
    }

    fn lost(&self) -> u64 {
        self.0.lost()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::task::yield_now;

    use super::super::memory::Memory;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const BY_HEAD: By = By::Head { head: [1; 16], root: [1; 16] };

    fn entry() -> Entry {
        let key = Some([1; 16]);
        Entry { id: Id([1; 16]), space: [0; 16], head: key, name: None, root: key, value: vec![1] }
    }

    async fn memory() -> Arc<dyn Store> {
        let memory = Memory::new(HOUR).unwrap();
        memory.insert(entry()).await.unwrap();
        Arc::new(memory)
    }

    /// A claim that takes a while before and after it is made.
    fn slow(store: &Arc<dyn Store>, by: By) -> Making {
        let behind = Arc::clone(store);
        let claim = Box::pin(async move {
            yield_now().await;
            let claimed = behind.claim(by, HOUR).await;
            yield_now().await;
            claimed
        });
        Making { claim: Some(claim), begun: false, store: Arc::clone(store), runtime: Handle::current() }
    }

    /// Drops a claim after so many polls and waits until all it had is free.
    async fn leave(store: &Arc<dyn Store>, by: By, polls: usize) {
        let mut claim = slow(store, by);
        for _ in 0..polls {
            assert!(poll!(&mut claim).is_pending());
        }
        drop(claim);
        let freed = async {
            for _ in 0..10 {
                yield_now().await;
            }
            while store.list(None, 9).await.unwrap().iter().any(|listed| listed.lent) {
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), freed).await.expect("nobody holds it");
    }

    #[tokio::test]
    async fn a_claim_that_nobody_waits_for_is_put_back_as_it_was() {
        let memory = memory().await;
        for polls in 0..=2 {
            leave(&memory, BY_HEAD, polls).await;
        }
        let again = Kept::new(memory).claim(BY_HEAD, HOUR).await.unwrap();
        let Claimed::Lent { lease, entry: known, abandoned: false } = again else { panic!("{again:?}") };
        assert_eq!((lease.fence, known), (3, entry()), "of three it was made twice");
    }

    #[tokio::test]
    async fn an_entry_that_a_lost_claim_has_made_is_gone() {
        let memory = memory().await;
        let by = By::Name { name: [2; 16], space: [0; 16], id: Id([9; 16]) };
        let mut claim = slow(&memory, by);
        assert!(poll!(&mut claim).is_pending() && poll!(&mut claim).is_pending());
        assert_eq!(memory.counts().await.unwrap().named, 1);
        drop(claim);
        while memory.counts().await.unwrap().named > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_abandoned_claim_that_nobody_waits_for_stays_abandoned_and_is_free() {
        let memory = memory().await;
        let by = By::Id { id: entry().id, space: entry().space };
        assert!(matches!(memory.claim(by, Duration::ZERO).await, Ok(Claimed::Lent { .. })));
        leave(&memory, by, 2).await;
        let again = memory.claim(by, HOUR).await.unwrap();
        let Claimed::Lent { entry: known, abandoned: true, .. } = again else { panic!("{again:?}") };
        assert_eq!(known, Entry { head: None, ..entry() });
    }

    #[tokio::test]
    async fn a_claim_that_is_waited_for_is_held() {
        let store = Kept::new(memory().await);
        let by = By::Id { id: entry().id, space: entry().space };
        assert!(matches!(store.claim(by, HOUR).await, Ok(Claimed::Lent { .. })));
        yield_now().await;
        assert!(matches!(store.claim(by, HOUR).await, Ok(Claimed::Busy(_))));
    }
}
