//! Every store does what a plain list of entries does, whatever is asked.

use std::sync::Arc;
use std::time::Duration;

use cozeway::store::{By, Claimed, Counts, Entry, Id, Key, Lease, Outcome, Settled, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::stage::{HOUR, each, key};
use crate::support::proptest_config;

/// One step. Numbers stand for keys, and for leases as they were handed out.
#[derive(Clone, Debug)]
enum Step {
    Head { head: u8, root: u8, is_kept: bool },
    Name { name: u8, is_kept: bool },
    Id { id: u8, space: u8, is_kept: bool },
    Keep { lease: usize, entry: Face },
    Drop { lease: usize },
    Abandon { lease: usize },
    Renew { leases: Vec<usize>, is_kept: bool },
    Insert { id: u8, entry: Face },
    Forget { id: u8 },
    List { after: Option<u8>, limit: usize },
    Count,
}

/// What can be told of an entry beside its id.
#[derive(Clone, Debug)]
struct Face {
    space: u8,
    head: Option<u8>,
    name: Option<u8>,
    root: Option<u8>,
    value: Vec<u8>,
}

impl Face {
    fn of(&self, id: Id) -> Entry {
        let Self { space, head, name, root, value } = self.clone();
        let (head, name, root) = (head.map(key), name.map(key), root.map(key));
        Entry { id, space: key(space), head, name, root, value }
    }
}

/// So few, so that they meet.
fn few() -> std::ops::Range<u8> {
    0..3
}

fn face() -> impl Strategy<Value = Face> {
    let option = || prop::option::weighted(0.8, few());
    (few(), option(), option(), option(), prop::collection::vec(any::<u8>(), 0..4))
        .prop_map(|(space, head, name, root, value)| Face { space, head, name, root, value })
}

fn step() -> impl Strategy<Value = Step> {
    let (lease, id) = (0..12_usize, 0..6_u8);
    let is_kept = prop::bool::weighted(0.7);
    prop_oneof![
        5 => (few(), few(), is_kept).prop_map(|(head, root, is_kept)| Step::Head { head, root, is_kept }),
        3 => (few(), is_kept).prop_map(|(name, is_kept)| Step::Name { name, is_kept }),
        2 => (id.clone(), few(), is_kept).prop_map(|(id, space, is_kept)| Step::Id { id, space, is_kept }),
        5 => (lease.clone(), face()).prop_map(|(lease, entry)| Step::Keep { lease, entry }),
        1 => lease.clone().prop_map(|lease| Step::Drop { lease }),
        1 => lease.clone().prop_map(|lease| Step::Abandon { lease }),
        1 => (prop::collection::vec(lease, 0..4), is_kept)
            .prop_map(|(leases, is_kept)| Step::Renew { leases, is_kept }),
        5 => (id.clone(), face()).prop_map(|(id, entry)| Step::Insert { id, entry }),
        1 => id.clone().prop_map(|id| Step::Forget { id }),
        1 => (prop::option::of(id), 0..5_usize).prop_map(|(after, limit)| Step::List { after, limit }),
        1 => Just(Step::Count),
    ]
}

/// Entries in a list, with their leases.
#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    leases: Vec<Lease>,
    made: u8,
}

struct Row {
    entry: Entry,
    fence: u64,
    /// From its claim to its settling: whether the lease still runs.
    lent: Option<bool>,
}

