//! A clock that runs while nothing comes.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Tells when nothing has come for too long.
///
/// Being told of each byte costs one look at the clock; the timer itself is
/// only set again when it fires.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self { since: Instant::now(), limit, timer: Box::pin(tokio::time::sleep(limit)) }
    }

    /// Something came.
    pub(super) fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// From now on this much silence is too much.
    pub(super) fn tighten(&mut self, limit: Duration) {
        if limit < self.limit {
            self.limit = limit;
            self.since = Instant::now();
            self.timer.as_mut().reset(self.since + limit);
        }
    }

    /// Ready once the silence is too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.since + self.limit;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_fires_only_after_unbroken_silence() {
        let start = Instant::now();
        let mut silence = Silence::new(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        silence.broken();
        poll_fn(|cx| silence.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tighter_limit_counts_from_when_it_was_set() {
        let start = Instant::now();
        let mut silence = Silence::new(Duration::from_secs(600));
        tokio::time::advance(Duration::from_secs(5)).await;
        silence.tighten(Duration::from_secs(2));
        poll_fn(|cx| silence.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 7);
    }
}
