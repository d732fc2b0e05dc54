//! Claims that nobody waits for any more are put back.
//!
//! In come the steps of [`Store`], out go the same to the store behind. Who
//! drops a claim (a client that hangs up while it is made) leaves it either
//! done or not done; one that is done would hold its entry until the lease
//! has run out. Here every claim is made to its end, and given back if there
//! is nobody to take it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{By, Claimed, Counts, Entry, Id, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable};

/// A store that loses no claim.
#[derive(Debug)]
pub struct Kept(Arc<dyn Store>);

/// A claim on its way to whoever made it.
struct Parcel {
    claimed: Option<Claimed>,
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

impl Drop for Parcel {
    fn drop(&mut self) {
        // An abandoned one stays so: what has happened to it is not known.
        if let Some(Claimed::Lent { lease, entry, abandoned: false }) = self.claimed.take() {
            let store = Arc::clone(&self.store);
            self.runtime.spawn(async move {
                // One that the claim has made holds nothing.
                let outcome = if entry.value.is_empty() { Outcome::Drop } else { Outcome::Keep(entry) };
                if let Err(away) = store.settle(lease, outcome).await {
                    tracing::debug!(%away, "a claim that nobody waits for could not be put back");
                }
            });
        }
    }
}

impl Store for Kept {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        self.0.secret()
    }

    fn shared(&self) -> Option<&dyn super::shared::Shared> {
        self.0.shared()
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let (store, runtime) = (Arc::clone(&self.0), Handle::current());
            tokio::spawn(async move {
                let parcel = match store.claim(by, lease).await {
                    Ok(claimed) => {
                        let store = Arc::clone(&store);
                        Ok(Parcel { claimed: Some(claimed), store, runtime })
                    }
                    Err(away) => Err(away),
                };
                // Dropped where nobody takes it.
                drop(sender.send(parcel));
            });
            let ended = || Unavailable("the claim was not made to its end".to_owned());
            let mut parcel = receiver.await.map_err(|_| ended())??;
            parcel.claimed.take().ok_or_else(ended)
        })
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
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn entry() -> Entry {
        let key = Some([1; 16]);
        Entry { id: Id([1; 16]), space: [0; 16], head: key, name: None, root: key, value: vec![1] }
    }

    #[tokio::test]
    async fn a_claim_that_nobody_waits_for_is_put_back_as_it_was() {
        let memory: Arc<dyn Store> = Arc::new(Memory::new(HOUR).unwrap());
        let store = Kept::new(Arc::clone(&memory));
        store.insert(entry()).await.unwrap();
        let by = By::Head { head: [1; 16], root: [1; 16] };
        // Polled once: the claim is on its way, and its maker gone.
        let mut claim = store.claim(by, HOUR);
        assert!(futures_util::poll!(&mut claim).is_pending());
        tokio::task::yield_now().await;
        assert!(memory.list(None, 1).await.unwrap()[0].lent);
        drop(claim);
        while memory.list(None, 1).await.unwrap()[0].lent {
            tokio::task::yield_now().await;
        }
        let again = store.claim(by, HOUR).await.unwrap();
        let Claimed::Lent { entry: known, abandoned: false, .. } = again else { panic!("{again:?}") };
        assert_eq!(known, entry());
    }

    #[tokio::test]
    async fn an_entry_that_a_lost_claim_has_made_is_gone() {
        let memory: Arc<dyn Store> = Arc::new(Memory::new(HOUR).unwrap());
        let store = Kept::new(Arc::clone(&memory));
        let mut claim = store.claim(By::Name { name: [2; 16], space: [0; 16], id: Id([9; 16]) }, HOUR);
        assert!(futures_util::poll!(&mut claim).is_pending());
        tokio::task::yield_now().await;
        assert_eq!(memory.counts().await.unwrap().named, 1);
        drop(claim);
        while memory.counts().await.unwrap().entries > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_claim_that_is_waited_for_is_held() {
        let memory: Arc<dyn Store> = Arc::new(Memory::new(HOUR).unwrap());
        let store = Kept::new(Arc::clone(&memory));
        store.insert(entry()).await.unwrap();
        let by = By::Id { id: entry().id, space: entry().space };
        assert!(matches!(store.claim(by, HOUR).await, Ok(Claimed::Lent { .. })));
        tokio::task::yield_now().await;
        assert!(matches!(store.claim(by, HOUR).await, Ok(Claimed::Busy(_))));
    }
}
