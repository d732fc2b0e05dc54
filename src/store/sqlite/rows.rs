//! The statements: rows in, rows out.
//!
//! Each is prepared once. Knows the tables and nothing of what they mean;
//! transactions are its caller's.

use std::collections::HashSet;

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Result, Row as Columns, Statement, params};

use super::super::{Counts, Entry, Id, Key};
use super::index::{Found, Index, Seen, Word};
use super::packed::{NewEntry, Packed, Unpacked};

/// A row, with its lease.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    /// The row that this one took the place of.
    pub(super) prev: Option<u64>,
    /// As it was written, with its head.
    pub(super) entry: Entry,
    /// Milliseconds since 1970.
    pub(super) used: i64,
    /// Counts the claims before it was written.
    pub(super) fence: u64,
    /// Where it was claimed since: until when, and the fence.
    pub(super) lease: Option<(i64, u64)>,
}

/// What goes into the table of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRow<'e> {
    pub(super) seq: u64,
    pub(super) prev: Option<u64>,
    pub(super) entry: NewEntry<'e>,
    pub(super) used: i64,
    pub(super) fence: u64,
}

/// What goes into the table of leases.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseRow {
    pub(super) seq: u64,
    pub(super) id: Id,
    pub(super) root: Option<Key>,
    pub(super) name: Option<Key>,
    pub(super) until: i64,
    pub(super) fence: u64,
}

/// What each transaction reads first and, if it has written, writes last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) last: u64,
    pub(super) counts: Counts,
}

/// A row with its lease.
const ROWS: &str = "SELECT e.seq, e.prev, e.keys, e.used, e.fence, e.value, l.until, l.fence \
                    FROM entry AS e LEFT JOIN lease AS l ON l.seq = e.seq";

/// What rows are found by; by their heads only while nobody has claimed them.
const KEYS: &str = "SELECT e.seq, e.prev, e.keys, l.seq IS NOT NULL \
                    FROM entry AS e LEFT JOIN lease AS l ON l.seq = e.seq ORDER BY e.seq DESC";

/// So much room is made at most before it is known to be needed.
const MOST_RESERVED: usize = 4_000_000;

/// The prepared statements.
#[derive(Debug)]
pub(super) struct Rows<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    read_tally: Statement<'c>,
    write_tally: Statement<'c>,
    one: Statement<'c>,
    above: Statement<'c>,
    keys: Statement<'c>,
    write: Statement<'c>,
    write_keys: Statement<'c>,
    unname_lease: Statement<'c>,
    remove: Statement<'c>,
    remove_run: Statement<'c>,
    lend: Statement<'c>,
    renew: Statement<'c>,
    give_back: Statement<'c>,
    remove_lease: Statement<'c>,
}

impl<'c> Rows<'c> {
    pub(super) fn new(file: &'c Connection) -> Result<Self> {
        Ok(Self {
            begin: file.prepare("BEGIN IMMEDIATE")?,
            commit: file.prepare("COMMIT")?,
            rollback: file.prepare("ROLLBACK")?,
            read_tally: file.prepare("SELECT last, entries, named FROM tally WHERE one = 1")?,
            write_tally: file.prepare("UPDATE tally SET last = ?1, entries = ?2, named = ?3 WHERE one = 1")?,
            one: file.prepare(&format!("{ROWS} WHERE e.seq = ?1"))?,
            above: file.prepare(&format!("{ROWS} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"))?,
            keys: file.prepare(KEYS)?,
            write: file.prepare(
                "INSERT INTO entry (seq, prev, keys, used, fence, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            write_keys: file.prepare("UPDATE entry SET keys = ?2 WHERE seq = ?1")?,
            unname_lease: file.prepare("UPDATE lease SET name = NULL WHERE seq = ?1")?,
            remove: file.prepare("DELETE FROM entry WHERE seq = ?1 RETURNING prev")?,
            remove_run: file.prepare("DELETE FROM entry WHERE seq BETWEEN ?1 AND ?2")?,
            lend: file.prepare(
                "INSERT OR REPLACE INTO lease (seq, id, root, name, until, fence) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            renew: file.prepare(
                "UPDATE lease SET until = max(until, ?4) WHERE seq = ?1 AND id = ?2 AND fence = ?3",
            )?,
            give_back: file
                .prepare("DELETE FROM lease WHERE seq = ?1 AND id = ?2 AND fence = ?3 RETURNING root, name, until")?,
            remove_lease: file.prepare("DELETE FROM lease WHERE seq = ?1")?,
        })
    }

    /// Begins a transaction, alone with the file.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        self.commit.execute([]).map(drop)
    }

    pub(super) fn rollback(&mut self) -> Result<()> {
        self.rollback.execute([]).map(drop)
    }

    pub(super) fn tally(&mut self) -> Result<Tally> {
        self.read_tally.query_row([], |columns| {
            let counts = Counts { entries: columns.get(1)?, named: columns.get(2)? };
            Ok(Tally { last: columns.get(0)?, counts })
        })
    }

    pub(super) fn set_tally(&mut self, tally: Tally) -> Result<()> {
        let Tally { last, counts } = tally;
        self.write_tally.execute(params![last, counts.entries, counts.named]).map(drop)
    }

