//! New entries that nobody waits for, on their way to the thread.
//!
//! In come entries, out come the same, in their order. They stand one after
//! the other in one piece of memory: an allocation for each, freed by another
//! thread and long after, made the allocator hand out cold memory for all else,
//! which cost a request more than its row did.

use super::super::Entry;
use super::packed::{NewEntry, Packed, Unpacked};

/// So many stand together at most.
const MOST: usize = 64;

/// A few of them.
const ROOM: usize = 1024;

/// Some new entries.
#[derive(Debug)]
pub(super) struct Inserts {
    /// Of each the length of its keys, that of its value, and both.
    bytes: Vec<u8>,
    entries: usize,
}

impl Inserts {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut inserts = Self { bytes: Vec::with_capacity(ROOM), entries: 0 };
        inserts.append(entry);
        inserts
    }

    /// Takes one more, if there is room.
    pub(super) fn push(&mut self, entry: &Entry) -> bool {
        let has_room = self.entries < MOST;
        if has_room {
            self.append(entry);
        }
        has_room
    }

    pub(super) fn len(&self) -> usize {
        self.entries
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = NewEntry<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let keys = Unpacked::of(next(&mut rest)?)?;
            let value = next(&mut rest)?;
            Some(NewEntry { keys, value })
        })
    }

    fn append(&mut self, entry: &Entry) {
        let NewEntry { keys, value } = entry.into();
        for part in [Packed::of(&keys).bytes(), value] {
            self.bytes.extend_from_slice(&part.len().to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
        self.entries += 1;
    }
}

/// Takes the next part.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (part, behind) = behind.split_at_checked(usize::from_le_bytes(*length))?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::super::super::Id;
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_until_there_is_no_more_room() {
        let entry = |number: u8| Entry {
            id: Id([number; 16]),
            space: [9; 16],
            head: Some([number; 16]),
            name: None,
            root: None,
            value: vec![number; usize::from(number)],
        };
        let mut inserts = Inserts::of(&entry(0));
        let most = u8::try_from(MOST).unwrap();
        for number in 1..most {
            assert!(inserts.push(&entry(number)));
        }
        assert!(!inserts.push(&entry(most)));
        assert_eq!(inserts.len(), MOST);
        let entries: Vec<Entry> = (0..most).map(entry).collect();
        assert!(inserts.iter().eq(entries.iter().map(NewEntry::from)));
    }
}
