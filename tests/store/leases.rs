//! Keeping a lease, losing it, giving it back.

use std::time::Duration;

use cozeway::store::{Claimed, Entry, Lease, Outcome, Settled};

use crate::stage::{ABSENT, BEGUN, HOUR, each, entry, head, id, key, name, until};

#[test]
fn who_settles_after_another_has_claimed_has_lost() {
    each(async |stage| {
        let first = stage.lent_for(name(7), Duration::ZERO).await;
        let second = stage.lent(name(7)).await;
        for outcome in [Outcome::Keep(first.entry.clone()), Outcome::Drop] {
            assert_eq!(stage.settle(first.lease, outcome).await, Settled::Lost);
        }
        assert!(matches!(stage.claim(name(7)).await, Claimed::Busy(_)), "the second still holds it");
        assert_eq!(stage.settle(second.lease, Outcome::Keep(second.entry)).await, Settled::Done);
        assert_eq!(stage.settle(first.lease, Outcome::Drop).await, Settled::Lost, "also when it is free");
        assert_eq!(stage.lent(name(7)).await.lease.fence, 3);
    });
}

#[test]
fn a_lease_that_ran_out_still_settles_if_nobody_claimed() {
    each(async |stage| {
        stage.insert(&entry(2, 3)).await;
        let lent = stage.lent_for(head(2, 3), Duration::ZERO).await;
        let entry = Entry { head: Some(key(4)), ..lent.entry };
        assert_eq!(stage.settle(lent.lease, Outcome::Keep(entry)).await, Settled::Done);
        assert!(!stage.lent(head(4, 3)).await.abandoned);
    });
}

#[test]
fn settling_may_be_repeated() {
    each(async |stage| {
        let lent = stage.lent(name(7)).await;
        for _ in 0..2 {
            assert_eq!(stage.settle(lent.lease, Outcome::Keep(lent.entry.clone())).await, Settled::Done);
        }
        let lent = stage.lent(name(7)).await;
        assert_eq!(stage.settle(lent.lease, Outcome::Drop).await, Settled::Done);
        assert_eq!(stage.settle(lent.lease, Outcome::Drop).await, Settled::Lost, "there is none");
    });
}

#[test]
fn a_dropped_entry_is_gone() {
    each(async |stage| {
        let entry = Entry { name: Some(key(7)), ..entry(2, 3) };
        stage.insert(&entry).await;
        let lent = stage.lent(head(2, 3)).await;
        assert_eq!(stage.settle(lent.lease, Outcome::Drop).await, Settled::Done);
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
        assert_eq!(stage.claim(id(&entry)).await, ABSENT);
        assert!(stage.ids().await.is_empty());
        let lent = stage.lent(name(7)).await;
        assert_eq!((lent.lease.fence, lent.abandoned, lent.entry.value), (1, false, Vec::new()));
    });
}

#[test]
fn what_is_abandoned_by_its_holder_is_free_and_says_so() {
    each(async |stage| {
        let entry = Entry { name: Some(key(7)), ..entry(2, 3) };
        stage.insert(&entry).await;
        let lent = stage.lent(head(2, 3)).await;
        assert_eq!(stage.settle(lent.lease, Outcome::Abandon).await, Settled::Done);
        assert!(!stage.store.list(None, 1).await.unwrap()[0].lent);
        assert_eq!(stage.store.renew(vec![lent.lease], HOUR).await.unwrap(), [lent.lease], "it has ended");
        assert_eq!(stage.settle(lent.lease, Outcome::Drop).await, Settled::Lost);
        assert_eq!(stage.settle(lent.lease, Outcome::Abandon).await, Settled::Lost);
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        let again = stage.lent(name(7)).await;
        assert!(again.abandoned && again.lease.fence > lent.lease.fence);
        assert_eq!(again.entry, Entry { head: None, ..entry.clone() });
        // It stays so until somebody knows better.
        assert_eq!(stage.settle(again.lease, Outcome::Abandon).await, Settled::Done);
        let again = stage.lent(id(&entry)).await;
        assert!(again.abandoned);
        assert_eq!(stage.settle(again.lease, Outcome::Keep(entry.clone())).await, Settled::Done);
        assert_eq!(stage.settle(again.lease, Outcome::Abandon).await, Settled::Lost, "no lease is left");
        let again = stage.lent(head(2, 3)).await;
        assert_eq!((again.entry, again.abandoned), (entry, false));
    });
}

