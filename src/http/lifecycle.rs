//! Where the gateway stands between its start and its end.
//!
//! ```text
//!  Serving ── SIGTERM ──▶ Draining ── drain_delay ──▶ Closing ── all answered ──▶ Ended
//!                                                             or shutdown_grace
//! ```
//!
//! Only ever goes forward. The listener moves it; everybody may look.

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Where the gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests are answered.
    Serving,
    /// Requests are answered, but their clients should go elsewhere.
    Draining,
    /// What is in flight goes on; new requests are refused.
    Closing,
    /// Only what has been written still goes out.
    Ended,
}

/// The phase, and the requests that are in flight.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: watch::Sender<Phase>,
    requests: TaskTracker,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), requests: TaskTracker::new() }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Tells of every later phase.
    pub(super) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes on to a later phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = *now < phase;
            if forward {
                *now = phase;
            }
            forward
        });
    }

    /// A request is in flight for as long as its token lives.
    pub(super) fn request(&self) -> TaskTrackerToken {
        self.requests.token()
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Ready once no request is in flight.
    pub(super) async fn all_answered(&self) {
        self.requests.close();
        self.requests.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_only_goes_forward_and_tells_of_each_step() {
        let lifecycle = Lifecycle::new();
        let mut watch = lifecycle.watch();
        lifecycle.enter(Phase::Closing);
        watch.changed().await.unwrap();
        lifecycle.enter(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Closing);
        assert!(!watch.has_changed().unwrap());
    }

    #[tokio::test]
    async fn requests_are_waited_for() {
        let lifecycle = Lifecycle::new();
        let request = lifecycle.request();
        let mut waiting = std::pin::pin!(lifecycle.all_answered());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(request);
        waiting.await;
    }
}
