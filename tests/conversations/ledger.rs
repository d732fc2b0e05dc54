//! What the gateway ought to remember, and what every answer has to keep to.
//!
//! In come turns with what came of them, one at a time in the order in which
//! Coze ran them; out comes the first promise that is broken.

use std::collections::{BTreeMap, HashMap, HashSet};

use cozeway::simulator::{Ran, Seen, Simulator, Trouble};

use crate::call::{Outcome, Reply};
use crate::expected::{Expected, before, mode, same, says_truly};
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
    /// It failed, or nobody knows.
    #[default]
    Unknown,
}

/// What may go wrong around a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around {
    /// Other turns run at the same time.
    pub(crate) company: bool,
    /// The store is away: from the beginning, or from when the bot speaks.
    pub(crate) away: bool,
    pub(crate) away_later: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) known: BTreeMap<Handle, Known>,
    /// Coze's conversations that were forgotten or cleared.
    pub(crate) disturbed: HashSet<(usize, String)>,
    /// The chats that a client has been told of.
    accounted: HashSet<ChatId>,
    words: HashMap<ChatId, Vec<String>>,
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

    fn histories(&self, handle: &Handle) -> Vec<History> {
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
            Outcome::Answered { text, .. } => {
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
            () if around.away_later || around.company => Last::Unknown,
            () if cut => Last::Cut,
            () if ran.asks => Last::Asked,
            () => Last::Answered,
        };
        let Some(handle) = self.handle(turn, reply.name.as_ref()) else {
            return if around.away { Ok(()) } else { Err("an answer without a name".to_owned()) };
        };
        if asked_by.as_ref().is_some_and(|asked| *asked != handle) {
            return Err(format!("{asked_by:?} was asked, {handle:?} has answered"));
        }
        if around.away {
            return Ok(());
        }
        let mut places = vec![(chat.coze, ran.conversation.clone())];
        let by_id = turn.name.is_some() || self.known.get(&handle).is_some_and(|known| known.by_id);
        if around.away_later {
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
                self.known.remove(handle);
                return Ok(());
            }
            ("conversation_lost", Some(handle)) if turn.delta && status == 409 => {
                let known = self.known.get(handle);
                if known.is_none_or(|known| !self.is_disturbed(known)) && !around.company {
                    return Err(format!("{handle:?} is lost, but Coze has not forgotten it"));
                }
                // Another turn may have come later, or the store may not know.
                let stays = around.company || around.away_later;
                let mut histories = if stays { self.histories(handle) } else { Vec::new() };
                histories.push(History::default());
                let known = Known { histories: dedup(histories), ..Known::default() };
                self.known.insert(handle.clone(), known);
                return Ok(());
            }
            ("conversation_locked", Some(_)) if around.company && status == 409 => return Ok(()),
            ("state_unavailable", Some(_)) if around.away && status == 503 => return Ok(()),
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

    /// Nobody knows any more how the last turn of what this one may have been
    /// part of has ended. What they hold has not changed.
    pub(crate) fn doubt(&mut self, turn: &Turn) {
        for handle in self.touched(turn) {
            let disturbed = self.known.get(&handle).is_some_and(|known| self.is_disturbed(known));
            if let Some(known) = self.known.get_mut(&handle) {
                // Then it may have been dropped.
                known.histories.extend(disturbed.then(History::default));
                known.last = Last::Unknown;
                known.by_id |= turn.name.as_ref().is_some_and(|name| name.starts_with("conv_"));
            }
        }
    }

    /// What a turn may have gone on in.
    fn touched(&self, turn: &Turn) -> Vec<Handle> {
        match self.handle(turn, turn.name.as_ref()) {
            Some(handle) => vec![handle],
            None => {
                let (label, before) = (turn.space.label(), before(turn));
                let own = |handle: &&Handle| handle.0 == label && handle.1.starts_with("conv_");
                let fits = |handle: &&Handle| {
                    self.known[*handle]
                        .histories
                        .iter()
                        .any(|history| same(&before, &history.said) != Some(false))
                };
                self.known.keys().filter(own).filter(fits).cloned().collect()
            }
        }
    }

    fn left(&mut self, turn: &Turn, reply: &Reply, facts: &Facts, heard: bool, cozes: &[Simulator]) {
        if turn.leaves == Leaves::WithItsGateway {
            self.doubt(turn);
            return;
        }
        if let (None, None, Some(chat)) = (&turn.name, &reply.name, &facts.chat) {
            // It may be remembered, under an id that nobody has heard of.
            let history = History { said: turn.transcript(), system: turn.system.clone() };
            let histories = vec![history.then(Said::Unheard(chat.clone()))];
            let handle = (turn.space.label(), format!("{SECRET}{}", chat.chat));
            self.known.insert(handle, Known { histories, ..Known::default() });
        }
        let fails =
            matches!(turn.trouble, Some(Trouble::Waits(_, true) | Trouble::Fails | Trouble::CannotStart));
        let counts = heard && !fails;
        let handles = match self.handle(turn, reply.name.as_ref()) {
            Some(handle) => vec![handle],
            None => self.touched(turn),
        };
        if counts && turn.name.is_none() {
            // It may have been taken out of another one.
            self.doubt(turn);
        }
        for handle in handles {
            let old = self.histories(&handle);
            let mut after = if counts { Vec::new() } else { old.clone() };
            if self.known.get(&handle).is_some_and(|known| self.is_disturbed(known)) {
                // It is dropped; the client did not stay to be told so.
                after.push(History::default());
            }
            if let (Some(chat), Some(ran)) = (&facts.chat, &facts.ran) {
                let context = cozes[chat.coze].context_seen(&chat.chat).unwrap_or_default();
                self.listen(cozes);
                let unheard = |id: &ChatId| self.words.get(id).cloned();
                let with = if turn.delta {
                    old.iter().map(|history| history.with(turn.system.as_deref(), &turn.new)).collect()
                } else {
                    vec![History { said: turn.transcript(), system: turn.system.clone() }]
                };
                let fits = with.into_iter().filter(|with| holds(&context, &with.said, &unheard).is_ok());
                after.extend(fits.map(|with| with.then(Said::Unheard(chat.clone()))));
                let mut places = self.known.get(&handle).map_or_else(Vec::new, |known| known.places.clone());
                places.push((chat.coze, ran.conversation.clone()));
                let by_id = self.known.get(&handle).is_some_and(|known| known.by_id) || turn.name.is_some();
                let last = if counts { Last::Cut } else { Last::Unknown };
                if after.is_empty() {
                    after = old;
                }
                self.known.insert(handle, Known { histories: dedup(after), last, places, by_id });
            } else if let Some(known) = self.known.get_mut(&handle) {
                known.histories = dedup(after);
                known.last = Last::Unknown;
                known.by_id |= turn.name.is_some();
            }
        }
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

fn dedup(mut histories: Vec<History>) -> Vec<History> {
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
    let says_it = !matches!(MODELS[turn.space.model].name, "echo" | "ask");
    turn.stop && says_it && !text.contains("STOP")
}
