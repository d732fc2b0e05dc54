//! What rows of the file are found by, in memory.
//!
//! In come keys and the numbers of rows, out come the numbers of rows that
//! may have a key: only the row itself says. 24 bits of a key and 40 of a
//! number make one word, so that a million entries take 40 to 50 MB and are
//! read from the file in less than a second. Never touches the file.

use std::collections::BTreeSet;

use super::super::Key;

/// Bits of a word that are a row's number.
const SEQ_BITS: u32 = 40;

/// The highest number that a row may have.
pub(super) const LAST: u64 = (1 << SEQ_BITS) - 1;

/// What is known of rows. Changes can be taken back until they are kept.
#[derive(Debug, Default)]
pub(super) struct Index {
    sets: [BTreeSet<u64>; 5],
    changes: Vec<(Kind, u64, Change)>,
}

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    /// Only of rows that nobody has claimed.
    Head,
    Root,
    Name,
    /// By nothing: another row has taken its place.
    Replaced,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Added,
    Removed,
}

impl Index {
    /// An index of rows that are written, from the words of each kind.
    pub(super) fn of(words: [Vec<u64>; 5]) -> Self {
        Self { sets: words.map(BTreeSet::from_iter), changes: Vec::new() }
    }

    pub(super) fn add(&mut self, kind: Kind, key: &Key, seq: u64) {
        self.change(kind, word(key, seq), Change::Added);
    }

    pub(super) fn remove(&mut self, kind: Kind, key: &Key, seq: u64) {
        self.change(kind, word(key, seq), Change::Removed);
    }

    /// Notes that another row has taken the place of this one.
    pub(super) fn replace(&mut self, seq: u64) {
        self.change(Kind::Replaced, seq, Change::Added);
    }

    /// Whether a row was replaced and is still there; it is no more.
    pub(super) fn take_replaced(&mut self, seq: u64) -> bool {
        let is_known = self.set(Kind::Replaced).contains(&seq);
        if is_known {
            self.change(Kind::Replaced, seq, Change::Removed);
        }
        is_known
    }

    pub(super) fn is_replaced(&self, seq: u64) -> bool {
        self.set(Kind::Replaced).contains(&seq)
    }

    pub(super) fn replaced(&self) -> usize {
        self.set(Kind::Replaced).len()
    }

    /// The lowest rows without a gap that were replaced, at most `limit`; they
    /// are no more.
    pub(super) fn take_run(&mut self, limit: u64) -> Option<(u64, u64)> {
        let first = *self.set(Kind::Replaced).first()?;
        let end = first.saturating_add(limit.max(1));
        let mut next = first;
        while next < end && self.take_replaced(next) {
            next = next.saturating_add(1);
        }
        Some((first, next.saturating_sub(1)))
    }

    /// The newest row below `before` that may have this key.
    pub(super) fn newest(&self, kind: Kind, key: &Key, before: u64) -> Option<u64> {
        let words = word(key, 0)..word(key, before.min(LAST));
        self.set(kind).range(words).next_back().map(|word| word & LAST)
    }

    /// The rows whose ids begin as the lowest one does that begins like `id`
    /// or above.
    pub(super) fn next_ids(&self, id: &Key) -> Option<NextIds> {
        let words = self.set(Kind::Id);
        let first = *words.range(word(id, 0)..).next()?;
        let rows = words.range(first..=(first | LAST)).map(|word| word & LAST).collect();
        let above = (first | LAST).checked_add(1).map(first_key);
        Some(NextIds { rows, above })
    }

    /// Makes the changes since the last time last.
    pub(super) fn keep(&mut self) {
        self.changes.clear();
    }

    /// Takes back the changes since they were kept.
    pub(super) fn take_back(&mut self) {
        while let Some((kind, word, change)) = self.changes.pop() {
            let set = self.set_mut(kind);
            match change {
                Change::Added => set.remove(&word),
                Change::Removed => set.insert(word),
            };
        }
    }

    fn change(&mut self, kind: Kind, word: u64, change: Change) {
        let set = self.set_mut(kind);
        let is_changed = match change {
            Change::Added => set.insert(word),
            Change::Removed => set.remove(&word),
        };
        if is_changed {
            self.changes.push((kind, word, change));
        }
    }

    fn set(&self, kind: Kind) -> &BTreeSet<u64> {
        let [ids, heads, roots, names, replaced] = &self.sets;
        match kind {
            Kind::Id => ids,
            Kind::Head => heads,
            Kind::Root => roots,
            Kind::Name => names,
            Kind::Replaced => replaced,
        }
    }

    fn set_mut(&mut self, kind: Kind) -> &mut BTreeSet<u64> {
        let [ids, heads, roots, names, replaced] = &mut self.sets;
        match kind {
            Kind::Id => ids,
            Kind::Head => heads,
            Kind::Root => roots,
            Kind::Name => names,
            Kind::Replaced => replaced,
        }
    }
}

/// Rows whose ids begin alike.
#[derive(Debug)]
pub(super) struct NextIds {
    pub(super) rows: Vec<u64>,
    /// The lowest id that begins above them, if there can be one.
    pub(super) above: Option<Key>,
}

/// The beginning of a key and the number of a row, in the order of keys.
pub(super) fn word(key: &Key, seq: u64) -> u64 {
    let [a, b, c, ..] = *key;
    u64::from_be_bytes([a, b, c, 0, 0, 0, 0, 0]) | (seq & LAST)
}

/// The lowest key that begins as a word does.
fn first_key(word: u64) -> Key {
    let [a, b, c, ..] = word.to_be_bytes();
    let mut key = [0; 16];
    for (byte, begins) in key.iter_mut().zip([a, b, c]) {
        *byte = begins;
    }
    key
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

    #[test]
    fn ids_come_in_their_order_by_their_beginnings() {
        let mut index = Index::default();
        let highest = [u8::MAX; 16];
        for (key, seq) in [(highest, 1), (TWIN, 2), (OTHER, 3), (ONE, 4)] {
            index.add(Kind::Id, &key, seq);
        }
        let mut groups = Vec::new();
        let mut next = Some([0; 16]);
        while let Some(ids) = next.and_then(|id| index.next_ids(&id)) {
            groups.push(ids.rows);
            next = ids.above;
        }
        assert_eq!(groups, [vec![2, 4], vec![3], vec![1]]);
    }
}
