//! What callers may use, and what they have used.
//!
//! In comes a caller with its quotas, out comes a [`Permit`] or [`Over`].
//! All state stands behind one lock, so that a request is admitted by its key
//! and by everyone's limits or by neither. It is held for some hundred
//! nanoseconds a request. Knows no config and survives its reloads.

mod ledger;
mod together;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::gcra::Rate;
use super::{Caller, Identity};
use ledger::Ledger;
pub use together::SLOT_LEASE;
use together::{Held, Together};

/// How many callers are remembered. Without the config's keys anybody can
/// make up another token.
const MAX_SUBJECTS: usize = 100_000;

/// Below this many nobody is forgotten.
const FEW_SUBJECTS: usize = 1024;

/// Limits, each of them optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens in a minute, as Coze counts them.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Answers that are being given at one time.
    pub concurrent_requests: Option<NonZeroU32>,
}

/// The limits that one caller meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Its own.
    pub own: Quota,
    /// Those of all callers together.
    pub everyone: Quota,
}

/// A caller as the limits know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key of the config, by its name.
    Key(Arc<str>),
    /// A token of the caller's own, by its hash.
    Token(Arc<str>),
    /// Nobody in particular: has no limits of its own.
    Anybody,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The key's, or the token's.
    Own,
    /// That of all callers together.
    Everyone,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Answers at one time.
    Concurrent,
}

/// A request is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the limit of {limit} {} of {}", measure.words(), scope.words())]
pub struct Over {
    /// Whose limit.
    pub scope: Scope,
    /// Which.
    pub measure: Measure,
    /// Its number.
    pub limit: u64,
    /// How long to wait before another try.
    pub wait: Duration,
}

/// How a limit stands, for the client to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Its number.
    pub limit: u64,
    /// How much of it is left now.
    pub remaining: u64,
    /// The time until all of it is left.
    pub reset: Duration,
}

/// How the limits of one caller stand: the tighter of its own and everyone's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests, if they are limited.
    pub requests: Option<Gauge>,
    /// Tokens, if they are limited.
    pub tokens: Option<Gauge>,
}

/// The use of all limits.
#[derive(Debug)]
pub struct Limits {
    state: Mutex<State>,
    /// What times are counted from.
    start: Instant,
    unknown_usage: AtomicU64,
    together: Option<Together>,
}

#[derive(Debug, Default)]
struct State {
    everyone: Ledger,
    subjects: HashMap<Subject, Ledger>,
    /// At how many subjects the idle ones are dropped.
    full: usize,
}

/// Proof of admission. Holds its slots until it is dropped.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<Limits>,
    subject: Subject,
    quotas: Quotas,
    slots: u32,
    /// What it holds in the store.
    held: Option<Held>,
}

/// Takes the cost of one chat, once, and perhaps long after its
/// [`Permit`] is gone.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Arc<Limits>,
    subject: Subject,
    quotas: Quotas,
}

