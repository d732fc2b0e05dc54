//! How a run ends: with its answer, with a failure, or because nobody waits
//! for it. In each case it is charged, what became of the conversation is
//! remembered, and what Coze still does is ended where that can be.

use super::account::{Account, Ids, dead_end};
use super::{End, Phase, Run};
use crate::conversation::{Chat, Ending, Settlement};
use crate::coze::{Asking, Kind as DeploymentKind, Reader, error, retrieve, sse};
use crate::relay::lent::{remember, remember_later};
use crate::relay::place::{lost, unanswerable};
use crate::relay::settle;
use crate::relay::{Leftovers, Memory, Replay, Start};
use crate::turn::{Event, Failure, Finish, Kind};

/// How long Coze may take to cancel a chat.
const CANCEL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What a run came to, as far as its conversation is concerned.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Answered,
    Cut,
    Refused,
    Failed,
    Forgotten,
}

impl Run {
    pub(super) fn finish(&mut self, finish: Finish, sink: &mut dyn FnMut(Event<'_>)) {
        self.phase = Phase::Over;
        self.settle(true);
        let end = match finish {
            Finish::Completed => Ended::Answered,
            // A workflow has asked all of its question, whatever of it the
            // client was told: who goes on by a name can answer it.
            Finish::StopWord if self.account.event.is_some() => {
                let told = self.shaping.passed();
                self.lent.iter_mut().for_each(|lent| lent.cut(told));
                Ended::Answered
            }
            Finish::StopWord => Ended::Cut,
        };
        let Some((settlement, leftovers)) = self.conclude(end) else {
            return self.shaping.push(Event::Finished(finish), sink);
        };
        match settlement.store_now() {
            Some(settlement) => {
                let remembering = Box::pin(remember(settlement, leftovers, self.relay.clone()));
                self.phase = Phase::Remembering(remembering, End::Finished(finish));
            }
            None => {
                if let Some(leftovers) = leftovers {
                    self.relay.delete(leftovers);
                }
                self.shaping.push(Event::Finished(finish), sink);
            }
        }
    }

    /// Ends the turn's part in its conversation, once; gives what to store of
    /// it, and what nothing refers to once it is stored.
    fn conclude(&mut self, end: Ended) -> Option<(Settlement, Option<Leftovers>)> {
        let chat = self.account.ids.as_ref().map(Ids::chat);
        let event = self.account.event.as_deref();
        if event.is_some() {
            self.relay.shared.askers.note(&self.target);
        }
        let ending = match (end, chat) {
            (Ended::Answered, _) if !self.target.callee.converses() => match event {
                Some(event) => {
                    let chat = Chat { conversation: event, section: None, id: event };
                    Ending::Answered { chat, asked: true }
                }
                None => Ending::Ran,
            },
            (Ended::Answered, Some(chat)) => Ending::Answered { chat, asked: self.account.asked },
            (Ended::Cut, chat) => Ending::Cut(chat),
            (Ended::Refused, None) => Ending::Refused,
            (Ended::Forgotten, _) => Ending::Forgotten,
            // A chat without a name cannot be gone on with.
            (Ended::Answered, None) | (Ended::Refused, Some(_)) | (Ended::Failed, _) => Ending::Failed,
        };
        let settlement = self.lent.take().and_then(|lent| lent.settlement(ending));
        let leftovers = self.leftovers(settlement.as_ref());
        match settlement {
            Some(settlement) => Some((settlement, leftovers)),
            None => {
                if let Some(leftovers) = leftovers {
                    self.relay.delete(leftovers);
                }
                None
            }
        }
    }

    /// The conversations of Coze's that nothing refers to once this is
    /// stored, for a model that wants them deleted; once.
    fn leftovers(&mut self, settlement: Option<&Settlement>) -> Option<Leftovers> {
        if !std::mem::take(&mut self.cleanup) {
            return None;
        }
        let kept = settlement.and_then(Settlement::is_at);
        let old = settlement.and_then(Settlement::was_at);
        let new = self.account.ids.as_ref().map(|ids| ids.conversation.as_str());
        let strays = self.strays.iter().map(String::as_str);
        let mut conversations: Vec<String> = old
            .into_iter()
            .chain(new)
            .chain(strays)
            .filter(|conversation| kept != Some(conversation))
            .map(str::to_owned)
            .collect();
        conversations.sort_unstable();
        conversations.dedup();
        let bearer = self.bearer().filter(|_| !conversations.is_empty())?;
        Some(Leftovers { target: self.target.clone(), bearer, conversations })
    }

    /// The end is remembered, or will not be.
    pub(super) fn remembered(
        &mut self,
        remembered: bool,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        if let Some(memory) = &mut self.memory {
            memory.lost = !remembered;
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            // Nobody could answer it, and what was meant as the answer would
            // begin a run.
            Phase::Remembering(_, End::Finished(_)) if !remembered && self.account.event.is_some() => {
                Err(dead_end())
            }
            Phase::Remembering(_, End::Finished(finish)) => {
                self.shaping.push(Event::Finished(finish), sink);
                Ok(())
            }
            Phase::Remembering(_, End::Failed(failure)) => Err(failure),
            // Only that phase leads here.
            _ => Ok(()),
        }
    }

    /// Ends a run that failed, or begins it again.
    pub(super) fn failed(&mut self, mut failure: Failure) -> Result<(), Failure> {
        // Before that nothing was sent that a conversation could know of.
        let unsent = self.phase.is_unsent();
        if self.tries_again(&failure) || self.sends_again(&failure) {
            return Ok(());
        }
        if self.waits_no_more(&failure) {
            failure = Failure { log_id: failure.log_id, detail: failure.detail, ..unanswerable() };
        }
        // A workflow's run lies in no conversation that Coze could forget.
        let gone =
            self.account.misplaced || (self.target.callee.converses() && error::is_forgotten(&failure));
        let forgotten =
            gone && !unsent && !self.account.spoken && self.lent.as_ref().is_some_and(|lent| lent.goes_on());
        if forgotten {
            if let Some(replay) = self.replay.take() {
                return self.begin_again(*replay);
            }
            failure = Failure { log_id: failure.log_id, detail: failure.detail, ..lost() };
        }
        self.settle(failure.may_be_running);
        if failure.may_be_running || self.account.misplaced {
            self.abandon();
        }
        self.phase = Phase::Over;
        failure.log_id = failure.log_id.or_else(|| self.account.log_id.clone());
        if let Some(token) = self.bearer().and_then(|bearer| bearer.known()) {
            failure = failure.without(token.expose());
        }
        let end = match () {
            () if forgotten => Ended::Forgotten,
            () if unsent || is_refusal(&failure) => Ended::Refused,
            () => Ended::Failed,
        };
        match self.conclude(end) {
            Some((settlement, leftovers)) => {
                let remembering = Box::pin(remember(settlement, leftovers, self.relay.clone()));
                self.phase = Phase::Remembering(remembering, End::Failed(failure));
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// Whether a failure says that a workflow's question waits no more: then
    /// there is no stream, but an error in its place (protocol 5.3).
    fn waits_no_more(&self, failure: &Failure) -> bool {
        const RUN_FAILED: i64 = 720_701_013;
        matches!(self.phase, Phase::Opening(_))
            && failure.coze_code == Some(RUN_FAILED)
            && !self.target.callee.converses()
            && self.lent.as_ref().is_some_and(|lent| lent.goes_on())
    }

    /// Coze has forgotten the conversation: the whole transcript goes to a
    /// fresh one. The client knows of nothing yet.
    fn begin_again(&mut self, replay: Replay) -> Result<(), Failure> {
        // What began elsewhere has its cost, too.
        let meter = self.meter.clone();
        self.settle(self.account.ids.is_some());
        self.meter = meter;
        // What Coze made instead, nobody will know of, nor of what it forgot.
        self.strays.extend(self.account.ids.as_ref().map(|ids| ids.conversation.clone()));
        self.strays.extend(self.lent.as_ref().and_then(|lent| lent.place()).map(str::to_owned));
        self.abandon();
        let Replay { mut prompt, user_id, may_trim, given } = replay;
        let target = self.target.clone();
        let asking = Asking {
            kind: target.deployment.kind,
            user_id: &user_id,
            conversation: None,
            answering: None,
            held: 0,
            given: &given,
        };
        let called = Start::of(&target.callee, &mut prompt, asking);
        if let Some(lent) = &mut self.lent {
            lent.replay();
            self.memory = Some(Memory {
                note: lent.note(),
                lost: false,
                trimmed: called.as_ref().map_or(0, |(_, trimmed)| *trimmed),
            });
        }
        self.account = Account::default();
        let start = match called {
            Ok((start, trimmed)) if trimmed == 0 || may_trim => start,
            Ok(_) | Err(_) => {
                let says = "context_length_exceeded: Coze has forgotten the conversation, and it is too long to be sent again.";
                return self.failed(Failure::new(Kind::TooLong, says));
            }
        };
        self.again = None;
        self.begin(start);
        (self.decoder, self.reader) = (sse::Decoder::default(), Reader::of(&self.target.callee));
        self.clocks.restart();
        Ok(())
    }

    /// Nobody waits for this chat any more. The connection closes with the
    /// phase; a chat of the cloud is cancelled too. (The community server's
    /// cancel only relabels its record: protocol 3.10.)
    pub(super) fn abandon(&mut self) {
        let unfinished = matches!(self.phase, Phase::Opening(_) | Phase::Streaming(_));
        self.phase = Phase::Over;
        let cancels =
            self.target.deployment.kind == DeploymentKind::Cloud && self.target.callee.is_recorded();
        if !unfinished || self.reader.has_ended() || !cancels {
            return;
        }
        let (Some(ids), Some(bearer)) = (&self.account.ids, self.bearer()) else {
            return;
        };
        let call = retrieve::cancel(&ids.conversation, &ids.chat);
        let target = self.target.clone();
        self.relay.spawn(async move {
            let cancelling = bearer.fetch(&target.deployment.client, &call);
            if let Ok(Err(failure)) = tokio::time::timeout(CANCEL_TIMEOUT, cancelling).await {
                tracing::debug!(%failure, "a chat that nobody waits for could not be cancelled");
            }
        });
    }

    /// Charges what the chat has cost, once. Where Coze has not said it, it
    /// is asked afterwards, if there is something to come (`ask`).
    fn settle(&mut self, ask: bool) {
        let Some(meter) = self.meter.take() else {
            return;
        };
        let usage = self.account.usage.or_else(|| self.reader.usage().filter(|_| !ask));
        match (&self.account.ids, self.bearer()) {
            (Some(ids), Some(bearer)) if ask && usage.is_none() && self.target.callee.is_recorded() => {
                let chat = settle::Chat {
                    target: self.target.clone(),
                    bearer,
                    conversation: ids.conversation.clone(),
                    chat: ids.chat.clone(),
                    least: self.reader.usage(),
                };
                self.relay.shared.settlement.begin(&self.relay.shared.tracker, chat, meter);
            }
            // Coze has counted nothing of a chat that failed.
            _ if !ask && usage.is_none() => {}
            _ => settle::charge(meter, usage),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let answered = matches!(self.phase, Phase::Counting(_, Finish::Completed));
        let unsent = self.phase.is_unsent();
        self.settle(!unsent);
        // What is on its way to the store gets there all the same.
        self.abandon();
        let end = match () {
            () if answered => Ended::Answered,
            () if unsent => Ended::Refused,
            () => Ended::Cut,
        };
        if let Some((settlement, leftovers)) = self.conclude(end) {
            remember_later(settlement, leftovers, &self.relay);
        }
    }
}

/// Whether a failure says that Coze began nothing.
fn is_refusal(failure: &Failure) -> bool {
    let refused = matches!(
        failure.kind,
        Kind::Auth
            | Kind::ModelUnavailable
            | Kind::RateLimited(_)
            | Kind::Quota
            | Kind::Busy
            | Kind::Unsupported
            | Kind::Unreachable(_)
    );
    refused && !failure.may_be_running
}
