//! A turn as a response body: events in, chunks out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;

use super::heartbeat::{Beat, Heartbeat};
use super::journal::Journal;
use crate::access::Permit;
use crate::batch;
use crate::openai::ApiError;
use crate::openai::chat::{Encoder, comment, error_event};
use crate::relay::Turn;
use crate::turn::{Event, Failure};

/// A write is not held back for more once it has this many bytes.
const FULL_WRITE: usize = 16 * 1024;

/// How much may lie ready behind the first words, in Coze's bytes, without
/// their being sent ahead of it. A short answer goes out with one write; of a
/// long one the client has the beginning while the rest is still read.
const SHORT: usize = 4 * 1024;

/// The body of a streamed answer. Polled in the client's own task: no other
/// task and no queue stands between Coze's bytes and the client's.
#[derive(Debug)]
pub(super) struct ChatBody {
    state: State,
    turn: Turn,
    encoder: Encoder,
    heartbeat: Heartbeat,
    out: Vec<u8>,
    journal: Arc<Journal>,
    caller_owns_token: bool,
    /// Whether it began with few others in flight: then the client's waiting
    /// costs more than a write of its own.
    has_few: bool,
    /// Held until the last byte or the client's leaving.
    _permit: Permit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been written: a failure is an HTTP error.
    Silent,
    /// The head has gone, but no word of the answer.
    Waiting,
    /// The first words are written, and wait for the connection to send them.
    Begun,
    /// Words have been sent; what comes next goes with the next write.
    Speaking,
    /// A write is put off once while nothing comes: what the tasks of other
    /// streams have read meanwhile is written in one go, which the other
    /// side's kernel is woken for once.
    PutOff,
    /// hyper polls a body that is pending a second time in the same turn,
    /// before any other task has had one. That was it.
    PutOffAgain,
    /// The end is written.
    Ended,
}

impl ChatBody {
    pub(super) fn new(
        turn: Turn,
        encoder: Encoder,
        keepalive: Duration,
        journal: Arc<Journal>,
        caller_owns_token: bool,
        in_flight: usize,
        permit: Permit,
    ) -> Self {
        Self {
            state: State::Silent,
            turn,
            encoder,
            heartbeat: Heartbeat::new(keepalive),
            out: Vec::new(),
            journal,
            caller_owns_token,
            has_few: in_flight <= batch::FEW,
            _permit: permit,
        }
    }

