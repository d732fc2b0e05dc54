//! One turn's part in a conversation, from the plan to the end.
//!
//! In come the words of the answer and how the turn ended, out goes what the
//! store remembers. Whoever holds a [`Thread`] ends it, whatever happens: a
//! lease that is not given back is only free again when it has run out.

mod settlement;

use super::fingerprint::Chain;
use super::plan::{Mode, Note, Plan, Reason, rounds};
use super::record::{Place, Question, Record, State};
use super::{Conversations, ID_PREFIX};
use crate::store::{Id, Key, Lease, Outcome};
use crate::turn::Text;
pub use settlement::Settlement;

/// The longest answer that is kept for its hash, in bytes: what is longer is
/// not recognised when a client sends it back.
const MAX_SAID: usize = 64 * 1024 * 1024;

/// A conversation while a turn is in it.
#[derive(Debug)]
pub struct Thread {
    memory: Conversations,
    held: Held,
    space: Key,
    /// As it was; empty if it was not.
    before: Record,
    /// What the turn has added to the transcript; `None` if the transcript is
    /// not known.
    chain: Option<Chain>,
    root: Option<Key>,
    system: Option<Key>,
    sent: Sent,
    note: Note,
    delta: bool,
    /// Whether Coze knows the conversation no more.
    forgotten: bool,
    said: String,
    /// How much of the answer its client was told, in bytes, if not all.
    told: Option<usize>,
    /// What the answer is, if it is a question that takes more than words.
    question: Option<Question>,
}

/// What a thread holds in the store.
#[derive(Debug)]
enum Held {
    /// Nothing yet.
    New(Id),
    /// The right to an entry.
    Lent(Hold),
}

impl Held {
    fn id(&self) -> Id {
        match self {
            Self::New(id) => *id,
            Self::Lent(hold) => hold.lease.id,
        }
    }
}

/// A lease that is renewed for as long as this lives.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) lease: Lease,
    pub(super) memory: Conversations,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.memory.leases().remove(&self.lease);
    }
}

/// Where the turn's messages went, and how many.
#[derive(Clone, Debug)]
enum Sent {
    /// To a fresh conversation of Coze's.
    Fresh { messages: usize },
    /// To one that goes on.
    On { place: Place, new: usize, all: usize },
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// With a whole answer.
    Answered {
        /// What Coze called it.
        chat: Chat<'a>,
        /// Whether it is a question, which the next message answers.
        asked: bool,
    },
    /// A workflow's run ended without a question.
    Ran,
    /// The client left, or a stop string cut: Coze's words go on.
    Cut(Option<Chat<'a>>),
    /// It never began: Coze was not reached, or refused it before there was
    /// a chat.
    Refused,
    /// It failed, or nobody knows.
    Failed,
    /// Coze knows the conversation no more.
    Forgotten,
}

/// What Coze calls a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chat<'a> {
    /// The conversation.
    pub conversation: &'a str,
    /// Its section, where Coze says.
    pub section: Option<&'a str>,
    /// The chat itself.
    pub id: &'a str,
}

/// What [`Conversations`] knows of a turn that begins.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) memory: Conversations,
    pub(super) space: Key,
    pub(super) before: Record,
    pub(super) chain: Option<Chain>,
    pub(super) root: Option<Key>,
    pub(super) system: Option<Key>,
    pub(super) messages: usize,
    pub(super) note: Note,
    pub(super) delta: bool,
}

impl Thread {
    /// A conversation that nothing is known of yet.
    pub(super) fn new(id: Id, opening: Opening) -> Self {
        Self::open(Held::New(id), opening, &Plan::Fresh)
    }

    /// A conversation that was lent.
    pub(super) fn lent(hold: Hold, opening: Opening, plan: &Plan) -> Self {
        Self::open(Held::Lent(hold), opening, plan)
    }

