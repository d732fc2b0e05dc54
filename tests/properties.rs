//! What holds for every input: against an oracle, or for any cut.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use cozeway::access::gcra::{self, Balance, Cost, Decision, Rate};
use cozeway::coze::sse::{Decoder, Event};
use eventsource_stream::EventStream;
use futures_util::{StreamExt as _, stream};
use governor::clock::{Clock as _, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

type Named = (String, String);

/// What our decoder makes of chunks, without what the standard does not
/// know: unfinished events and events without data.
fn ours(chunks: &[Vec<u8>]) -> Vec<Named> {
    let mut events = Vec::new();
    let mut decoder = Decoder::default();
    let mut sink = |event: Event<'_>| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8 in, UTF-8 out");
        if !event.cut_off {
            events.push((text(event.name), text(event.data)));
        }
    };
    for chunk in chunks {
        decoder.push(chunk, &mut sink).expect("short events");
    }
    decoder.finish(&mut sink);
    events
}

/// What eventsource-stream makes of them.
fn theirs(chunks: &[Vec<u8>]) -> Vec<Named> {
    let chunks = stream::iter(chunks.iter().cloned().map(Ok::<_, std::convert::Infallible>));
    let events = EventStream::new(chunks).map(|event| {
        let event = event.expect("UTF-8 in, UTF-8 out");
        // Its name for an event without a name.
        let name = if event.event == "message" { String::new() } else { event.event };
        (name, event.data)
    });
    futures_util::FutureExt::now_or_never(events.collect()).expect("all chunks are there")
}

/// A line of an event stream; comments, odd fields and spaces included. The
/// name `message` is left out, which the oracle gives nameless events, and so
/// are ids and retries, which it treats as data of its own.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z你 :]{0,12}".prop_map(|value| format!("data:{value}")),
        2 => "[a-z你 :]{0,12}".prop_map(|value| format!("data: {value}")),
        1 => Just("data".to_owned()),
        2 => "(chat|delta|done)".prop_map(|value| format!("event:{value}")),
        1 => "(chat|delta|done)".prop_map(|value| format!("event: {value}")),
        1 => "[a-z ]{0,8}".prop_map(|value| format!(":{value}")),
        1 => "[a-z]{1,8}".prop_map(|value| format!("x{value}:1")),
        4 => Just(String::new()),
    ]
}

fn split(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut rest = bytes;
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at(size.min(rest.len()));
        chunks.push(head.to_vec());
        rest = tail;
    }
    chunks
}

proptest! {
    #![proptest_config(support::proptest_config(2000))]

    /// The oracle wants data in every event it gives out, gives no event for
    /// bare carriage returns at the end, and panics on a byte order mark:
    /// LF and CRLF only, no mark, and nameless-dataless events left out.
    #[test]
    fn the_decoder_agrees_with_eventsource_stream(
        lines in prop::collection::vec(line(), 0..30),
        crlf in any::<bool>(),
        sizes in prop::collection::vec(1usize..20, 1..10),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text: String = lines.iter().flat_map(|line| [line.as_str(), end]).collect();
        text.push_str(end);
        let chunks = split(text.as_bytes(), &sizes);
        let has_data = |lines: &[String]| lines.iter().any(|line| line.split(':').next() == Some("data"));
        // Which of our events had a data line, in order.
        let with_data: Vec<bool> = lines
            .split(String::is_empty)
            .filter(|block| block.iter().any(|line| matches!(line.split(':').next(), Some("data" | "event"))))
            .map(has_data)
            .collect();
        let ours = ours(&chunks);
        prop_assert_eq!(ours.len(), with_data.len());
        let ours: Vec<Named> =
            ours.into_iter().zip(with_data).filter(|(_, data)| *data).map(|(event, _)| event).collect();
        prop_assert_eq!(ours, theirs(&chunks));
    }

    #[test]
    fn any_bytes_in_any_pieces_give_the_same_events(
        bytes in prop::collection::vec(prop_oneof![
            Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), Just(0xEF), Just(0xBB), Just(0xBF), any::<u8>()
        ], 0..200),
        sizes in prop::collection::vec(1usize..9, 1..10),
    ) {
        let read = |chunks: &[Vec<u8>]| {
            let mut events = Vec::new();
            let mut decoder = Decoder::default();
            let mut sink = |event: Event<'_>| events.push((event.name.to_vec(), event.data.to_vec(), event.cut_off));
            for chunk in chunks {
                decoder.push(chunk, &mut sink).expect("short events");
            }
            decoder.finish(&mut sink);
            events
        };
        prop_assert_eq!(read(&split(&bytes, &sizes)), read(std::slice::from_ref(&bytes)));
    }
}

