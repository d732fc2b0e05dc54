//! So many per minute: the generic cell rate algorithm as pure functions.
//!
//! In come the state of one limit, the time and a cost, out come a decision
//! and the new state. The state is one number, the *arrival*: the time at
//! which the limit will be untouched again. Times are nanoseconds since
//! whenever the caller likes; there is no clock here, and nothing overflows.
//!
//! ```text
//!            now        arrival          now + burst
//!  ───────────┼────────────┼──────────────────┼─────▶ time
//!             │◀── taken ─▶│◀──── balance ───▶│
//! ```

use std::num::NonZeroU32;
use std::time::Duration;

/// A minute, in nanoseconds.
const MINUTE: u64 = 60_000_000_000;

/// So many per minute, all of which may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: u64,
    /// The time in which one comes back, in nanoseconds.
    interval: u64,
}

/// What is asked of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// It is wanted now, and is only taken if all of it fits.
    Ahead(u64),
    /// It has been spent already, so it is taken in any case: the balance may
    /// fall below zero, a debt that has to be waited off.
    Spent(u64),
}

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is room.
    Admitted,
    /// There is none until this time from now has passed.
    Refused(Duration),
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// How much may be taken at once; 0 in debt.
    pub remaining: u64,
    /// The time until the limit is untouched again.
    pub reset: Duration,
}

impl Rate {
    /// So many per minute. Rounded to whole nanoseconds for each, as
    /// governor does it: exact enough up to a thousand million.
    #[must_use]
    pub fn per_minute(number: NonZeroU32) -> Self {
        let burst = u64::from(number.get());
        Self { burst, interval: (MINUTE / burst).max(1) }
    }

    /// How many come back in a minute.
    #[must_use]
    pub fn limit(self) -> u64 {
        self.burst
    }

    /// The time in which so many come back.
    fn time(self, number: u64) -> u64 {
        number.saturating_mul(self.interval)
    }
}

/// Decides about a cost, and gives the state after it.
///
/// `arrival` 0 is a limit that was never used.
#[must_use]
pub fn decide(arrival: u64, now: u64, cost: Cost, rate: Rate) -> (Decision, u64) {
    let after = |number| arrival.max(now).saturating_add(rate.time(number));
    match cost {
        Cost::Spent(number) => (Decision::Admitted, after(number)),
        Cost::Ahead(number) => {
            let after = after(number);
            let latest = now.saturating_add(rate.time(rate.burst));
            if after <= latest {
                (Decision::Admitted, after)
            } else {
                (Decision::Refused(Duration::from_nanos(after - latest)), arrival)
            }
        }
    }
}

/// The state before so many were taken.
#[must_use]
pub fn give_back(arrival: u64, number: u64, rate: Rate) -> u64 {
    arrival.saturating_sub(rate.time(number))
}

/// How a limit stands now.
#[must_use]
pub fn balance(arrival: u64, now: u64, rate: Rate) -> Balance {
    let taken = arrival.saturating_sub(now);
    let left = rate.time(rate.burst).saturating_sub(taken);
    Balance { remaining: left / rate.interval, reset: Duration::from_nanos(taken) }
}

/// The state under another rate: what has been taken stays taken, so that a
/// debt shrinks with the time that it takes to come back.
#[must_use]
pub fn rescale(arrival: u64, now: u64, from: Rate, to: Rate) -> u64 {
    let taken = u128::from(arrival.saturating_sub(now));
    let scaled = (taken * u128::from(to.interval)).div_ceil(u128::from(from.interval));
    now.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(number: u32) -> Rate {
        Rate::per_minute(NonZeroU32::new(number).unwrap())
    }

    #[test]
    fn a_burst_is_the_minutes_number_and_comes_back_one_by_one() {
        let rate = rate(60);
        let now = 7 * MINUTE;
        let mut arrival = 0;
        for taken in 1..=60 {
            let (decision, next) = decide(arrival, now, Cost::Ahead(1), rate);
            assert_eq!(decision, Decision::Admitted, "{taken}");
            assert_eq!(balance(next, now, rate).remaining, 60 - taken);
            arrival = next;
        }
        let (decision, same) = decide(arrival, now, Cost::Ahead(1), rate);
        assert_eq!((decision, same), (Decision::Refused(Duration::from_secs(1)), arrival));
        let later = now + 1_000_000_000;
        assert_eq!(
            decide(arrival, later - 1, Cost::Ahead(1), rate).0,
            Decision::Refused(Duration::from_nanos(1))
        );
        assert_eq!(decide(arrival, later, Cost::Ahead(1), rate).0, Decision::Admitted);
        let full = Balance { remaining: 60, reset: Duration::ZERO };
        assert_eq!(balance(arrival, now + MINUTE, rate), full);
    }

    #[test]
    fn a_debt_has_to_be_waited_off() {
        let rate = rate(60);
        let (decision, arrival) = decide(0, 0, Cost::Spent(90), rate);
        assert_eq!(decision, Decision::Admitted);
        assert_eq!(balance(arrival, 0, rate), Balance { remaining: 0, reset: Duration::from_secs(90) });
        let refused = decide(arrival, 0, Cost::Ahead(1), rate).0;
        assert_eq!(refused, Decision::Refused(Duration::from_secs(31)));
        assert_eq!(decide(arrival, 31_000_000_000, Cost::Ahead(1), rate).0, Decision::Admitted);
    }

    #[test]
    fn nothing_overflows() {
        for number in [1, 7, 1_000_000_000, u32::MAX] {
            let rate = rate(number);
            let (_, arrival) = decide(u64::MAX - 1, u64::MAX - 5, Cost::Spent(u64::MAX), rate);
            assert_eq!(arrival, u64::MAX);
            assert_eq!(balance(arrival, 0, rate).remaining, 0);
            assert!(matches!(decide(arrival, 0, Cost::Ahead(u64::MAX), rate).0, Decision::Refused(_)));
            let _ = rescale(arrival, 0, rate, Rate::per_minute(NonZeroU32::MIN));
        }
    }

    #[test]
    fn another_rate_keeps_what_was_taken() {
        let (old, new) = (rate(60), rate(600));
        let (_, arrival) = decide(0, 5, Cost::Spent(90), old);
        let arrival = rescale(arrival, 5, old, new);
        assert_eq!(balance(arrival, 5, new).remaining, 510);
        assert_eq!(rescale(3, 5, old, new), 5);
    }
}
