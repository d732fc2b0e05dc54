//! Calls of tools that their clients may call off by another request.
//!
//! That request may reach another gateway than the call did. Then it leaves a
//! mark in the store that the gateways share, and the one that runs the call
//! looks there while the call goes on. A store that is one gateway's own is
//! never asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::store::{Key, Store};

/// How often a call looks whether it was called off elsewhere.
const LOOK: Duration = Duration::from_secs(1);

/// How long it can be found that a call was called off.
const MARK: Duration = Duration::from_secs(60);

/// Whose call it is, in which session, and what the client calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) caller: String,
    pub(super) session: String,
    pub(super) id: String,
}

impl CallKey {
    /// What its mark is found by.
    fn mark(&self, secret: &[u8; 32]) -> Key {
        let mut hash = Sha256::new_with_prefix(secret);
        for text in ["called off", &self.caller, &self.session, &self.id] {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let mut key = Key::default();
        key.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        key
    }
}

/// The calls that run. There are never more than requests.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    table: Arc<Mutex<Table>>,
    store: Arc<dyn Store>,
}

#[derive(Debug, Default)]
struct Table {
    /// Which call has a key, and how it is told.
    running: HashMap<CallKey, (u64, CancellationToken)>,
    count: u64,
}

/// A call that is known while this is held.
#[derive(Debug)]
pub(super) struct Running {
    calls: Calls,
    key: CallKey,
    number: u64,
    /// Told when the call is called off.
    pub(super) off: CancellationToken,
}

impl Calls {
    /// None yet. What other gateways run is told them by this store.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { table: Arc::default(), store }
    }

    /// Notes a call. One with the same key goes on, and can no longer be
    /// called off.
    pub(super) fn begin(&self, key: CallKey) -> Running {
        let off = CancellationToken::new();
        let mut table = self.lock();
        table.count += 1;
        let number = table.count;
        table.running.insert(key.clone(), (number, off.clone()));
        Running { calls: self.clone(), key, number, off }
    }

    /// Calls one off, wherever it runs.
    pub(super) async fn call_off(&self, key: &CallKey) {
        if self.call_off_here(key) || self.store.shared().is_none() {
            return;
        }
        let marking = async { self.store.cache(key.mark(&self.store.secret().await?), vec![1], MARK).await };
        if let Err(away) = marking.await {
            tracing::debug!(%away, "a call that runs elsewhere could not be called off");
        }
    }

    /// Calls one off when another gateway is told to. Ends only then.
    pub(super) async fn heed_others(&self, key: &CallKey) {
        if self.store.shared().is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let looking = async { self.store.cached(key.mark(&self.store.secret().await?)).await };
            if looking.await.is_ok_and(|mark| mark.is_some()) {
                self.call_off_here(key);
                return;
            }
        }
    }

    fn call_off_here(&self, key: &CallKey) -> bool {
        let running = self.lock().running.remove(key);
        running.inspect(|(_, off)| off.cancel()).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut table = self.calls.lock();
        // The key may be another call's by now.
        if table.running.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            table.running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    #[tokio::test]
    async fn only_the_very_call_is_called_off() {
        let calls = Calls::new(Arc::new(Memory::new(Duration::from_secs(60)).unwrap()));
        let key = |caller: &str, session: &str, id: &str| CallKey {
            caller: caller.to_owned(),
            session: session.to_owned(),
            id: id.to_owned(),
        };
        let running = calls.begin(key("a", "s", "1"));
        for other in [key("b", "s", "1"), key("a", "t", "1"), key("a", "s", "\"1\"")] {
            calls.call_off(&other).await;
        }
        assert!(!running.off.is_cancelled());
        calls.call_off(&key("a", "s", "1")).await;
        assert!(running.off.is_cancelled());
        drop(running);
        let first = calls.begin(key("a", "s", "1"));
        let second = calls.begin(key("a", "s", "1"));
        drop(first);
        calls.call_off(&key("a", "s", "1")).await;
        assert!(second.off.is_cancelled());
        drop(second);
        assert!(calls.lock().running.is_empty());
    }
}
