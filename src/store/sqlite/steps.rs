//! The steps of a store, each inside of a transaction that is its caller's.
//!
//! In come steps, out comes what came of them: rows are written and removed,
//! and the index is kept true to them. Where another process has changed the
//! file, the index may name rows that are gone or have other keys by now, but
//! it never lacks one: a row is believed, the index is not.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Result};
use tokio::time::Instant;

use super::super::{By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Settled};
use super::cache::Cache;
use super::index::{Index, Kind, LAST, Seen, Word};
use super::packed::{NewEntry, Unpacked};
use super::rows::{LeaseRow, Row, Rows, Tally};

/// So many replaced rows stay at least before some are removed: those of a
/// page are best removed together.
const LEAST_REPLACED: usize = 8192;

/// So many rows does a purge read at a time.
const PURGE_PAGE: usize = 1024;

/// So many pages does a purge read: others wait for it.
const PURGE_PAGES: usize = 16;

/// How long another process is taken to be there after it has written.
const COMPANY: Duration = Duration::from_secs(600);

/// The file and what is known of it.
#[derive(Debug)]
pub(super) struct Steps<'c> {
    pub(super) rows: Rows<'c>,
    pub(super) index: Index,
    /// The roots of all rows that there are or were.
    pub(super) roots: Arc<Seen>,
    pub(super) cache: Cache<'c>,
    pub(super) tally: Tally,
    /// As it was read or written last.
    kept: Tally,
    pub(super) ttl: i64,
    /// Milliseconds since 1970, at the beginning of the transaction.
    pub(super) now: i64,
    /// Rows of other processes that were learned since the index was made.
    pub(super) foreign: u64,
    /// When another process has last shown that it is there.
    company: Option<Instant>,
}

impl<'c> Steps<'c> {
    /// Reads the index from the file, at one moment of it, and takes a
    /// number, which tells other processes that there is one more; `company`
    /// says whether there may be others. Takes note of
    /// all `roots`, now and later.
    pub(super) fn new(file: &'c Connection, ttl: Duration, company: bool, roots: Arc<Seen>) -> Result<Self> {
        let mut rows = Rows::new(file)?;
        let cache = Cache::new(file)?;
        file.execute_batch("BEGIN")?;
        let tally = rows.tally()?;
        let index = rows.index(tally.counts.entries, &roots)?;
        file.execute_batch("COMMIT")?;
        let (ttl, kept, company) = (millis(ttl), tally, company.then(Instant::now));
        let mut steps = Self { rows, index, roots, cache, tally, kept, ttl, now: 0, foreign: 0, company };
        steps.begin()?;
        steps.tally.last = steps.tally.last.saturating_add(1);
        steps.commit()?;
        Ok(steps)
    }

    /// Whether no other process seems to use the file.
    pub(super) fn is_alone(&self) -> bool {
        self.company.is_none_or(|last| last.elapsed() > COMPANY)
    }

