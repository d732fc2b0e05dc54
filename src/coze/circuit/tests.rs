//! Examples, and whatever a network may do.

use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Open since `now`.
fn opened(now: Instant) -> Circuit {
    let mut circuit = Circuit::default();
    for _ in 0..FAILURES {
        let ticket = circuit.admit(now).unwrap();
        circuit.missed(ticket, now);
    }
    assert_eq!(circuit.phase(), Phase::Open);
    circuit
}

#[test]
fn only_failures_in_a_row_open_it() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    for round in 0..20 {
        let ticket = circuit.admit(now).unwrap();
        if round % 5 == 4 {
            circuit.reached(ticket);
            assert!(circuit.is_up());
        } else {
            circuit.missed(ticket, now);
            assert!(!circuit.is_up());
        }
        assert_eq!(circuit.phase(), Phase::Closed);
    }
}

#[test]
fn the_pause_doubles_up_to_a_bound() {
    let mut now = Instant::now();
    let mut circuit = opened(now);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(circuit.admit(now), Err(seconds(pause)));
        assert_eq!(
            circuit.admit(now + seconds(pause) - Duration::from_nanos(1)),
            Err(Duration::from_nanos(1))
        );
        now += seconds(pause);
        let probe = circuit.admit(now).unwrap();
        assert_eq!(circuit.phase(), Phase::Probing);
        assert_eq!(circuit.admit(now), Err(FIRST_PAUSE), "one probe at a time");
        circuit.missed(probe, now);
    }
}

#[test]
fn a_probe_that_tells_nothing_makes_room_for_the_next() {
    let now = Instant::now();
    let mut circuit = opened(now);
    let probe = circuit.admit(now + seconds(1)).unwrap();
    circuit.abandoned(probe, now + seconds(1));
    let next = circuit.admit(now + seconds(1)).unwrap();
    circuit.missed(probe, now + seconds(1));
    assert_eq!(circuit.phase(), Phase::Probing, "the first has nothing more to say");
    assert!(circuit.admit(now + seconds(1) + PROBE_LIMIT).is_ok(), "it does not take for ever");
    circuit.missed(next, now + seconds(20));
    assert_eq!(circuit.phase(), Phase::Probing);
}

#[test]
fn news_from_before_it_opened_is_no_news() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    let old = circuit.admit(now).unwrap();
    for _ in 0..FAILURES {
        let ticket = circuit.admit(now).unwrap();
        circuit.missed(ticket, now);
    }
    circuit.reached(old);
    circuit.missed(old, now);
    assert_eq!(circuit.admit(now), Err(FIRST_PAUSE));
    circuit.connected();
    assert!(circuit.is_up(), "but a new connection is");
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Admit,
    Reached(prop::sample::Index),
    Missed(prop::sample::Index),
    Abandoned(prop::sample::Index),
    Connected,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0u64..20_000).prop_map(Step::Pass),
        6 => Just(Step::Admit),
        1 => index().prop_map(Step::Reached),
        6 => index().prop_map(Step::Missed),
        1 => index().prop_map(Step::Abandoned),
        1 => Just(Step::Connected),
    ]
}

/// What is known from outside, kept in another way: a list of events.
#[derive(Default)]
struct Known {
    failures_in_a_row: u32,
    /// How often a failure has opened it since it was closed.
    opened: u32,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_keeps_its_word(steps in prop::collection::vec(step(), 1..200)) {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut known = Known::default();
        for step in steps {
            let before = circuit.clone();
            match step {
                Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds),
                Step::Admit => match circuit.admit(now) {
                    Ok(ticket) => {
                        let valid = tickets.iter().filter(|ticket| ticket.0 == circuit.epoch).count();
                        prop_assert!(circuit.phase() == Phase::Closed || valid == 0, "one probe at a time");
                        prop_assert_ne!(circuit.phase(), Phase::Open);
                        tickets.push(ticket);
                    }
                    Err(wait) => {
                        prop_assert_ne!(circuit.phase(), Phase::Closed);
                        prop_assert!(wait > Duration::ZERO && wait <= LONGEST_PAUSE);
                        // Whoever waits that long, and for a probe that
                        // never ends, gets through.
                        prop_assert!(circuit.clone().admit(now + wait + PROBE_LIMIT).is_ok());
                    }
                },
                Step::Connected => circuit.connected(),
                _ if tickets.is_empty() => {}
                Step::Reached(index) => circuit.reached(tickets.swap_remove(index.index(tickets.len()))),
                Step::Missed(index) => {
                    let ticket = tickets.swap_remove(index.index(tickets.len()));
                    circuit.missed(ticket, now);
                    if ticket.0 == before.epoch {
                        known.failures_in_a_row += 1;
                    }
                }
                Step::Abandoned(index) => {
                    circuit.abandoned(tickets.swap_remove(index.index(tickets.len())), now);
                }
            }
            if circuit.is_up() {
                known = Known::default();
            }
            if before.phase() == Phase::Closed {
                prop_assert_eq!(circuit.phase() == Phase::Open, known.failures_in_a_row == FAILURES);
            }
            if circuit.phase() == Phase::Open && before.phase() != Phase::Open {
                let times = known.opened;
                // After a failure; a probe that told nothing opens it again
                // without a pause.
                if known.failures_in_a_row >= FAILURES + times {
                    known.opened += 1;
                    let pause = FIRST_PAUSE.saturating_mul(1 << times.min(10)).min(LONGEST_PAUSE);
                    prop_assert_eq!(circuit.admit(now), Err(pause));
                }
            }
        }
    }
}