impl Model {
    fn row(&mut self, id: Id) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.entry.id == id)
    }

    fn put(&mut self, entry: Entry, fence: u64) {
        self.rows.retain(|row| row.entry.id != entry.id);
        for row in &mut self.rows {
            row.entry.name = row.entry.name.filter(|name| Some(*name) != entry.name);
        }
        self.rows.push(Row { entry, fence, lent: None });
    }

    fn claim(&mut self, by: By, is_kept: bool) -> Claimed {
        let found: Vec<Id> = match by {
            By::Head { head, root } => self.ids(|entry| entry.head == Some(head) && entry.root == Some(root)),
            By::Name { name, .. } => self.ids(|entry| entry.name == Some(name)),
            By::Id { id, space } => self.ids(|entry| entry.id == id && entry.space == space),
        };
        match (found.as_slice(), by) {
            ([id], _) => self.lend(*id, is_kept),
            ([], By::Name { name, space, id }) => {
                let entry = Entry { id, space, head: None, name: Some(name), root: None, value: Vec::new() };
                self.put(entry, 0);
                self.lend(id, is_kept)
            }
            ([], By::Head { root, .. }) => {
                Claimed::Absent { begun: !self.ids(|entry| entry.root == Some(root)).is_empty() }
            }
            ([], By::Id { .. }) => Claimed::Absent { begun: false },
            _ => Claimed::Ambiguous,
        }
    }

    fn ids(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Id> {
        self.rows.iter().map(|row| &row.entry).filter(|entry| is_meant(entry)).map(|entry| entry.id).collect()
    }

    fn lend(&mut self, id: Id, is_kept: bool) -> Claimed {
        let row = self.row(id).unwrap();
        if row.lent == Some(true) {
            return Claimed::Busy(Duration::ZERO);
        }
        let abandoned = row.lent.replace(is_kept).is_some();
        row.fence += 1;
        let lease = Lease { id, fence: row.fence };
        let entry = row.entry.clone();
        row.entry.head = None;
        Claimed::Lent { lease, entry, abandoned }
    }

    fn settle(&mut self, lease: Lease, outcome: Outcome) -> Settled {
        let row = self.row(lease.id).filter(|row| row.fence == lease.fence);
        if row.is_none_or(|row| outcome == Outcome::Abandon && row.lent.is_none()) {
            return Settled::Lost;
        }
        match outcome {
            Outcome::Keep(entry) => self.put(entry, lease.fence),
            Outcome::Drop => self.rows.retain(|row| row.entry.id != lease.id),
            Outcome::Abandon => {
                let row = self.row(lease.id).unwrap();
                (row.entry.head, row.lent) = (None, Some(false));
                row.fence += 1;
            }
        }
        Settled::Done
    }

    fn renew(&mut self, leases: &[Lease], is_kept: bool) -> Vec<Lease> {
        let mut lost = leases.to_vec();
        lost.retain(|lease| {
            let row = self.row(lease.id).filter(|row| row.fence == lease.fence);
            let Some(lent) = row.and_then(|row| row.lent.as_mut()) else { return true };
            *lent |= is_kept;
            false
        });
        lost
    }

    /// The lease that was handed out as this one, or one that never was.
    fn lease(&self, number: usize) -> Lease {
        self.leases.get(number).copied().unwrap_or(Lease { id: Id(key(99)), fence: 1 })
    }

    /// Keys for entries that are made: never used twice.
    fn next_id(&mut self) -> Id {
        self.made += 1;
        Id(key(100 + self.made))
    }
}

/// A lease that runs for long, or has run out at once.
fn lease(is_kept: bool) -> Duration {
    if is_kept { HOUR } else { Duration::ZERO }
}

/// How long a lease still runs depends on the clock.
fn timeless(claimed: Claimed) -> Claimed {
    match claimed {
        Claimed::Busy(_) => Claimed::Busy(Duration::ZERO),
        other => other,
    }
}

