//! What rows of the file are found by, in memory.
//!
//! In come keys and the numbers of rows, out come the numbers of rows that
//! may have a key: only the row itself says. Never touches the file.

mod keys;
mod seen;

use std::collections::BTreeSet;

use super::super::Key;
use keys::Keys;
pub(super) use keys::{LAST, Word};
pub(super) use seen::Seen;

/// What is known of rows. Changes can be taken back until they are kept.
#[derive(Debug, Default)]
pub(super) struct Index {
    ids: Keys,
    heads: Keys,
    roots: Keys,
    names: Keys,
    /// The numbers of rows that others have taken the place of. In order, so
    /// that neighbours are removed together.
    replaced: BTreeSet<u64>,
    changes: Vec<Change>,
}

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    /// Only of rows that nobody has claimed.
    Head,
    Root,
    Name,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Added(Kind, Word),
    Removed(Kind, Word),
    Replaced(u64),
    Swept(u64),
}

/// What the rows of a file are found by, as it is read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) ids: Vec<Word>,
    pub(super) heads: Vec<Word>,
    pub(super) roots: Vec<Word>,
    pub(super) names: Vec<Word>,
    pub(super) replaced: Vec<u64>,
}

impl Index {
    /// An index of rows that are written.
    pub(super) fn of(found: Found) -> Self {
        let Found { ids, heads, roots, names, replaced } = found;
        Self {
            ids: ids.into_iter().collect(),
            heads: heads.into_iter().collect(),
            roots: roots.into_iter().collect(),
            names: names.into_iter().collect(),
            replaced: replaced.into_iter().collect(),
            changes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, key: &Key, seq: u64) {
        let word = Word::new(key, seq);
        if self.keys_mut(kind).insert(word) {
            self.changes.push(Change::Added(kind, word));
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, key: &Key, seq: u64) {
        let word = Word::new(key, seq);
        if self.keys_mut(kind).remove(word) {
            self.changes.push(Change::Removed(kind, word));
        }
    }

    /// Notes that another row has taken the place of this one.
    pub(super) fn replace(&mut self, seq: u64) {
        if self.replaced.insert(seq) {
            self.changes.push(Change::Replaced(seq));
        }
    }

    /// Whether a row was replaced and is still there; it is no more.
    pub(super) fn take_replaced(&mut self, seq: u64) -> bool {
        let is_known = self.replaced.remove(&seq);
        if is_known {
            self.changes.push(Change::Swept(seq));
        }
        is_known
    }

    pub(super) fn is_replaced(&self, seq: u64) -> bool {
        self.replaced.contains(&seq)
    }

    pub(super) fn replaced(&self) -> usize {
        self.replaced.len()
    }

    /// The lowest rows without a gap that were replaced, at most `limit`; they
    /// are no more.
    pub(super) fn take_run(&mut self, limit: u64) -> Option<(u64, u64)> {
        let first = *self.replaced.first()?;
        let end = first.saturating_add(limit.max(1));
        let mut next = first;
        while next < end && self.take_replaced(next) {
            next = next.saturating_add(1);
        }
        Some((first, next.saturating_sub(1)))
    }

    /// The newest row below `before` that may have this key.
    pub(super) fn newest(&self, kind: Kind, key: &Key, before: u64) -> Option<u64> {
        self.keys(kind).newest(key, before)
    }

    /// Rows in the order of the beginnings of their ids, from a beginning on;
    /// about so many, and all that begin as the last one does.
    pub(super) fn ids_from(&self, from: Word, count: usize) -> Vec<Word> {
        self.ids.lowest(from, count)
    }

    /// Makes the changes since the last time last.
    pub(super) fn keep(&mut self) {
        self.changes.clear();
    }

    /// Takes back the changes since they were kept.
    pub(super) fn take_back(&mut self) {
        while let Some(change) = self.changes.pop() {
            match change {
                Change::Added(kind, word) => self.keys_mut(kind).remove(word),
                Change::Removed(kind, word) => self.keys_mut(kind).insert(word),
                Change::Replaced(seq) => self.replaced.remove(&seq),
                Change::Swept(seq) => self.replaced.insert(seq),
            };
        }
    }

    fn keys(&self, kind: Kind) -> &Keys {
        match kind {
            Kind::Id => &self.ids,
            Kind::Head => &self.heads,
            Kind::Root => &self.roots,
            Kind::Name => &self.names,
        }
    }

    fn keys_mut(&mut self, kind: Kind) -> &mut Keys {
        match kind {
            Kind::Id => &mut self.ids,
            Kind::Head => &mut self.heads,
            Kind::Root => &mut self.roots,
            Kind::Name => &mut self.names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that begin alike, and one that does not.
    const ONE: Key = [1; 16];
    const TWIN: Key = [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2];
    const OTHER: Key = [2; 16];

    #[test]
    fn rows_are_found_newest_first() {
        let mut index = Index::default();
        for (key, seq) in [(ONE, 3), (TWIN, 7), (OTHER, 9), (ONE, LAST - 1)] {
            index.add(Kind::Head, &key, seq);
        }
        let mut found = Vec::new();
        let mut before = LAST;
        while let Some(seq) = index.newest(Kind::Head, &ONE, before) {
            found.push(seq);
            before = seq;
        }
        assert_eq!(found, [LAST - 1, 7, 3]);
        index.remove(Kind::Head, &OTHER, 9);
        assert_eq!(index.newest(Kind::Head, &OTHER, LAST), None);
        assert_eq!(index.newest(Kind::Root, &ONE, LAST), None);
    }

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let mut index = Index::default();
        index.add(Kind::Id, &ONE, 1);
        index.replace(5);
        index.keep();
        index.add(Kind::Id, &ONE, 2);
        index.remove(Kind::Id, &ONE, 1);
        index.add(Kind::Id, &ONE, 1);
        index.remove(Kind::Id, &ONE, 1);
        assert!(index.take_replaced(5));
        index.take_back();
        assert_eq!(index.newest(Kind::Id, &ONE, LAST), Some(1));
        assert!(index.is_replaced(5));
    }

    #[test]
    fn replaced_rows_go_in_runs_the_lowest_first() {
        let mut index = Index::default();
        for seq in [8, 2, 3, 4, 9] {
            index.replace(seq);
        }
        let runs = std::array::from_fn(|_| index.take_run(2));
        assert_eq!(runs, [Some((2, 3)), Some((4, 4)), Some((8, 9)), None]);
    }
}
