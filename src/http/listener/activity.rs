//! What a connection is doing, and the clock that runs meanwhile.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::Timeouts;

/// What a connection is doing, told by its socket and by its requests.
///
/// ```text
///  Head ──request──▶ Busy ──last answer──▶ Idle
///   ▲                 ▲──────request────────┤
///   └──────────first byte (HTTP/1)──────────┘
/// ```
#[derive(Debug)]
pub(super) struct Activity {
    stage: Mutex<Stage>,
    http2: AtomicBool,
    begun: AtomicUsize,
    ended: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The head of a request is read.
    Head { since: Instant },
    /// So many requests are in flight.
    Busy { requests: usize },
    /// Nothing.
    Idle { since: Instant },
}

impl Activity {
    /// A new connection, from which a request is expected.
    pub(super) fn new() -> Self {
        Self {
            stage: Mutex::new(Stage::Head { since: Instant::now() }),
            http2: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    /// Bytes have come. HTTP/2 has bytes that belong to no request.
    pub(super) fn read(&self) {
        self.change(|stage| match stage {
            Stage::Idle { .. } if !self.is_http2() => Stage::Head { since: Instant::now() },
            other => other,
        });
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.change(|stage| match stage {
            Stage::Busy { requests } => Stage::Busy { requests: requests.saturating_add(1) },
            Stage::Head { .. } | Stage::Idle { .. } => Stage::Busy { requests: 1 },
        });
    }

    /// A request has ended, one way or another.
    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.change(|stage| match stage {
            Stage::Busy { requests: requests @ 2.. } => Stage::Busy { requests: requests.saturating_sub(1) },
            _ => Stage::Idle { since: Instant::now() },
        });
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many requests have ended.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// It speaks HTTP/2.
    pub(super) fn is_multiplexed(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// When its patience ends; `None` while requests are in flight.
    fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        match *self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Head { since } => Some(since + timeouts.head),
            Stage::Idle { since } => Some(since + timeouts.idle),
            Stage::Busy { .. } => None,
        }
    }

    fn change(&self, next: impl FnOnce(Stage) -> Stage) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = next(*stage);
    }
}

/// Tells when a client has taken too long.
#[derive(Debug)]
pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    timeouts: Timeouts,
}

impl Clock {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(timeouts.head)), timeouts }
    }

    /// Ready once it has been too long. To be polled after the connection
    /// itself, whose polls are what changes its activity.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, activity: &Activity) -> Poll<()> {
        let due = activity.due(&self.timeouts);
        // The timer is moved back only once it fires, to spare the moves.
        if due.is_some_and(|due| due < self.timer.deadline()) {
            self.set(due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if due.is_some_and(|due| due <= Instant::now()) {
                return Poll::Ready(());
            }
            self.set(due);
        }
        Poll::Pending
    }

    fn set(&mut self, due: Option<Instant>) {
        let due = due.unwrap_or_else(|| Instant::now() + self.timeouts.idle);
        self.timer.as_mut().reset(due);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn started() -> (Instant, Activity, Clock) {
        (Instant::now(), Activity::new(), Clock::new(Timeouts::default()))
    }

    async fn expired(start: Instant, clock: &mut Clock, activity: &Activity) -> u64 {
        poll_fn(|cx| clock.poll(cx, activity)).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_has_the_time_of_a_head() {
        let (start, activity, mut clock) = started();
        tokio::time::advance(5 * SECOND).await;
        activity.read();
        assert_eq!(expired(start, &mut clock, &activity).await, 15);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_it_may_be_idle_for_longer() {
        let (start, activity, mut clock) = started();
        activity.begin();
        tokio::time::advance(100 * SECOND).await;
        assert!(futures_util::poll!(poll_fn(|cx| clock.poll(cx, &activity))).is_pending());
        activity.end();
        assert_eq!(expired(start, &mut clock, &activity).await, 175);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_ends_the_idleness() {
        let (start, activity, mut clock) = started();
        activity.begin();
        activity.end();
        tokio::time::advance(10 * SECOND).await;
        assert!(futures_util::poll!(poll_fn(|cx| clock.poll(cx, &activity))).is_pending());
        activity.read();
        activity.read();
        assert_eq!(expired(start, &mut clock, &activity).await, 25);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bytes_of_http2_are_no_head() {
        let (start, activity, mut clock) = started();
        activity.is_multiplexed();
        activity.begin();
        activity.begin();
        activity.end();
        tokio::time::advance(20 * SECOND).await;
        assert!(futures_util::poll!(poll_fn(|cx| clock.poll(cx, &activity))).is_pending());
        activity.end();
        activity.read();
        assert_eq!(expired(start, &mut clock, &activity).await, 95);
    }
}