/// Takes the steps with one way to the store after the other.
async fn play(ways: &[Arc<dyn Store>], steps: &[Step]) {
    let mut model = Model::default();
    for (step, store) in steps.iter().cloned().zip(ways.iter().cycle()) {
        match step {
            Step::Head { head, root, is_kept } => {
                claim(store, &mut model, By::Head { head: key(head), root: key(root) }, is_kept).await;
            }
            Step::Name { name, is_kept } => {
                let (name, space): (Key, Key) = (key(name), key(name));
                let id = model.next_id();
                claim(store, &mut model, By::Name { name, space, id }, is_kept).await;
            }
            Step::Id { id, space, is_kept } => {
                claim(store, &mut model, By::Id { id: Id(key(id)), space: key(space) }, is_kept).await;
            }
            Step::Keep { lease, entry } => {
                let lease = model.lease(lease);
                settle(store, &mut model, lease, Outcome::Keep(entry.of(lease.id))).await;
            }
            Step::Drop { lease } => {
                let lease = model.lease(lease);
                settle(store, &mut model, lease, Outcome::Drop).await;
            }
            Step::Abandon { lease } => {
                let lease = model.lease(lease);
                settle(store, &mut model, lease, Outcome::Abandon).await;
            }
            Step::Renew { leases, is_kept } => {
                let leases: Vec<Lease> = leases.into_iter().map(|number| model.lease(number)).collect();
                let lost = store.renew(leases.clone(), lease(is_kept)).await.unwrap();
                assert_eq!(lost, model.renew(&leases, is_kept));
            }
            Step::Insert { id, entry } => {
                let entry = entry.of(Id(key(id)));
                store.insert(entry.clone()).await.unwrap();
                if model.row(entry.id).is_none() {
                    model.put(entry, 0);
                }
            }
            Step::Forget { id } => {
                let id = Id(key(id));
                let known = model.row(id).map(|row| row.entry.clone());
                model.rows.retain(|row| row.entry.id != id);
                assert_eq!(store.forget(id).await.unwrap(), known);
            }
            Step::List { after, limit } => compare(store, &model, after.map(|id| Id(key(id))), limit).await,
            Step::Count => {
                let named = model.ids(|entry| entry.name.is_some()).len() as u64;
                let counts = Counts { entries: model.rows.len() as u64, named };
                assert_eq!(store.counts().await.unwrap(), counts);
            }
        }
    }
    for way in ways {
        compare(way, &model, None, 1000).await;
    }
}

async fn claim(store: &Arc<dyn Store>, model: &mut Model, by: By, is_kept: bool) {
    let lacks = matches!(by, By::Head { root, .. } if store.lacks(&root));
    let claimed = store.claim(by, lease(is_kept)).await.unwrap();
    if lacks {
        assert_eq!(claimed, Claimed::Absent { begun: false }, "{by:?}");
    }
    if let Claimed::Lent { lease, .. } = claimed {
        model.leases.push(lease);
    }
    assert_eq!(timeless(claimed), model.claim(by, is_kept), "{by:?}");
}

async fn settle(store: &Arc<dyn Store>, model: &mut Model, lease: Lease, outcome: Outcome) {
    let settled = store.settle(lease, outcome.clone()).await.unwrap();
    assert_eq!(settled, model.settle(lease, outcome.clone()), "{lease:?} {outcome:?}");
}

async fn compare(store: &Arc<dyn Store>, model: &Model, after: Option<Id>, limit: usize) {
    let listed = store.list(after, limit).await.unwrap();
    let listed: Vec<(Entry, bool)> = listed.into_iter().map(|listed| (listed.entry, listed.lent)).collect();
    let mut rows: Vec<(Entry, bool)> =
        model.rows.iter().map(|row| (row.entry.clone(), row.lent == Some(true))).collect();
    rows.retain(|(entry, _)| after.is_none_or(|after| entry.id > after));
    rows.sort_by_key(|(entry, _)| entry.id);
    rows.truncate(limit);
    assert_eq!(listed, rows);
}

#[test]
fn every_store_does_as_a_plain_list_does() {
    let steps = prop::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(proptest_config(64)).run(&steps, |steps| {
        each(async |stage| play(&[Arc::clone(&stage.store)], &steps).await);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn two_processes_with_one_store_do_as_one_does() {
    let steps = prop::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(proptest_config(64)).run(&steps, |steps| {
        each(async |stage| {
            let (one, two) = (Arc::clone(&stage.store), stage.again());
            // Not in turns, so that each falls behind by more than a step.
            let ways = [&one, &one, &two, &one, &two, &two, &two];
            play(&ways.map(Arc::clone), &steps).await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
