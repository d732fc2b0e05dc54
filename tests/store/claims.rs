//! Finding entries and lending them.

use std::sync::Arc;
use std::time::Duration;

use cozeway::store::{By, Claimed, Entry, Id, Outcome, Settled};
use tokio::task::JoinSet;

use crate::stage::{ABSENT, BEGUN, HOUR, each, entry, head, id, key, name, until};

#[test]
fn an_inserted_entry_is_found_by_its_head_as_it_was() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        let lent = stage.lent(head(2, 3)).await;
        assert_eq!(lent.entry, entry);
        assert_eq!((lent.lease.id, lent.lease.fence), (entry.id, 1));
        assert!(!lent.abandoned);
    });
}

#[test]
fn a_head_is_lent_once() {
    each(async |stage| {
        stage.insert(&entry(2, 3)).await;
        let mut claims = JoinSet::new();
        for number in 0..100 {
            let store = if number % 2 == 0 { Arc::clone(&stage.store) } else { stage.again() };
            claims.spawn(async move { store.claim(head(2, 3), HOUR).await.unwrap() });
        }
        let claims = claims.join_all().await;
        let winners = claims.iter().filter(|claimed| matches!(claimed, Claimed::Lent { .. }));
        assert_eq!(winners.count(), 1);
        assert_eq!(claims.iter().filter(|claimed| **claimed == BEGUN).count(), 99);
    });
}

#[test]
fn a_settled_entry_is_found_by_its_new_head_alone() {
    each(async |stage| {
        stage.insert(&entry(2, 3)).await;
        let lent = stage.lent(head(2, 3)).await;
        let entry = Entry { head: Some(key(4)), value: b"more".to_vec(), ..lent.entry };
        assert_eq!(stage.settle(lent.lease, Outcome::Keep(entry.clone())).await, Settled::Done);
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        let lent = stage.lent(head(4, 3)).await;
        assert_eq!((lent.entry, lent.lease.fence, lent.abandoned), (entry, 2, false));
    });
}

#[test]
fn two_entries_with_one_head_are_ambiguous_and_stay() {
    each(async |stage| {
        let (one, two) = (entry(2, 3), entry(2, 3));
        stage.insert(&one).await;
        stage.insert(&two).await;
        for _ in 0..2 {
            assert_eq!(stage.claim(head(2, 3)).await, Claimed::Ambiguous);
        }
        assert_eq!(stage.store.forget(one.id).await.unwrap(), Some(one));
        assert_eq!(stage.lent(head(2, 3)).await.entry, two);
    });
}

#[test]
fn of_two_with_one_head_the_other_is_found_when_one_is_lent() {
    each(async |stage| {
        let (one, two) = (entry(2, 3), entry(2, 3));
        stage.insert(&one).await;
        stage.insert(&two).await;
        stage.lent(id(&one)).await;
        assert_eq!(stage.lent(head(2, 3)).await.entry, two);
    });
}

#[test]
fn a_beginning_is_known_while_an_entry_with_it_lives() {
    each(async |stage| {
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
        stage.insert(&entry(4, 3)).await;
        stage.insert(&entry(2, 5)).await;
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        let lent = stage.lent(head(4, 3)).await;
        assert_eq!(stage.claim(head(4, 3)).await, BEGUN, "also while it is lent");
        assert_eq!(stage.settle(lent.lease, Outcome::Drop).await, Settled::Done);
        assert_eq!(stage.claim(head(4, 3)).await, ABSENT);
    });
}

#[test]
fn a_head_without_a_root_is_not_found() {
    each(async |stage| {
        let entry = Entry { root: None, ..entry(2, 3) };
        stage.insert(&entry).await;
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
        assert_eq!(stage.lent(id(&entry)).await.entry, entry);
    });
}

#[test]
fn a_new_name_makes_an_entry_and_lends_it() {
    each(async |stage| {
        let made = Id::random();
        let lent = stage.lent(By::Name { name: key(7), space: key(8), id: made }).await;
        let entry =
            Entry { id: made, space: key(8), head: None, name: Some(key(7)), root: None, value: Vec::new() };
        assert_eq!(lent.entry, entry);
        assert_eq!((lent.lease.id, lent.lease.fence, lent.abandoned), (made, 1, false));
    });
}

#[test]
fn a_known_name_is_lent_again_whoever_asks() {
    each(async |stage| {
        let lent = stage.lent(name(7)).await;
        let entry = Entry { head: Some(key(2)), root: Some(key(3)), value: b"x".to_vec(), ..lent.entry };
        stage.settle(lent.lease, Outcome::Keep(entry.clone())).await;
        let by = By::Name { name: key(7), space: key(9), id: Id::random() };
        let lent = stage.lent(by).await;
        assert_eq!((lent.entry, lent.lease.fence), (entry, 2));
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN, "its head is gone with the claim");
    });
}

