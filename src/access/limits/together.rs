//! Limits that hold over all gateways of one store.
//!
//! In comes a request that its own gateway has room for, out comes whether
//! all of them together have. What a request gives back, and what it has
//! cost, is noted for the store later. While the store is away each gateway
//! goes by what it has counted itself.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::ledger::SLOT_WAIT;
use super::{Gauge, Limits, Measure, Over, Permit, Quota, Quotas, Scope, Standing, Subject};
use crate::access::gcra::Rate;
use crate::store::shared::{Answer, Change, Counter, Shared, Take, Taken, Which};
use crate::store::{Id, Store};

/// How long slots are held unless they are renewed.
pub const SLOT_LEASE: Duration = Duration::from_secs(30);

/// How many changes wait for the store. Slots that are not given back are
/// free when their lease is over.
const MAX_CHANGES: usize = 100_000;

/// How many changes go to the store at once.
const BATCH: usize = 100;

/// What the gateways of one store have together.
#[derive(Debug)]
pub(super) struct Together {
    store: Arc<dyn Store>,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    changes: VecDeque<Change>,
    /// Who holds slots of which counters.
    held: HashMap<Id, Vec<String>>,
    waker: Option<Waker>,
}

/// Slots that are held in the store.
#[derive(Debug)]
pub(super) struct Held {
    limits: Arc<Limits>,
    holder: Id,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(together) = &self.limits.together {
            let counters = together.work().held.remove(&self.holder).unwrap_or_default();
            together.change(Change::Release { holder: self.holder, counters });
        }
    }
}

impl Limits {
    /// Limits that hold together with all who use this store, if it is one
    /// for several.
    #[must_use]
    pub fn together(mut self, store: Arc<dyn Store>) -> Self {
        let is_shared = store.shared().is_some();
        self.together = is_shared.then(|| Together { store, work: Mutex::default() });
        self
    }

    /// Admits a request here and everywhere; gives how the limits stand then,
    /// where that is known of all gateways.
    pub async fn admit_everywhere(
        self: &Arc<Self>,
        subject: Subject,
        quotas: Quotas,
        slots: u32,
        now: Instant,
    ) -> (Result<Permit, Over>, Option<Standing>) {
        let mut permit = match self.admit(subject, quotas, slots, now) {
            Ok(permit) => permit,
            Err(over) => return (Err(over), None),
        };
        let counters = counters(&permit.subject, &quotas);
        let Some(shared) = self.shared().filter(|_| !counters.is_empty()) else {
            return (Ok(permit), None);
        };
        let holder = Id::random();
        // Before it is asked: whoever leaves meanwhile gives back what the
        // store may have taken.
        permit.held = self.hold(holder, &counters);
        let take = Take {
            counters: counters.iter().map(|(_, counter)| counter.clone()).collect(),
            requests: 1,
            slots: u64::from(slots),
            holder,
            lease: SLOT_LEASE,
        };
        match shared.take(take).await {
            // Away: what this gateway has counted itself has to do.
            Err(_) => (Ok(permit), None),
            Ok(answer) => {
                let standing = standing(&counters, &answer.taken);
                match over(&counters, &answer) {
                    None => (Ok(permit), Some(standing)),
                    Some(over) => {
                        permit.give_back(now);
                        (Err(over), Some(standing))
                    }
                }
            }
        }
    }

    /// How the limits stand over all gateways; `None` where only this one
    /// counts.
    pub async fn standing_everywhere(&self, subject: &Subject, quotas: &Quotas) -> Option<Standing> {
        let counters = counters(subject, quotas);
        let shared = self.shared().filter(|_| quotas.own.has_rate() || quotas.everyone.has_rate())?;
        let take = Take {
            counters: counters.iter().map(|(_, counter)| counter.clone()).collect(),
            requests: 0,
            slots: 0,
            holder: Id([0; 16]),
            lease: Duration::ZERO,
        };
        let answer = shared.take(take).await.ok()?;
        Some(standing(&counters, &answer.taken))
    }

