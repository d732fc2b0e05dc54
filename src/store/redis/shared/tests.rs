//! The scripts' arithmetic against `access::gcra`. Without
//! `COZEWAY_TEST_REDIS`, the URL of a server, there is nothing to run.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::access::gcra::{self, Cost, Decision, Rate};
use crate::secret::Secret;
use crate::store::Id;

/// A store whose keys are a test's own.
async fn redis() -> Option<Redis> {
    let url = std::env::var("COZEWAY_TEST_REDIS").ok()?;
    let prefix = format!("cozeway-test:{}:", Id::random());
    Some(Redis::new(&Secret::new(url), &prefix, Duration::from_secs(60)).unwrap())
}

fn counter(requests: Option<u64>, tokens: Option<u64>, slots: Option<u64>) -> Counter {
    Counter { name: "key:a".to_owned(), requests, tokens, slots }
}

fn take(counter: &Counter, slots: u64, holder: u8) -> Take {
    Take {
        counters: vec![counter.clone()],
        requests: 1,
        slots,
        holder: Id([holder; 16]),
        lease: Duration::from_secs(30),
    }
}

/// Numbers that look random and are always the same.
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    })
}

#[tokio::test]
async fn requests_and_tokens_are_counted_as_gcra_does() {
    let Some(redis) = redis().await else { return };
    let mut random = numbers(7);
    let mut next = |below: u64| random.next().unwrap() % below;
    for limit in [1_u32, 7, 60, 1000, 1_000_000] {
        let rate = Rate::per_minute(NonZeroU32::new(limit).unwrap());
        let name = format!("key:{limit}");
        let counter = Counter { name, ..counter(Some(u64::from(limit)), Some(u64::from(limit)), None) };
        // In microseconds; gcra counts in nanoseconds.
        let mut now = 1_000_000_000_000;
        let (mut requests, mut tokens) = (0, 0);
        for step in 0..120 {
            now += next(120_000_000 / u64::from(limit).max(1)) + 1;
            let nanoseconds = now * 1000;
            if next(3) == 0 {
                let spent = next(u64::from(limit) * 2) + 1;
                tokens = gcra::decide(tokens, nanoseconds, Cost::Spent(spent), rate).1;
                let spend = Change::Spend { counters: vec![counter.clone()], tokens: spent };
                redis.note_at(vec![spend], Some(now)).await.unwrap();
                continue;
            }
            let answer = redis.take_at(take(&counter, 0, 1), Some(now)).await.unwrap();
            let (by_requests, after) = gcra::decide(requests, nanoseconds, Cost::Ahead(1), rate);
            let by_tokens = gcra::decide(tokens, nanoseconds, Cost::Ahead(1), rate).0;
            let waits = [by_requests, by_tokens].map(|decision| match decision {
                Decision::Admitted => Duration::ZERO,
                Decision::Refused(wait) => wait,
            });
            let wait = waits[0].max(waits[1]);
            // Rounding: gcra has whole nanoseconds an interval.
            let slack = Duration::from_micros(2) + Duration::from_nanos(2 * u64::from(limit));
            match answer.reached {
                None => {
                    assert!(wait <= slack, "limit {limit}, step {step}: should wait {wait:?}");
                    requests = after.max(gcra::decide(requests, nanoseconds, Cost::Spent(1), rate).1);
                }
                Some(reached) => {
                    let off = reached.wait.abs_diff(wait);
                    assert!(off <= slack, "limit {limit}, step {step}: {:?} and {wait:?}", reached.wait);
                }
            }
            let balance = gcra::balance(requests, nanoseconds, rate).reset;
            let off = answer.taken[0].requests.abs_diff(balance);
            assert!(off <= slack, "limit {limit}, step {step}: {:?} and {balance:?}", answer.taken);
        }
    }
}

#[tokio::test]
async fn another_rate_keeps_what_was_taken() {
    let Some(redis) = redis().await else { return };
    let now = Some(5_000_000);
    let spend = Change::Spend { counters: vec![counter(None, Some(60), None)], tokens: 90 };
    redis.note_at(vec![spend], now).await.unwrap();
    let faster = counter(None, Some(600), None);
    let answer = redis.take_at(take(&faster, 0, 1), now).await.unwrap();
    assert_eq!((answer.reached, answer.taken[0].tokens), (None, Duration::from_secs(9)));
}

#[tokio::test]
async fn slots_are_held_until_they_are_given_back_or_their_time_is_over() {
    let Some(redis) = redis().await else { return };
    let counter = counter(None, None, Some(3));
    let at = |second: u64| Some(second * 1_000_000);
    let reached = async |take: Take, now| redis.take_at(take, now).await.unwrap().reached;
    assert_eq!(reached(take(&counter, 2, 1), at(0)).await, None);
    assert_eq!(reached(take(&counter, 1, 2), at(1)).await, None);
    let full = Some(Reached { counter: 0, which: Which::Slots, wait: Duration::ZERO });
    assert_eq!(reached(take(&counter, 1, 3), at(2)).await, full);
    let names = || vec!["key:a".to_owned()];
    let lease = Duration::from_secs(30);
    let renew = Change::Renew { holder: Id([2; 16]), counters: names(), lease };
    let release = Change::Release { holder: Id([1; 16]), counters: names() };
    redis.note_at(vec![renew, release.clone(), release], at(20)).await.unwrap();
    assert_eq!(reached(take(&counter, 3, 3), at(21)).await, full);
    assert_eq!(reached(take(&counter, 2, 3), at(21)).await, None);
    // The second holder's are renewed to 50, the third's end at 51.
    assert_eq!(reached(take(&counter, 1, 4), at(49)).await, full);
    assert_eq!(reached(take(&counter, 1, 4), at(50)).await, None);
    assert_eq!(reached(take(&counter, 3, 5), at(52)).await, full);
    assert_eq!(reached(take(&counter, 2, 5), at(52)).await, None);
    // What was never held is not made by being renewed.
    let renew = Change::Renew { holder: Id([9; 16]), counters: names(), lease };
    redis.note_at(vec![renew], at(53)).await.unwrap();
    assert_eq!(reached(take(&counter, 3, 6), at(90)).await, None);
}

#[tokio::test]
async fn a_request_is_taken_of_all_counters_or_of_none() {
    let Some(redis) = redis().await else { return };
    let own = counter(Some(100), None, Some(10));
    let everyone = Counter { name: "everyone".to_owned(), ..counter(Some(2), None, None) };
    let both = Take { counters: vec![own.clone(), everyone], ..take(&own, 1, 1) };
    let now = Some(1_000_000);
    for _ in 0..2 {
        assert_eq!(redis.take_at(both.clone(), now).await.unwrap().reached, None);
    }
    let answer = redis.take_at(both, now).await.unwrap();
    let wait = Duration::from_secs(30);
    assert_eq!(answer.reached, Some(Reached { counter: 1, which: Which::Requests, wait }));
    assert_eq!(answer.taken[0].requests, Duration::from_millis(1200));
    let asked = Take { requests: 0, slots: 0, ..take(&own, 0, 1) };
    assert_eq!(redis.take_at(asked, now).await.unwrap().taken[0].requests, Duration::from_millis(1200));
}
