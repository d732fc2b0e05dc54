//! What the store has to be told at the end of a turn.

use super::{Conversations, Held};
use crate::store::{Entry, Outcome, Settled, Unavailable};

/// What the store has to be told at the end of a turn.
#[derive(Debug)]
#[must_use = "nothing is remembered before it is stored"]
pub struct Settlement {
    pub(super) memory: Conversations,
    pub(super) held: Held,
    pub(super) outcome: Outcome,
    /// A workflow's question that has followed another one.
    pub(super) next: Option<Entry>,
    /// Whether a process that is killed must not lose it: what answers a
    /// workflow's question that nobody knows of would begin a run.
    pub(super) lasting: bool,
    /// Whether it is a workflow's question.
    pub(super) asks: bool,
    /// Where the conversation was at Coze.
    pub(super) old: Option<String>,
    /// Where it is now.
    pub(super) now: Option<String>,
}

impl Settlement {
    /// Where the conversation was at Coze before the turn.
    #[must_use]
    pub fn was_at(&self) -> Option<&str> {
        self.old.as_deref()
    }

    /// Where it is at Coze after the turn.
    #[must_use]
    pub fn is_at(&self) -> Option<&str> {
        self.now.as_deref()
    }

    /// Whether the turn has ended in a workflow's question.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Stores it at once, where that takes no waiting; gives it back where it
    /// does.
    pub fn store_now(self) -> Option<Self> {
        let Self { memory, held, outcome, next: None, lasting: false, asks, old, now } = self else {
            return Some(self);
        };
        let outcome = match (&held, outcome) {
            (Held::New(_), Outcome::Keep(entry)) => Outcome::Keep(memory.shared.store.insert_now(entry)?),
            (Held::New(_), Outcome::Drop | Outcome::Abandon) => return None,
            (Held::Lent(_), outcome) => outcome,
        };
        Some(Self { memory, held, outcome, next: None, lasting: false, asks, old, now })
    }

    /// Stores it.
    ///
    /// # Errors
    /// If the store is away. What was lent then is given back by itself, as
    /// an abandoned turn.
    pub async fn store(self) -> Result<Settled, Unavailable> {
        let Self { memory, held, outcome, next, lasting, .. } = self;
        let store = &memory.shared.store;
        // First of all: until it is there the one before is lent, and nobody
        // answers that again.
        if let Some(next) = next {
            let inserted = store.insert_for_good(next).await;
            memory.seen(inserted)?;
        }
        match (held, outcome) {
            (Held::Lent(hold), outcome) => {
                let settled = store.settle(hold.lease, outcome).await;
                memory.seen(settled)
            }
            (Held::New(_), Outcome::Keep(entry)) => {
                let inserting = if lasting { store.insert_for_good(entry) } else { store.insert(entry) };
                let inserted = inserting.await;
                memory.seen(inserted).map(|()| Settled::Done)
            }
            (Held::New(_), Outcome::Drop | Outcome::Abandon) => Ok(Settled::Done),
        }
    }
}