    /// Tells the store what has happened, for as long as it is polled.
    pub async fn share(&self) -> std::convert::Infallible {
        loop {
            let changes = poll_fn(|cx| match &self.together {
                None => Poll::Pending,
                Some(together) => {
                    let mut work = together.work();
                    let changes = work.batch();
                    if changes.is_empty() {
                        work.waker = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Poll::Ready(changes)
                }
            });
            self.note(changes.await).await;
        }
    }

    /// Tells the store what has happened until now.
    pub async fn share_rest(&self) {
        while let Some(together) = &self.together {
            let changes = together.work().batch();
            if changes.is_empty() {
                return;
            }
            self.note(changes).await;
        }
    }

    /// Says of all slots that are held that they still are. To be called
    /// every third of [`SLOT_LEASE`].
    pub fn renew_slots(&self) {
        if let Some(together) = &self.together {
            let held: Vec<(Id, Vec<String>)> =
                together.work().held.iter().map(|(holder, counters)| (*holder, counters.clone())).collect();
            for (holder, counters) in held {
                together.change(Change::Renew { holder, counters, lease: SLOT_LEASE });
            }
        }
    }

    async fn note(&self, changes: Vec<Change>) {
        if let Some(shared) = self.shared()
            && let Err(away) = shared.note(changes).await
        {
            tracing::debug!(%away, "the use of limits could not be told to the other gateways");
        }
    }

    /// Notes that tokens were spent.
    pub(super) fn spend(&self, subject: &Subject, quotas: &Quotas, tokens: u64) {
        let Some(together) = &self.together else { return };
        let counters: Vec<Counter> =
            counters(subject, quotas).into_iter().map(|(_, counter)| counter).collect();
        if counters.iter().any(|counter| counter.tokens.is_some()) {
            together.change(Change::Spend { counters, tokens });
        }
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.together.as_ref()?.store.shared()
    }

    fn hold(self: &Arc<Self>, holder: Id, counters: &[(Scope, Counter)]) -> Option<Held> {
        let limited = counters.iter().filter(|(_, counter)| counter.slots.is_some());
        let names: Vec<String> = limited.map(|(_, counter)| counter.name.clone()).collect();
        if names.is_empty() {
            return None;
        }
        self.together.as_ref()?.work().held.insert(holder, names);
        Some(Held { limits: Arc::clone(self), holder })
    }
}

impl Together {
    fn change(&self, change: Change) {
        let mut work = self.work();
        if work.changes.len() < MAX_CHANGES {
            work.changes.push_back(change);
        }
        if let Some(waker) = work.waker.take() {
            drop(work);
            waker.wake();
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn batch(&mut self) -> Vec<Change> {
        let count = self.changes.len().min(BATCH);
        self.changes.drain(..count).collect()
    }
}

/// The counters that have a limit.
fn counters(subject: &Subject, quotas: &Quotas) -> Vec<(Scope, Counter)> {
    let own = match subject {
        Subject::Key(name) => Some(format!("key:{name}")),
        Subject::Token(hash) => Some(format!("token:{hash}")),
        Subject::Anybody => None,
    };
    let own = own.map(|name| (Scope::Own, name, &quotas.own));
    let everyone = Some((Scope::Everyone, "everyone".to_owned(), &quotas.everyone));
    own.into_iter()
        .chain(everyone)
        .filter(|(_, _, quota)| **quota != Quota::default())
        .map(|(scope, name, quota)| {
            let number = |limit: Option<NonZeroU32>| limit.map(|limit| u64::from(limit.get()));
            let counter = Counter {
                name,
                requests: number(quota.requests_per_minute),
                tokens: number(quota.tokens_per_minute),
                slots: number(quota.concurrent_requests),
            };
            (scope, counter)
        })
        .collect()
}

fn over(counters: &[(Scope, Counter)], answer: &Answer) -> Option<Over> {
    let reached = answer.reached?;
    let (scope, counter) = counters.get(reached.counter)?;
    let (measure, limit, wait) = match reached.which {
        Which::Requests => (Measure::Requests, counter.requests, reached.wait),
        Which::Tokens => (Measure::Tokens, counter.tokens, reached.wait),
        Which::Slots => (Measure::Concurrent, counter.slots, SLOT_WAIT),
    };
    Some(Over { scope: *scope, measure, limit: limit?, wait })
}

fn standing(counters: &[(Scope, Counter)], taken: &[Taken]) -> Standing {
    let each = counters.iter().zip(taken).map(|((_, counter), taken)| Standing {
        requests: gauge(counter.requests, taken.requests),
        tokens: gauge(counter.tokens, taken.tokens),
    });
    each.fold(Standing::default(), Standing::tighter)
}

fn gauge(limit: Option<u64>, taken: Duration) -> Option<Gauge> {
    let limit = NonZeroU32::new(u32::try_from(limit?).ok()?)?;
    let nanoseconds = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
    let balance = crate::access::gcra::balance(nanoseconds, 0, Rate::per_minute(limit));
    Some(Gauge { limit: u64::from(limit.get()), remaining: balance.remaining, reset: balance.reset })
}
