//! What has to become of a turn that nothing disturbs.
//!
//! A gateway that never goes on in a conversation would show every bot what
//! it ought to see; here stands when it has to.

use cozeway::simulator::{Ran, Trouble};

use crate::call::Reply;
use crate::ledger::{Around, Handle, Last, Ledger};
use crate::model::Said;
use crate::stage::MODELS;
use crate::turn::{Leaves, Turn};

/// What is expected of a turn that nothing disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Anything,
    Mode(&'static str),
    NotContinued,
}

impl Ledger {
    /// What has to become of a turn to which nothing happens.
    pub(crate) fn expect(&self, turn: &Turn, around: Around) -> Expected {
        let calm = matches!(turn.trouble, None | Some(Trouble::Waits(_, false)))
            && turn.leaves == Leaves::Never
            && !around.company
            && !around.away
            && !around.away_later
            && !around.is_torn()
            && !MODELS[turn.space.model].short;
        if !calm {
            return Expected::Anything;
        }
        match self.handle(turn, turn.name.as_ref()) {
            _ if turn.is_apart() => Expected::Mode(if turn.is_first() { "new" } else { "replayed" }),
            Some(handle) => self.expect_named(turn, &handle),
            None => self.expect_unnamed(turn),
        }
    }

    fn expect_named(&self, turn: &Turn, handle: &Handle) -> Expected {
        let Some(known) = self.known.get(handle) else {
            let first = turn.delta || turn.is_first();
            return Expected::Mode(if first { "new" } else { "replayed" });
        };
        let [history] = known.histories.as_slice() else { return Expected::Anything };
        if self.is_disturbed(known) || history.said.is_empty() {
            return Expected::Anything;
        }
        let goes_on = turn.delta || same(&before(turn), &history.said) == Some(true);
        let system = turn.delta && turn.system.is_some() && turn.system != history.system;
        match known.last {
            Last::Answered if goes_on => Expected::Mode("continued"),
            Last::Asked if goes_on && answers_only(turn) && !system => Expected::Mode("resumed"),
            Last::CutAsking if turn.delta && answers_only(turn) && !system => Expected::Mode("resumed"),
            Last::CutAsking if turn.delta => Expected::Mode("rebuilt"),
            Last::Cut if turn.delta => Expected::Mode("continued"),
            Last::Cut | Last::CutAsking | Last::Asked if !turn.delta => Expected::NotContinued,
            _ => Expected::Anything,
        }
    }

    fn expect_unnamed(&self, turn: &Turn) -> Expected {
        if turn.is_first() {
            return Expected::Mode("new");
        }
        let (label, before) = (turn.space.label(), before(turn));
        let mut found = Vec::new();
        for ((space, name), known) in &self.known {
            // Nobody knows whether who has left has called it by its id.
            let by_id = known.by_id && known.last != Last::Unknown;
            if *space != label || !name.starts_with("conv_") || by_id {
                continue;
            }
            for history in &known.histories {
                match same(&before, &history.said) {
                    Some(false) => {}
                    Some(true) if known.histories.len() == 1 && known.last != Last::Unknown => {
                        found.push(known);
                    }
                    _ => return Expected::Anything,
                }
            }
        }
        match found.as_slice() {
            [known] if self.is_disturbed(known) => Expected::Anything,
            [known] => match known.last {
                Last::Answered => Expected::Mode("continued"),
                Last::Asked if answers_only(turn) => Expected::Mode("resumed"),
                Last::Asked | Last::Cut | Last::CutAsking => Expected::Mode("replayed"),
                Last::Unknown => Expected::Anything,
            },
            // Nobody, or nobody knows which.
            _ => Expected::Mode("replayed"),
        }
    }
}

/// Everything up to the assistant's last words, with the system text.
pub(crate) fn before(turn: &Turn) -> Vec<Said> {
    let system = turn.system.iter().cloned().map(Said::User);
    let last = turn.before.iter().rposition(|said| matches!(said, Said::Bot { .. }));
    system.chain(turn.before.iter().take(last.map_or(0, |last| last + 1)).cloned()).collect()
}

/// Whether one message is new.
fn answers_only(turn: &Turn) -> bool {
    turn.new.len() == 1 && matches!(turn.before.last(), None | Some(Said::Bot { .. }))
}

/// Whether two transcripts are the same to a gateway; `None` if nobody knows.
pub(crate) fn same(one: &[Said], other: &[Said]) -> Option<bool> {
    if one.len() != other.len() {
        return Some(false);
    }
    let mut sure = true;
    for pair in one.iter().zip(other) {
        match pair {
            (Said::User(one), Said::User(other)) if one == other => {}
            (Said::Bot { words: one, .. }, Said::Bot { words: other, .. })
                if normal(one) == normal(other) => {}
            (Said::Unheard(_), _) | (_, Said::Unheard(_)) => sure = false,
            _ => return Some(false),
        }
    }
    sure.then_some(true)
}

fn normal(words: &str) -> String {
    words.replace("e\u{301}", "\u{e9}").replace("\r\n", "\n").trim().to_owned()
}

/// What an answer says has become of its conversation.
pub(crate) fn mode(reply: &Reply) -> Option<&str> {
    reply.note.as_deref()?.split(';').next()
}

/// Whether the header says what has happened.
pub(crate) fn says_truly(turn: &Turn, reply: &Reply, ran: &Ran, was: Option<Last>) -> Result<(), String> {
    let mode = mode(reply).unwrap_or_default();
    let went_on = !ran.first;
    let cut = matches!(was, Some(Last::Cut | Last::Unknown));
    let true_ = match mode {
        "new" => !went_on && turn.is_first(),
        "continued" => went_on && (!ran.resumed || cut),
        "resumed" => went_on && ran.resumed,
        "replayed" => !went_on && !turn.delta,
        "rebuilt" => !went_on && turn.delta,
        _ => false,
    };
    if true_ { Ok(()) } else { Err(format!("{:?} is said, but {ran:?}", reply.note)) }
}
