//! The thread that has the file.
//!
//! In come tasks by a bounded queue. Whatever waits is done in one
//! transaction, and answered when that is committed: many steps share the
//! cost of one. If a step fails, all that were done with it are taken back
//! and done again, each alone, so that it fails alone. When nothing comes for
//! a while, the journal is brought into the file, so that it is short when
//! there is much to do.
//!
//! After a transaction that several have shared, the thread rests for a
//! moment: a transaction costs some 20 µs, so the steps of a busy gateway had
//! better share them, and who comes while the thread rests need not wake it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, Error, Result};
use tokio::sync::oneshot;

use super::super::Unavailable;
use super::steps::Steps;

/// So many tasks are done in one transaction at most.
const BATCH: usize = 256;

/// So long the thread rests: a step may take so much longer, and a busy
/// gateway makes no more than a thousand transactions a second.
const REST: Duration = Duration::from_millis(1);

/// After so long without a task the journal is brought into the file.
const IDLE: Duration = Duration::from_millis(500);

/// A step that is to be done, perhaps twice, and answered once.
pub(super) trait Task: Send {
    fn run(&mut self, steps: &mut Steps<'_>) -> Result<()>;

    fn answer(self: Box<Self>, failed: Option<Unavailable>);
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

impl<T, F> Task for Asked<T, F>
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
pub(super) fn work(file: &Connection, mut steps: Steps<'_>, queue: &Receiver<Box<dyn Task>>) {
    let mut batch = Vec::new();
    let mut has_journal = true;
    loop {
        let next = if has_journal {
            queue.recv_timeout(IDLE)
        } else {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match next {
            Ok(task) => {
                batch.push(task);
                batch.extend(queue.try_iter().take(BATCH.saturating_sub(1)));
                let done = batch.len();
                run(&mut steps, &mut batch);
                has_journal = true;
                // Who works alone should not wait for company.
                if done > 1 {
                    std::thread::sleep(REST);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                checkpoint(file);
                has_journal = false;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Does tasks together, or if one of them fails, each alone.
fn run(steps: &mut Steps<'_>, batch: &mut Vec<Box<dyn Task>>) {
    match together(steps, batch) {
        Ok(()) => batch.drain(..).for_each(|task| task.answer(None)),
        Err(Failure { error, is_step: true }) if batch.len() > 1 => {
            tracing::warn!(%error, "a step of the state store failed; those that were done with it are done again");
            for mut task in batch.drain(..) {
                let failed = together(steps, std::slice::from_mut(&mut task)).err();
                task.answer(failed.map(|failure| unavailable(&failure.error)));
            }
        }
        Err(Failure { error, .. }) => {
            batch.drain(..).for_each(|task| task.answer(Some(unavailable(&error))));
        }
    }
}

/// Why a transaction was taken back.
struct Failure {
    error: Error,
    /// Whether one of the steps failed, and not what is common to all.
    is_step: bool,
}

fn together(steps: &mut Steps<'_>, tasks: &mut [Box<dyn Task>]) -> Result<(), Failure> {
    let common = |error| Failure { error, is_step: false };
    let transaction = || {
        steps.begin().map_err(common)?;
        for task in tasks {
            task.run(steps).map_err(|error| Failure { error, is_step: true })?;
        }
        steps.commit().map_err(common)
    };
    let done = transaction();
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
