//! The keys of an entry in one column.
//!
//! In comes an [`Entry`], out come its keys one after the other, and back.
//! Five columns in the place of one would cost a sixth more for each new row,
//! most of it for handing them to SQLite one by one.

use super::super::{Entry, Id, Key};

/// Says which keys there are.
const HEAD: u8 = 1;
const ROOT: u8 = 2;
const NAME: u8 = 4;

/// Keys as they stand in the file: which there are, id, space, head, root,
/// name.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: [u8; Self::MOST_BYTES],
    length: usize,
}

/// Keys as an [`Entry`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) id: Id,
    pub(super) space: Key,
    pub(super) head: Option<Key>,
    pub(super) root: Option<Key>,
    pub(super) name: Option<Key>,
}

/// An entry that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewEntry<'a> {
    pub(super) keys: Unpacked,
    pub(super) value: &'a [u8],
}

impl<'a> From<&'a Entry> for NewEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { id, space, head, root, name, value } = entry;
        let keys = Unpacked { id: *id, space: *space, head: *head, root: *root, name: *name };
        Self { keys, value }
    }
}

impl Packed {
    /// With all of them.
    pub(super) const MOST_BYTES: usize = 1 + 5 * size_of::<Key>();

    pub(super) fn of(keys: &Unpacked) -> Self {
        let Unpacked { id, space, head, root, name } = keys;
        let mut packed = Self { bytes: [0; Self::MOST_BYTES], length: 1 };
        packed.push(&id.0);
        packed.push(space);
        let mut there = 0;
        for (flag, key) in [(HEAD, head), (ROOT, root), (NAME, name)] {
            if let Some(key) = key {
                packed.push(key);
                there |= flag;
            }
        }
        packed.bytes[0] = there;
        packed
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, key: &Key) {
        if let Some(to) = self.bytes.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            *to = *key;
            self.length += key.len();
        }
    }
}

impl Unpacked {
    /// What was packed; `None` if that was something else.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (there, mut rest) = bytes.split_first()?;
        let mut next = || {
            let (key, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(*key)
        };
        let (id, space) = (Id(next()?), next()?);
        let mut optional = |flag: u8| match there & flag {
            0 => Some(None),
            _ => next().map(Some),
        };
        let (head, root, name) = (optional(HEAD)?, optional(ROOT)?, optional(NAME)?);
        (rest.is_empty() && *there <= HEAD | ROOT | NAME).then_some(Self { id, space, head, root, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_nothing_else_does() {
        let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(|byte| [byte; 16]);
        for (head, root, name) in [
            (None, None, None),
            (Some(c), None, None),
            (None, Some(d), None),
            (None, None, Some(e)),
            (Some(c), Some(d), Some(e)),
        ] {
            let keys = Unpacked { id: Id(a), space: b, head, root, name };
            let packed = Packed::of(&keys);
            let bytes = packed.bytes();
            assert_eq!(Unpacked::of(bytes), Some(keys));
            for end in 0..bytes.len() {
                assert_eq!(Unpacked::of(&bytes[..end]), None);
            }
            assert_eq!(Unpacked::of(&[bytes, b"x"].concat()), None);
            assert_eq!(Unpacked::of(&[&[bytes[0] | 8], &bytes[1..]].concat()), None);
        }
    }
}
