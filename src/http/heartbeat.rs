//! What is sent while there is nothing to send.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long a client may go without a chunk: some clients' timers (120 s in
/// one) look at chunks alone.
const CHUNK_INTERVAL: Duration = Duration::from_secs(60);

/// What to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// A comment.
    Comment,
    /// A chunk that says nothing.
    Chunk,
}

/// Tells when silence towards the client has to be filled.
#[derive(Debug)]
pub(super) struct Heartbeat {
    keepalive: Duration,
    last_write: Instant,
    last_chunk: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Heartbeat {
    pub(super) fn new(keepalive: Duration) -> Self {
        let now = Instant::now();
        Self {
            keepalive,
            last_write: now,
            last_chunk: now,
            timer: Box::pin(tokio::time::sleep(keepalive.min(CHUNK_INTERVAL))),
        }
    }

    /// A chunk was written.
    pub(super) fn chunk_written(&mut self) {
        self.last_write = Instant::now();
        self.last_chunk = self.last_write;
    }

    /// Ready when something has to be sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let beat = if now >= self.last_chunk + CHUNK_INTERVAL {
                Some(Beat::Chunk)
            } else if now >= self.last_write + self.keepalive {
                Some(Beat::Comment)
            } else {
                None
            };
            if let Some(beat) = beat {
                self.last_write = now;
                if beat == Beat::Chunk {
                    self.last_chunk = now;
                }
            }
            self.timer
                .as_mut()
                .reset((self.last_write + self.keepalive).min(self.last_chunk + CHUNK_INTERVAL));
            if let Some(beat) = beat {
                return Poll::Ready(beat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn beats(heartbeat: &mut Heartbeat, count: usize) -> Vec<(u64, Beat)> {
        let start = heartbeat.last_chunk;
        let mut beats = Vec::new();
        for _ in 0..count {
            let beat = poll_fn(|cx| heartbeat.poll(cx)).await;
            beats.push((start.elapsed().as_secs(), beat));
        }
        beats
    }

    #[tokio::test(start_paused = true)]
    async fn every_sixty_seconds_a_chunk_goes_instead_of_a_comment() {
        let mut heartbeat = Heartbeat::new(Duration::from_secs(15));
        assert_eq!(
            beats(&mut heartbeat, 5).await,
            [
                (15, Beat::Comment),
                (30, Beat::Comment),
                (45, Beat::Comment),
                (60, Beat::Chunk),
                (75, Beat::Comment)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_keepalive_does_not_delay_the_chunk() {
        let mut heartbeat = Heartbeat::new(Duration::from_secs(40));
        assert_eq!(
            beats(&mut heartbeat, 3).await,
            [(40, Beat::Comment), (60, Beat::Chunk), (100, Beat::Comment)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_puts_the_beat_off() {
        let mut heartbeat = Heartbeat::new(Duration::from_secs(15));
        tokio::time::advance(Duration::from_secs(10)).await;
        heartbeat.chunk_written();
        let written = Instant::now();
        poll_fn(|cx| heartbeat.poll(cx)).await;
        assert_eq!(written.elapsed().as_secs(), 15);
    }
}
