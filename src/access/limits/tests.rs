//! Admission, charge and release, one behaviour each.

use proptest::prelude::*;

use super::*;

fn number(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

fn requests(limit: u32) -> Quota {
    Quota { requests_per_minute: number(limit), ..Quota::default() }
}

fn tokens(limit: u32) -> Quota {
    Quota { tokens_per_minute: number(limit), ..Quota::default() }
}

fn concurrent(limit: u32) -> Quota {
    Quota { concurrent_requests: number(limit), ..Quota::default() }
}

fn own(quota: Quota) -> Quotas {
    Quotas { own: quota, everyone: Quota::default() }
}

fn key(name: &str) -> Subject {
    Subject::Key(name.into())
}

fn limits() -> (Arc<Limits>, Instant) {
    let limits = Arc::new(Limits::new(tokio::time::Instant::now().into_std()));
    let now = limits.start + Duration::from_secs(1000);
    (limits, now)
}

#[test]
fn keys_do_not_share_their_limits() {
    let (limits, now) = limits();
    let quotas = own(requests(1));
    assert!(limits.admit(key("a"), quotas, 1, now).is_ok());
    let over = limits.admit(key("a"), quotas, 1, now).unwrap_err();
    let expected =
        Over { scope: Scope::Own, measure: Measure::Requests, limit: 1, wait: Duration::from_secs(60) };
    assert_eq!(over, expected);
    assert!(limits.admit(key("b"), quotas, 1, now).is_ok());
    assert!(limits.admit(Subject::Token("a".into()), quotas, 1, now).is_ok());
}

#[test]
fn everyone_shares_everyones() {
    let (limits, now) = limits();
    let quotas = Quotas { own: requests(9), everyone: requests(2) };
    assert!(limits.admit(key("a"), quotas, 1, now).is_ok());
    assert!(limits.admit(Subject::Anybody, quotas, 1, now).is_ok());
    let over = limits.admit(key("b"), quotas, 1, now).unwrap_err();
    assert_eq!((over.scope, over.measure, over.limit), (Scope::Everyone, Measure::Requests, 2));
}

#[test]
fn who_is_refused_by_one_limit_takes_nothing_of_the_others() {
    let (limits, now) = limits();
    let both = Quota { requests_per_minute: number(10), concurrent_requests: number(3), ..Quota::default() };
    for quotas in [
        Quotas { own: both, everyone: Quota { concurrent_requests: number(1), ..both } },
        Quotas { own: Quota { concurrent_requests: number(1), ..both }, everyone: both },
    ] {
        let before = limits.standing(&key("a"), &quotas, now);
        let running = limits.running();
        assert!(limits.admit(key("a"), quotas, 2, now).is_err());
        assert_eq!(limits.standing(&key("a"), &quotas, now), before);
        assert_eq!(limits.running(), running);
    }
}

#[test]
fn a_request_takes_a_slot_for_each_of_its_answers_until_its_permit_goes() {
    let (limits, now) = limits();
    let quotas = own(concurrent(4));
    let three = limits.admit(key("a"), quotas, 3, now).unwrap();
    let over = limits.admit(key("a"), quotas, 2, now).unwrap_err();
    assert_eq!((over.measure, over.wait), (Measure::Concurrent, Duration::from_secs(1)));
    let one = limits.admit(key("a"), quotas, 1, now).unwrap();
    assert_eq!(limits.running(), 4);
    drop(three);
    assert!(limits.admit(key("a"), quotas, u32::MAX, now).is_err());
    assert!(limits.admit(key("a"), quotas, 3, now).is_ok());
    drop(one);
    assert_eq!(limits.running(), 0);
}

#[test]
fn a_lower_limit_lets_in_nobody_until_enough_have_gone() {
    let (limits, now) = limits();
    let running: Vec<Permit> =
        (0..5).map(|_| limits.admit(key("a"), Quotas::default(), 1, now).unwrap()).collect();
    // What runs without a limit counts once there is one.
    assert!(limits.admit(key("a"), own(concurrent(5)), 1, now).is_err());
    drop(running);
    assert!(limits.admit(key("a"), own(concurrent(5)), 5, now).is_ok());
}

#[test]
fn tokens_are_charged_afterwards_and_may_become_a_debt() {
    let (limits, now) = limits();
    let quotas = Quotas { own: tokens(60), everyone: tokens(600) };
    let permit = limits.admit(key("a"), quotas, 1, now).unwrap();
    let meter = permit.meter().unwrap();
    assert_eq!(limits.standing(&key("a"), &quotas, now).tokens.unwrap().remaining, 60);
    drop(permit);
    meter.charge(90, now);
    let gauge = Gauge { limit: 60, remaining: 0, reset: Duration::from_secs(90) };
    assert_eq!(limits.standing(&key("a"), &quotas, now).tokens, Some(gauge));
    let over = limits.admit(key("a"), quotas, 1, now).unwrap_err();
    assert_eq!((over.measure, over.wait), (Measure::Tokens, Duration::from_secs(31)));
    assert!(limits.admit(key("a"), quotas, 1, now + over.wait).is_ok());
    assert_eq!(limits.standing(&key("b"), &quotas, now).tokens.unwrap().remaining, 60);
    let everyone = limits.standing(&Subject::Anybody, &Quotas { own: Quota::default(), ..quotas }, now);
    assert_eq!(everyone.tokens.unwrap().remaining, 510);
}

#[test]
fn without_a_token_limit_nothing_is_metered() {
    let (limits, now) = limits();
    assert!(limits.admit(key("a"), own(requests(1)), 1, now).unwrap().meter().is_none());
    let everyone = Quotas { own: Quota::default(), everyone: tokens(1) };
    limits.admit(Subject::Anybody, everyone, 1, now).unwrap().meter().unwrap().unknown();
    assert_eq!(limits.unknown_usage(), 1);
}

#[test]
fn the_wait_is_that_of_the_slowest_limit() {
    let (limits, now) = limits();
    let quotas = Quotas { own: requests(60), everyone: requests(1) };
    assert!(limits.admit(key("a"), quotas, 1, now).is_ok());
    for _ in 0..59 {
        assert!(limits.admit(key("a"), own(requests(60)), 1, now).is_ok());
    }
    let over = limits.admit(key("a"), quotas, 1, now).unwrap_err();
    assert_eq!((over.scope, over.wait), (Scope::Everyone, Duration::from_secs(60)));
}

#[test]
fn a_changed_limit_keeps_what_was_used() {
    let (limits, now) = limits();
    for _ in 0..10 {
        assert!(limits.admit(key("a"), own(requests(10)), 1, now).is_ok());
    }
    assert!(limits.admit(key("a"), own(requests(10)), 1, now).is_err());
    let remaining =
        |limit| limits.standing(&key("a"), &own(requests(limit)), now).requests.unwrap().remaining;
    assert_eq!(remaining(100), 90);
    assert_eq!(remaining(5), 0);
    assert_eq!(remaining(10), 0);
}

#[test]
fn of_two_limits_the_tighter_is_shown() {
    let (limits, now) = limits();
    let quotas = Quotas { own: requests(3), everyone: requests(2) };
    let shown = |quotas| limits.standing(&key("a"), &quotas, now).requests.unwrap();
    assert_eq!((shown(quotas).limit, shown(quotas).remaining), (2, 2));
    assert_eq!(limits.standing(&key("a"), &own(concurrent(1)), now), Standing::default());
    assert_eq!(limits.standing(&key("a"), &own(requests(3)), now).tokens, None);
}

#[test]
fn strangers_are_forgotten_once_their_limits_are_full_again() {
    let (limits, now) = limits();
    let token = |number: usize| Subject::Token(number.to_string().into());
    for number in 0..FEW_SUBJECTS * 4 {
        assert!(limits.admit(token(number), own(requests(60)), 1, now).is_ok());
    }
    let later = now + Duration::from_secs(2);
    let held = limits.admit(token(1), own(requests(60)), 1, later).unwrap();
    let mut at = later;
    for number in 0..FEW_SUBJECTS * 8 {
        at += Duration::from_secs(2);
        assert!(limits.admit(token(number + 10_000), own(requests(60)), 1, at).is_ok());
    }
    let remembered = limits.lock().subjects.len();
    assert!(remembered <= FEW_SUBJECTS * 2, "{remembered}");
    assert!(limits.lock().subjects.contains_key(&token(1)), "a running answer keeps its subject");
    drop(held);
    assert_eq!(limits.running(), 0);
}

#[test]
fn a_flood_of_made_up_tokens_is_bounded_and_debts_outlive_it() {
    let (limits, now) = limits();
    let quotas = own(Quota { requests_per_minute: number(1), ..tokens(1) });
    let owing = Subject::Token("owing".into());
    limits.admit(owing.clone(), quotas, 1, now).unwrap().meter().unwrap().charge(1000, now);
    let mut running = Vec::new();
    for number in 0..MAX_SUBJECTS * 2 {
        let permit = limits.admit(Subject::Token(number.to_string().into()), quotas, 1, now).unwrap();
        if number % 100 == 0 {
            running.push(permit);
        }
    }
    assert!(limits.lock().subjects.len() <= MAX_SUBJECTS);
    assert!(limits.admit(owing, quotas, 1, now).is_err());
    assert_eq!(usize::try_from(limits.running()).unwrap(), running.len());
    let kept = limits.lock().subjects.values().filter(|ledger| ledger.running > 0).count();
    assert_eq!(kept, running.len());
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Admit { key: usize, slots: u32 },
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_usize, 1..4_u32).prop_map(|(key, slots)| Step::Admit { key, slots }),
        2 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn slots_are_exactly_those_of_the_permits_that_live(
        steps in steps(), each in 1..6_u32, together in 1..12_u32, rate in 1..20_u32,
    ) {
        let (limits, now) = limits();
        let quotas = Quotas { own: concurrent(each), everyone: Quota { requests_per_minute: number(rate), ..concurrent(together) } };
        let mut living: Vec<(usize, Permit)> = Vec::new();
        let mut admitted = 0;
        for step in steps {
            match step {
                Step::Admit { key: index, slots } => {
                    let of = |living: &[(usize, Permit)], index: Option<usize>| -> u32 {
                        living.iter().filter(|(key, _)| index.is_none_or(|i| i == *key)).map(|(_, p)| p.slots).sum()
                    };
                    let fits = of(&living, Some(index)) + slots <= each
                        && of(&living, None) + slots <= together
                        && admitted < rate;
                    let result = limits.admit(key(&index.to_string()), quotas, slots, now);
                    prop_assert_eq!(result.is_ok(), fits);
                    if let Ok(permit) = result {
                        admitted += 1;
                        living.push((index, permit));
                    }
                }
                Step::Leave(at) if !living.is_empty() => {
                    let at = at % living.len();
                    living.swap_remove(at);
                }
                Step::Leave(_) => {}
            }
            prop_assert_eq!(limits.running(), living.iter().map(|(_, permit)| permit.slots).sum::<u32>());
        }
        drop(living);
        let state = limits.lock();
        prop_assert!(state.subjects.values().all(|ledger| ledger.running == 0));
    }
}
