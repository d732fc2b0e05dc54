//! One chat at Coze, from the call to its last event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::clocks::Clocks;
use super::lent::{Lent, remember};
use super::place::lost;
use super::settle::{self, Chat};
use super::shaping::Shaping;
use super::{Memory, Order, Relay, Remembered, Replay};
use crate::access::Meter;
use crate::conversation::{self, Ending};
use crate::coze::chat::Reader;
use crate::coze::client::{ByteStream, Opened};
use crate::coze::{self, Call, Kind as DeploymentKind, Target, error, retrieve, sse};
use crate::secret::Secret;
use crate::turn::{Event, Failure, Finish, Kind, Usage};

/// How long the end of the stream may lag behind the end of the chat.
const END_GRACE: Duration = Duration::from_secs(2);

/// How long usage may be asked for.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a finished stream is read on, so that its connection can serve
/// another call.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One chat while it runs.
///
/// ```text
///     ┌── the conversation is forgotten ──┐
///     ▼                                    │
///  Opening ──▶ Streaming ──▶ (Counting) ───┼──▶ (Remembering) ──▶ Over
///     │            │                       │         ▲
///     └────────────┴── stop string, failure┴─────────┘
/// ```
pub(super) struct Run {
    phase: Phase,
    decoder: sse::Decoder,
    reader: Reader,
    shaping: Shaping,
    clocks: Clocks,
    account: Account,
    wants_usage: bool,
    target: Target,
    caller_token: Option<Secret>,
    relay: Relay,
    /// Taken when the chat is charged.
    meter: Option<Meter>,
    /// Taken when its end is remembered.
    lent: Option<Lent>,
    replay: Option<Box<Replay>>,
    memory: Option<Memory>,
}

enum Phase {
    /// The head of the answer has not come.
    Opening(Boxed<Result<Opened, Failure>>),
    /// Events come.
    Streaming(ByteStream),
    /// The answer is whole; only what it cost is still asked for.
    Counting(Boxed<Option<Usage>>, Finish),
    /// All is said; only the end is still remembered, so that a client that
    /// goes on at once finds it.
    Remembering(Boxed<bool>, End),
    /// Nothing more comes.
    Over,
}

/// How a run ends once that is remembered.
enum End {
    Finished(Finish),
    Failed(Failure),
}

/// What the gateway itself has to remember of the events.
#[derive(Debug, Default)]
struct Account {
    log_id: Option<String>,
    ids: Option<Ids>,
    /// The chat is not in the conversation that it was sent to.
    misplaced: bool,
    /// Something was said.
    spoken: bool,
    /// What was said is a question.
    asked: bool,
    usage: Option<Usage>,
}

/// What Coze calls the chat.
#[derive(Debug)]
struct Ids {
    conversation: String,
    chat: String,
    section: Option<String>,
}

impl Ids {
    fn chat(&self) -> conversation::Chat<'_> {
        conversation::Chat {
            conversation: &self.conversation,
            section: self.section.as_deref(),
            id: &self.chat,
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Opening(_) => "opening",
            Phase::Streaming(_) => "streaming",
            Phase::Counting(..) => "counting",
            Phase::Remembering(..) => "remembering",
            Phase::Over => "over",
        };
        f.debug_struct("Run").field("phase", &phase).field("account", &self.account).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn start(order: &Order, remembered: Option<Remembered>, relay: Relay) -> Self {
        let (lent, replay) = match remembered {
            Some(Remembered { lent, replay }) => (Some(lent), replay),
            None => (None, None),
        };
        let call = order.call.clone();
        Self {
            phase: Phase::Opening(open(order.target.clone(), call, order.caller_token.clone())),
            decoder: sse::Decoder::default(),
            reader: Reader::default(),
            shaping: Shaping::new(&order.stop, order.think_tags),
            clocks: Clocks::new(order.upstream_timeout),
            account: Account::default(),
            wants_usage: order.wants_usage || order.meter.is_some(),
            target: order.target.clone(),
            caller_token: order.caller_token.clone(),
            relay,
            meter: order.meter.clone(),
            memory: lent.as_ref().map(|lent| Memory { note: lent.note(), lost: false, trimmed: 0 }),
            lent,
            replay,
        }
    }

