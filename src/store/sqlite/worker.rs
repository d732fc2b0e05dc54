//! The thread that has the file.
//!
//! In come tasks from the [`Queue`]. A batch is done in one transaction, and
//! answered when that is committed. If a step fails, all that were done with
//! it are taken back and done again, each alone, so that it fails alone. When
//! nothing comes for a while, the journal is brought into the file, so that it
//! is short when there is much to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Error, Result};
use tokio::sync::oneshot;

use super::super::{Entry, Unavailable};
use super::index::Seen;
use super::inserts::Inserts;
use super::queue::{Haste, Load, Next, Queue, Refused};
use super::steps::Steps;

/// After so long without a task the journal is brought into the file.
const IDLE: Duration = Duration::from_millis(500);

/// A step that is to be done, perhaps twice, and answered once.
pub(super) trait Step: Send {
    fn run(&mut self, steps: &mut Steps<'_>) -> Result<()>;

    fn answer(self: Box<Self>, failed: Option<Unavailable>);
}

/// What waits for the thread.
pub(super) enum Task {
    /// A step that somebody waits for.
    Asked(Box<dyn Step>),
    /// New entries that nobody waits for.
    Inserts(Inserts),
}

impl Load for Task {
    fn steps(&self) -> usize {
        match self {
            Self::Asked(_) => 1,
            Self::Inserts(inserts) => inserts.len(),
        }
    }
}

impl Task {
    fn run(&mut self, steps: &mut Steps<'_>) -> Result<()> {
        match self {
            Self::Asked(step) => step.run(steps),
            Self::Inserts(inserts) => inserts.iter().try_for_each(|entry| steps.insert(entry)),
        }
    }

    fn answer(self, failed: Option<Unavailable>, desk: &Desk) {
        match (self, failed) {
            (Self::Asked(step), failed) => step.answer(failed),
            (Self::Inserts(inserts), Some(away)) => desk.lose(inserts.len(), &away),
            (Self::Inserts(_), None) => {}
        }
    }

    /// Does it by itself: each step in a transaction of its own.
    fn run_alone(mut self, steps: &mut Steps<'_>, desk: &Desk) {
        if let Self::Inserts(inserts) = &self {
            for entry in inserts.iter() {
                if let Err(failure) = transaction(steps, |steps| steps.insert(entry)) {
                    desk.lose(1, &unavailable(&failure.error));
                }
            }
            return;
        }
        let failed = transaction(steps, |steps| self.run(steps)).err();
        self.answer(failed.map(|failure| unavailable(&failure.error)), desk);
    }
}

/// What thread and askers share.
pub(super) struct Desk {
    pub(super) queue: Queue<Task>,
    /// Whether it does not have to be waited for that what is written is in
    /// the file: nobody else looks there, and nothing has failed.
    pub(super) trusted: AtomicBool,
    /// The roots of all entries that are in the file, or on their way there.
    pub(super) roots: Arc<Seen>,
    /// New entries that nobody waited for and that could not be written.
    pub(super) lost: AtomicU64,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            queue: Queue::new(),
            trusted: AtomicBool::new(false),
            roots: Arc::new(Seen::new()),
            lost: AtomicU64::new(0),
        }
    }

    /// Has a new entry wait for the thread, among others.
    pub(super) fn insert(&self, entry: &Entry) -> std::result::Result<(), Refused> {
        self.announce(entry);
        self.queue.join(Haste::Later, |last| {
            if let Some(Task::Inserts(inserts)) = last
                && inserts.push(entry)
            {
                return None;
            }
            Some(Task::Inserts(Inserts::of(entry)))
        })
    }

    /// Takes note of an entry that will be written: from now on nobody is told
    /// that it is not there but by the thread.
    pub(super) fn announce(&self, entry: &Entry) {
        entry.root.iter().for_each(|root| self.roots.note(root));
    }

    fn lose(&self, entries: usize, away: &Unavailable) {
        self.lost.fetch_add(u64::try_from(entries).unwrap_or(u64::MAX), Ordering::Relaxed);
        tracing::warn!(%away, entries, "new conversations could not be remembered: they will be replayed");
    }
}

