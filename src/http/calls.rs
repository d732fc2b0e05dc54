//! Calls of tools that their clients may call off by another request.
//!
//! What is here concerns calls that this process runs, and nothing else: a
//! client whose request to call off reaches another gateway is not heard, and
//! its call runs to its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Whose call it is, in which session, and what the client calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) caller: String,
    pub(super) session: String,
    pub(super) id: String,
}

/// The calls that run. There are never more than requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Mutex<Table>>);

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

    /// Calls one off, if it runs here.
    pub(super) fn call_off(&self, key: &CallKey) {
        if let Some((_, off)) = self.lock().running.remove(key) {
            off.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn only_the_very_call_is_called_off() {
        let calls = Calls::default();
        let key = |caller: &str, session: &str, id: &str| CallKey {
            caller: caller.to_owned(),
            session: session.to_owned(),
            id: id.to_owned(),
        };
        let running = calls.begin(key("a", "s", "1"));
        for other in [key("b", "s", "1"), key("a", "t", "1"), key("a", "s", "\"1\"")] {
            calls.call_off(&other);
        }
        assert!(!running.off.is_cancelled());
        calls.call_off(&key("a", "s", "1"));
        assert!(running.off.is_cancelled());
        drop(running);
        let first = calls.begin(key("a", "s", "1"));
        let second = calls.begin(key("a", "s", "1"));
        drop(first);
        calls.call_off(&key("a", "s", "1"));
        assert!(second.off.is_cancelled());
        drop(second);
        assert!(calls.lock().running.is_empty());
    }
}
