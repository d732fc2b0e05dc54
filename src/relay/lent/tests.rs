//! A turn that is left while its end is on its way to the store.

use std::sync::Arc;

use futures_util::poll;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::*;
use crate::conversation::{Begun, Conversations, Name, Space, Wanted};
use crate::store::memory::Memory;
use crate::store::{By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Store};
use crate::turn::{Message, Prompt, Role};

/// A store that ends no turn before it may.
#[derive(Debug)]
struct Slow {
    memory: Memory,
    may: Semaphore,
}

impl Store for Slow {
    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        Box::pin(async move {
            self.may.acquire().await.unwrap().forget();
            self.memory.settle(lease, outcome).await
        })
    }

    fn secret(&self) -> Pending<'_, [u8; 32]> {
        self.memory.secret()
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        self.memory.claim(by, lease)
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        self.memory.renew(leases, lease)
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        self.memory.insert(entry)
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.memory.purge(limit)
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        self.memory.list(after, limit)
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        self.memory.forget(id)
    }

    fn counts(&self) -> Pending<'_, Counts> {
        self.memory.counts()
    }

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        self.memory.cached(key)
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        self.memory.cache(key, value, life)
    }
}

/// A turn under a name, the store that it is in, and what is tracked of it.
async fn turn() -> (Lent, Arc<Slow>, TaskTracker) {
    let memory = Memory::new(Duration::from_secs(3600)).unwrap();
    let store = Arc::new(Slow { memory, may: Semaphore::new(0) });
    let conversations = Conversations::new(store.clone());
    let prompt = Prompt { messages: vec![Message::text(Role::User, "a")], ..Prompt::default() };
    let name = Name::parse("n").unwrap();
    let space =
        Space { caller: "key", deployment: "local", kind: "bot", target: "1", user: None, hint: None };
    let wanted =
        Wanted { space, name: Some(&name), whole: false, prompt: &prompt, history_rounds: 100, now: 0 };
    let Begun::Planned { thread, .. } = conversations.begin(&wanted).await.unwrap() else {
        panic!("nobody else is there")
    };
    let tracker = TaskTracker::new();
    (Lent::new(thread, Relay::new(tracker.clone(), store.clone())), store, tracker)
}

async fn entries(store: &Slow) -> usize {
    store.list(None, 10).await.unwrap().len()
}

#[tokio::test]
async fn who_leaves_while_a_turn_ends_leaves_it_ended() {
    let (lent, store, tracker) = turn().await;
    assert_eq!(entries(&store).await, 1);
    {
        let mut end = std::pin::pin!(lent.end(Ending::Forgotten));
        assert!(poll!(&mut end).is_pending());
    }
    assert_eq!((entries(&store).await, tracker.len()), (1, 1));
    store.may.add_permits(1);
    tracker.close();
    tracker.wait().await;
    assert_eq!(entries(&store).await, 0);
}

#[tokio::test]
async fn what_nobody_has_begun_to_wait_for_is_stored_too() {
    let (lent, store, tracker) = turn().await;
    let relay = lent.relay.clone();
    let settlement = lent.settlement(Ending::Forgotten).unwrap();
    store.may.add_permits(1);
    drop(remember(settlement, None, relay));
    tracker.close();
    tracker.wait().await;
    assert_eq!(entries(&store).await, 0);
}

#[tokio::test]
async fn who_waits_to_the_end_leaves_nothing_running() {
    let (lent, store, tracker) = turn().await;
    store.may.add_permits(1);
    assert!(lent.end(Ending::Forgotten).await);
    assert_eq!((entries(&store).await, tracker.len()), (0, 0));
}
