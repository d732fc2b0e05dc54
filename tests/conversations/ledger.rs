//! What the gateway ought to remember, and what every answer has to keep to.
//!
//! In come turns with what came of them, one at a time in the order in which
//! Coze ran them; out comes the first promise that is broken.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use cozeway::simulator::{Ran, Seen, Simulator, Trouble};

use crate::call::{Outcome, Reply};
use crate::expected::{Expected, mode, says_truly};
use crate::link::Lost;
use crate::model::{ChatId, History, Parting, Said, holds};
use crate::stage::MODELS;
use crate::turn::{Leaves, Turn};

/// What is remembered under an id that no client knows is called so.
pub(crate) const SECRET: &str = "conv_?";

/// A name in a space.
pub(crate) type Handle = (String, String);

/// What is known of a conversation that can be called by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What it may hold; never none.
    pub(crate) histories: Vec<History>,
    /// How its last turn ended.
    pub(crate) last: Last,
    /// Where it may lie.
    pub(crate) places: Vec<(usize, String)>,
    /// Whether a client has called it by its id.
    pub(crate) by_id: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Last {
    Answered,
    Asked,
    /// A stop string has cut it, or its client has left.
    Cut,
    /// The same, and it is a question.
    CutAsking,
    /// It failed, or nobody knows.
    #[default]
    Unknown,
}

impl Last {
    /// What was cut. Of a bot that asks nobody knows whether it is still about
    /// to.
    pub(crate) fn cut(turn: &Turn, ran: &Ran) -> Self {
        match MODELS[turn.space.model].name {
            _ if ran.asks => Self::CutAsking,
            "ask" => Self::Unknown,
            _ => Self::Cut,
        }
    }
}

/// What may go wrong around a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around {
    /// Other turns run at the same time.
    pub(crate) company: bool,
    /// The store is away: from the beginning, or from when the bot speaks.
    pub(crate) away: bool,
    pub(crate) away_later: bool,
    /// The store is a server that is killed for it.
    pub(crate) is_killed: bool,
    /// The server is killed at some moment, and started again.
    pub(crate) crash: Option<Crash>,
    /// Such a step of the store is done, but its answer is lost.
    pub(crate) lost: Option<Lost>,
    /// A step took so long that its answer was not waited for.
    pub(crate) is_slow: bool,
}

/// When a server is killed, and how long nobody starts it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) after: Duration,
    pub(crate) pause: Duration,
}

impl Around {
    /// Whether a step of the store may fail, and may have been done.
    pub(crate) fn is_torn(&self) -> bool {
        self.crash.is_some() || self.lost.is_some() || self.is_slow
    }

    /// Whether what was to be remembered may not be.
    fn may_forget(&self) -> bool {
        self.away_later || self.is_torn()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) known: BTreeMap<Handle, Known>,
    /// Coze's conversations that were forgotten or cleared.
    pub(crate) disturbed: HashSet<(usize, String)>,
    /// The chats that a client has been told of.
    accounted: HashSet<ChatId>,
    pub(crate) words: HashMap<ChatId, Vec<String>>,
    pub(crate) modes: BTreeMap<String, usize>,
}

/// What is looked up about a turn that was taken.
pub(crate) struct Facts {
    pub(crate) chat: Option<ChatId>,
    pub(crate) ran: Option<Ran>,
}

impl Ledger {
    /// Which chat at Coze a turn was.
    pub(crate) fn facts(&mut self, turn: &Turn, reply: &Reply, cozes: &[Simulator]) -> Facts {
        let coze = turn.space.coze();
        let chat = match &reply.outcome {
            Outcome::Answered { chat, .. } => Some(chat.clone()),
            Outcome::Failed { .. } => None,
            Outcome::Left { .. } => {
                let runs = cozes[coze].asked(turn.question());
                let fresh = |ran: &&Ran| !self.accounted.contains(&ChatId { coze, chat: ran.chat.clone() });
                runs.iter().skip(turn.asked).rfind(fresh).map(|ran| ran.chat.clone())
            }
        };
        let ran = chat.as_ref().and_then(|chat| cozes[coze].ran(chat));
        let chat = chat.map(|chat| ChatId { coze, chat });
        self.accounted.extend(chat.clone());
        Facts { chat, ran }
    }

    /// Takes note of what Coze has stored, as long as it can be asked.
    pub(crate) fn listen(&mut self, cozes: &[Simulator]) {
        let unheard: Vec<ChatId> =
            self.accounted.iter().filter(|chat| !self.words.contains_key(chat)).cloned().collect();
        for id in unheard {
            if let Some(ran) = cozes[id.coze].ran(&id.chat).filter(|ran| !ran.running) {
                self.words.insert(id, ran.answers);
            }
        }
    }

    /// How many messages a named conversation has.
    pub(crate) fn length(&self, space: &str, name: &str) -> Option<usize> {
        let known = self.known.get(&(space.to_owned(), name.to_owned()))?;
        known.histories.iter().map(|history| history.said.len()).max()
    }

