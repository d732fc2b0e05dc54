//! Keeping Coze tidy: conversations of Coze's that nothing refers to any more
//! are deleted, for models that want it.
//!
//! Best effort, of few at once: what cannot be deleted now never is, and is
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Relay;
use crate::coze::{self, Bearer, Target};

/// How many conversations wait to be deleted.
const MAX_WAITING: usize = 1024;

/// How many are deleted at once.
const MAX_CALLS: usize = 4;

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Deletes conversations of Coze's.
#[derive(Clone, Debug)]
pub(super) struct Cleanup {
    waiting: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    counts: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    deleted: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// Conversations of Coze's that nothing will refer to.
#[derive(Debug)]
pub struct Leftovers {
    /// The bot that they are with.
    pub target: Target,
    /// What they are deleted with.
    pub bearer: Bearer,
    /// Their ids.
    pub conversations: Vec<String>,
}

/// What became of conversations that were to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// They are.
    pub deleted: u64,
    /// Coze could not be asked, or refused.
    pub failed: u64,
    /// There were too many at once.
    pub dropped: u64,
}

impl Default for Cleanup {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            counts: Arc::default(),
        }
    }
}

impl Relay {
    /// Deletes conversations of Coze's in the background.
    pub fn delete(&self, leftovers: Leftovers) {
        let Leftovers { target, bearer, conversations } = leftovers;
        for conversation in conversations {
            self.delete_one(target.clone(), bearer.clone(), conversation);
        }
    }

    fn delete_one(&self, target: Target, bearer: Bearer, conversation: String) {
        let Cleanup { waiting, calls, counts } = self.shared.cleanup.clone();
        let Ok(place) = waiting.try_acquire_owned() else {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.spawn(async move {
            let call = coze::conversation::delete(&conversation);
            let turn = calls.acquire().await;
            let answer = tokio::time::timeout(TIMEOUT, bearer.fetch(&target.deployment.client, &call)).await;
            drop((turn, place));
            let count = match answer {
                Ok(Ok(_)) => &counts.deleted,
                Ok(Err(failure)) => {
                    tracing::debug!(%failure, "a conversation of Coze's could not be deleted");
                    &counts.failed
                }
                Err(_) => &counts.failed,
            };
            count.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// What became of conversations that were to be deleted.
    #[must_use]
    pub fn cleaned(&self) -> Cleaned {
        let Counters { deleted, failed, dropped } = &*self.shared.cleanup.counts;
        let [deleted, failed, dropped] =
            [deleted, failed, dropped].map(|count| count.load(Ordering::Relaxed));
        Cleaned { deleted, failed, dropped }
    }
}