    /// Begins a transaction, and learns what other processes have written.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.rows.begin()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now = millis(now);
        let tally = self.rows.tally()?;
        if tally.last != self.tally.last {
            self.company = Some(Instant::now());
            self.catch_up(tally)?;
        }
        (self.tally, self.kept) = (tally, tally);
        Ok(())
    }

    /// Ends a transaction: what was done in it is done.
    pub(super) fn commit(&mut self) -> Result<()> {
        let limit = usize::try_from(self.tally.counts.entries / 4).unwrap_or(usize::MAX);
        if self.index.replaced() > limit.saturating_add(LEAST_REPLACED) {
            self.sweep()?;
        }
        if self.tally != self.kept {
            self.rows.set_tally(self.tally)?;
        }
        self.rows.commit()?;
        self.index.keep();
        self.kept = self.tally;
        Ok(())
    }

    /// Ends a transaction: nothing of it was done.
    pub(super) fn roll_back(&mut self) {
        // Some errors end the transaction by themselves.
        let _ = self.rows.rollback();
        self.index.take_back();
        self.tally = self.kept;
    }

    pub(super) fn claim(&mut self, by: By, lease: Duration) -> Result<Claimed> {
        match by {
            By::Head { head, root } => self.claim_head(&head, &root, lease),
            By::Name { name, space, id } => self.claim_name(name, space, id, lease),
            By::Id { id, space } => match self.by_id(id)? {
                Some(row) if row.entry.space == space && self.is_live(&row) => self.lend(row, lease),
                _ => Ok(Claimed::Absent { begun: false }),
            },
        }
    }

    fn claim_head(&mut self, head: &Key, root: &Key, lease: Duration) -> Result<Claimed> {
        let now = self.now;
        let ttl = self.ttl;
        let is_meant = |row: &Row| row.entry.head == Some(*head) && row.entry.root == Some(*root);
        let found = |row: &Row| row.lease.is_none() && is_meant(row) && is_live(row, ttl, now);
        let first = self.newest(Kind::Head, head, LAST, found)?;
        if let Some(first) = first {
            return match self.newest(Kind::Head, head, first.seq, found)? {
                None => self.lend(first, lease),
                Some(_) => Ok(Claimed::Ambiguous),
            };
        }
        let begun = |row: &Row| row.entry.root == Some(*root) && is_live(row, ttl, now);
        Ok(Claimed::Absent { begun: self.newest(Kind::Root, root, LAST, begun)?.is_some() })
    }

    fn claim_name(&mut self, name: Key, space: Key, id: Id, lease: Duration) -> Result<Claimed> {
        if let Some(row) = self.by_name(&name)? {
            if self.is_live(&row) {
                return self.lend(row, lease);
            }
            self.remove(&row)?;
        }
        let entry = Entry { id, space, head: None, name: Some(name), root: None, value: Vec::new() };
        let seq = self.write((&entry).into(), None, 0)?;
        self.count(1, 1);
        self.lend(Row { seq, prev: None, entry, used: self.now, fence: 0, lease: None }, lease)
    }

    /// Lends a row, unless somebody has it.
    fn lend(&mut self, row: Row, lease: Duration) -> Result<Claimed> {
        let Row { seq, mut entry, fence, lease: before, .. } = row;
        let abandoned = before.is_some();
        let fence = match before {
            Some((until, _)) if until > self.now => {
                let left = until.saturating_sub(self.now).unsigned_abs();
                return Ok(Claimed::Busy(Duration::from_millis(left)));
            }
            Some((_, fence)) => fence,
            None => fence,
        };
        let fence = fence.saturating_add(1);
        let until = self.now.saturating_add(millis(lease));
        let Entry { id, root, name, .. } = entry;
        self.rows.lend(&LeaseRow { seq, id, root, name, until, fence })?;
        if let Some(head) = &entry.head {
            self.index.remove(Kind::Head, head, seq);
        }
        if abandoned {
            entry.head = None;
        }
        Ok(Claimed::Lent { lease: Lease { id, fence }, entry, abandoned })
    }

    pub(super) fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<Lease>> {
        let until = self.now.saturating_add(millis(lease));
        let mut lost = Vec::new();
        for held in leases {
            let mut before = Some(LAST);
            let mut is_lost = true;
            while let Some(seq) = before.and_then(|before| self.index.newest(Kind::Id, &held.id.0, before)) {
                is_lost = !self.rows.renew(seq, held.id, held.fence, until)?;
                before = is_lost.then_some(seq);
            }
            if is_lost {
                lost.push(*held);
            }
        }
        Ok(lost)
    }

    pub(super) fn settle(&mut self, lease: Lease, outcome: &Outcome) -> Result<Settled> {
        let Lease { id, fence } = lease;
        let mut before = LAST;
        while let Some(seq) = self.index.newest(Kind::Id, &id.0, before) {
            if let Some(held) = self.rows.give_back(seq, id, fence)? {
                self.end(&held, outcome)?;
                return Ok(Settled::Done);
            }
            before = seq;
        }
        // It may have been settled before.
        match self.by_id(id)? {
            Some(Row { seq, entry, fence: settled, lease: None, .. })
                if settled == fence && *outcome != Outcome::Abandon =>
            {
                if let Some(head) = &entry.head {
                    self.index.remove(Kind::Head, head, seq);
                }
                let Entry { root, name, .. } = entry;
                self.end(&LeaseRow { seq, id, root, name, until: 0, fence }, outcome)?;
                Ok(Settled::Done)
            }
            _ => Ok(Settled::Lost),
        }
    }

    /// Writes what becomes of a row whose head nobody finds any more.
    fn end(&mut self, held: &LeaseRow, outcome: &Outcome) -> Result<()> {
        let LeaseRow { seq, id, root, name, fence, .. } = *held;
        match outcome {
            Outcome::Keep(entry) => {
                self.unlist(seq, id, root.as_ref(), name.as_ref());
                self.index.replace(seq);
                let steals = entry.name.filter(|new| name != Some(*new));
                if let Some(name) = steals {
                    self.free_name(&name)?;
                }
                self.count(0, i64::from(entry.name.is_some()) - i64::from(name.is_some()));
                let mut entry = NewEntry::from(entry);
                entry.keys.id = id;
                self.write(entry, Some(seq), fence)?;
            }
            Outcome::Drop => self.remove_keys(seq, id, root.as_ref(), name.as_ref())?,
            // It has run out; by its old fence it cannot be renewed either.
            Outcome::Abandon => {
                self.rows.lend(&LeaseRow { until: 0, fence: fence.saturating_add(1), ..*held })?
            }
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, entry: NewEntry<'_>) -> Result<()> {
        let Unpacked { id, name, .. } = entry.keys;
        if let Some(row) = self.by_id(id)? {
            if self.is_live(&row) {
                return Ok(());
            }
            self.remove(&row)?;
        }
        if let Some(name) = &name {
            self.free_name(name)?;
        }
        self.count(1, i64::from(name.is_some()));
        self.write(entry, None, 0).map(drop)
    }

    /// Rows stand in the order of their use: the first young one ends it. Old
    /// ones that were replaced go on the way, the lowest first.
    pub(super) fn purge(&mut self, limit: usize) -> Result<Vec<Entry>> {
        let mut purged = Vec::new();
        let mut last = 0;
        for _ in 0..PURGE_PAGES {
            let rows = self.rows.above(last, PURGE_PAGE)?;
            let Some(newest) = rows.last() else { break };
            last = newest.seq;
            for row in rows {
                if purged.len() >= limit || row.used.saturating_add(self.ttl) > self.now {
                    return Ok(purged);
                }
                if self.index.take_replaced(row.seq) {
                    self.rows.remove(row.seq)?;
                } else if !self.is_live(&row) {
                    self.remove(&row)?;
                    purged.push(as_listed(row.entry, row.lease.is_some()));
                }
            }
        }
        Ok(purged)
    }

    pub(super) fn list(&mut self, after: Option<Id>, limit: usize) -> Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut from = Some(Word::new(&after.map_or([0; 16], |id| id.0), 0));
        let mut count = limit.max(1);
        while listed.len() < limit
            && let Some(words) = from.map(|from| self.index.ids_from(from, count))
        {
            let begun = listed.len();
            for seq in words.iter().map(|word| word.seq()) {
                let row = self.rows.one(seq)?;
                let row = row.filter(|row| self.is_live(row) && !self.index.is_replaced(seq));
                if let Some(row) = row.filter(|row| after.is_none_or(|after| row.entry.id > after)) {
                    listed.push(Listed {
                        used: UNIX_EPOCH + Duration::from_millis(row.used.unsigned_abs()),
                        lent: row.lease.is_some_and(|(until, _)| until > self.now),
                        entry: as_listed(row.entry, row.lease.is_some()),
                    });
                }
            }
            if let Some(new) = listed.get_mut(begun..) {
                new.sort_by_key(|listed| listed.entry.id);
            }
            from = words.last().and_then(|last| last.above());
            // Each time all words are looked at.
            count = count.saturating_mul(2);
        }
        listed.truncate(limit);
        Ok(listed)
    }

    pub(super) fn counts(&self) -> Counts {
        self.tally.counts
    }

    pub(super) fn forget(&mut self, id: Id) -> Result<Option<Entry>> {
        let Some(row) = self.by_id(id)? else { return Ok(None) };
        self.remove(&row)?;
        let is_live = self.is_live(&row);
        Ok(is_live.then(|| as_listed(row.entry, row.lease.is_some())))
    }
}

/// An entry as it is told of: what is claimed has no head.
fn as_listed(entry: Entry, is_claimed: bool) -> Entry {
    Entry { head: entry.head.filter(|_| !is_claimed), ..entry }
}

pub(super) fn is_live(row: &Row, ttl: i64, now: i64) -> bool {
    row.used.saturating_add(ttl) > now || row.lease.is_some_and(|(until, _)| until > now)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