/// A step and who waits for it.
pub(super) struct Asked<T, F> {
    step: F,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T, F> Asked<T, F> {
    pub(super) fn new(step: F, reply: oneshot::Sender<Result<T, Unavailable>>) -> Self {
        Self { step, done: None, reply }
    }
}

impl<T, F> Step for Asked<T, F>
where
    T: Send,
    F: FnMut(&mut Steps<'_>) -> Result<T> + Send,
{
    fn run(&mut self, steps: &mut Steps<'_>) -> Result<()> {
        self.done = Some((self.step)(steps)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Unavailable>) {
        let answer = match (failed, self.done) {
            (None, Some(done)) => Ok(done),
            (failed, _) => Err(failed.unwrap_or_else(|| Unavailable("the step was not done".to_owned()))),
        };
        // Who does not wait any more does not want to know.
        let _ = self.reply.send(answer);
    }
}

/// Works until nobody can give it tasks any more, and all are done.
pub(super) fn work(file: &Connection, mut steps: Steps<'_>, desk: &Desk) {
    let mut batch = Vec::new();
    let (mut done, mut has_journal, mut has_failed) = (0, true, false);
    loop {
        match desk.queue.next(&mut batch, done, has_journal.then_some(IDLE)) {
            Next::Batch => {
                done = batch.iter().map(Load::steps).sum();
                run(&mut steps, &mut batch, desk, &mut has_failed);
                has_journal = true;
            }
            Next::Idle => {
                checkpoint(file);
                has_journal = false;
            }
            Next::End => return,
        }
    }
}

/// Does tasks together, or if one of them fails, each alone.
fn run(steps: &mut Steps<'_>, batch: &mut Vec<Task>, desk: &Desk, has_failed: &mut bool) {
    let written = steps.tally.last;
    let done_together: usize = batch.iter().map(Load::steps).sum();
    let done = transaction(steps, |steps| batch.iter_mut().try_for_each(|task| task.run(steps)));
    // What only reads says nothing of whether rows can be written.
    *has_failed = done.is_err() || (*has_failed && steps.tally.last == written);
    // Before anybody is answered: who is, and asks again, finds it so.
    desk.trusted.store(!*has_failed && steps.is_alone(), Ordering::Release);
    match done {
        Ok(()) => batch.drain(..).for_each(|task| task.answer(None, desk)),
        Err(Failure { error, is_step: true }) if done_together > 1 => {
            tracing::warn!(%error, "a step of the state store failed; those that were done with it are done again");
            batch.drain(..).for_each(|task| task.run_alone(steps, desk));
        }
        Err(Failure { error, .. }) => {
            batch.drain(..).for_each(|task| task.answer(Some(unavailable(&error)), desk));
        }
    }
}

/// Why a transaction was taken back.
struct Failure {
    error: Error,
    /// Whether one of the steps failed, and not what is common to all.
    is_step: bool,
}

fn transaction(
    steps: &mut Steps<'_>,
    work: impl FnOnce(&mut Steps<'_>) -> Result<()>,
) -> Result<(), Failure> {
    let common = |error| Failure { error, is_step: false };
    let begun = steps.begin().map_err(common);
    let worked = begun.and_then(|()| work(steps).map_err(|error| Failure { error, is_step: true }));
    let done = worked.and_then(|()| steps.commit().map_err(common));
    if done.is_err() {
        steps.roll_back();
    }
    done
}

/// SQLite's words name neither keys nor values.
fn unavailable(error: &Error) -> Unavailable {
    Unavailable(error.to_string())
}

/// Brings the journal into the file, as far as nobody reads what is older.
fn checkpoint(file: &Connection) {
    let done = file.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = done {
        tracing::warn!(%error, "the journal of the state store cannot be brought into its file");
    }
}
