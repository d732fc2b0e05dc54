//! One chat at Coze, from the call to its last event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::settle::{self, Chat};
use super::shaping::Shaping;
use super::silence::Silence;
use super::{Order, Relay};
use crate::access::Meter;
use crate::coze::chat::Reader;
use crate::coze::client::{ByteStream, Opened};
use crate::coze::{Kind as DeploymentKind, Target, retrieve, sse};
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
///  Opening ──▶ Streaming ──▶ (Counting) ──▶ Over
///     │            │
///     └────────────┴── failure, stop string, drop ──▶ Over
/// ```
pub(super) struct Run {
    phase: Phase,
    decoder: sse::Decoder,
    reader: Reader,
    shaping: Shaping,
    silence: Silence,
    account: Account,
    wants_usage: bool,
    target: Target,
    caller_token: Option<Secret>,
    relay: Relay,
    /// Taken when the chat is charged.
    meter: Option<Meter>,
}

enum Phase {
    /// The head of the answer has not come.
    Opening(Boxed<Result<Opened, Failure>>),
    /// Events come.
    Streaming(ByteStream),
    /// The answer is whole; only what it cost is still asked for.
    Counting(Boxed<Option<Usage>>, Finish),
    /// Nothing more comes.
    Over,
}

/// What the gateway itself has to remember of the events.
#[derive(Debug, Default)]
struct Account {
    log_id: Option<String>,
    /// Conversation and chat.
    ids: Option<(String, String)>,
    usage: Option<Usage>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Opening(_) => "opening",
            Phase::Streaming(_) => "streaming",
            Phase::Counting(..) => "counting",
            Phase::Over => "over",
        };
        f.debug_struct("Run").field("phase", &phase).field("account", &self.account).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn start(order: &Order, relay: Relay) -> Self {
        Self {
            phase: Phase::Opening(open(order)),
            decoder: sse::Decoder::default(),
            reader: Reader::default(),
            shaping: Shaping::new(&order.stop, order.think_tags),
            silence: Silence::new(order.upstream_timeout),
            account: Account::default(),
            wants_usage: order.wants_usage || order.meter.is_some(),
            target: order.target.clone(),
            caller_token: order.caller_token.clone(),
            relay,
            meter: order.meter.clone(),
        }
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
                    self.silence.broken();
                    if let Some(id) = &opened.log_id {
                        self.account.log_id = Some(id.clone());
                        sink(Event::Logged(id.into()));
                    }
                    self.phase = Phase::Streaming(opened.bytes);
                    Ok(())
                }
                Poll::Ready(Err(failure)) => Err(failure),
                Poll::Pending => ready!(self.poll_silence(cx)),
            },
            Phase::Streaming(stream) => match stream.poll_bytes(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // What still drips after the chat's end keeps nobody
                    // waiting.
                    if !self.reader.has_ended() {
                        self.silence.broken();
                    }
                    self.take(&bytes, cx, sink)
                }
                Poll::Ready(None) => self.stream_ended(sink),
                // The chat had ended before the connection did.
                Poll::Ready(Some(Err(_))) if self.reader.has_ended() => self.stream_ended(sink),
                Poll::Ready(Some(Err(failure))) => Err(failure),
                Poll::Pending if self.reader.has_ended() => {
                    ready!(self.silence.poll(cx));
                    self.stream_ended(sink)
                }
                Poll::Pending => ready!(self.poll_silence(cx)),
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
        };
        Poll::Ready(Some(step.map_err(|failure| self.failed(failure))))
    }

    /// Takes bytes of the stream.
    fn take(
        &mut self,
        bytes: &Bytes,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        let Self { decoder, reader, shaping, account, .. } = self;
        let decoded = decoder.push(bytes, |event| {
            if result.is_ok() && !reader.is_over() && !shaping.stopped() {
                result = reader.read(event, &mut |event| account.pass(event, shaping, sink));
            }
        });
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
            self.silence.tighten(END_GRACE);
        }
        Ok(())
    }

    /// The stream is over, properly or after a grace.
    fn stream_ended(&mut self, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Failure> {
        let mut result = Ok(());
        let Self { decoder, reader, shaping, account, .. } = self;
        decoder.finish(|event| {
            if !reader.is_over() {
                result = reader.read(event, &mut |event| account.pass(event, shaping, sink));
            }
        });
        result?;
        self.reader.end(&mut |event| self.account.pass(event, &mut self.shaping, sink))?;
        let finish = if self.shaping.stopped() { Finish::StopWord } else { Finish::Completed };
        self.answered(finish, sink);
        Ok(())
    }

    /// The answer is whole: ends the run, or asks what it cost first.
    fn answered(&mut self, finish: Finish, sink: &mut dyn FnMut(Event<'_>)) {
        match &self.account.ids {
            Some((conversation, chat)) if self.wants_usage && self.account.usage.is_none() => {
                let call = retrieve::retrieve(conversation, chat);
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
        self.shaping.push(Event::Finished(finish), sink);
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.silence.poll(cx).map(|()| {
            let mut failure = Failure::new(Kind::Timeout, "Coze was silent for too long.");
            failure.may_be_running = true;
            Err(failure)
        })
    }

    /// Ends a run that failed.
    fn failed(&mut self, mut failure: Failure) -> Failure {
        self.settle(failure.may_be_running);
        if failure.may_be_running {
            self.abandon();
        }
        self.phase = Phase::Over;
        failure.log_id = failure.log_id.or_else(|| self.account.log_id.clone());
        match self.token() {
            Some(token) => failure.without(token.expose()),
            None => failure,
        }
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
        let (Some((conversation, chat)), Some(token)) = (&self.account.ids, self.token()) else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let call = retrieve::cancel(conversation, chat);
        let target = self.target.clone();
        self.relay.tracker.spawn(async move {
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
            (Some((conversation, chat)), Some(token)) if ask && usage.is_none() => {
                let chat = Chat {
                    target: self.target.clone(),
                    token,
                    conversation: conversation.clone(),
                    chat: chat.clone(),
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
        self.settle(true);
        self.abandon();
    }
}

impl Account {
    /// Takes note of an event and passes it on. The end is not passed on:
    /// the run itself decides when that has come.
    fn pass(&mut self, event: Event<'_>, shaping: &mut Shaping, sink: &mut dyn FnMut(Event<'_>)) {
        match &event {
            Event::Started { conversation, chat } => {
                self.ids = Some((conversation.to_string(), chat.to_string()));
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finished(_) => return,
            _ => {}
        }
        shaping.push(event, sink);
    }
}

/// Opens the stream; once more with another token, if Coze refuses the one
/// from a file and the file has a new one: nothing has run then.
fn open(order: &Order) -> Boxed<Result<Opened, Failure>> {
    let target = order.target.clone();
    let call = order.call.clone();
    let caller_token = order.caller_token.clone();
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
