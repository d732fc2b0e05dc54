use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::store::memory::Memory;
use crate::store::{By, Claimed, Counts, Entry, Id, Lease, Listed, Outcome, Pending, Settled, Unavailable};

/// A store whose secret cannot be had.
#[derive(Debug)]
struct Secretless(Memory);

impl Store for Secretless {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        Box::pin(async { Err(Unavailable("it is away".to_owned())) })
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        self.0.claim(by, lease)
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

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        self.0.cached(key)
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        self.0.cache(key, value, life)
    }
}

fn memory() -> Memory {
    Memory::new(Duration::from_secs(3600)).unwrap()
}

#[tokio::test]
async fn without_a_secret_nothing_is_remembered() {
    assert!(Uploads::default().shelf().await.is_none());
    assert!(Uploads::remembered_in(Arc::new(Secretless(memory()))).shelf().await.is_none());
    let shelf = Uploads::remembered_in(Arc::new(memory()));
    assert_ne!(shelf.shelf().await.unwrap().secret, [0; 32]);
}

#[test]
fn of_two_that_leave_at_once_nothing_stays() {
    const ROUNDS: usize = 100_000;
    let uploads = Uploads::default();
    // A barrier that wakes nobody: both go on in the same moment.
    let arrived = AtomicUsize::new(0);
    let together = |step: usize| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < 2 * step {
            std::thread::yield_now();
        }
    };
    let stayed: usize = std::thread::scope(|scope| {
        let comes_and_goes = || {
            let mut stayed = 0;
            for round in 0..ROUNDS {
                let waiting = uploads.wait_for((Key::default(), Way::Once));
                together(3 * round + 1);
                drop(waiting);
                together(3 * round + 2);
                stayed += uploads.running().len();
                together(3 * round + 3);
            }
            stayed
        };
        let both = [scope.spawn(comes_and_goes), scope.spawn(comes_and_goes)];
        both.map(|one| one.join().unwrap()).iter().sum()
    });
    assert_eq!(stayed, 0);
}
