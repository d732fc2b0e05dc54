//! What one caller, or all together, have used.
//!
//! In come quotas and the time, out comes what they allow. Decides nothing
//! for anybody else and locks nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::gcra::{self, Cost, Decision, Rate};
use super::{Gauge, Measure, Over, Quota, Scope, Standing};

/// How long to wait for a slot: when one will be free, nobody knows.
pub(super) const SLOT_WAIT: Duration = Duration::from_secs(1);

/// The use of one set of limits.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    requests: Bucket,
    tokens: Bucket,
    /// Slots that are taken.
    pub(super) running: u32,
}

/// The use of one rate.
#[derive(Debug, Default)]
struct Bucket {
    arrival: u64,
    /// The rate that `arrival` was counted with.
    rate: Option<Rate>,
}

/// A limit of a ledger that is reached.
#[derive(Debug)]
pub(super) struct Refusal {
    measure: Measure,
    limit: u64,
    wait: Duration,
}

impl Refusal {
    pub(super) fn of(self, scope: Scope) -> Over {
        let Self { measure, limit, wait } = self;
        Over { scope, measure, limit, wait }
    }
}

impl Ledger {
    /// The limit that keeps a request out; of several the one that takes
    /// longest.
    pub(super) fn refuses(&mut self, quota: &Quota, slots: u32, now: u64) -> Option<Refusal> {
        let requests = (&mut self.requests, Measure::Requests, quota.requests());
        // One token that could be taken: the balance is positive.
        let tokens = (&mut self.tokens, Measure::Tokens, quota.tokens());
        let rates = [requests, tokens].into_iter().filter_map(|(bucket, measure, rate)| {
            let rate = rate?;
            match gcra::decide(bucket.at(rate, now), now, Cost::Ahead(1), rate).0 {
                Decision::Admitted => None,
                Decision::Refused(wait) => Some(Refusal { measure, limit: rate.limit(), wait }),
            }
        });
        let concurrent = quota
            .concurrent_requests
            .map(NonZeroU32::get)
            .filter(|&limit| self.running.checked_add(slots).is_none_or(|running| running > limit));
        let slots = concurrent.map(|limit| Refusal {
            measure: Measure::Concurrent,
            limit: u64::from(limit),
            wait: SLOT_WAIT,
        });
        rates.chain(slots).max_by_key(|refusal| refusal.wait)
    }

    /// Takes what a request needs and [`Self::refuses`] has found to be free.
    pub(super) fn take(&mut self, quota: &Quota, slots: u32, now: u64) {
        if let Some(rate) = quota.requests() {
            let arrival = self.requests.at(rate, now);
            self.requests.arrival = gcra::decide(arrival, now, Cost::Ahead(1), rate).1;
        }
        self.running = self.running.saturating_add(slots);
    }

    /// Gives back the request that [`Self::take`] has taken, not its slots.
    pub(super) fn give_back(&mut self, quota: &Quota, now: u64) {
        if let Some(rate) = quota.requests() {
            self.requests.arrival = gcra::give_back(self.requests.at(rate, now), 1, rate);
        }
    }

    /// Takes tokens that have been spent.
    pub(super) fn charge(&mut self, quota: &Quota, tokens: u64, now: u64) {
        // The rate may have changed since the request was admitted.
        if let Some(rate) = self.tokens.rate.or(quota.tokens()) {
            let arrival = self.tokens.at(rate, now);
            self.tokens.arrival = gcra::decide(arrival, now, Cost::Spent(tokens), rate).1;
        }
    }

    pub(super) fn standing(&mut self, quota: &Quota, now: u64) -> Standing {
        Standing {
            requests: quota.requests().map(|rate| self.requests.gauge(rate, now)),
            tokens: quota.tokens().map(|rate| self.tokens.gauge(rate, now)),
        }
    }

    /// Whether a new ledger would be the same.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.running == 0 && self.arrival() <= now
    }

    /// When all that was taken will have come back.
    pub(super) fn arrival(&self) -> u64 {
        self.requests.arrival.max(self.tokens.arrival)
    }
}

impl Bucket {
    /// The state under a rate, which it keeps.
    fn at(&mut self, rate: Rate, now: u64) -> u64 {
        if let Some(before) = self.rate.replace(rate)
            && before != rate
        {
            self.arrival = gcra::rescale(self.arrival, now, before, rate);
        }
        self.arrival
    }

    fn gauge(&mut self, rate: Rate, now: u64) -> Gauge {
        let balance = gcra::balance(self.at(rate, now), now, rate);
        Gauge { limit: rate.limit(), remaining: balance.remaining, reset: balance.reset }
    }
}
