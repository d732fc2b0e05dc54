//! What is remembered of one conversation, as the store keeps it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::Key;

/// How long a record is as a rule.
const USUAL_BYTES: usize = 256;

/// What its bytes begin with. Another form of [`Record`] takes another number,
/// and reading this one stays.
const FORM: u8 = 1;

/// One conversation at Coze, and how far it has come. Holds no word of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is, for the operator's eyes.
    #[serde(with = "shared")]
    pub owner: Arc<Owner>,
    /// Its client's name for it.
    pub name: Option<String>,
    /// Whether its client calls it by its id: then that, too, is a name.
    pub by_id: bool,
    /// Coze's conversation, once a turn there has ended well or may have.
    pub place: Option<Place>,
    /// The transcript so far; `None` where Coze holds other words than the
    /// client.
    pub head: Option<Key>,
    /// How the transcript begins; of a workflow all of it up to the question,
    /// as its client was told that.
    pub root: Option<Key>,
    /// The system text in force.
    pub system: Option<Key>,
    /// How many rounds Coze counts in it (protocol 3.3).
    pub rounds: u32,
    /// How its last turn ended.
    pub state: State,
    /// The last question, since when it waits and what answers it. Of a
    /// workflow it stays once it is answered, so that none is answered twice.
    pub question: Option<Question>,
}

/// A question that a bot or a flow has asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Coze's number for its kind, where that is wanted back.
    pub kind: i64,
    /// The fields of a form: names and types.
    pub form: Vec<(String, Option<String>)>,
    /// When it was asked, in seconds since 1970.
    pub asked_at: u64,
    /// Whether a workflow's run waits for the answer, and not a conversation.
    pub run: bool,
}

/// How long Coze lets a question wait (protocol 3.9, 5.3).
const QUESTION_LIFE: u64 = 24 * 3600;

impl Question {
    /// Whether Coze has stopped waiting by then, in seconds since 1970.
    #[must_use]
    pub fn has_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.asked_at) >= QUESTION_LIFE
    }
}

/// Whose a conversation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The name of a key, or a token's hash; empty without keys.
    pub key: String,
    /// The deployment's name.
    pub deployment: String,
    /// The id of the bot or flow.
    pub target: String,
    /// The caller's user.
    pub user: Option<String>,
}

/// An owner whom many records share is written in each.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Owner;

    pub(super) fn serialize<S: Serializer>(owner: &Arc<Owner>, serializer: S) -> Result<S::Ok, S::Error> {
        owner.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Owner>, D::Error> {
        Owner::deserialize(deserializer).map(Arc::new)
    }
}

/// Where a conversation lies at Coze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The conversation's id; of a workflow the event that waits.
    pub conversation: String,
    /// Its section, where Coze says: another one has another history.
    pub section: Option<String>,
    /// The last chat that ended well; empty if there is none since it was
    /// cleared.
    pub chat: String,
}

/// How the last turn of a conversation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// With an answer.
    #[default]
    Answered,
    /// With a question of the bot's, which the next message answers.
    Asked,
    /// The client left or a stop string cut, and Coze's words count: this
    /// chat may still run.
    Cut(String),
    /// It failed, and Coze has kept what the user said.
    Failed,
}

impl Record {
    /// Whether its client has a name for it.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some() || self.by_id
    }

    /// Whether it is a workflow's question that must not be answered twice.
    /// Under a name there is one at most, and its state says so.
    pub(super) fn is_guarded(&self) -> bool {
        !self.is_named() && self.question.as_ref().is_some_and(|question| question.run)
    }

    /// What is left of a question once it waits no more.
    pub(super) fn close(mut self) -> Self {
        // Nothing is filled in any more.
        self.question.iter_mut().for_each(|question| question.form.clear());
        Self { state: State::Answered, ..self }
    }

    /// Coze has begun a new section of its conversation: from now on nothing
    /// has been said there. That is the head of its space.
    pub fn clear(&mut self, space: Key, section: Option<String>) {
        if let Some(place) = &mut self.place {
            place.section = section;
            place.chat.clear();
        }
        self.head = Some(space);
        (self.root, self.system, self.question) = (None, None, None);
        self.rounds = 0;
        self.state = State::Answered;
    }

    /// As the store keeps it: fields in their order, without their names.
    /// Against JSON that is half the bytes, so that twice as many rows stand
    /// on a page of a file, and a third of the time.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.push(FORM);
        postcard::to_extend(self, bytes).expect("what is there can be counted, and a vector takes all")
    }

    /// What [`to_bytes`](Self::to_bytes) has written; `None` if it is
    /// something else, or nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fields = bytes.strip_prefix(&[FORM])?;
        let (record, rest) = postcard::take_from_bytes(fields).ok()?;
        rest.is_empty().then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_store() {
        let full = Record {
            owner: Owner {
                key: "team".into(),
                deployment: "local".into(),
                target: "75".into(),
                user: Some("ann".into()),
            }
            .into(),
            name: Some("chat-1".into()),
            by_id: true,
            place: Some(Place { conversation: "1".into(), section: Some("2".into()), chat: "3".into() }),
            head: Some([1; 16]),
            root: Some([0xab; 16]),
            system: None,
            rounds: 3,
            state: State::Cut("4".into()),
            question: Some(Question {
                kind: 5,
                form: vec![("city".into(), Some("string".into()))],
                asked_at: 1_754_000_000,
                run: true,
            }),
        };
        for record in [full, Record::default()] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        let whole = Record::default().to_bytes();
        for end in 0..whole.len() {
            assert_eq!(whole.get(..end).and_then(Record::from_bytes), None, "cut at {end}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        let other_form = [&[FORM + 1], &whole[1..]].concat();
        // A text that would be longer than memory.
        let endless = [FORM, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        for bytes in [&longer, &other_form, b"{}".as_slice(), &endless] {
            assert_eq!(Record::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