/// What happens to a limit: time passes, something is wanted, something has
/// been spent.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Ahead(u64),
    Spent(u64),
}

/// Pauses of about the size that matters for a rate.
fn pause(per_minute: u32) -> impl Strategy<Value = u64> {
    let interval = 60_000_000_000 / u64::from(per_minute);
    prop_oneof![
        Just(0),
        Just(interval),
        Just(interval.saturating_sub(1)),
        0..interval * 3 + 2,
        0..120_000_000_000_u64
    ]
}

proptest! {
    #![proptest_config(support::proptest_config(1000))]

    #[test]
    fn single_requests_are_admitted_exactly_when_governor_admits_them(
        (per_minute, pauses) in prop_oneof![1u32..100, 1u32..1_000_000_000].prop_flat_map(|rate| {
            (Just(rate), prop::collection::vec(pause(rate), 1..200))
        }),
    ) {
        let number = NonZeroU32::new(per_minute).unwrap();
        let clock = FakeRelativeClock::default();
        let oracle = RateLimiter::direct_with_clock(Quota::per_minute(number), clock.clone());
        let rate = Rate::per_minute(number);
        // Any time will do to count from; governor counts from its start.
        let (mut now, mut arrival) = (1 << 40, 0);
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            now += pause;
            let (decision, next) = gcra::decide(arrival, now, Cost::Ahead(1), rate);
            match oracle.check() {
                Ok(()) => prop_assert_eq!(decision, Decision::Admitted),
                Err(until) => {
                    prop_assert_eq!(decision, Decision::Refused(until.wait_time_from(clock.now())));
                    prop_assert_eq!(next, arrival, "a refusal takes nothing");
                }
            }
            arrival = next;
        }
    }

    /// The model is a bucket that is filled as time passes, up to its brim,
    /// and that may be emptied below its bottom.
    #[test]
    fn debts_are_those_of_a_bucket(
        (per_minute, steps) in prop_oneof![1u32..100, 1u32..1_000_000_000].prop_flat_map(|rate| {
            let amount = prop_oneof![0..5u64, 0..u64::from(rate) * 3];
            let step = prop_oneof![
                pause(rate).prop_map(Step::Pass),
                amount.clone().prop_map(Step::Ahead),
                amount.prop_map(Step::Spent),
            ];
            (Just(rate), prop::collection::vec(step, 1..100))
        }),
    ) {
        let rate = Rate::per_minute(NonZeroU32::new(per_minute).unwrap());
        let interval = i128::from(60_000_000_000 / u64::from(per_minute));
        let brim = interval * i128::from(per_minute);
        let (mut now, mut arrival, mut level) = (1 << 40, 0, brim);
        for step in steps {
            match step {
                Step::Pass(time) => {
                    now += time;
                    level = brim.min(level + i128::from(time));
                }
                Step::Ahead(number) => {
                    let cost = interval * i128::from(number);
                    let (decision, next) = gcra::decide(arrival, now, Cost::Ahead(number), rate);
                    if cost <= level {
                        prop_assert_eq!(decision, Decision::Admitted);
                        level -= cost;
                    } else {
                        let wait = Duration::from_nanos(u64::try_from(cost - level).unwrap());
                        prop_assert_eq!(decision, Decision::Refused(wait));
                    }
                    arrival = next;
                }
                Step::Spent(number) => {
                    let (decision, next) = gcra::decide(arrival, now, Cost::Spent(number), rate);
                    prop_assert_eq!(decision, Decision::Admitted);
                    level -= interval * i128::from(number);
                    arrival = next;
                }
            }
            let expected = Balance {
                remaining: u64::try_from(level.max(0) / interval).unwrap(),
                reset: Duration::from_nanos(u64::try_from(brim - level).unwrap()),
            };
            prop_assert_eq!(gcra::balance(arrival, now, rate), expected);
        }
    }
}
