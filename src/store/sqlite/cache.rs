//! What is kept for a time, in the file: values by their keys, each with its
//! end. A table of its own, which nothing else looks at. Bounded: past
//! [`CAPACITY`] what was written first goes.

use rusqlite::{Connection, OptionalExtension as _, Result, Statement, params};

use super::super::Key;
use super::steps::Steps;

/// So many values are kept, some 100 bytes each.
const CAPACITY: u64 = 100_000;

/// The statements.
#[derive(Debug)]
pub(super) struct Cache<'c> {
    read: Statement<'c>,
    write: Statement<'c>,
    remove: Statement<'c>,
}

impl<'c> Cache<'c> {
    pub(super) fn new(file: &'c Connection) -> Result<Self> {
        Ok(Self {
            read: file.prepare("SELECT value FROM cache WHERE key = ?1 AND until > ?2")?,
            write: file.prepare("INSERT OR REPLACE INTO cache (key, value, until) VALUES (?1, ?2, ?3)")?,
            // A few at a time: others wait.
            remove: file.prepare(
                "DELETE FROM cache WHERE seq <= (SELECT max(seq) FROM cache) - ?2 OR seq IN \
                 (SELECT seq FROM cache WHERE until <= ?1 ORDER BY until LIMIT 64)",
            )?,
        })
    }
}

impl Steps<'_> {
    pub(super) fn cached(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.cache.read.query_row(params![key, self.now], |row| row.get(0)).optional()
    }

    pub(super) fn put(&mut self, key: &Key, value: &[u8], life: i64) -> Result<()> {
        self.cache.remove.execute(params![self.now, CAPACITY])?;
        self.cache.write.execute(params![key, value, self.now.saturating_add(life)])?;
        Ok(())
    }
}