    fn open(held: Held, opening: Opening, plan: &Plan) -> Self {
        let Opening { memory, space, before, chain, root, system, messages, note, delta } = opening;
        let sent = match plan {
            Plan::Continue { place, new, after } => {
                let mut place = place.clone();
                // Its end is waited for: then its words are good ones.
                if let Some(cut) = after {
                    place.chat.clone_from(&cut.chat);
                }
                Sent::On { place, new: new.len(), all: messages }
            }
            Plan::Resume { place, new, .. } => {
                Sent::On { place: place.clone(), new: new.len(), all: messages }
            }
            // What Coze held is one round by itself.
            Plan::Rebuild { .. } => Sent::Fresh { messages: messages + 1 },
            Plan::Detached | Plan::Fresh | Plan::Lost { .. } => Sent::Fresh { messages },
        };
        let (forgotten, said, told, question) = (false, String::new(), None, None);
        Self {
            memory,
            held,
            space,
            before,
            chain,
            root,
            system,
            sent,
            note,
            delta,
            forgotten,
            said,
            told,
            question,
        }
    }

    /// What its client calls it: its name, or its id.
    #[must_use]
    pub fn name(&self) -> String {
        self.before.name.clone().unwrap_or_else(|| format!("{ID_PREFIX}{}", self.held.id()))
    }

    /// What is done with it, and why.
    #[must_use]
    pub fn note(&self) -> Note {
        self.note
    }

    /// Whether a chat that has begun is where it was sent to. One in another
    /// conversation, or another section, knows nothing of what was said.
    #[must_use]
    pub fn is_at(&self, chat: Chat<'_>) -> bool {
        match &self.sent {
            Sent::Fresh { .. } => true,
            Sent::On { place, .. } => {
                let same_section = match (&place.section, chat.section) {
                    (Some(known), Some(section)) => known == section,
                    _ => true,
                };
                place.conversation == chat.conversation && same_section
            }
        }
    }

    /// Whether the client has sent the whole transcript.
    #[must_use]
    pub fn has_all(&self) -> bool {
        !self.delta
    }

