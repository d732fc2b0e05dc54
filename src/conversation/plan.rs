//! What becomes of a turn: a pure function of what the client sent and of
//! what is remembered.
//!
//! The rule above all others: what the client sends is what the bot sees,
//! once. Whenever it is not certain that a conversation at Coze holds just
//! what the client's transcript holds, the transcript is sent whole, to a
//! fresh one: an absent memory is always safe.

use std::fmt;
use std::ops::Range;

use super::record::{Place, Question, Record, State};
use crate::store::Key;

/// What a request says, as far as its conversation is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whether these are only the new messages of a conversation that has a
    /// name; otherwise they are the whole transcript.
    pub delta: bool,
    /// How many messages there are, the system text's included.
    pub messages: usize,
    /// How many of them, at the front, are the system text: 0 or 1.
    pub pinned: usize,
    /// The first message after the assistant's last one; 0 if there is none
    /// of the assistant's.
    pub new: usize,
    /// Whether the last one is the user's own: what a tool has said stands in
    /// the user's place, but answers nothing that a bot has asked.
    pub own: bool,
    /// The head of everything before `new`.
    pub before: Key,
    /// The system text.
    pub system: Option<Key>,
}

/// What becomes of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything goes to a fresh conversation that nobody will know of.
    Detached,
    /// Everything goes to a fresh conversation.
    Fresh,
    /// The new messages go to the conversation.
    Continue {
        /// Where to.
        place: Place,
        /// Which messages are new.
        new: Range<usize>,
        /// A chat there that may still run, and whose end comes first.
        after: Option<Cut>,
    },
    /// The one new message answers what the bot asked there.
    Resume {
        /// Where to.
        place: Place,
        /// Which message it is.
        new: Range<usize>,
        /// What it answers.
        question: Option<Question>,
    },
    /// A workflow's question cannot be answered any more, or not so.
    Lost {
        /// Whether a name is free again, for a run to begin under it: nothing
        /// waits there that its answer could still come to.
        frees: bool,
    },
    /// What Coze holds up to the last good chat goes to a fresh conversation,
    /// and the new messages with it.
    Rebuild {
        /// Where it lies now.
        place: Place,
        /// Which messages are new.
        new: Range<usize>,
    },
}

/// A chat that nobody heard to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What Coze calls it.
    pub chat: String,
    /// Whether the new messages answer it, should it be a question.
    pub answers: bool,
}

/// What a client is told of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// What was done.
    pub mode: Mode,
    /// Why.
    pub reason: Option<Reason>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A conversation began.
    New,
    /// A conversation went on.
    Continued,
    /// A question of the bot's was answered.
    Resumed,
    /// The client's transcript was sent to a fresh conversation.
    Replayed,
    /// What Coze held was sent to a fresh conversation.
    Rebuilt,
}

/// Why a conversation did not simply go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The model's memory is off.
    Off,
    /// The model's memory is for conversations with a name, and this has
    /// none.
    Unnamed,
    /// Several answers at once were asked for.
    Choices,
    /// Nothing like it is known.
    Unknown,
    /// It begins like one that is known, and goes on otherwise: an edit, a
    /// regeneration, a branch.
    Edited,
    /// Several conversations have these words.
    Ambiguous,
    /// It would pass the rounds that Coze shows the bot.
    HistoryFull,
    /// Its last turn failed.
    Failed,
    /// Its last answer was cut, and the client holds other words than Coze.
    Cut,
    /// Its last turn never came to an end, so that nobody knows how.
    Interrupted,
    /// The bot had asked something, and this is not just the answer.
    Question,
    /// Coze knows it no more, or has cleared it.
    Forgotten,
    /// The state store is away.
    StateUnavailable,
}

/// Decides what becomes of a turn in a conversation that was lent to it, as
/// it was last settled; `abandoned` says that a turn since then never was.
/// Rounds beyond `history_rounds` the bot would not see, and a question that
/// is too old by `now` it would not take an answer to.
#[must_use]
pub fn plan(sent: &Sent, record: &Record, abandoned: bool, history_rounds: u32, now: u64) -> (Plan, Note) {
    let Some(place) = record.place.clone() else {
        let reason = (!sent.is_first()).then_some(Reason::Unknown);
        return fresh(sent, reason);
    };
    let new = sent.new_messages(record);
    if abandoned || record.state == State::Failed {
        let reason = if abandoned { Reason::Interrupted } else { Reason::Failed };
        return anew(sent, place, new, reason);
    }
    if let State::Cut(chat) = &record.state {
        return if sent.delta {
            let after = Some(Cut { chat: chat.clone(), answers: sent.just_answers(&new, record) });
            (Plan::Continue { place, new, after }, Note::new(Mode::Continued, None))
        } else {
            fresh(sent, Some(Reason::Cut))
        };
    }
    if !sent.delta && record.head != Some(sent.before) {
        return fresh(sent, Some(Reason::Edited));
    }
    if record.state == State::Asked {
        return if sent.just_answers(&new, record) && !record.is_overdue(now) {
            let question = record.question.clone();
            (Plan::Resume { place, new, question }, Note::new(Mode::Resumed, None))
        } else {
            anew(sent, place, new, Reason::Question)
        };
    }
    if !sent.delta && record.rounds.saturating_add(rounds(new.len())) > history_rounds {
        return fresh(sent, Some(Reason::HistoryFull));
    }
    (Plan::Continue { place, new, after: None }, Note::new(Mode::Continued, None))
}

