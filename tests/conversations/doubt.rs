//! What nobody can know for sure.
//!
//! In come turns whose clients have left, and stores that have forgotten; what
//! may have come of them is noted in the ledger as several histories, of which
//! the turns that follow show which is true.

use std::collections::BTreeSet;

use cozeway::simulator::{Simulator, Trouble};

use crate::call::Reply;
use crate::expected::{before, same};
use crate::ledger::{Facts, Handle, Known, Last, Ledger, SECRET, dedup};
use crate::model::{ChatId, History, Said, holds};
use crate::turn::{Leaves, Turn};

impl Ledger {
    /// The store has forgotten everything; but what turns do at that time may
    /// be remembered after that.
    pub(crate) fn forget(&mut self, meanwhile: &[Turn]) {
        let touched: BTreeSet<Handle> = meanwhile.iter().flat_map(|turn| self.touched(turn)).collect();
        self.known.retain(|handle, _| touched.contains(handle));
        for known in self.known.values_mut() {
            known.histories.push(History::default());
            known.last = Last::Unknown;
        }
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
            _ if turn.is_apart() => Vec::new(),
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

    /// Takes a turn into account whose client has left.
    pub(crate) fn left(
        &mut self,
        turn: &Turn,
        reply: &Reply,
        facts: &Facts,
        heard: bool,
        cozes: &[Simulator],
    ) {
        if turn.is_apart() {
            return;
        }
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
                let last = if counts { Last::cut(turn, ran) } else { Last::Unknown };
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
