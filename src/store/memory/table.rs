//! The entries in memory and what they are found by.
//!
//! In come steps and the time, out comes what came of them. Every step keeps
//! the indexes true to the rows. No lock, no clock of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::{By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Settled};

/// All ids and keys are between these.
const LOWEST: Id = Id([0; 16]);
const HIGHEST: Id = Id([u8::MAX; 16]);
const HIGHEST_KEY: Key = [u8::MAX; 16];

/// The entries.
#[derive(Debug)]
pub(super) struct Table {
    ttl: Duration,
    capacity: usize,
    rows: BTreeMap<Id, Row>,
    /// Beginnings, with the heads of those that have one.
    heads: BTreeSet<(Key, Option<Key>, Id)>,
    names: HashMap<Key, Id>,
    /// The longest unused first.
    uses: BTreeSet<(Instant, Id)>,
}

/// An entry and who holds it.
#[derive(Debug)]
struct Row {
    /// Without a head from its claim to its settling.
    entry: Entry,
    used: Instant,
    /// To when the lease runs or ran, from its claim to its settling.
    until: Option<Instant>,
    fence: u64,
}

impl Row {
    fn is_lent(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    fn is_live(&self, ttl: Duration, now: Instant) -> bool {
        self.is_lent(now) || now.duration_since(self.used) < ttl
    }
}

impl Table {
    pub(super) fn new(ttl: Duration, capacity: usize) -> Self {
        let (rows, heads) = (BTreeMap::new(), BTreeSet::new());
        Self { ttl, capacity, rows, heads, names: HashMap::new(), uses: BTreeSet::new() }
    }

    pub(super) fn claim(&mut self, by: By, lease: Duration, now: Instant) -> Claimed {
        match by {
            By::Head { head, root } => self.claim_head(head, root, lease, now),
            By::Name { name, space, id } => {
                let known = self.names.get(&name).copied().filter(|id| self.live(*id, now).is_some());
                let id = known.unwrap_or_else(|| {
                    let entry = Entry { id, space, head: None, name: Some(name), root: None, value: vec![] };
                    self.put(entry, 0, now);
                    id
                });
                self.lend(id, lease, now)
            }
            By::Id { id, space } => match self.live(id, now) {
                Some(row) if row.entry.space == space => self.lend(id, lease, now),
                _ => Claimed::Absent { begun: false },
            },
        }
    }

    fn claim_head(&mut self, head: Key, root: Key, lease: Duration, now: Instant) -> Claimed {
        let (first, last) = ((root, Some(head), LOWEST), (root, Some(head), HIGHEST));
        let mut found = self.heads.range(first..=last).filter(|(_, _, id)| self.live(*id, now).is_some());
        match (found.next(), found.next()) {
            (Some(&(_, _, id)), None) => self.lend(id, lease, now),
            (Some(_), Some(_)) => Claimed::Ambiguous,
            (None, _) => {
                let (first, last) = ((root, None, LOWEST), (root, Some(HIGHEST_KEY), HIGHEST));
                let mut begun = self.heads.range(first..=last);
                Claimed::Absent { begun: begun.any(|(_, _, id)| self.live(*id, now).is_some()) }
            }
        }
    }

    /// Lends an entry, unless somebody has it.
    fn lend(&mut self, id: Id, lease: Duration, now: Instant) -> Claimed {
        let Some(row) = self.rows.get_mut(&id) else { return Claimed::Absent { begun: false } };
        if let Some(until) = row.until.filter(|until| *until > now) {
            return Claimed::Busy(until.duration_since(now));
        }
        let abandoned = row.until.is_some();
        row.until = Some(later(now, lease));
        row.fence = row.fence.saturating_add(1);
        let lease = Lease { id, fence: row.fence };
        let entry = row.entry.clone();
        self.hide_head(id);
        Claimed::Lent { lease, entry, abandoned }
    }

    fn hide_head(&mut self, id: Id) {
        if let Some(row) = self.rows.get_mut(&id)
            && let Some(head) = row.entry.head.take()
            && let Some(root) = row.entry.root
        {
            self.heads.remove(&(root, Some(head), id));
            self.heads.insert((root, None, id));
        }
    }

    pub(super) fn renew(&mut self, leases: Vec<Lease>, lease: Duration, now: Instant) -> Vec<Lease> {
        let mut lost = leases;
        lost.retain(|held| {
            let row = self.rows.get_mut(&held.id).filter(|row| row.fence == held.fence);
            let Some(until) = row.and_then(|row| row.until.as_mut()) else { return true };
            *until = later(now, lease).max(*until);
            false
        });
        lost
    }