/// Decides the same for a workflow, which has no conversation: a message that
/// just answers its question resumes the run, anything else begins a new one.
/// What may have been meant as an answer never does; nor does it end a question
/// that still waits, or make its answer a beginning when that is sent again.
#[must_use]
pub fn plan_run(sent: &Sent, record: &Record, abandoned: bool, now: u64) -> (Plan, Note) {
    let new = (Plan::Fresh, Note::new(Mode::New, None));
    let lost = |frees| (Plan::Lost { frees }, Note::new(Mode::Resumed, Some(Reason::Question)));
    let Some(place) = record.place.clone() else { return new };
    let on = sent.delta || record.head == Some(sent.before);
    match record.state {
        // It answers nothing, and says that it is all.
        _ if sent.is_one_message() => new,
        _ if abandoned => lost(true),
        State::Asked if record.is_overdue(now) => lost(true),
        State::Asked => {
            let range = sent.new_messages(record);
            if on && sent.just_answers(&range, record) {
                let question = record.question.clone();
                (Plan::Resume { place, new: range, question }, Note::new(Mode::Resumed, None))
            } else {
                lost(false)
            }
        }
        State::Answered if on => new,
        State::Answered => lost(record.root != Some(sent.before)),
        State::Cut(_) | State::Failed => lost(true),
    }
}

/// Everything to a fresh conversation. The client is told why, if it sent
/// more than a beginning.
#[must_use]
pub fn fresh(sent: &Sent, reason: Option<Reason>) -> (Plan, Note) {
    let mode = if reason.is_none() || (sent.delta && sent.is_first()) { Mode::New } else { Mode::Replayed };
    (Plan::Fresh, Note::new(mode, reason))
}

/// A conversation cannot go on where it lies: from the client's words if it
/// has sent them, else from Coze's.
fn anew(sent: &Sent, place: Place, new: Range<usize>, reason: Reason) -> (Plan, Note) {
    if sent.delta {
        (Plan::Rebuild { place, new }, Note::new(Mode::Rebuilt, Some(reason)))
    } else {
        fresh(sent, Some(reason))
    }
}

/// As how many rounds Coze counts messages: all but the last one share a
/// record of their own (protocol 3.3).
#[must_use]
pub fn rounds(messages: usize) -> u32 {
    if messages > 1 { 2 } else { 1 }
}

impl Record {
    /// Whether its question waits no more.
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        self.question.as_ref().is_some_and(|question| question.has_expired(now))
    }
}

impl Sent {
    /// Whether it holds nothing that a bot has said.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.new == 0
    }

    /// Whether it is a whole transcript of one message.
    fn is_one_message(&self) -> bool {
        !self.delta && self.is_first() && self.messages == self.pinned + 1
    }

    /// Whether the new messages are just an answer: one of the user's own, and
    /// no new system text.
    fn just_answers(&self, new: &Range<usize>, record: &Record) -> bool {
        new.len() == 1 && self.own && (self.system.is_none() || self.system == record.system)
    }

    /// Which messages the conversation does not hold. In a delta the system
    /// text is new where it has changed.
    pub(super) fn new_messages(&self, record: &Record) -> Range<usize> {
        let known = self.delta && self.system.is_some() && self.system == record.system;
        let start = if known { self.pinned } else { self.new };
        start..self.messages
    }
}

impl Note {
    /// What was done, and why.
    #[must_use]
    pub fn new(mode: Mode, reason: Option<Reason>) -> Self {
        Self { mode, reason }
    }
}

impl fmt::Display for Note {
    /// As the header `x-cozeway-conversation` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode.name())?;
        match self.reason {
            Some(reason) => write!(f, "; reason={}", reason.name()),
            None => Ok(()),
        }
    }
}

impl Mode {
    /// Its name in headers, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Continued => "continued",
            Self::Resumed => "resumed",
            Self::Replayed => "replayed",
            Self::Rebuilt => "rebuilt",
        }
    }
}

impl Reason {
    /// Its name in headers, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unnamed => "unnamed",
            Self::Choices => "choices",
            Self::Unknown => "unknown",
            Self::Edited => "edited",
            Self::Ambiguous => "ambiguous",
            Self::HistoryFull => "history_full",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Interrupted => "interrupted",
            Self::Question => "question",
            Self::Forgotten => "forgotten",
            Self::StateUnavailable => "state_unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
