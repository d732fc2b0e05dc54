//! Growing old, being listed and counted, and the secret.

use std::time::{Duration, SystemTime};

use cozeway::store::{Claimed, Counts, Entry, Id, Outcome, Settled};

use crate::stage::{ABSENT, each, each_living, entry, head, id, key, name, until};

#[test]
fn what_was_not_used_for_its_time_is_absent_before_it_is_purged() {
    each_living(Duration::ZERO, async |stage| {
        let entry = Entry { name: Some(key(7)), ..entry(2, 3) };
        stage.insert(&entry).await;
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
        assert_eq!(stage.claim(id(&entry)).await, ABSENT);
        assert!(stage.ids().await.is_empty());
        let lent = stage.lent(name(7)).await;
        assert_ne!(lent.entry.id, entry.id);
        assert_eq!((lent.lease.fence, lent.abandoned), (1, false));
        assert_eq!(stage.store.forget(entry.id).await.unwrap(), None);
    });
}

#[test]
fn of_two_with_one_head_an_old_one_does_not_count() {
    each_living(Duration::from_millis(50), async |stage| {
        stage.insert(&entry(2, 3)).await;
        until(async || stage.ids().await.is_empty().then_some(())).await;
        let entry = entry(2, 3);
        stage.insert(&entry).await;
        match stage.claim(head(2, 3)).await {
            Claimed::Lent { entry: lent, .. } => assert_eq!(lent, entry),
            // The machine was slow, and this one is too old by now as well.
            other => assert_eq!(other, ABSENT),
        }
    });
}

#[test]
fn what_is_lent_outlives_its_time_and_settles() {
    each_living(Duration::ZERO, async |stage| {
        let lent = stage.lent(name(7)).await;
        assert!(matches!(stage.claim(name(7)).await, Claimed::Busy(_)));
        assert!(stage.store.purge(10).await.unwrap().is_empty());
        assert_eq!(stage.ids().await, [lent.entry.id]);
        assert_eq!(stage.settle(lent.lease, Outcome::Keep(lent.entry.clone())).await, Settled::Done);
        assert_eq!(stage.store.purge(10).await.unwrap(), [lent.entry]);
    });
}

#[test]
fn purging_removes_as_many_as_it_may() {
    each_living(Duration::ZERO, async |stage| {
        let mut ids = Vec::new();
        for number in 1..=5 {
            let entry = Entry { name: Some(key(number)), ..entry(number, 9) };
            stage.insert(&entry).await;
            ids.push(entry.id);
        }
        let lent = stage.lent(name(6)).await;
        assert_eq!(stage.store.counts().await.unwrap(), Counts { entries: 6, named: 6 });
        let mut purged = Vec::new();
        for expected in [2, 2, 1, 0] {
            let entries = stage.store.purge(2).await.unwrap();
            assert_eq!(entries.len(), expected);
            purged.extend(entries.into_iter().map(|entry| entry.id));
        }
        purged.sort();
        ids.sort();
        assert_eq!(purged, ids);
        assert_eq!(stage.ids().await, [lent.entry.id]);
    });
}

#[test]
fn purging_leaves_what_is_young() {
    each(async |stage| {
        stage.insert(&entry(2, 3)).await;
        stage.lent_for(name(7), Duration::ZERO).await;
        assert!(stage.store.purge(10).await.unwrap().is_empty());
        assert_eq!(stage.ids().await.len(), 2);
    });
}

#[test]
fn a_list_goes_on_where_it_ended() {
    each(async |stage| {
        let mut entries = Vec::new();
        for number in 0..7 {
            // Not in the order of their time alone.
            let id = Id([number * 37 % 7; 16]);
            let entry = Entry { id, ..entry(number, 9) };
            stage.insert(&entry).await;
            entries.push(entry);
        }
        entries.sort_by_key(|entry| entry.id);
        let mut listed = Vec::new();
        let mut after = None;
        for expected in [3, 3, 1, 0] {
            let page = stage.store.list(after, 3).await.unwrap();
            assert_eq!(page.len(), expected);
            after = page.last().map(|listed| listed.entry.id).or(after);
            listed.extend(page.into_iter().map(|listed| listed.entry));
        }
        assert_eq!(listed, entries);
        assert!(stage.store.list(None, 0).await.unwrap().is_empty());
    });
}

