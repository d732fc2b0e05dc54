//! Which beginnings of keys there may be.
//!
//! In come keys, from all sides; out comes whether one that begins alike has
//! ever come. So it is known without the thread that has the file that an entry
//! is not there: asking that thread costs 12 µs. Nothing is ever taken out: of
//! sixteen million keys since the file was opened half would be said to be
//! there, and the thread be asked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::Key;

/// Bits of a key that are told apart.
const BITS: usize = 24;

/// Bits of a page: of 4 KiB, made when it is needed.
const PAGE_BITS: usize = 4096 * 8;

/// Beginnings of keys.
pub(in super::super) struct Seen {
    pages: Vec<OnceLock<Page>>,
}

type Page = Box<[AtomicU64]>;

impl Seen {
    /// None yet.
    pub(in super::super) fn new() -> Self {
        Self { pages: (0..(1 << BITS) / PAGE_BITS).map(|_| OnceLock::new()).collect() }
    }

    /// Takes note of a key. Whoever is told of it later finds it noted.
    pub(in super::super) fn note(&self, key: &Key) {
        let (page, word, bit) = place(key);
        let Some(page) = self.pages.get(page) else { return };
        let page = page.get_or_init(|| (0..PAGE_BITS / 64).map(|_| AtomicU64::new(0)).collect());
        if let Some(word) = page.get(word) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Whether none that begins like this one was noted.
    pub(in super::super) fn lacks(&self, key: &Key) -> bool {
        let (page, word, bit) = place(key);
        let word = self.pages.get(page).and_then(OnceLock::get).and_then(|page| page.get(word));
        word.is_none_or(|word| word.load(Ordering::Acquire) & bit == 0)
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// The page, the word of it, and the bit there.
fn place(key: &Key) -> (usize, usize, u64) {
    let [a, b, c, ..] = *key;
    let page_and_bit = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let bit = page_and_bit % PAGE_BITS;
    (page_and_bit / PAGE_BITS, bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_noted_is_there_and_nothing_that_begins_otherwise(
            noted in prop::collection::vec(any::<Key>(), 0..50),
            others in prop::collection::vec(any::<Key>(), 50),
        ) {
            let seen = Seen::new();
            noted.iter().for_each(|key| seen.note(key));
            prop_assert!(noted.iter().all(|key| !seen.lacks(key)));
            for other in others {
                let begins = noted.iter().any(|key| key[..3] == other[..3]);
                prop_assert_eq!(seen.lacks(&other), !begins);
            }
        }
    }
}