    pub(crate) fn handle(&self, turn: &Turn, name: Option<&String>) -> Option<Handle> {
        name.map(|name| (turn.space.label(), name.clone()))
    }

    pub(crate) fn histories(&self, handle: &Handle) -> Vec<History> {
        self.known.get(handle).map_or_else(|| vec![History::default()], |known| known.histories.clone())
    }

    pub(crate) fn is_disturbed(&self, known: &Known) -> bool {
        known.places.is_empty() || known.places.iter().any(|place| self.disturbed.contains(place))
    }

    /// Takes a turn that came to something into account.
    ///
    /// # Errors
    /// If a promise is broken: which.
    pub(crate) fn account(
        &mut self,
        turn: &Turn,
        reply: &Reply,
        facts: &Facts,
        expected: Expected,
        around: Around,
        cozes: &[Simulator],
    ) -> Result<(), String> {
        match &reply.outcome {
            Outcome::Answered { finish, .. } if finish != "stop" => {
                Err(format!("a whole answer ends with {finish:?}"))
            }
            Outcome::Answered { text, others, .. } => {
                self.others(turn, others, cozes)?;
                if !around.away {
                    let mode = mode(reply).ok_or("an answer does not say what became of its conversation")?;
                    *self.modes.entry(mode.to_owned()).or_default() += 1;
                    self.expected(mode, expected, reply)?;
                }
                let cut = is_cut(turn, text);
                self.answered(turn, reply, facts, text, cut, around, cozes)
            }
            Outcome::Failed { code, status, .. } => self.failed(turn, *status, code, around),
            Outcome::Left { heard } => {
                self.left(turn, reply, facts, *heard, cozes);
                Ok(())
            }
        }
    }

    fn expected(&self, mode: &str, expected: Expected, reply: &Reply) -> Result<(), String> {
        let as_expected = match expected {
            Expected::Anything => true,
            Expected::Mode(wanted) => mode == wanted,
            Expected::NotContinued => mode != "continued" && mode != "resumed",
        };
        if as_expected { Ok(()) } else { Err(format!("{expected:?} was expected, it is {:?}", reply.note)) }
    }

