//! Whether a deployment is worth a call: fails fast once it cannot be
//! reached, and finds out with one call at a time when it can again.
//!
//! In come the outcomes of calls with their times, out goes a ticket or how
//! long to wait. Only connections count: a Coze that answers with an error is
//! there. Never looks at a clock.
//!
//! ```text
//!            5 failures in a row          the pause is over
//!  Closed ──────────────────────▶ Open ─────────────────────▶ Probing
//!    ▲                             ▲                             │ │
//!    │                             └──── failed: twice the pause ┘ │
//!    └──────────────────────────────────────────────── connected ──┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// How many connections in a row have to fail.
const FAILURES: u32 = 5;

/// The first pause; each failed probe doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a probe may take: longer than a connection attempt. A call that
/// found an old connection waits for its answer, which may take minutes.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The state of the way to one deployment.
#[derive(Clone, Debug)]
pub struct Circuit {
    state: State,
    /// Counts the states. A ticket of an earlier one tells nothing: it may
    /// have had a connection from before.
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    Probing { since: Instant, pause: Duration },
}

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All of them pass.
    Closed,
    /// None does, or the next one will be the probe.
    Open,
    /// One has passed, and the others wait for what comes of it.
    Probing,
}

/// Leave to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Default for Circuit {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, epoch: 0 }
    }
}

impl Circuit {
    /// What becomes of calls now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::Probing { .. } => Phase::Probing,
        }
    }

    /// Whether the last connection that was tried came about.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0 })
    }

    /// Lets a call pass.
    ///
    /// # Errors
    /// If it would fail: with how long to wait before the next.
    pub fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, pause } if now >= until => {
                self.enter(State::Probing { since: now, pause });
            }
            State::Open { until, .. } => return Err(until.duration_since(now)),
            State::Probing { since, pause } if now >= since + PROBE_LIMIT => {
                self.enter(State::Probing { since: now, pause });
            }
            State::Probing { .. } => return Err(FIRST_PAUSE),
        }
        Ok(Ticket(self.epoch))
    }

    /// A new connection came about, whichever call wanted it.
    pub fn connected(&mut self) {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::Open { .. } | State::Probing { .. } => self.enter(State::Closed { failures: 0 }),
        }
    }

    /// The call was answered.
    pub fn reached(&mut self, ticket: Ticket) {
        if ticket.0 == self.epoch {
            self.connected();
        }
    }

    /// The call got no connection.
    pub fn missed(&mut self, ticket: Ticket, now: Instant) {
        if ticket.0 != self.epoch {
            return;
        }
        match &mut self.state {
            State::Closed { failures } if *failures + 1 < FAILURES => *failures += 1,
            State::Closed { .. } => self.open(now, FIRST_PAUSE),
            State::Probing { pause, .. } => {
                let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                self.open(now, pause);
            }
            // Nobody holds a ticket of this state.
            State::Open { .. } => {}
        }
    }

    /// The call ended without telling anything: its caller left, or it broke
    /// off on a connection from before. The next call finds out.
    pub fn abandoned(&mut self, ticket: Ticket, now: Instant) {
        if let State::Probing { pause, .. } = self.state
            && ticket.0 == self.epoch
        {
            self.enter(State::Open { until: now, pause });
        }
    }

    fn open(&mut self, now: Instant, pause: Duration) {
        self.enter(State::Open { until: now + pause, pause });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests;