    /// Waits until there is something to write: the answer's first words,
    /// its end, or, after one keepalive of silence, a sign of life.
    ///
    /// # Errors
    /// If the turn fails before that: it can still be an HTTP error.
    pub(super) async fn begin(&mut self) -> Result<(), ApiError> {
        let begun = std::future::poll_fn(|cx| self.poll_begin(cx)).await;
        self.journal.remember(self.turn.memory());
        begun
    }

    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        loop {
            match self.poll_turn(cx) {
                Poll::Ready(Some(Ok(()))) if self.encoder.has_begun() => {
                    self.first_words();
                    if !self.sends_ahead() {
                        self.take_ready(cx);
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Ok(()))) => {}
                // Words that came with the failure are not lost, however the
                // network has cut the two.
                Poll::Ready(Some(Err(failure))) if self.encoder.has_begun() => {
                    self.first_words();
                    self.fail(&failure);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Err(failure))) => {
                    self.state = State::Ended;
                    return Poll::Ready(Err(self.failed(&failure)));
                }
                Poll::Ready(None) => {
                    self.first_words();
                    self.finish();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    return match self.heartbeat.poll(cx) {
                        Poll::Ready(beat) => {
                            self.state = State::Waiting;
                            self.beat(beat);
                            Poll::Ready(Ok(()))
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Takes what lies ready behind the first words, to the end of the answer
    /// if it is a short one: it goes out with them. Never more than a write.
    fn take_ready(&mut self, cx: &mut Context<'_>) {
        let has_more = self.turn.ready() > 0;
        while has_more && self.state != State::Ended && self.out.len() < FULL_WRITE {
            match self.poll_turn(cx) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(failure))) => self.fail(&failure),
                Poll::Ready(None) => self.finish(),
                Poll::Pending => return,
            }
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), Failure>>> {
        let Self { turn, encoder, out, .. } = self;
        turn.poll_events(cx, &mut |index, event: Event<'_>| encoder.push(index, event, out))
    }

    fn first_words(&mut self) {
        self.state = State::Begun;
        self.journal.first_content();
    }

    fn finish(&mut self) {
        self.encoder.finish(&mut self.out);
        self.state = State::Ended;
    }

    fn beat(&mut self, beat: Beat) {
        match beat {
            Beat::Comment => comment(&mut self.out),
            Beat::Chunk => self.encoder.idle(&mut self.out),
        }
    }

    /// Notes a failure, and says what the client is told.
    fn failed(&self, failure: &Failure) -> ApiError {
        let error = ApiError::from_failure(failure, self.caller_owns_token);
        self.journal.failed(failure, &error.code);
        error
    }

    /// Ends the stream with the failure in band.
    fn fail(&mut self, failure: &Failure) {
        let error = self.failed(failure);
        error_event(&error, &mut self.out);
        self.state = State::Ended;
    }

    /// Whether the first words are to be sent ahead of what lies ready behind
    /// them.
    fn sends_ahead(&self) -> bool {
        let ready = self.turn.ready();
        self.state == State::Begun && ready > 0 && (self.has_few || ready > SHORT)
    }

    /// Whatever was put off is no longer, or has grown.
    fn went_on(&mut self) {
        if self.has_put_off() {
            self.state = State::Speaking;
        }
    }

    fn has_put_off(&self) -> bool {
        matches!(self.state, State::PutOff | State::PutOffAgain)
    }

    /// Hands over what is to be written.
    fn write(&mut self) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.went_on();
        self.heartbeat.chunk_written();
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.out).into()))))
    }
}

impl http_body::Body for ChatBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        // What `begin` left, and an end that is only still to be written.
        if !this.out.is_empty() && !this.has_put_off() {
            let beat_only = this.state == State::Waiting;
            let out = std::mem::take(&mut this.out);
            if !beat_only {
                this.heartbeat.chunk_written();
            }
            return Poll::Ready(Some(Ok(Frame::data(out.into()))));
        }
        let passes = match this.state {
            State::Ended => return Poll::Ready(None),
            State::PutOff => Some(State::PutOffAgain),
            // The connection sends what it has when it is told that there is
            // nothing more just now.
            State::Begun if this.sends_ahead() => Some(State::Speaking),
            _ => None,
        };
        if let Some(next) = passes {
            this.state = next;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match this.poll_turn(cx) {
                Poll::Ready(Some(Ok(()))) => {
                    let has_words = !this.out.is_empty();
                    if has_words && matches!(this.state, State::Silent | State::Waiting) {
                        this.first_words();
                        return this.write();
                    }
                    if this.out.len() >= FULL_WRITE {
                        return this.write();
                    }
                    this.went_on();
                }
                Poll::Ready(Some(Err(failure))) => {
                    this.fail(&failure);
                    return this.write();
                }
                Poll::Ready(None) => {
                    if matches!(this.state, State::Silent | State::Waiting) {
                        this.first_words();
                    }
                    this.finish();
                    return this.write();
                }
                Poll::Pending if this.out.is_empty() => {
                    return match this.heartbeat.poll(cx) {
                        Poll::Ready(beat) => {
                            this.beat(beat);
                            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.out).into()))))
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
                Poll::Pending if matches!(this.state, State::Begun | State::Speaking) => {
                    this.state = State::PutOff;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return this.write(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended && self.out.is_empty()
    }
}

impl Drop for ChatBody {
    fn drop(&mut self) {
        let Self { encoder, journal, turn, .. } = self;
        journal.remember(turn.memory());
        journal.note(|facts| {
            if let Some(ids) = encoder.ids() {
                (facts.conversation, facts.chat) = (ids.conversation.clone(), ids.chat.clone());
                facts.log_id = facts.log_id.take().or_else(|| ids.log_id.clone());
            }
            facts.usage = encoder.usage();
        });
    }
}
