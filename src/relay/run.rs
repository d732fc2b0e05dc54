//! One chat at Coze, from the call to its last event.

mod account;
mod again;
mod ending;
mod phase;
mod sending;

use std::future::Future;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::clocks::Clocks;
use super::lent::Lent;
use super::shaping::Shaping;
use super::start::Start;
use super::{Memory, Order, Relay, Remembered, Replay, Room};
use crate::access::Meter;
use crate::coze::client::Begun;
use crate::coze::{Bearer, Call, Reader, Target, retrieve, sse};
use crate::secret::Secret;
use crate::turn::{Event, Failure, Finish, Kind};
pub(super) use account::question;
use account::{Account, Passing};
use again::Again;
use phase::{Boxed, End, Phase};
use sending::{Sending, Unpacked};

/// How long the end of the stream may lag behind the end of the chat.
const END_GRACE: Duration = Duration::from_secs(2);

/// How long sound may be silent after the end of the chat.
const SOUND_GRACE: Duration = Duration::from_secs(30);

/// How long usage may be asked for.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a finished stream is read on, so that its connection can serve
/// another call.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// One chat while it runs.
///
/// ```text
///                 ┌─── the conversation is forgotten ───┐
///                 ▼                                     │
///  (Uploading) ▶ Opening ──▶ Streaming ──▶ (Counting) ──┼──▶ (Remembering) ──▶ Over
///       ▲ │       │ │            │                      │         ▲
///       └─┼───────┘ └────────────┴── stop string, failure ────────┤
///         └── failure ────────────────────────────────────────────┘
/// ```
///
/// Where Coze is busy, `Pausing` leads from `Opening` or `Streaming` back to
/// `Opening`.
pub(super) struct Run {
    phase: Phase,
    /// Taken when Coze has begun to answer.
    again: Option<Box<Again>>,
    decoder: sse::Decoder,
    /// What has come behind the first words.
    ready: Bytes,
    reader: Reader,
    shaping: Shaping,
    clocks: Clocks,
    account: Account,
    wants_usage: bool,
    /// Whether what is said aloud is wanted, which may come after the chat's
    /// end.
    aloud: bool,
    target: Target,
    caller_token: Option<Secret>,
    /// What the last call was made with, whatever is known by now.
    token: Option<Secret>,
    relay: Relay,
    /// Taken when the chat is charged.
    meter: Option<Meter>,
    /// Taken when its end is remembered.
    lent: Option<Lent>,
    replay: Option<Box<Replay>>,
    memory: Option<Memory>,
    /// Whether Coze's conversation is deleted unless it is remembered.
    cleanup: bool,
    /// Its files, until the chat has begun.
    sending: Option<Box<Sending>>,
    /// What they take up.
    room: Room,
    upload_timeout: Duration,
    /// Conversations of Coze's that the turn has left behind.
    strays: Vec<String>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (phase, account) = (self.phase.name(), &self.account);
        f.debug_struct("Run").field("phase", &phase).field("account", account).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn start(order: &Order, remembered: Option<Remembered>, relay: Relay) -> Self {
        let (lent, replay) = match remembered {
            Some(Remembered { lent, replay }) => (Some(lent), replay),
            None => (None, None),
        };
        let mut run = Self {
            again: Some(Box::new(Again::new(order.conversation_wait))),
            phase: Phase::Over,
            decoder: sse::Decoder::default(),
            ready: Bytes::new(),
            reader: Reader::of(&order.target.callee),
            shaping: Shaping::new(&order.stop, order.think_tags, order.aloud),
            clocks: Clocks::new(order.upstream_timeout, order.target.callee.begins_early()),
            account: Account::default(),
            wants_usage: order.wants_usage || order.meter.is_some(),
            aloud: order.aloud,
            target: order.target.clone(),
            caller_token: order.caller_token.clone(),
            token: None,
            relay,
            meter: order.meter.clone(),
            memory: lent.as_ref().map(|lent| Memory { note: lent.note(), lost: false, trimmed: 0 }),
            lent,
            replay,
            cleanup: order.cleanup,
            sending: None,
            room: order.room.clone(),
            upload_timeout: order.upload_timeout,
            strays: Vec::new(),
        };
        run.begin(order.start.clone());
        run
    }