impl Limits {
    /// Limits that nobody has used. No time that they are told of may be
    /// before the start.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            state: Mutex::new(State { full: FEW_SUBJECTS, ..State::default() }),
            start,
            unknown_usage: AtomicU64::new(0),
            together: None,
        }
    }

    /// Admits one request that needs so many slots: takes them from the
    /// caller's own limits and from everyone's, or from neither.
    ///
    /// # Errors
    /// If a limit is reached; of several the one that takes longest.
    pub fn admit(
        self: &Arc<Self>,
        subject: Subject,
        quotas: Quotas,
        slots: u32,
        now: Instant,
    ) -> Result<Permit, Over> {
        let now = self.nanoseconds(now);
        {
            let mut state = self.lock();
            let own = state.own(&subject, now)?;
            let State { everyone, subjects, .. } = &mut *state;
            let mut own = own.then(|| subjects.entry(subject.clone()).or_default());
            let over = own
                .as_mut()
                .and_then(|ledger| ledger.refuses(&quotas.own, slots, now).map(|over| over.of(Scope::Own)))
                .into_iter()
                .chain(everyone.refuses(&quotas.everyone, slots, now).map(|over| over.of(Scope::Everyone)))
                .max_by_key(|over| over.wait);
            if let Some(over) = over {
                return Err(over);
            }
            if let Some(ledger) = own {
                ledger.take(&quotas.own, slots, now);
            }
            everyone.take(&quotas.everyone, slots, now);
        }
        Ok(Permit { limits: Arc::clone(self), subject, quotas, slots, held: None })
    }

    /// How a caller's limits stand.
    #[must_use]
    pub fn standing(&self, subject: &Subject, quotas: &Quotas, now: Instant) -> Standing {
        if !quotas.own.has_rate() && !quotas.everyone.has_rate() {
            return Standing::default();
        }
        let now = self.nanoseconds(now);
        let mut state = self.lock();
        let everyone = state.everyone.standing(&quotas.everyone, now);
        match state.subjects.get_mut(subject) {
            Some(ledger) => ledger.standing(&quotas.own, now),
            None => Ledger::default().standing(&quotas.own, now),
        }
        .tighter(everyone)
    }

    /// How many answers are being given at this moment, each of several in
    /// one request counted.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.lock().everyone.running
    }

    /// How many chats there were whose cost a limit needed and Coze never
    /// told.
    #[must_use]
    pub fn unknown_usage(&self) -> u64 {
        self.unknown_usage.load(Ordering::Relaxed)
    }

    fn release(&self, subject: &Subject, slots: u32) {
        let mut state = self.lock();
        let State { everyone, subjects, .. } = &mut *state;
        everyone.running = everyone.running.saturating_sub(slots);
        if let Some(ledger) = subjects.get_mut(subject) {
            ledger.running = ledger.running.saturating_sub(slots);
        }
    }

    fn charge(&self, subject: &Subject, quotas: &Quotas, tokens: u64, now: Instant) {
        let now = self.nanoseconds(now);
        let mut state = self.lock();
        state.everyone.charge(&quotas.everyone, tokens, now);
        if quotas.own.tokens_per_minute.is_some() && state.own(subject, now).is_ok_and(|has| has) {
            state.subjects.entry(subject.clone()).or_default().charge(&quotas.own, tokens, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl State {
    /// Whether a subject has a ledger of its own, for which there is room.
    fn own(&mut self, subject: &Subject, now: u64) -> Result<bool, Over> {
        if *subject == Subject::Anybody {
            return Ok(false);
        }
        if self.subjects.len() >= self.full && !self.subjects.contains_key(subject) {
            self.forget(now);
        }
        if self.subjects.len() >= MAX_SUBJECTS && !self.subjects.contains_key(subject) {
            let limit = u64::try_from(MAX_SUBJECTS).unwrap_or(u64::MAX);
            return Err(Over {
                scope: Scope::Everyone,
                measure: Measure::Concurrent,
                limit,
                wait: ledger::SLOT_WAIT,
            });
        }
        Ok(true)
    }

    /// Drops the subjects that would be the same if they were new. If these
    /// are few, half of the others goes too: those that owe the least, and
    /// never one with a running answer.
    fn forget(&mut self, now: u64) {
        self.subjects.retain(|_, ledger| !ledger.is_idle(now));
        if self.subjects.len() >= MAX_SUBJECTS / 4 * 3 {
            let mut owed: Vec<u64> =
                self.subjects.values().filter(|ledger| ledger.running == 0).map(Ledger::arrival).collect();
            let half = owed.len() / 2;
            if half > 0 {
                let (_, &mut median, _) = owed.select_nth_unstable(half);
                self.subjects.retain(|_, ledger| ledger.running > 0 || ledger.arrival() > median);
            }
        }
        self.full = (self.subjects.len() * 2).clamp(FEW_SUBJECTS, MAX_SUBJECTS);
    }
}

impl Permit {
    /// What takes the cost of the request's chats; `None` where no limit asks
    /// for it.
    #[must_use]
    pub fn meter(&self) -> Option<Meter> {
        let metered =
            self.quotas.own.tokens_per_minute.is_some() || self.quotas.everyone.tokens_per_minute.is_some();
        metered.then(|| Meter {
            limits: Arc::clone(&self.limits),
            subject: self.subject.clone(),
            quotas: self.quotas,
        })
    }
}

impl Permit {
    /// Gives the request back, too: it was refused elsewhere.
    fn give_back(&self, now: Instant) {
        let now = self.limits.nanoseconds(now);
        let mut state = self.limits.lock();
        let State { everyone, subjects, .. } = &mut *state;
        everyone.give_back(&self.quotas.everyone, now);
        if let Some(ledger) = subjects.get_mut(&self.subject) {
            ledger.give_back(&self.quotas.own, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.release(&self.subject, self.slots);
    }
}

impl Meter {
    /// A chat has cost so many tokens.
    pub fn charge(self, tokens: u64, now: Instant) {
        self.limits.charge(&self.subject, &self.quotas, tokens, now);
        self.limits.spend(&self.subject, &self.quotas, tokens);
    }

    /// What a chat has cost will never be known.
    pub fn unknown(self) {
        self.limits.unknown_usage.fetch_add(1, Ordering::Relaxed);
    }
}

impl Subject {
    /// A caller, by what stays the same of it.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        match caller.identity() {
            Identity::Key(key) => Self::Key(key.name.as_str().into()),
            Identity::CozeToken(_) => Self::Token(caller.name().into()),
            Identity::Anonymous => Self::Anybody,
        }
    }
}

impl Quota {
    fn has_rate(&self) -> bool {
        self.requests_per_minute.is_some() || self.tokens_per_minute.is_some()
    }

    fn requests(&self) -> Option<Rate> {
        self.requests_per_minute.map(Rate::per_minute)
    }

    fn tokens(&self) -> Option<Rate> {
        self.tokens_per_minute.map(Rate::per_minute)
    }
}

impl Standing {
    fn tighter(self, other: Self) -> Self {
        Self { requests: tighter(self.requests, other.requests), tokens: tighter(self.tokens, other.tokens) }
    }
}

fn tighter(one: Option<Gauge>, other: Option<Gauge>) -> Option<Gauge> {
    let tightness = |gauge: &Gauge| (gauge.remaining, std::cmp::Reverse(gauge.reset));
    one.into_iter().chain(other).min_by_key(tightness)
}

impl Scope {
    fn words(self) -> &'static str {
        match self {
            Self::Own => "this key",
            Self::Everyone => "the gateway",
        }
    }
}

impl Measure {
    fn words(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::Concurrent => "concurrent requests",
        }
    }
}

#[cfg(test)]
mod tests;
