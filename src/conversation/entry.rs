//! A record as the store finds it.

use super::Conversations;
use super::record::{Record, State};
use super::run::day;
use crate::store::{Entry, Id, Key};

impl Conversations {
    /// A record as the store finds it.
    pub(super) fn entry(&self, id: Id, space: Key, record: &Record) -> Entry {
        let findable = !record.is_named() && matches!(record.state, State::Answered | State::Asked);
        let guarded = record.is_guarded();
        let name = record.name.as_deref().and_then(|name| Some(self.known_prints()?.name(space, name)));
        Entry {
            id,
            space,
            head: match record.head {
                // A question is found for as long as it waits; that it was
                // asked stays known by its root.
                Some(head) if guarded && record.state == State::Asked => self.waiting(head, record),
                head if findable && !guarded => head,
                _ => None,
            },
            name,
            root: record.root.filter(|_| findable || guarded),
            value: record.to_bytes(),
        }
    }

    /// What a workflow's question is found by.
    fn waiting(&self, head: Key, record: &Record) -> Option<Key> {
        let asked_at = record.question.as_ref()?.asked_at;
        Some(self.known_prints()?.on_day(head, day(asked_at)))
    }
}