    /// Each of several answers is one to the whole transcript.
    fn others(
        &mut self,
        turn: &Turn,
        others: &[(String, String)],
        cozes: &[Simulator],
    ) -> Result<(), String> {
        if others.len() + 1 != turn.choices {
            return Err(format!("{} choices were asked for, {} came", turn.choices, others.len() + 1));
        }
        let (coze, transcript) = (turn.space.coze(), turn.transcript());
        for (text, chat) in others {
            let ran = cozes[coze].ran(chat).ok_or("a choice of a chat that Coze does not know")?;
            if ran.answers.join("\n\n") != *text {
                return Err(format!("a choice says {text:?}, the bot said {:?}", ran.answers));
            }
            if !self.accounted.insert(ChatId { coze, chat: chat.clone() }) {
                return Err("two answers are one chat".to_owned());
            }
            let context = cozes[coze].context_seen(chat).unwrap_or_default();
            self.listen(cozes);
            holds(&context, &transcript, &|id: &ChatId| self.words.get(id).cloned())
                .map_err(|parting| parted(&context, &transcript, &parting))?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of an answer")]
    fn answered(
        &mut self,
        turn: &Turn,
        reply: &Reply,
        facts: &Facts,
        text: &str,
        cut: bool,
        around: Around,
        cozes: &[Simulator],
    ) -> Result<(), String> {
        let (Some(chat), Some(ran)) = (&facts.chat, &facts.ran) else {
            return Err("an answer of a chat that Coze does not know".to_owned());
        };
        let context = cozes[chat.coze].context_seen(&chat.chat).unwrap_or_default();
        self.listen(cozes);
        let unheard = |id: &ChatId| self.words.get(id).cloned();
        let asked_by = self.handle(turn, turn.name.as_ref());
        let was = asked_by.as_ref().and_then(|handle| self.known.get(handle)).map(|known| known.last);
        if !around.away {
            says_truly(turn, reply, ran, was)?;
        }
        let said = if turn.delta && cut {
            Said::Unheard(chat.clone())
        } else {
            let stored = if cut { vec![text.to_owned()] } else { ran.answers.clone() };
            Said::Bot { words: text.to_owned(), stored }
        };
        let mut after = Vec::new();
        if turn.delta {
            let handle = asked_by.clone().ok_or("a delta of nothing")?;
            let mut why = String::new();
            for history in self.histories(&handle) {
                if handle.1.starts_with("conv_") && history.said.is_empty() {
                    why += "; a conv_ id that leads nowhere was answered";
                    continue;
                }
                let with = history.with(turn.system.as_deref(), &turn.new);
                match holds(&context, &with.said, &unheard) {
                    Ok(()) => after.push(with.then(said.clone())),
                    Err(parting) => why += &parted(&context, &with.said, &parting),
                }
            }
            if after.is_empty() {
                return Err(why);
            }
        } else {
            let transcript = turn.transcript();
            holds(&context, &transcript, &unheard)
                .map_err(|parting| parted(&context, &transcript, &parting))?;
            let history = History { said: transcript, system: turn.system.clone() };
            after.push(history.then(if cut { Said::Unheard(chat.clone()) } else { said }));
        }
        let last = match () {
            () if around.may_forget() || around.company => Last::Unknown,
            () if cut => Last::cut(turn, ran),
            () if ran.asks => Last::Asked,
            () => Last::Answered,
        };
        if turn.is_apart() {
            let told = format!("what nobody remembers is called {:?}", reply.name);
            return if reply.name.is_none() { Ok(()) } else { Err(told) };
        }
        let Some(handle) = self.handle(turn, reply.name.as_ref()) else {
            if around.is_torn() {
                // It may have been claimed all the same.
                self.doubt(turn);
            }
            let excused = around.away || around.is_torn();
            return if excused { Ok(()) } else { Err("an answer without a name".to_owned()) };
        };
        if asked_by.as_ref().is_some_and(|asked| *asked != handle) {
            return Err(format!("{asked_by:?} was asked, {handle:?} has answered"));
        }
        if around.away {
            return Ok(());
        }
        let mut places = vec![(chat.coze, ran.conversation.clone())];
        let by_id = turn.name.is_some() || self.known.get(&handle).is_some_and(|known| known.by_id);
        if around.may_forget() {
            // It may not have been remembered.
            after.extend(self.histories(&handle));
            places.extend(self.known.get(&handle).into_iter().flat_map(|known| known.places.clone()));
            self.doubt(turn);
        }
        self.known.insert(handle, Known { histories: dedup(after), last, places, by_id });
        Ok(())
    }

    fn failed(&mut self, turn: &Turn, status: u16, code: &str, around: Around) -> Result<(), String> {
        let handle = self.handle(turn, turn.name.as_ref());
        let own = turn.name.as_ref().is_some_and(|name| name.starts_with("conv_"));
        let excused = turn.trouble.is_some() || !matches!(turn.leaves, Leaves::Never);
        match (code, &handle) {
            ("conversation_not_found", Some(handle)) if own && status == 404 => {
                if self.histories(handle).iter().all(|history| !history.said.is_empty()) {
                    return Err(format!("{handle:?} is not found any more"));
                }
                // Another turn may have found it before it was forgotten.
                if !around.company {
                    self.known.remove(handle);
                }
                return Ok(());
            }
            ("conversation_lost", Some(handle)) if turn.delta && status == 409 => {
                let known = self.known.get(handle);
                if known.is_none_or(|known| !self.is_disturbed(known)) && !around.company {
                    return Err(format!("{handle:?} is lost, but Coze has not forgotten it"));
                }
                // Another turn may have come later, or the store may not know.
                let stays = around.company || around.may_forget();
                let mut histories = if stays { self.histories(handle) } else { Vec::new() };
                histories.push(History::default());
                let known = Known { histories: dedup(histories), ..Known::default() };
                self.known.insert(handle.clone(), known);
                return Ok(());
            }
            ("conversation_locked", Some(_)) if around.company && status == 409 => return Ok(()),
            ("state_unavailable", Some(_)) if around.away && status == 503 => return Ok(()),
            // It may have been claimed all the same.
            ("state_unavailable", Some(_)) if around.is_torn() && status == 503 => {}
            _ if excused => {}
            _ => return Err(format!("a {status} {code} for nothing")),
        }
        if !matches!(turn.trouble, Some(Trouble::Refused(_))) || turn.leaves != Leaves::Never {
            self.doubt(turn);
        } else if own && let Some(known) = handle.and_then(|handle| self.known.get_mut(&handle)) {
            known.by_id = true;
        }
        Ok(())
    }
}

/// Where a context and a transcript part.
fn parted(context: &[Seen], transcript: &[Said], parting: &Parting) -> String {
    let Parting { message, seen, why } = parting;
    let from = |at: usize| at.saturating_sub(3);
    let seen: String = (context.iter().enumerate().skip(from(*seen)).take(8))
        .map(|(at, seen)| format!("  {at} {} {:?}\n", seen.role, seen.text))
        .collect();
    let said: String = (transcript.iter().enumerate().skip(from(*message)).take(8))
        .map(|(at, said)| format!("  {at} {said:?}\n"))
        .collect();
    let (all_seen, all_said) = (context.len(), transcript.len());
    format!("\nof {all_seen} the bot saw\n{seen}of {all_said} it ought to see\n{said}{why}\n")
}

pub(crate) fn dedup(mut histories: Vec<History>) -> Vec<History> {
    let mut kept: Vec<History> = Vec::new();
    for history in histories.drain(..) {
        if !kept.contains(&history) {
            kept.push(history);
        }
    }
    kept
}

/// Whether a stop string has cut an answer.
pub(crate) fn is_cut(turn: &Turn, text: &str) -> bool {
    let says_it = !matches!(MODELS[turn.space.model].bot, "1002" | "1004");
    turn.stop && says_it && !text.contains("STOP")
}