    /// See [`super::Turn::memory`].
    pub(super) fn memory(&self) -> Option<Memory> {
        self.memory
    }

    /// See [`super::Turn::poll_events`].
    pub(super) fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Poll<Option<Result<(), Failure>>> {
        let step = match &mut self.phase {
            Phase::Over => return Poll::Ready(None),
            Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(opened)) => {
                    self.clocks.begun();
                    if let Some(id) = &opened.log_id {
                        self.account.log_id = Some(id.clone());
                        sink(Event::Logged(id.into()));
                    }
                    self.phase = Phase::Streaming(opened.bytes);
                    Ok(())
                }
                Poll::Ready(Err(failure)) => Err(failure),
                Poll::Pending => Err(ready!(self.clocks.poll(cx)).into()),
            },
            Phase::Streaming(stream) => match stream.poll_bytes(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // What still drips after the chat's end keeps nobody
                    // waiting.
                    if !self.reader.has_ended() {
                        self.clocks.heard();
                    }
                    self.take(&bytes, cx, sink)
                }
                Poll::Ready(None) => self.stream_ended(sink),
                // The chat had ended before the connection did.
                Poll::Ready(Some(Err(_))) if self.reader.has_ended() => self.stream_ended(sink),
                Poll::Ready(Some(Err(failure))) => Err(failure),
                Poll::Pending if self.reader.has_ended() => {
                    ready!(self.clocks.poll(cx));
                    self.stream_ended(sink)
                }
                Poll::Pending => Err(ready!(self.clocks.poll(cx)).into()),
            },
            Phase::Counting(counting, finish) => {
                let finish = *finish;
                if let Some(usage) = ready!(counting.as_mut().poll(cx)) {
                    self.account.usage = Some(usage);
                    sink(Event::Usage(usage));
                }
                self.finish(finish, sink);
                Ok(())
            }
            Phase::Remembering(remembering, _) => {
                let remembered = ready!(remembering.as_mut().poll(cx));
                return Poll::Ready(Some(self.remembered(remembered, sink)));
            }
        };
        Poll::Ready(Some(step.or_else(|failure| self.failed(failure))))
    }

    /// Takes bytes of the stream.
    fn take(
        &mut self,
        bytes: &Bytes,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        let Self { decoder, reader, shaping, account, lent, .. } = self;
        let mut pass = Passing { account, lent: lent.as_mut(), shaping, sink: &mut *sink };
        let decoded = decoder.push(bytes, |event| {
            if result.is_ok() && !reader.is_over() && !pass.is_done() {
                result = reader.read(event, &mut |event| pass.event(event));
            }
        });
        if self.account.misplaced {
            return Err(lost());
        }
        if self.shaping.stopped() {
            self.abandon();
            self.answered(Finish::StopWord, sink);
            return Ok(());
        }
        result?;
        decoded.map_err(|error| {
            Failure::new(Kind::Broken, "Coze sent an event that is too large.").with_detail(error.to_string())
        })?;
        if self.reader.is_over() {
            self.drain(cx);
            self.answered(Finish::Completed, sink);
        } else if self.reader.has_ended() {
            self.clocks.tighten(END_GRACE);
        }
        Ok(())
    }

    /// The stream is over, properly or after a grace.
    fn stream_ended(&mut self, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Failure> {
        let mut result = Ok(());
        let Self { decoder, reader, shaping, account, lent, .. } = self;
        let mut pass = Passing { account, lent: lent.as_mut(), shaping, sink: &mut *sink };
        decoder.finish(|event| {
            if !reader.is_over() && !pass.account.misplaced {
                result = reader.read(event, &mut |event| pass.event(event));
            }
        });
        if pass.account.misplaced {
            return Err(lost());
        }
        result?;
        reader.end(&mut |event| pass.event(event))?;
        let finish = if self.shaping.stopped() { Finish::StopWord } else { Finish::Completed };
        self.answered(finish, sink);
        Ok(())
    }

    /// The answer is whole: ends the run, or asks what it cost first.
    fn answered(&mut self, finish: Finish, sink: &mut dyn FnMut(Event<'_>)) {
        match &self.account.ids {
            Some(ids) if self.wants_usage && self.account.usage.is_none() => {
                let call = retrieve::retrieve(&ids.conversation, &ids.chat);
                let target = self.target.clone();
                let token = self.token();
                let asking = Box::pin(async move {
                    let token = token?;
                    let asked = target.deployment.client.fetch(&call, &token);
                    let body = tokio::time::timeout(USAGE_TIMEOUT, asked).await.ok()?.ok()?;
                    retrieve::usage(&body)
                });
                self.phase = Phase::Counting(asking, finish);
            }
            _ => self.finish(finish, sink),
        }
    }

    fn finish(&mut self, finish: Finish, sink: &mut dyn FnMut(Event<'_>)) {
        self.phase = Phase::Over;
        self.settle(true);
        let lent = self.lent.take();
        let ending = match finish {
            Finish::Completed => self.answered_ending(),
            Finish::StopWord => Ending::Cut(self.account.ids.as_ref().map(Ids::chat)),
        };
        match lent.and_then(|mut lent| lent.settlement(ending)) {
            Some(settlement) => {
                let remembering = Box::pin(remember(settlement, self.relay.clone()));
                self.phase = Phase::Remembering(remembering, End::Finished(finish));
            }
            None => self.shaping.push(Event::Finished(finish), sink),
        }
    }

    /// How a turn with a whole answer ends. Without its chat's name it cannot
    /// be gone on with.
    fn answered_ending(&self) -> Ending<'_> {
        match &self.account.ids {
            Some(ids) => Ending::Answered { chat: ids.chat(), asked: self.account.asked },
            None => Ending::Failed,
        }
    }

    /// The end is remembered, or will not be.
    fn remembered(&mut self, remembered: bool, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Failure> {
        if let Some(memory) = &mut self.memory {
            memory.lost = !remembered;
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
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
    fn failed(&mut self, mut failure: Failure) -> Result<(), Failure> {
        let gone = self.account.misplaced || error::is_forgotten(&failure);
        let forgotten = gone && !self.account.spoken && self.lent.as_ref().is_some_and(|lent| lent.goes_on());
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
        if let Some(token) = self.token() {
            failure = failure.without(token.expose());
        }
        let ending = match () {
            () if forgotten => Ending::Forgotten,
            () if self.account.ids.is_none() && is_refusal(&failure) => Ending::Refused,
            () => Ending::Failed,
        };
        match self.lent.take().and_then(|mut lent| lent.settlement(ending)) {
            Some(settlement) => {
                let remembering = Box::pin(remember(settlement, self.relay.clone()));
                self.phase = Phase::Remembering(remembering, End::Failed(failure));
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// Coze has forgotten the conversation: the whole transcript goes to a
    /// fresh one. The client knows of nothing yet.
    fn begin_again(&mut self, replay: Replay) -> Result<(), Failure> {
        self.abandon();
        let Replay { mut prompt, user_id, may_trim } = replay;
        let trimmed = coze::chat::fit(&mut prompt, self.target.deployment.kind);
        if let Some(lent) = &mut self.lent {
            lent.replay();
            self.memory =
                Some(Memory { note: lent.note(), lost: false, trimmed: *trimmed.as_ref().unwrap_or(&0) });
        }
        self.account = Account::default();
        match trimmed {
            Ok(trimmed) if trimmed == 0 || may_trim => {}
            Ok(_) | Err(_) => {
                let says = "context_length_exceeded: Coze has forgotten the conversation, and it is too long to be sent again.";
                return self.failed(Failure::new(Kind::TooLong, says));
            }
        }
        let target = self.target.clone();
        let call = coze::chat::call(&target.bot_id, &user_id, &prompt, None);
        self.phase = Phase::Opening(open(target, call, self.caller_token.clone()));
        (self.decoder, self.reader) = (sse::Decoder::default(), Reader::default());
        self.clocks.restart();
        Ok(())
    }

    /// Lets go of a stream that has said all, so that its connection can
    /// serve another call.
    fn drain(&mut self, cx: &mut Context<'_>) {
        let Phase::Streaming(mut stream) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        if stream.poll_drained(cx).is_pending() {
            self.relay.tracker.spawn(async move {
                let rest = std::future::poll_fn(move |cx| stream.poll_drained(cx));
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
            });
        }
    }

    /// Nobody waits for this chat any more. The connection closes with the
    /// phase; a chat of the cloud is cancelled too. (The community server's
    /// cancel only relabels its record: protocol 3.10.)
    fn abandon(&mut self) {
        let unfinished = matches!(self.phase, Phase::Opening(_) | Phase::Streaming(_));
        self.phase = Phase::Over;
        if !unfinished || self.reader.has_ended() || self.target.deployment.kind != DeploymentKind::Cloud {
            return;
        }
        let (Some(ids), Some(token)) = (&self.account.ids, self.token()) else {
            return;
        };
        let call = retrieve::cancel(&ids.conversation, &ids.chat);
        let target = self.target.clone();
        self.relay.spawn(async move {
            if let Err(failure) = target.deployment.client.fetch(&call, &token).await {
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
        match (&self.account.ids, self.token()) {
            (Some(ids), Some(token)) if ask && usage.is_none() => {
                let chat = Chat {
                    target: self.target.clone(),
                    token,
                    conversation: ids.conversation.clone(),
                    chat: ids.chat.clone(),
                    least: self.reader.usage(),
                };
                self.relay.settlement.begin(&self.relay.tracker, chat, meter);
            }
            // Coze has counted nothing of a chat that failed.
            _ if !ask && usage.is_none() => {}
            _ => settle::charge(meter, usage),
        }
    }

    fn token(&self) -> Option<Secret> {
        match &self.caller_token {
            Some(token) => Some(token.clone()),
            None => self.target.token.as_ref().map(|source| source.current()),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let answered = matches!(self.phase, Phase::Counting(_, Finish::Completed));
        self.settle(true);
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Remembering(remembering, _) => self.relay.spawn(async move {
                remembering.await;
            }),
            phase => {
                self.phase = phase;
                self.abandon();
            }
        }
        if let Some(lent) = self.lent.take() {
            let ending = if answered {
                self.answered_ending()
            } else {
                Ending::Cut(self.account.ids.as_ref().map(Ids::chat))
            };
            lent.end_in_background(ending);
        }
    }
}

/// The way of an event from the reader to the sink.
struct Passing<'r, 's> {
    account: &'r mut Account,
    lent: Option<&'r mut Lent>,
    shaping: &'r mut Shaping,
    sink: &'s mut dyn FnMut(Event<'_>),
}

impl Passing<'_, '_> {
    /// Whether nothing more is wanted.
    fn is_done(&self) -> bool {
        self.shaping.stopped() || self.account.misplaced
    }

    /// Takes note of an event and passes it on. The end is not passed on:
    /// the run itself decides when that has come.
    fn event(&mut self, event: Event<'_>) {
        if self.account.misplaced {
            return;
        }
        match &event {
            Event::Started { conversation, chat, section } => {
                let ids = Ids {
                    conversation: conversation.to_string(),
                    chat: chat.to_string(),
                    section: section.as_deref().map(str::to_owned),
                };
                let placed = self.lent.as_ref().is_none_or(|lent| lent.is_at(ids.chat()));
                self.account.ids = Some(ids);
                if !placed {
                    self.account.misplaced = true;
                    return;
                }
            }
            Event::Text(text) => {
                self.account.spoken = true;
                if let Some(lent) = &mut self.lent {
                    lent.hear(text);
                }
            }
            Event::Thinking(_) => self.account.spoken = true,
            Event::Asked => self.account.asked = true,
            Event::Usage(usage) => self.account.usage = Some(*usage),
            Event::Finished(_) => return,
            Event::Logged(_) | Event::Suggestion(_) => {}
        }
        self.shaping.push(event, self.sink);
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

/// Opens the stream; once more with another token, if Coze refuses the one
/// from a file and the file has a new one: nothing has run then.
fn open(target: Target, call: Call, caller_token: Option<Secret>) -> Boxed<Result<Opened, Failure>> {
    Box::pin(async move {
        let client = &target.deployment.client;
        let source = match (&caller_token, &target.token) {
            (Some(token), _) => return client.open(&call, token).await,
            (None, Some(source)) => source,
            (None, None) => {
                return Err(Failure::new(Kind::Auth, "There is no Coze token for this model."));
            }
        };
        let token = source.current();
        match client.open(&call, &token).await {
            Err(failure) if failure.kind == Kind::Auth => match source.after_refusal(&token) {
                Some(renewed) => client.open(&call, &renewed).await,
                None => Err(failure),
            },
            result => result,
        }
    })
}