    /// Coze's conversation, where it goes on in one.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        let place = self.before.place.as_ref().filter(|_| !self.forgotten);
        place.map(|place| place.conversation.as_str())
    }

    /// Whether it goes on in a conversation of Coze's.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self.sent, Sent::On { .. })
    }

    /// The conversation cannot go on where it lies: what Coze holds of it goes
    /// to a fresh one.
    pub fn rebuild(&mut self, reason: Reason) {
        if let Sent::On { all, .. } = self.sent {
            self.sent = Sent::Fresh { messages: all + 1 };
        }
        self.note = Note::new(Mode::Rebuilt, Some(reason));
    }

    /// What was cut is a question, and the new message answers it.
    pub fn resume(&mut self) {
        self.note = Note::new(Mode::Resumed, None);
    }

    /// Coze has forgotten the conversation: the whole transcript goes to a
    /// fresh one instead. Until that is answered the old one stays as it was,
    /// so that a client may try again under its name.
    pub fn replay(&mut self) {
        if let Sent::On { all, .. } = self.sent {
            self.sent = Sent::Fresh { messages: all };
        }
        self.forgotten = true;
        self.note = Note::new(Mode::Replayed, Some(Reason::Forgotten));
        self.said.clear();
    }

    /// Takes note of what the bot says.
    pub fn hear(&mut self, text: &Text<'_>) {
        if self.chain.is_none() {
            return;
        }
        text.decode_into(&mut self.said);
        if self.said.len() > MAX_SAID {
            self.chain = None;
            self.said = String::new();
        }
    }

    /// Takes note of what the bot asks.
    pub fn ask(&mut self, question: Question) {
        self.question = Some(question);
    }

    /// Takes note that of the answer its client was told so many bytes only.
    pub fn cut(&mut self, told: usize) {
        self.told = Some(told);
    }

    /// Ends the turn; gives what to store.
    pub fn end(self, ending: Ending<'_>) -> Settlement {
        let old = self.place().map(str::to_owned);
        let Self {
            memory, held, space, before, chain, root, system, sent, said, told, delta, question, ..
        } = self;
        let draft = Draft { before, root, system, delta, sent };
        let guarded = draft.before.is_guarded().then(|| draft.before.clone().close());
        let asks = matches!(ending, Ending::Answered { asked: true, .. });
        let told = told.and_then(|told| said.get(..told)).unwrap_or(&said);
        let head_after = |text: &str| {
            let mut chain = chain.clone()?;
            chain.push_answer(text);
            Some(chain.head())
        };
        let after = match ending {
            Ending::Answered { chat, asked } => {
                let state = if asked { State::Asked } else { State::Answered };
                let is_run = question.as_ref().is_some_and(|question| question.run);
                let after = draft.advance(chat, chat.id, head_after(&said), state);
                // What a workflow asks is known by all up to there.
                let root = if is_run { head_after(told) } else { after.root };
                Some(Record { question, root, ..after })
            }
            // Only where it has asked before does anything depend on it.
            Ending::Ran if draft.before.question.is_none() => None,
            Ending::Ran => Some(Record { head: head_after(&said), ..draft.before.close() }),
            Ending::Cut(Some(chat)) => {
                // The last chat that is known to be good, if there is one.
                let good = match &draft.sent {
                    Sent::On { place, .. } => place.chat.clone(),
                    Sent::Fresh { .. } => chat.id.to_owned(),
                };
                Some(draft.advance(chat, &good, None, State::Cut(chat.id.to_owned())))
            }
            Ending::Refused => draft.put_back(),
            Ending::Failed | Ending::Cut(None) => match draft.sent {
                Sent::On { place, .. } => {
                    Some(Record { place: Some(place), state: State::Failed, ..draft.before })
                }
                // What there was before has not been touched.
                Sent::Fresh { .. } => draft.put_back(),
            },
            // What was once asked stays known.
            Ending::Forgotten => guarded.clone(),
        };
        let now = after.as_ref().and_then(|record| Some(record.place.as_ref()?.conversation.clone()));
        let question = after.as_ref().and_then(|record| record.question.as_ref());
        let lasting = question.is_some_and(|question| question.run);
        // A question that follows another one is one of its own: neither is
        // answered twice.
        let (after, next) = match (after, guarded) {
            (Some(after), Some(guarded)) if asks => (Some(guarded), Some(after)),
            (after, _) => (after, None),
        };
        let next = next.map(|record| memory.entry(Id::random(), space, &record));
        let outcome = match after {
            Some(record) => Outcome::Keep(memory.entry(held.id(), space, &record)),
            None => Outcome::Drop,
        };
        Settlement { memory, held, outcome, next, lasting, asks: asks && lasting, old, now }
    }
}

/// A record on its way from one turn's end to the next.
struct Draft {
    before: Record,
    root: Option<Key>,
    system: Option<Key>,
    delta: bool,
    sent: Sent,
}

impl Draft {
    /// The record after a turn that took place.
    fn advance(self, chat: Chat<'_>, good: &str, head: Option<Key>, state: State) -> Record {
        let place = Place {
            conversation: chat.conversation.to_owned(),
            section: chat.section.map(str::to_owned),
            chat: good.to_owned(),
        };
        let (rounds, root) = match self.sent {
            Sent::Fresh { messages } => (rounds(messages), self.root),
            Sent::On { new, .. } => {
                (self.before.rounds.saturating_add(rounds(new)), self.before.root.or(self.root))
            }
        };
        // A whole transcript without a system text has none, whatever there
        // was before.
        let system = if self.delta { self.system.or(self.before.system) } else { self.system };
        Record { place: Some(place), head, root, system, rounds, state, ..self.before }
    }

    /// The record as it was, if there was one.
    fn put_back(self) -> Option<Record> {
        self.before.place.is_some().then_some(self.before)
    }
}

#[cfg(test)]
mod tests;