#[test]
fn a_name_that_is_lent_is_busy() {
    each(async |stage| {
        let lent = stage.lent_for(name(7), Duration::from_secs(60)).await;
        for by in [name(7), id(&lent.entry)] {
            let Claimed::Busy(left) = stage.claim(by).await else { panic!("it is lent") };
            assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
        }
    });
}

#[test]
fn a_name_is_made_once_however_many_ask() {
    each(async |stage| {
        let mut claims = JoinSet::new();
        for number in 0..50 {
            let store = if number % 2 == 0 { Arc::clone(&stage.store) } else { stage.again() };
            claims.spawn(async move { store.claim(name(7), HOUR).await.unwrap() });
        }
        let claims = claims.join_all().await;
        assert_eq!(claims.iter().filter(|claimed| matches!(claimed, Claimed::Lent { .. })).count(), 1);
        assert_eq!(claims.iter().filter(|claimed| matches!(claimed, Claimed::Busy(_))).count(), 49);
        assert_eq!(stage.ids().await.len(), 1);
    });
}

#[test]
fn an_abandoned_name_is_lent_again_and_says_so() {
    each(async |stage| {
        let made = stage.lent_for(name(7), Duration::from_millis(5)).await;
        let lent = until(async || match stage.claim(name(7)).await {
            Claimed::Lent { lease, entry, abandoned } => Some((lease, entry, abandoned)),
            Claimed::Busy(_) => None,
            other => panic!("{other:?}"),
        });
        let (lease, entry, abandoned) = lent.await;
        assert_eq!((lease.id, lease.fence, abandoned), (made.lease.id, 2, true));
        assert_eq!(entry, made.entry);
    });
}

#[test]
fn an_abandoned_entry_has_lost_its_head() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        stage.lent_for(head(2, 3), Duration::ZERO).await;
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        let lent = stage.lent(id(&entry)).await;
        assert!(lent.abandoned);
        assert_eq!(lent.entry, Entry { head: None, ..entry });
    });
}

#[test]
fn an_id_is_found_in_its_own_space_only() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        assert_eq!(stage.claim(By::Id { id: entry.id, space: key(9) }).await, ABSENT);
        assert_eq!(stage.claim(By::Id { id: Id::random(), space: entry.space }).await, ABSENT);
        assert_eq!(stage.lent(id(&entry)).await.entry, entry);
    });
}

#[test]
fn a_name_belongs_to_the_last_that_is_remembered_with_it() {
    each(async |stage| {
        let named = |head| Entry { name: Some(key(7)), ..entry(head, 3) };
        let (one, two) = (named(2), named(4));
        stage.insert(&one).await;
        stage.insert(&two).await;
        assert_eq!(stage.store.counts().await.unwrap().named, 1);
        assert_eq!(stage.lent(name(7)).await.entry, two);
        let lent = stage.lent(id(&one)).await;
        assert_eq!(lent.entry, Entry { name: None, ..one.clone() });
        stage.settle(lent.lease, Outcome::Keep(one.clone())).await;
        assert_eq!(stage.lent(name(7)).await.entry, one);
    });
}

#[test]
fn an_insert_that_is_repeated_changes_nothing() {
    each(async |stage| {
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        stage.insert(&entry).await;
        stage.lent(head(2, 3)).await;
        stage.insert(&entry).await;
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        assert_eq!(stage.ids().await, [entry.id]);
    });
}

#[test]
fn a_value_may_be_empty_or_large() {
    each(async |stage| {
        for (number, length) in [(2, 0), (3, 1), (4, 100_000)] {
            let entry = Entry { value: vec![0xfe; length], ..entry(number, number) };
            stage.insert(&entry).await;
            assert_eq!(stage.lent(head(number, number)).await.entry, entry);
        }
    });
}

#[test]
fn a_head_that_another_process_has_claimed_does_not_come_back() {
    each(async |stage| {
        stage.insert(&entry(2, 3)).await;
        let other = stage.again();
        let Claimed::Lent { lease, entry, .. } = other.claim(head(2, 3), HOUR).await.unwrap() else {
            panic!("it is there")
        };
        stage.settle(lease, Outcome::Keep(Entry { head: None, ..entry })).await;
        assert_eq!(stage.claim(head(2, 3)).await, BEGUN);
        assert_eq!(other.claim(head(2, 3), HOUR).await.unwrap(), BEGUN);
    });
}
