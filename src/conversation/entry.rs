//! A record as the store finds it.

use super::Conversations;
use super::record::{Record, State};
use super::run::day;
use crate::store::{Entry, Id, Key};

impl Conversations {
    /// A record as the store finds it.
    pub(super) fn entry(&self, id: Id, space: Key, record: &Record) -> Entry {
        let named = record.name.is_some() || record.by_id;
        let findable = !named && matches!(record.state, State::Answered | State::Asked);
        // A workflow's question that must not be answered twice.
        let guarded = !named && record.question.as_ref().is_some_and(|question| question.run);
        let name = record.name.as_deref().and_then(|name| Some(self.known_prints()?.name(space, name)));
        Entry {
            id,
            space,
            head: match record.head {
                // A question is found for as long as it waits.
                Some(head) if findable && guarded && record.state == State::Asked => {
                    self.waiting(head, record)
                }
                head if findable => head,
                // A head that no transcript has: what begins like this one
                // stays known by its root.
                Some(head) if guarded => Some(head.map(|byte| !byte)),
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
