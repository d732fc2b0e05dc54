//! Running a turn: from a prompt to the events of its answers.
//!
//! In comes an [`Order`], out comes a [`Turn`] that is polled for events.
//! Nothing is spawned for a turn; what has to outlive it (ending a chat that
//! nobody waits for any more) goes to the one tracked spawner.

mod run;
mod settle;
mod shaping;
mod silence;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::access::Meter;
use crate::coze::{Call, Target};
use crate::secret::Secret;
use crate::turn::{Event, Failure, Kind, Reply, StopWords};

use run::Run;
use settle::Settlement;

/// The largest whole answer that is put together, in bytes of JSON text.
const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// Starts turns.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    tracker: TaskTracker,
    settlement: Settlement,
}

/// What is to be run, and how its events are wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// The bot.
    pub target: Target,
    /// The caller's own Coze token, where that is used.
    pub caller_token: Option<Secret>,
    /// The call that starts a chat.
    pub call: Call,
    /// How many chats to start: as many answers come.
    pub choices: usize,
    /// Where to cut the answers.
    pub stop: StopWords,
    /// Whether thinking comes as `<think>…</think>` in the text.
    pub think_tags: bool,
    /// Whether usage is worth a request of its own.
    pub wants_usage: bool,
    /// The longest silence of Coze.
    pub upstream_timeout: Duration,
    /// Takes what each chat costs, where a limit needs that: then usage is
    /// asked for in any case, and after a hang-up too.
    pub meter: Option<Meter>,
}

impl Relay {
    /// A relay whose work outside of turns is tracked here.
    #[must_use]
    pub fn new(tracker: TaskTracker) -> Self {
        Self { tracker, settlement: Settlement::default() }
    }

    /// Starts the chats of an order. Dropping the turn ends them.
    #[must_use]
    pub fn start(&self, order: &Order) -> Turn {
        Turn { runs: (0..order.choices).map(|_| Run::start(order, self.clone())).collect() }
    }
}

/// The chats of one request while they run.
#[derive(Debug)]
pub struct Turn {
    runs: Vec<Run>,
}

impl Turn {
    /// Hands what has arrived to `sink`, each event with the index of its
    /// answer. `Ready(Some(Ok(())))`: there may be more; `Ready(None)`: every
    /// answer is whole.
    ///
    /// # Errors
    /// If one of the chats fails: then the turn has failed.
    pub fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(usize, Event<'_>),
    ) -> Poll<Option<Result<(), Failure>>> {
        let mut progressed = false;
        let mut pending = false;
        for (index, run) in self.runs.iter_mut().enumerate() {
            match run.poll_events(cx, &mut |event| sink(index, event)) {
                Poll::Ready(Some(Ok(()))) => progressed = true,
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Some(Err(failure))),
                Poll::Ready(None) => {}
                Poll::Pending => pending = true,
            }
        }
        match (progressed, pending) {
            (true, _) => Poll::Ready(Some(Ok(()))),
            (false, true) => Poll::Pending,
            (false, false) => Poll::Ready(None),
        }
    }

    /// Waits for the whole answers, in the order of their indices.
    ///
    /// # Errors
    /// If one of the chats fails, or says more than can be held.
    pub async fn replies(mut self) -> Result<Vec<Reply>, Failure> {
        let mut replies = vec![Reply::default(); self.runs.len()];
        loop {
            let step = poll_fn(|cx| {
                self.poll_events(cx, &mut |index, event| {
                    if let Some(reply) = replies.get_mut(index) {
                        reply.push(event);
                    }
                })
            });
            match step.await {
                None => return Ok(replies),
                Some(Err(failure)) => return Err(failure),
                Some(Ok(())) if replies.iter().map(Reply::size).sum::<usize>() > MAX_REPLY_BYTES => {
                    return Err(Failure::new(
                        Kind::Broken,
                        "The answer is too long to be given in one piece; ask for a stream.",
                    ));
                }
                Some(Ok(())) => {}
            }
        }
    }
}