#[test]
fn a_list_says_what_is_lent_and_when_it_was_used() {
    each(async |stage| {
        let before = SystemTime::now();
        let (one, two) = (entry(2, 3), entry(4, 5));
        for entry in [&one, &two] {
            stage.insert(entry).await;
        }
        stage.lent(id(&one)).await;
        stage.lent_for(id(&two), Duration::ZERO).await;
        let listed = stage.store.list(None, 10).await.unwrap();
        let second = Duration::from_secs(1);
        for listed in &listed {
            assert!(listed.used > before - second && listed.used < SystemTime::now() + second);
            assert_eq!(listed.entry.head, None);
            assert_eq!(listed.lent, listed.entry.id == one.id);
        }
        assert_eq!(listed.len(), 2);
    });
}

#[test]
fn a_forgotten_entry_is_absent() {
    each(async |stage| {
        let entry = Entry { name: Some(key(7)), ..entry(2, 3) };
        stage.insert(&entry).await;
        assert_eq!(stage.store.forget(Id::random()).await.unwrap(), None);
        assert_eq!(stage.store.forget(entry.id).await.unwrap(), Some(entry.clone()));
        assert_eq!(stage.claim(head(2, 3)).await, ABSENT);
        assert_eq!(stage.claim(id(&entry)).await, ABSENT);
        assert_ne!(stage.lent(name(7)).await.entry.id, entry.id);
    });
}

#[test]
fn entries_and_names_are_counted() {
    each(async |stage| {
        assert_eq!(stage.store.counts().await.unwrap(), Counts::default());
        for number in 0..5 {
            stage.insert(&entry(number, 9)).await;
        }
        let lent = stage.lent(name(7)).await;
        stage.lent(name(8)).await;
        assert_eq!(stage.store.counts().await.unwrap(), Counts { entries: 7, named: 2 });
        stage.settle(lent.lease, Outcome::Keep(Entry { name: None, ..lent.entry })).await;
        assert_eq!(stage.store.counts().await.unwrap(), Counts { entries: 7, named: 1 });
        for id in stage.ids().await {
            stage.store.forget(id).await.unwrap();
        }
        assert_eq!(stage.store.counts().await.unwrap(), Counts::default());
    });
}

#[test]
fn the_secret_is_random_and_stays() {
    let secrets = std::sync::Mutex::new(vec![[0; 32]]);
    each(async |stage| {
        let secret = stage.store.secret().await.unwrap();
        for _ in 0..2 {
            assert_eq!(stage.again().secret().await.unwrap(), secret);
        }
        let mut secrets = secrets.lock().unwrap();
        assert!(!secrets.contains(&secret));
        secrets.push(secret);
    });
}

#[test]
fn what_was_used_often_is_purged_like_what_was_not() {
    each_living(Duration::from_secs(2), async |stage| {
        for number in 1..=3 {
            let mut lent = stage.lent(name(number)).await;
            for _ in 0..600 {
                let kept = Entry { value: vec![number], ..lent.entry.clone() };
                assert_eq!(stage.settle(lent.lease, Outcome::Keep(kept)).await, Settled::Done);
                lent = stage.lent(name(number)).await;
            }
            assert_eq!(stage.settle(lent.lease, Outcome::Keep(lent.entry.clone())).await, Settled::Done);
        }
        until(async || stage.ids().await.is_empty().then_some(())).await;
        assert_eq!(stage.store.purge(10).await.unwrap().len(), 3);
        assert_eq!(stage.store.counts().await.unwrap(), Counts::default());
    });
}
