//! Keeping file and index true to each other.
//!
//! What the steps are made of: finding rows by what the index knows, writing
//! and removing them in both places, removing rows that were replaced, and
//! reading the index from the file, whole or what was added to it.

use rusqlite::Result;

use super::super::{Entry, Id, Key};
use super::index::{Kind, LAST};
use super::packed::{NewEntry, Unpacked};
use super::rows::{NewRow, Row, Tally};
use super::steps::{Steps, is_live};

/// So many replaced rows are removed at a time.
const SWEEP: u64 = 512;

/// So many rows of other processes are learned, beside as many as there are
/// entries, before the index is made anew.
const MOST_FOREIGN: u64 = 10_000;

/// So many rows of other processes are read at a time.
const PAGE: usize = 256;

impl Steps<'_> {
    /// The newest row below `before` that is meant, of those that may have a
    /// key.
    pub(super) fn newest(
        &mut self,
        kind: Kind,
        key: &Key,
        before: u64,
        is_meant: impl Fn(&Row) -> bool,
    ) -> Result<Option<Row>> {
        let mut before = before;
        while let Some(seq) = self.index.newest(kind, key, before) {
            let row = if self.index.is_replaced(seq) { None } else { self.rows.one(seq)? };
            match row {
                Some(row) if is_meant(&row) => return Ok(Some(row)),
                Some(_) => {}
                // Another process has removed or claimed it.
                None => self.index.remove(kind, key, seq),
            }
            before = seq;
        }
        Ok(None)
    }

    pub(super) fn by_id(&mut self, id: Id) -> Result<Option<Row>> {
        self.newest(Kind::Id, &id.0, LAST, |row| row.entry.id == id)
    }

    pub(super) fn by_name(&mut self, name: &Key) -> Result<Option<Row>> {
        self.newest(Kind::Name, name, LAST, |row| row.entry.name == Some(*name))
    }

    pub(super) fn is_live(&self, row: &Row) -> bool {
        is_live(row, self.ttl, self.now)
    }

    /// Writes a row that nobody has claimed; gives its number.
    pub(super) fn write(&mut self, entry: NewEntry<'_>, prev: Option<u64>, fence: u64) -> Result<u64> {
        let seq = self.tally.last.saturating_add(1);
        if seq >= LAST {
            // At a thousand a second, in some thirty years.
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX));
        }
        self.rows.write(&NewRow { seq, prev, entry, used: self.now, fence })?;
        self.tally.last = seq;
        self.enlist(seq, &entry.keys);
        Ok(seq)
    }

    /// Removes a row from file and index.
    pub(super) fn remove(&mut self, row: &Row) -> Result<()> {
        let Row { seq, entry, lease, .. } = row;
        if let Some(head) = &entry.head {
            self.index.remove(Kind::Head, head, *seq);
        }
        if lease.is_some() {
            self.rows.remove_lease(*seq)?;
        }
        self.remove_keys(*seq, entry.id, entry.root.as_ref(), entry.name.as_ref())
    }

    /// Removes a row that has neither head nor lease any more, with all that
    /// it took the place of: what would not be replaced any more would count
    /// again.
    pub(super) fn remove_keys(
        &mut self,
        seq: u64,
        id: Id,
        root: Option<&Key>,
        name: Option<&Key>,
    ) -> Result<()> {
        self.unlist(seq, id, root, name);
        let mut prev = self.rows.remove(seq)?;
        while let Some(seq) = prev.filter(|seq| self.index.take_replaced(*seq)) {
            prev = self.rows.remove(seq)?;
        }
        self.count(-1, -i64::from(name.is_some()));
        Ok(())
    }

    /// Takes a name from the row that has it.
    pub(super) fn free_name(&mut self, name: &Key) -> Result<()> {
        if let Some(row) = self.by_name(name)? {
            self.index.remove(Kind::Name, name, row.seq);
            self.rows.unname(row)?;
            self.count(0, -1);
        }
        Ok(())
    }

    pub(super) fn count(&mut self, entries: i64, named: i64) {
        let counts = &mut self.tally.counts;
        counts.entries = counts.entries.saturating_add_signed(entries);
        counts.named = counts.named.saturating_add_signed(named);
    }

    fn enlist(&mut self, seq: u64, keys: &Unpacked) {
        let Unpacked { id, head, root, name, space: _ } = keys;
        self.index.add(Kind::Id, &id.0, seq);
        root.iter().for_each(|root| self.roots.note(root));
        for (kind, key) in [(Kind::Head, head), (Kind::Root, root), (Kind::Name, name)] {
            if let Some(key) = key {
                self.index.add(kind, key, seq);
            }
        }
    }

    /// Has the index forget a row that has no head any more.
    pub(super) fn unlist(&mut self, seq: u64, id: Id, root: Option<&Key>, name: Option<&Key>) {
        self.index.remove(Kind::Id, &id.0, seq);
        for (kind, key) in [(Kind::Root, root), (Kind::Name, name)] {
            if let Some(key) = key {
                self.index.remove(kind, key, seq);
            }
        }
    }

    /// Removes some of the rows that were replaced. The lowest first: a row
    /// that was replaced goes with or before the one that says so.
    pub(super) fn sweep(&mut self) -> Result<()> {
        let mut left = SWEEP;
        while left > 0
            && let Some((first, last)) = self.index.take_run(left)
        {
            self.rows.remove_run(first, last)?;
            left = left.saturating_sub(last.saturating_sub(first).saturating_add(1));
        }
        Ok(())
    }

    /// Learns of the rows that other processes have written.
    pub(super) fn catch_up(&mut self, tally: Tally) -> Result<()> {
        let written = tally.last.saturating_sub(self.tally.last);
        self.foreign = self.foreign.saturating_add(written);
        // Rows that others have removed stay in the index until it is made
        // anew.
        if tally.last < self.tally.last || self.foreign > tally.counts.entries.saturating_add(MOST_FOREIGN) {
            self.index = self.rows.index(tally.counts.entries, &self.roots)?;
            self.foreign = 0;
            return Ok(());
        }
        let mut last = self.tally.last;
        loop {
            let rows = self.rows.above(last, PAGE)?;
            let Some(newest) = rows.last() else { break };
            last = newest.seq;
            for row in &rows {
                self.learn(row)?;
            }
        }
        self.index.keep();
        Ok(())
    }

    fn learn(&mut self, row: &Row) -> Result<()> {
        self.enlist(row.seq, &NewEntry::from(&row.entry).keys);
        let Some(prev) = row.prev else { return Ok(()) };
        if let Some(Row { seq, entry: Entry { id, head, root, name, .. }, .. }) = self.rows.one(prev)? {
            if let Some(head) = &head {
                self.index.remove(Kind::Head, head, seq);
            }
            self.unlist(seq, id, root.as_ref(), name.as_ref());
            self.index.replace(seq);
        }
        Ok(())
    }
}