    /// The row with this number.
    pub(super) fn one(&mut self, seq: u64) -> Result<Option<Row>> {
        self.one.query_row([seq], row).optional()
    }

    /// At most so many rows above a number.
    pub(super) fn above(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.above.query_map(params![seq, limit], row)?.collect()
    }

    /// Reads the index of some `entries`. From the newest row to the oldest, so
    /// that of each row it is known whether a newer one has replaced it. Takes
    /// note of the roots.
    pub(super) fn index(&mut self, entries: u64, seen: &Seen) -> Result<Index> {
        let entries = usize::try_from(entries).unwrap_or_default().min(MOST_RESERVED);
        let mut found = Found::default();
        let Found { ids, heads, roots, names, replaced } = &mut found;
        for words in [&mut *ids, &mut *heads, &mut *roots] {
            words.reserve(entries);
        }
        let mut prevs = HashSet::new();
        let mut columns = self.keys.query([])?;
        while let Some(columns) = columns.next()? {
            let seq: u64 = columns.get(0)?;
            prevs.extend(columns.get::<_, Option<u64>>(1)?);
            if prevs.remove(&seq) {
                replaced.push(seq);
                continue;
            }
            let Unpacked { id, head, root, name, space: _ } = unpacked(columns, 2)?;
            let is_claimed: bool = columns.get(3)?;
            let head = head.filter(|_| !is_claimed);
            root.iter().for_each(|root| seen.note(root));
            ids.push(Word::new(&id.0, seq));
            for (words, key) in [(&mut *heads, head), (&mut *roots, root), (&mut *names, name)] {
                words.extend(key.map(|key| Word::new(&key, seq)));
            }
        }
        Ok(Index::of(found))
    }

    /// Writes a new row, as one that nobody has claimed.
    pub(super) fn write(&mut self, new: &NewRow<'_>) -> Result<()> {
        let NewRow { seq, prev, entry, used, fence } = new;
        let keys = Packed::of(&entry.keys);
        self.write.execute(params![seq, prev, keys.bytes(), used, fence, entry.value]).map(drop)
    }

    /// Takes its name from a row.
    pub(super) fn unname(&mut self, row: Row) -> Result<()> {
        let keys = Unpacked { name: None, ..NewEntry::from(&row.entry).keys };
        self.write_keys.execute(params![row.seq, Packed::of(&keys).bytes()])?;
        self.unname_lease.execute([row.seq]).map(drop)
    }

    /// Removes a row; gives the one that it took the place of.
    pub(super) fn remove(&mut self, seq: u64) -> Result<Option<u64>> {
        Ok(self.remove.query_row([seq], |columns| columns.get(0)).optional()?.flatten())
    }

    /// Removes rows from one to another.
    pub(super) fn remove_run(&mut self, first: u64, last: u64) -> Result<()> {
        self.remove_run.execute([first, last]).map(drop)
    }

    /// Writes a lease, in the place of an older one.
    pub(super) fn lend(&mut self, lease: &LeaseRow) -> Result<()> {
        let LeaseRow { seq, id, root, name, until, fence } = lease;
        self.lend.execute(params![seq, id.0, root, name, until, fence]).map(drop)
    }

    /// Lengthens a lease; whether it is there.
    pub(super) fn renew(&mut self, seq: u64, id: Id, fence: u64, until: i64) -> Result<bool> {
        self.renew.execute(params![seq, id.0, fence, until]).map(|rows| rows > 0)
    }

    /// Removes a lease, if it is there.
    pub(super) fn give_back(&mut self, seq: u64, id: Id, fence: u64) -> Result<Option<LeaseRow>> {
        let lease = |columns: &Columns<'_>| {
            let (root, name, until) = (columns.get(0)?, columns.get(1)?, columns.get(2)?);
            Ok(LeaseRow { seq, id, root, name, until, fence })
        };
        self.give_back.query_row(params![seq, id.0, fence], lease).optional()
    }

    pub(super) fn remove_lease(&mut self, seq: u64) -> Result<()> {
        self.remove_lease.execute([seq]).map(drop)
    }
}

fn row(columns: &Columns<'_>) -> Result<Row> {
    let until: Option<i64> = columns.get(6)?;
    let fence: Option<u64> = columns.get(7)?;
    let Unpacked { id, space, head, name, root } = unpacked(columns, 2)?;
    let value = columns.get_ref(5)?.as_blob()?.to_vec();
    Ok(Row {
        seq: columns.get(0)?,
        prev: columns.get(1)?,
        entry: Entry { id, space, head, name, root, value },
        used: columns.get(3)?,
        fence: columns.get(4)?,
        lease: until.zip(fence),
    })
}

fn unpacked(columns: &Columns<'_>, index: usize) -> Result<Unpacked> {
    let column = columns.get_ref(index)?;
    let ValueRef::Blob(bytes) = column else { return Err(FromSqlError::InvalidType.into()) };
    let expected_size = Packed::MOST_BYTES;
    Unpacked::of(bytes)
        .ok_or_else(|| FromSqlError::InvalidBlobSize { expected_size, blob_size: bytes.len() }.into())
}