    /// Begins a chat.
    fn begin(&mut self, start: Start) {
        self.phase = match start {
            Start::Call(call) => {
                self.sending = None;
                if let Some(again) = &mut self.again {
                    again.made(call.clone(), None);
                }
                Phase::Opening(open(self.target.clone(), call, self.caller_token.clone()))
            }
            Start::Files(parcel) => {
                let sending = Sending::new(parcel, self.upload_timeout);
                let bearer = self.target.bearer(self.caller_token.as_ref());
                let begun = sending.begin(&self.relay.shared.uploads, &self.target, bearer, None, Vec::new());
                self.sending = Some(Box::new(sending));
                Phase::Uploading(begun)
            }
        };
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
            Phase::Uploading(uploading) => match ready!(uploading.as_mut().poll(cx)) {
                Ok(packed) => {
                    self.packed(packed);
                    Ok(())
                }
                Err(Unpacked { failure, token }) => {
                    self.token = token;
                    Err(failure)
                }
            },
            Phase::Pausing(pause) => {
                ready!(pause.as_mut().poll(cx));
                self.call_again();
                Ok(())
            }
            Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok((begun, token))) => {
                    self.token = Some(token);
                    self.clocks.begun();
                    let (Begun::Stream { log_id, .. } | Begun::Whole { log_id, .. }) = &begun;
                    if let Some(id) = log_id {
                        self.account.log_id = Some(id.clone());
                        sink(Event::Logged(id.into()));
                    }
                    // A flow's head is its first words: it runs.
                    if !self.target.callee.begins_early() {
                        self.again = None;
                    }
                    match begun {
                        Begun::Stream { bytes, .. } => {
                            self.phase = Phase::Streaming(bytes);
                            Ok(())
                        }
                        Begun::Whole { body, .. } => self.take_whole(&body, sink),
                    }
                }
                Poll::Ready(Err(failure)) => Err(failure),
                Poll::Pending => Err(ready!(self.clocks.poll(cx)).into()),
            },
            Phase::Streaming(_) if !self.ready.is_empty() => {
                let ready = std::mem::take(&mut self.ready);
                self.take(ready, cx, sink)
            }
            Phase::Streaming(stream) => match stream.poll_bytes(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // What still drips after the chat's end keeps nobody
                    // waiting.
                    if !self.reader.has_ended() || self.aloud {
                        self.clocks.heard();
                    }
                    self.take(bytes, cx, sink)
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
        Poll::Ready(Some(step.or_else(|failure| self.failed(self.masked(failure)))))
    }

    /// See [`super::Turn::ready`].
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes bytes of the stream: up to the first words, or all.
    fn take(
        &mut self,
        mut bytes: Bytes,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        let Self { decoder, reader, shaping, account, lent, .. } = self;
        let mut pass = Passing { account, lent: lent.as_mut(), shaping, sink: &mut *sink };
        let had_spoken = pass.account.spoken;
        let decoded = loop {
            let end = if pass.account.spoken { None } else { memchr::memmem::find(&bytes, b"\n\n") };
            let piece = match end {
                Some(end) => bytes.split_to(end + 2),
                None => std::mem::take(&mut bytes),
            };
            let decoded = decoder.push(&piece, |event| {
                if result.is_ok() && !reader.is_over() && !pass.is_done() {
                    result = reader.read(event, &mut |event| pass.event(event));
                }
            });
            if bytes.is_empty() || decoded.is_err() || pass.account.spoken != had_spoken {
                break decoded;
            }
        };
        if self.again.is_some() && (self.account.ids.is_some() || self.account.spoken) {
            self.again = None;
        }
        self.account.check()?;
        self.forget_sent();
        if self.shaping.stopped() {
            self.abandon();
            self.answered(Finish::StopWord, sink);
            return Ok(());
        }
        result?;
        decoded.map_err(|error| {
            Failure::new(Kind::Broken, "Coze sent an event that is too large.").with_detail(error.to_string())
        })?;
        self.ready = bytes;
        if self.reader.is_over() {
            self.drain(cx);
            self.answered(Finish::Completed, sink);
        } else if self.reader.has_ended() {
            self.clocks.tighten(if self.aloud { SOUND_GRACE } else { END_GRACE });
        }
        Ok(())
    }

    /// Takes an answer that is no stream.
    fn take_whole(&mut self, body: &Bytes, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Failure> {
        let Self { reader, shaping, account, lent, .. } = self;
        let mut pass = Passing { account, lent: lent.as_mut(), shaping, sink: &mut *sink };
        reader.whole(body, &mut |event| pass.event(event))?;
        let finish = if self.shaping.stopped() { Finish::StopWord } else { Finish::Completed };
        self.answered(finish, sink);
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
        pass.account.check()?;
        result?;
        reader.end(&mut |event| pass.event(event))?;
        let finish = if self.shaping.stopped() { Finish::StopWord } else { Finish::Completed };
        self.answered(finish, sink);
        Ok(())
    }

    /// The answer is whole: ends the run, or asks what it cost first.
    fn answered(&mut self, finish: Finish, sink: &mut dyn FnMut(Event<'_>)) {
        match &self.account.ids {
            Some(ids)
                if self.wants_usage && self.account.usage.is_none() && self.target.callee.is_recorded() =>
            {
                let call = retrieve::retrieve(&ids.conversation, &ids.chat);
                let target = self.target.clone();
                let bearer = self.bearer();
                let asking = Box::pin(async move {
                    let bearer = bearer?;
                    let asked = bearer.fetch(&target.deployment.client, &call);
                    let body = tokio::time::timeout(USAGE_TIMEOUT, asked).await.ok()?.ok()?;
                    retrieve::usage(&body)
                });
                self.phase = Phase::Counting(asking, finish);
            }
            _ => self.finish(finish, sink),
        }
    }

    /// Lets go of a stream that has said all, so that its connection can
    /// serve another call.
    fn drain(&mut self, cx: &mut Context<'_>) {
        let Phase::Streaming(mut stream) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        if stream.poll_drained(cx).is_pending() {
            self.relay.shared.tracker.spawn(async move {
                let rest = std::future::poll_fn(move |cx| stream.poll_drained(cx));
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
            });
        }
    }

    /// A failure without the token that Coze was called with. It may be known
    /// no more, and still be good.
    fn masked(&self, failure: Failure) -> Failure {
        match &self.token {
            Some(token) => failure.without(token.expose()),
            None => failure,
        }
    }

    /// What Coze is called with; `None` where there is no token at all.
    fn bearer(&self) -> Option<Bearer> {
        self.target.bearer(self.caller_token.as_ref()).ok()
    }
}

/// Makes the call with just this token.
fn open_with(target: Target, call: Call, token: Secret) -> Boxed<Result<(Begun, Secret), Failure>> {
    Box::pin(async move {
        let streams = target.callee.streams();
        Ok((target.deployment.client.begin(&call, &token, streams).await?, token))
    })
}

/// Makes the call; once more with another token, if Coze refuses the one
/// from a file and the file has a new one: nothing has run then.
fn open(target: Target, call: Call, caller_token: Option<Secret>) -> Boxed<Result<(Begun, Secret), Failure>> {
    Box::pin(async move {
        let bearer = target.bearer(caller_token.as_ref())?;
        bearer.begin(&target.deployment.client, &call, target.callee.streams()).await
    })
}