#[test]
fn settling_writes_all_of_the_entry() {
    each(async |stage| {
        let lent = stage.lent(name(7)).await;
        let entry = Entry { space: key(9), name: None, ..entry(2, 3) };
        let entry = Entry { id: lent.entry.id, ..entry };
        stage.settle(lent.lease, Outcome::Keep(entry.clone())).await;
        assert_eq!(stage.lent(head(2, 3)).await.entry, entry);
        assert_ne!(stage.lent(name(7)).await.entry.id, entry.id, "it has no name any more");
    });
}

#[test]
fn renewing_lengthens_a_lease() {
    each(async |stage| {
        let lent = stage.lent_for(name(7), Duration::from_secs(5)).await;
        assert!(stage.store.renew(vec![lent.lease], HOUR).await.unwrap().is_empty());
        let Claimed::Busy(left) = stage.claim(name(7)).await else { panic!("it is lent") };
        assert!(left > HOUR / 2, "{left:?}");
        assert!(stage.store.renew(vec![lent.lease], Duration::ZERO).await.unwrap().is_empty());
        let Claimed::Busy(left) = stage.claim(name(7)).await else { panic!("it is never shortened") };
        assert!(left > HOUR / 2, "{left:?}");
    });
}

#[test]
fn renewing_saves_a_lease_that_ran_out() {
    each(async |stage| {
        let lent = stage.lent_for(name(7), Duration::ZERO).await;
        assert!(stage.store.renew(vec![lent.lease], HOUR).await.unwrap().is_empty());
        assert!(matches!(stage.claim(name(7)).await, Claimed::Busy(_)));
    });
}

#[test]
fn renewing_tells_which_leases_are_lost() {
    each(async |stage| {
        let held = stage.lent(name(1)).await.lease;
        let overtaken = stage.lent_for(name(2), Duration::ZERO).await.lease;
        stage.lent_for(name(2), Duration::ZERO).await;
        let settled = stage.lent(name(3)).await;
        stage.settle(settled.lease, Outcome::Keep(settled.entry)).await;
        let dropped = stage.lent(name(4)).await.lease;
        stage.settle(dropped, Outcome::Drop).await;
        let forgotten = stage.lent(name(5)).await.lease;
        stage.store.forget(forgotten.id).await.unwrap();
        let leases = vec![held, overtaken, settled.lease, dropped, forgotten];
        let lost = stage.store.renew(leases, HOUR).await.unwrap();
        assert_eq!(lost, [overtaken, settled.lease, dropped, forgotten]);
        assert!(!matches!(stage.claim(name(3)).await, Claimed::Busy(_)), "renewing lends nothing");
        assert!(!stage.lent(name(2)).await.lease.fence.eq(&overtaken.fence));
        assert!(stage.store.renew(Vec::new(), HOUR).await.unwrap().is_empty());
    });
}

#[test]
fn an_entry_that_is_forgotten_under_a_lease_is_lost() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        let lent = stage.lent(head(2, 3)).await;
        let known = stage.store.forget(entry.id).await.unwrap();
        assert_eq!(known, Some(Entry { head: None, ..entry.clone() }));
        assert_eq!(stage.settle(lent.lease, Outcome::Keep(entry.clone())).await, Settled::Lost);
        assert_eq!(stage.claim(id(&entry)).await, ABSENT);
        assert_eq!(stage.store.forget(entry.id).await.unwrap(), None);
    });
}

#[test]
fn a_lease_of_nothing_is_lost() {
    each(async |stage| {
        let entry = entry(2, 3);
        let lease = Lease { id: entry.id, fence: 1 };
        assert_eq!(stage.settle(lease, Outcome::Keep(entry)).await, Settled::Lost);
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
    });
}

#[test]
fn a_lease_ends_by_itself() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        stage.lent_for(head(2, 3), Duration::from_millis(20)).await;
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        until(async || match stage.claim(id(&entry)).await {
            Claimed::Busy(left) => {
                assert!(left <= Duration::from_millis(20));
                None
            }
            Claimed::Lent { abandoned, .. } => abandoned.then_some(()),
            other => panic!("{other:?}"),
        })
        .await;
    });
}
