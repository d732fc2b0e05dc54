//! Running a turn: from a prompt to the events of its answers.
//!
//! In comes an [`Order`], out comes a [`Turn`] that is polled for events.
//! Nothing is spawned for a turn; what has to outlive it (ending a chat that
//! nobody waits for any more) goes to the one tracked spawner.

mod askers;
mod cleanup;
mod clocks;
mod cut;
mod lent;
mod place;
mod room;
mod run;
mod settle;
mod shaping;
mod start;
mod upkeep;
mod uploads;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::access::Meter;
use crate::conversation::Note;
use crate::coze::Target;
use crate::secret::Secret;
use crate::store::Store;
use crate::turn::{Event, Failure, Given, Kind, Prompt, Reply, StopWords};

use askers::Askers;
use cleanup::Cleanup;
pub use cleanup::{Cleaned, Leftovers};
pub use lent::Lent;
pub use place::{Asking, Placed, Unplaced, unremembered};
pub use room::Room;
use room::Rooms;
use run::Run;
use settle::Settlement;
pub use start::{Parcel, Start};
pub use upkeep::{keep, share};
use uploads::Uploads;

/// The largest whole answer that is put together, in bytes of JSON text.
const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// Starts turns. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    shared: Arc<Shared>,
}

/// What all turns share.
#[derive(Debug, Default)]
struct Shared {
    tracker: TaskTracker,
    end: CancellationToken,
    settlement: Settlement,
    cleanup: Cleanup,
    askers: Askers,
    uploads: Uploads,
    rooms: Rooms,
}

/// What is to be run, and how its events are wanted.
#[derive(Debug)]
pub struct Order {
    /// The bot.
    pub target: Target,
    /// The caller's own Coze token, where that is used.
    pub caller_token: Option<Secret>,
    /// What starts a chat.
    pub start: Start,
    /// How many chats to start: as many answers come.
    pub choices: usize,
    /// Where to cut the answers.
    pub stop: StopWords,
    /// Whether thinking comes as `<think>…</think>` in the text.
    pub think_tags: bool,
    /// Whether what is said aloud is wanted.
    pub aloud: bool,
    /// Whether usage is worth a request of its own.
    pub wants_usage: bool,
    /// The longest silence of Coze.
    pub upstream_timeout: Duration,
    /// How long a chat is waited for that Coze still runs in the
    /// conversation.
    pub conversation_wait: Duration,
    /// How long the upload of a file may take.
    pub upload_timeout: Duration,
    /// Whether conversations of Coze's are deleted once nothing refers to
    /// them.
    pub cleanup: bool,
    /// What the files of the request take up.
    pub room: Room,
    /// Takes what each chat costs, where a limit needs that: then usage is
    /// asked for in any case, and after a hang-up too.
    pub meter: Option<Meter>,
    /// The turn's part in a conversation that is remembered: only of an order
    /// for one chat.
    pub remembered: Option<Remembered>,
}

/// A turn's part in a conversation that is remembered.
#[derive(Debug)]
pub struct Remembered {
    /// Ended with the turn.
    pub lent: Lent,
    /// What is sent instead if Coze has forgotten the conversation.
    pub replay: Option<Box<Replay>>,
}

/// What became of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What was done with it.
    pub note: Note,
    /// Whether the turn could not be remembered.
    pub lost: bool,
    /// How many messages a replay had to leave out.
    pub trimmed: usize,
}

/// The whole transcript, to be sent to a fresh conversation.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What the bot is shown.
    pub prompt: Prompt,
    /// Coze's `user_id`.
    pub user_id: String,
    /// Whether the oldest messages may be left out, if it is too long.
    pub may_trim: bool,
    /// What the client gives beside the messages.
    pub given: Given,
}

impl Relay {
    /// A relay whose work outside of turns is tracked here, and which
    /// remembers in this store what was uploaded.
    #[must_use]
    pub fn new(tracker: TaskTracker, store: Arc<dyn Store>) -> Self {
        let uploads = Uploads::remembered_in(store);
        Self { shared: Arc::new(Shared { tracker, uploads, ..Shared::default() }) }
    }

    /// Room for the files of a prompt, to be held until they are at Coze;
    /// `None` if there is none now.
    #[must_use]
    pub fn room(&self, prompt: &Prompt) -> Option<Room> {
        self.shared.rooms.take(prompt)
    }

    /// Starts the chats of an order. Dropping the turn ends them.
    #[must_use]
    pub fn start(&self, mut order: Order) -> Turn {
        let mut remembered = order.remembered.take();
        Turn {
            runs: (0..order.choices).map(|_| Run::start(&order, remembered.take(), self.clone())).collect(),
            end: Box::pin(self.shared.end.clone().cancelled_owned()),
        }
    }

    /// Whether this is a workflow that has been seen to ask something back.
    #[must_use]
    pub fn has_seen_ask(&self, target: &Target) -> bool {
        self.shared.askers.have(target)
    }

    /// Runs what has to outlive a turn.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.shared.tracker.spawn_on(work, &runtime);
        }
    }

    /// Ends every turn, now and later, as one that fails because the gateway
    /// is stopping.
    pub fn end(&self) {
        self.shared.end.cancel();
    }
}

/// The chats of one request while they run.
#[derive(Debug)]
pub struct Turn {
    runs: Vec<Run>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Turn {
    /// What became of the conversation; `None` if it is not remembered.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.runs.first().and_then(Run::memory)
    }

    /// How many bytes have arrived that are still to be read: the first words
    /// of an answer are given out before what came with them is.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.runs.iter().map(Run::ready).sum()
    }

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
            // Only asked where there is nothing else to do: a turn that is
            // never idle does not exist, as tokio makes busy tasks yield.
            (false, true) => self.end.as_mut().poll(cx).map(|()| Some(Err(ended()))),
            (false, false) => Poll::Ready(None),
        }
    }

    /// Waits for the whole answers, in the order of their indices.
    ///
    /// # Errors
    /// If one of the chats fails, or says more than can be held.
    pub async fn replies(&mut self) -> Result<Vec<Reply>, Failure> {
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

/// The gateway has no more time for a turn.
fn ended() -> Failure {
    let mut failure = Failure::new(Kind::Draining, "The gateway is stopping; send the request again.");
    failure.may_be_running = true;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_told_of_the_end_costs_an_idle_stream_little() {
        assert!(std::mem::size_of::<WaitForCancellationFutureOwned>() <= 96);
    }
}