    pub(super) fn settle(&mut self, lease: Lease, outcome: Outcome, now: Instant) -> Settled {
        let row = self.rows.get(&lease.id).filter(|row| row.fence == lease.fence);
        if row.is_none_or(|row| outcome == Outcome::Abandon && row.until.is_none()) {
            return Settled::Lost;
        }
        match outcome {
            Outcome::Keep(entry) => self.put(Entry { id: lease.id, ..entry }, lease.fence, now),
            Outcome::Drop => drop(self.remove(lease.id)),
            Outcome::Abandon => self.abandon(lease.id, now),
        }
        Settled::Done
    }

    /// Ends a lease, so that it cannot be renewed either.
    fn abandon(&mut self, id: Id, now: Instant) {
        self.hide_head(id);
        if let Some(row) = self.rows.get_mut(&id) {
            row.until = Some(now);
            row.fence = row.fence.saturating_add(1);
        }
    }

    pub(super) fn insert(&mut self, entry: Entry, now: Instant) {
        if self.live(entry.id, now).is_none() {
            self.put(entry, 0, now);
        }
    }

    pub(super) fn purge(&mut self, limit: usize, now: Instant) -> Vec<Entry> {
        let unused = self.uses.iter().take_while(|(used, _)| now.duration_since(*used) >= self.ttl);
        let dead = unused.map(|(_, id)| *id).filter(|id| self.live(*id, now).is_none());
        let dead: Vec<Id> = dead.take(limit).collect();
        dead.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub(super) fn list(&self, after: Option<Id>, limit: usize, now: Instant) -> Vec<Listed> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((start, Bound::Unbounded)).map(|(_, row)| row);
        let live = rows.filter(|row| row.is_live(self.ttl, now));
        let today = SystemTime::now();
        let listed = live.map(|row| Listed {
            entry: row.entry.clone(),
            used: today.checked_sub(now.duration_since(row.used)).unwrap_or(SystemTime::UNIX_EPOCH),
            lent: row.is_lent(now),
        });
        listed.take(limit).collect()
    }

    pub(super) fn forget(&mut self, id: Id, now: Instant) -> Option<Entry> {
        let is_live = self.live(id, now).is_some();
        self.remove(id).filter(|_| is_live)
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Counts { entries: count(self.rows.len()), named: count(self.names.len()) }
    }

    fn live(&self, id: Id, now: Instant) -> Option<&Row> {
        self.rows.get(&id).filter(|row| row.is_live(self.ttl, now))
    }

    /// Writes an entry, free and used now, in the place of what has its id.
    fn put(&mut self, entry: Entry, fence: u64, now: Instant) {
        let id = entry.id;
        self.remove(id);
        if let Some(root) = entry.root {
            self.heads.insert((root, entry.head, id));
        }
        if let Some(name) = entry.name
            && let Some(other) = self.names.insert(name, id)
            && let Some(other) = self.rows.get_mut(&other)
        {
            other.entry.name = None;
        }
        self.uses.insert((now, id));
        self.rows.insert(id, Row { entry, used: now, until: None, fence });
        if self.rows.len() > self.capacity {
            self.make_room(id, now);
        }
    }

    /// Removes what was unused for longest, but neither what is lent nor what
    /// the room is for.
    fn make_room(&mut self, id: Id, now: Instant) {
        let is_free = |id: &Id| self.rows.get(id).is_some_and(|row| !row.is_lent(now));
        let oldest = self.uses.iter().map(|(_, other)| *other).find(|other| *other != id && is_free(other));
        oldest.map(|id| self.remove(id));
    }

    fn remove(&mut self, id: Id) -> Option<Entry> {
        let row = self.rows.remove(&id)?;
        self.uses.remove(&(row.used, id));
        if let Some(root) = row.entry.root {
            self.heads.remove(&(root, row.entry.head, id));
        }
        if let Some(name) = row.entry.name {
            self.names.remove(&name);
        }
        Some(row.entry)
    }
}

/// The end of a lease. One that no clock can tell runs for a day.
fn later(now: Instant, lease: Duration) -> Instant {
    now.checked_add(lease).unwrap_or_else(|| now + Duration::from_secs(86_400))
}
