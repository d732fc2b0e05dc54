//! Rows by the beginnings of their keys.
//!
//! 24 bits of a key and 40 of a row's number make one word, so that an entry
//! takes 10 to 20 bytes in each set. Nearly all keys begin like no other: they
//! stand in a hash table, where one is found or added with one look at memory.
//! Those that share their beginning (many chats begin with the same words)
//! stand in order. With one ordered set for all, a third of what a new entry
//! costs in the thread was its place in three of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::super::super::Key;

/// Bits of a word that are a row's number.
const SEQ_BITS: u32 = 40;

/// The highest number that a row may have.
pub(in super::super) const LAST: u64 = (1 << SEQ_BITS) - 1;

/// The beginning of a key and the number of a row, in the order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Word(u64);

/// Words, some of which begin alike.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of each beginning one at most, and none of those in `alike`.
    lone: HashSet<Lone, BuildHasherDefault<Spread>>,
    /// The rows of each beginning that two have had at a time; none is empty.
    alike: HashMap<u64, BTreeSet<u64>, BuildHasherDefault<Spread>>,
}

/// A word that is known by its beginning.
#[derive(Clone, Copy, Debug)]
struct Lone(Word);

/// Beginnings are spread evenly already: they are parts of keyed hashes or of
/// random ids. The table wants them in all bits.
#[derive(Debug, Default)]
struct Spread(u64);

impl Word {
    pub(in super::super) fn new(key: &Key, seq: u64) -> Self {
        let [a, b, c, ..] = *key;
        Self(u64::from_be_bytes([a, b, c, 0, 0, 0, 0, 0]) | (seq & LAST))
    }

    /// The row's number.
    pub(in super::super) fn seq(self) -> u64 {
        self.0 & LAST
    }

    /// The lowest word that begins above this one, if there can be one.
    pub(in super::super) fn above(self) -> Option<Self> {
        (self.0 | LAST).checked_add(1).map(Self)
    }

    fn beginning(self) -> u64 {
        self.0 >> SEQ_BITS
    }
}

impl PartialEq for Lone {
    fn eq(&self, other: &Self) -> bool {
        self.0.beginning() == other.0.beginning()
    }
}

impl Eq for Lone {}

impl Hash for Lone {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0.beginning());
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: neighbours end up far apart.
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Keys {
    /// Adds a word; whether it is new.
    pub(super) fn insert(&mut self, word: Word) -> bool {
        match self.lone.get(&Lone(word)) {
            Some(Lone(known)) if *known == word => false,
            Some(Lone(known)) => {
                let rows = BTreeSet::from([known.seq(), word.seq()]);
                self.alike.insert(word.beginning(), rows);
                self.lone.remove(&Lone(word))
            }
            None => match self.alike.get_mut(&word.beginning()) {
                Some(rows) => rows.insert(word.seq()),
                None => self.lone.insert(Lone(word)),
            },
        }
    }

    /// Removes a word; whether it was there.
    pub(super) fn remove(&mut self, word: Word) -> bool {
        if let Some(Lone(known)) = self.lone.get(&Lone(word)) {
            return *known == word && self.lone.remove(&Lone(word));
        }
        let Some(rows) = self.alike.get_mut(&word.beginning()) else { return false };
        let is_removed = rows.remove(&word.seq());
        if rows.is_empty() {
            self.alike.remove(&word.beginning());
        }
        is_removed
    }

    /// The newest row below `before` that may have this key.
    pub(super) fn newest(&self, key: &Key, before: u64) -> Option<u64> {
        let word = Word::new(key, 0);
        match self.lone.get(&Lone(word)) {
            Some(Lone(known)) => Some(known.seq()).filter(|seq| *seq < before),
            None => self.alike.get(&word.beginning())?.range(..before).next_back().copied(),
        }
    }

    /// Words in their order, from one on: about so many, and all that begin as
    /// the last of them does. Looks at every word.
    pub(super) fn lowest(&self, from: Word, count: usize) -> Vec<Word> {
        let lone = self.lone.iter().map(|lone| lone.0);
        let word = |begins: u64| move |seq: &u64| Word((begins << SEQ_BITS) | *seq);
        let alike = self.alike.iter().flat_map(|(begins, rows)| rows.iter().map(word(*begins)));
        let mut words: Vec<Word> = lone.chain(alike).filter(|word| *word >= from).collect();
        if count > 0 && count < words.len() {
            let (_, last, _) = words.select_nth_unstable(count - 1);
            let above = last.above();
            words.retain(|word| above.is_none_or(|above| *word < above));
        }
        words.sort_unstable();
        words
    }
}

impl FromIterator<Word> for Keys {
    fn from_iter<I: IntoIterator<Item = Word>>(words: I) -> Self {
        let words = words.into_iter();
        let mut keys = Self::default();
        keys.lone.reserve(words.size_hint().0);
        for word in words {
            keys.insert(word);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys that begin alike now and then.
    fn key() -> impl Strategy<Value = Key> {
        (0_u8..4, any::<bool>()).prop_map(|(begin, tail)| {
            let mut key = [begin.wrapping_mul(85); 16];
            key[15] = u8::from(tail);
            key
        })
    }

    proptest! {
        #[test]
        fn it_is_the_ordered_set_that_it_stands_for(
            steps in prop::collection::vec((any::<bool>(), key(), 0_u64..6), 0..80),
            count in 1_usize..8,
        ) {
            let (mut keys, mut plain) = (Keys::default(), BTreeSet::new());
            for (adds, key, seq) in steps {
                let word = Word::new(&key, seq);
                if adds {
                    prop_assert_eq!(keys.insert(word), plain.insert(word));
                } else {
                    prop_assert_eq!(keys.remove(word), plain.remove(&word));
                }
                for before in [0, 3, LAST] {
                    let newest = plain.range(Word::new(&key, 0)..Word::new(&key, before)).next_back();
                    prop_assert_eq!(keys.newest(&key, before), newest.map(|word| word.seq()));
                }
                let mut expected: Vec<Word> = plain.range(word..).copied().collect();
                if let Some(last) = expected.get(count - 1).copied() {
                    expected.retain(|word| last.above().is_none_or(|above| *word < above));
                }
                prop_assert_eq!(keys.lowest(word, count), expected);
            }
            let again: Keys = plain.iter().copied().collect();
            prop_assert_eq!(again.lowest(Word(0), usize::MAX), plain.into_iter().collect::<Vec<_>>());
        }
    }
}
