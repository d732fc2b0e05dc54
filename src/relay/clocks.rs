//! The three clocks of a turn: to the head, between events, for the whole.
//!
//! One timer serves all three. Being told of each byte costs one look at the
//! time; the timer itself is only set again when it fires.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::turn::{Failure, Kind};

/// How long the head of Coze's answer may take. The server sends it with its
/// first event, which comes before a bot begins to work: what takes minutes
/// (tools) comes after it. A workflow's first event is its first words: there
/// the longest silence counts.
const HEAD: Duration = Duration::from_secs(120);

/// The least that a whole turn may take, and how many times the longest
/// silence it may. A turn that is never silent for long can be a loop of a
/// bot, which somebody pays for; six long silences with work in between are
/// still an honest one. With the default silence of 600 s both are one hour.
const TURN: Duration = Duration::from_secs(3600);
const TURN_SILENCES: u32 = 6;

/// Tells when Coze has taken too long.
#[derive(Debug)]
pub(super) struct Clocks {
    waiting: Waiting,
    since: Instant,
    /// The longest silence now.
    limit: Duration,
    /// The longest wait for the head.
    head: Duration,
    /// The longest silence between events.
    silence: Duration,
    /// The end of the whole turn.
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Head,
    Event,
}

/// Which clock has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The head did not come.
    Head,
    /// The next event did not come.
    Silence,
    /// The turn did not end.
    Turn,
}

impl Clocks {
    /// Starts all clocks; `silence` is the longest between events, `early`
    /// says whether the head comes before the work.
    pub(super) fn new(silence: Duration, early: bool) -> Self {
        let since = Instant::now();
        let head = if early { silence.min(HEAD) } else { silence };
        let limit = head;
        let end = since + TURN.max(silence.saturating_mul(TURN_SILENCES));
        let timer = Box::pin(tokio::time::sleep(limit));
        Self { waiting: Waiting::Head, since, limit, head, silence, end, timer }
    }

    /// The call is made again, within the same turn.
    pub(super) fn restart(&mut self) {
        self.waiting = Waiting::Head;
        self.limit = self.head;
        self.heard();
        let due = self.due();
        self.timer.as_mut().reset(due);
    }

    /// The head has come.
    pub(super) fn begun(&mut self) {
        self.waiting = Waiting::Event;
        self.limit = self.silence;
        self.heard();
    }

    /// Something has come.
    pub(super) fn heard(&mut self) {
        self.since = Instant::now();
    }

    /// From now on this much silence is too much.
    pub(super) fn tighten(&mut self, limit: Duration) {
        if limit < self.limit {
            self.limit = limit;
            self.heard();
            let due = self.due();
            self.timer.as_mut().reset(due);
        }
    }

    /// Ready once any clock has run out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.end {
                return Poll::Ready(Expired::Turn);
            }
            let due = self.due();
            if now >= due {
                return Poll::Ready(match self.waiting {
                    Waiting::Head => Expired::Head,
                    Waiting::Event => Expired::Silence,
                });
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn due(&self) -> Instant {
        (self.since + self.limit).min(self.end)
    }
}

impl From<Expired> for Failure {
    fn from(expired: Expired) -> Self {
        let message = match expired {
            Expired::Head => "Coze did not begin to answer in time.",
            Expired::Silence => "Coze was silent for too long.",
            Expired::Turn => "The answer took longer than any answer may take.",
        };
        let mut failure = Failure::new(Kind::Timeout, message);
        failure.may_be_running = true;
        failure
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn expired(start: Instant, clocks: &mut Clocks) -> (Expired, u64) {
        let expired = poll_fn(|cx| clocks.poll(cx)).await;
        (expired, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_has_its_own_time_within_the_silence() {
        for (silence, head) in [(600, 120), (10, 10)] {
            let mut clocks = Clocks::new(silence * SECOND, true);
            assert_eq!(expired(Instant::now(), &mut clocks).await, (Expired::Head, head));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_head_only_unbroken_silence_counts() {
        let start = Instant::now();
        let mut clocks = Clocks::new(600 * SECOND, true);
        tokio::time::advance(100 * SECOND).await;
        clocks.begun();
        tokio::time::advance(500 * SECOND).await;
        clocks.heard();
        assert_eq!(expired(start, &mut clocks).await, (Expired::Silence, 1200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tighter_limit_counts_from_when_it_was_set() {
        let start = Instant::now();
        let mut clocks = Clocks::new(600 * SECOND, true);
        clocks.begun();
        tokio::time::advance(5 * SECOND).await;
        clocks.tighten(2 * SECOND);
        assert_eq!(expired(start, &mut clocks).await, (Expired::Silence, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_never_silent_ends_all_the_same() {
        for (silence, turn) in [(600, 3600), (60, 3600), (1200, 7200)] {
            let start = Instant::now();
            let mut clocks = Clocks::new(silence * SECOND, true);
            clocks.begun();
            let ended = loop {
                clocks.heard();
                let polled = tokio::time::timeout(30 * SECOND, poll_fn(|cx| clocks.poll(cx))).await;
                if let Ok(expired) = polled {
                    break (expired, start.elapsed().as_secs());
                }
            };
            assert_eq!(ended, (Expired::Turn, turn));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_head_comes_with_the_first_words_it_may_take_as_long() {
        let silence = HEAD * 3;
        let mut clocks = Clocks::new(silence, false);
        let begun = Instant::now();
        assert_eq!(std::future::poll_fn(|cx| clocks.poll(cx)).await, Expired::Head);
        assert_eq!(begun.elapsed().as_secs(), silence.as_secs());
    }
}
