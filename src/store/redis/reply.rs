//! What the server answers, as values of the store.
//!
//! In come the lists that the scripts give, out comes what they mean; a list
//! of another form is an error, never a guess.

use std::time::{Duration, UNIX_EPOCH};

use redis::Value;

use super::super::{Claimed, Counts, Entry, Id, Key, Lease, Listed, Unavailable};

/// The fields of an answer, one after the other.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(super) fn of(value: Value) -> Result<Self, Unavailable> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(odd()),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Unavailable> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            _ => Err(odd()),
        }
    }

    fn number(&mut self) -> Result<u64, Unavailable> {
        match self.0.next() {
            Some(Value::Int(number)) => u64::try_from(number).map_err(|_| odd()),
            _ => Err(odd()),
        }
    }

    fn key(&mut self) -> Result<Key, Unavailable> {
        Key::try_from(self.bytes()?).map_err(|_| odd())
    }

    fn some_key(&mut self) -> Result<Option<Key>, Unavailable> {
        match self.0.next() {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(bytes)) => Key::try_from(bytes).map(Some).map_err(|_| odd()),
            _ => Err(odd()),
        }
    }

    fn inner(&mut self) -> Result<Self, Unavailable> {
        Self::of(self.0.next().ok_or_else(odd)?)
    }

    /// Nothing, if the server goes by another secret.
    pub(super) fn claimed(mut self) -> Result<Option<Claimed>, Unavailable> {
        Ok(Some(match self.bytes()?.as_slice() {
            b"strange" => return Ok(None),
            b"absent" => Claimed::Absent { begun: self.number()? > 0 },
            b"ambiguous" => Claimed::Ambiguous,
            b"busy" => Claimed::Busy(Duration::from_millis(self.number()?)),
            b"lent" => {
                let (fence, abandoned) = (self.number()?, self.number()? > 0);
                let entry = self.inner()?.listed()?.entry;
                Claimed::Lent { lease: Lease { id: entry.id, fence }, entry, abandoned }
            }
            _ => return Err(odd()),
        }))
    }

    fn listed(mut self) -> Result<Listed, Unavailable> {
        let (id, space) = (Id(self.key()?), self.key()?);
        let (head, name, root) = (self.some_key()?, self.some_key()?, self.some_key()?);
        let entry = Entry { id, space, head, name, root, value: self.bytes()? };
        let used = UNIX_EPOCH.checked_add(Duration::from_millis(self.number()?)).ok_or_else(odd)?;
        Ok(Listed { entry, used, lent: self.number()? > 0 })
    }

    pub(super) fn list(self) -> Result<Vec<Listed>, Unavailable> {
        self.0.map(|value| Self::of(value)?.listed()).collect()
    }

    /// The counts, and whether the server goes by the same secret.
    pub(super) fn counts(mut self) -> Result<(Counts, bool), Unavailable> {
        Ok((Counts { entries: self.number()?, named: self.number()? }, self.number()? > 0))
    }

    /// Those leases that are marked.
    pub(super) fn lost(mut self, leases: Vec<Lease>) -> Result<Vec<Lease>, Unavailable> {
        let mut lost = Vec::new();
        for lease in leases {
            if self.number()? > 0 {
                lost.push(lease);
            }
        }
        Ok(lost)
    }
}

/// The answer is none of the scripts'.
pub(super) fn odd() -> Unavailable {
    Unavailable("the server gave an answer that no step gives".to_owned())
}
