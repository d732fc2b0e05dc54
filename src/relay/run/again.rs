//! Waiting for a chat that Coze still runs in the conversation (its code
//! 4016): somebody talks to the bot there by another way.
//!
//! Nothing has begun then, so the same call is made again, after pauses that
//! grow, for as long as a request may wait for its conversation.

use std::time::Duration;

use tokio::time::Instant;

use super::{Phase, Run, open, open_with};
use crate::coze::{Call, Reader, sse};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

/// The first pause; each is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);

/// A call that may have to be made again.
#[derive(Debug)]
pub(super) struct Again {
    /// With its token, if it has to be that.
    call: Option<(Call, Option<Secret>)>,
    wait: Duration,
    /// Counted from the first time that Coze is busy: what went before it,
    /// uploads for one, was no waiting.
    until: Option<Instant>,
    pause: Duration,
}

impl Again {
    pub(super) fn new(wait: Duration) -> Self {
        Self { call: None, wait, until: None, pause: FIRST }
    }

    /// This call is made, perhaps with just this token.
    pub(super) fn made(&mut self, call: Call, token: Option<Secret>) {
        self.call = Some((call, token));
    }

    /// How long to wait before the next try; `None` if the time is over.
    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.wait);
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST);
        Some(pause)
    }
}

impl Run {
    /// Makes the call again after a while, if Coze refused it because of
    /// another chat, and there is time.
    pub(super) fn tries_again(&mut self, failure: &Failure) -> bool {
        if failure.kind != Kind::Busy || self.account.ids.is_some() || self.account.spoken {
            return false;
        }
        let Some(again) = &mut self.again else { return false };
        if again.call.is_none() {
            return false;
        }
        let Some(pause) = again.next() else { return false };
        tracing::debug!(?pause, "Coze runs another chat in the conversation; the call is made again");
        self.phase = Phase::Pausing(Box::pin(tokio::time::sleep(pause)));
        (self.decoder, self.reader) = (sse::Decoder::default(), Reader::of(&self.target.callee));
        true
    }

    /// The pause is over: makes the call again.
    pub(super) fn call_again(&mut self) {
        let call = self.again.as_ref().and_then(|again| again.call.clone());
        let (call, token) = call.expect("without a call to make there is no pause");
        let opening = match token {
            Some(token) => open_with(self.target.clone(), call, token),
            None => open(self.target.clone(), call, self.caller_token.clone()),
        };
        self.phase = Phase::Opening(opening);
        self.clocks.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_time() {
        let mut again = Again::new(Duration::from_secs(10));
        let mut pauses = Vec::new();
        while let Some(pause) = again.next() {
            tokio::time::sleep(pause).await;
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000, 900]);
        assert_eq!(Again::new(Duration::ZERO).next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_before_the_first_refusal_is_no_waiting() {
        let mut again = Again::new(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(again.next(), Some(FIRST));
    }
}
