//! A store in one file, which survives the process.
//!
//! In come the steps of [`Store`], each for the one thread that has the file
//! (`worker`), by a bounded queue. Out come their answers, when what was done
//! is committed: a killed process loses nothing that it was told. Several
//! processes may use one file on one machine.
//!
//! What makes it cheap was measured. A page that is written costs some 4 µs,
//! one row or nine on it, so rows are only ever added at the end, and indexes
//! of random keys, a page a row, stand in memory: they are read from the file
//! when it is opened (a million entries: half a second, 40 MB), and what other
//! processes add is learned at the beginning of each transaction. Rows that
//! were replaced are removed later, those of a page together. Pages of 2 KiB
//! to 8 KiB do equally well; it has SQLite's usual 4 KiB.

mod file;
mod index;
mod rows;
mod steps;
mod upkeep;
mod worker;

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{By, Claimed, Counts, Entry, Id, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable};
pub use file::{Unusable, Why};
use steps::Steps;
use worker::{Asked, Task};

/// So many steps wait at most.
const QUEUE: usize = 4096;

/// The store.
#[derive(Debug)]
pub struct Sqlite {
    secret: [u8; 32],
    /// `None` when it is dropped.
    queue: Option<SyncSender<Box<dyn Task>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens a file, or makes it; its folder has to be there. Blocks while
    /// the file is read.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path, ttl: Duration) -> Result<Self, Unusable> {
        let unusable = |why| Unusable { path: path.to_owned(), why };
        let mut file = file::open(path).map_err(unusable)?;
        let secret = file::secret(&mut file).map_err(unusable)?;
        let (queue, tasks) = sync_channel(QUEUE);
        // The statements are bound to the connection, so both are its
        // thread's, and only that can say whether the file could be read.
        let (ready, is_ready) = sync_channel(1);
        let work = move || {
            let steps = match Steps::new(&file, ttl) {
                Ok(steps) => steps,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            worker::work(&file, steps, &tasks);
        };
        let thread = std::thread::Builder::new().name("cozeway-state".to_owned()).spawn(work);
        let thread = thread.map_err(|error| unusable(Why::Refused(error)))?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self { secret, queue: Some(queue), thread: Some(thread) }),
            Ok(Err(error)) => Err(unusable(error.into())),
            Err(_) => Err(unusable(Why::Refused(std::io::Error::other("its thread has ended")))),
        }
    }

    /// Has the thread do a step.
    fn step<T, F>(&self, step: F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&mut Steps<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or_else(ended)?;
            queue.try_send(Box::new(Asked::new(step, reply))).map_err(|error| match error {
                TrySendError::Full(_) => Unavailable(format!("{QUEUE} steps wait for its file already")),
                TrySendError::Disconnected(_) => ended(),
            })?;
            answer.await.map_err(|_| ended())?
        })
    }
}

fn ended() -> Unavailable {
    Unavailable("the thread that has its file has ended".to_owned())
}

impl Store for Sqlite {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        Box::pin(async { Ok(self.secret) })
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        self.step(move |steps| steps.claim(by, lease))
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        self.step(move |steps| steps.renew(&leases, lease))
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        self.step(move |steps| steps.settle(lease, &outcome))
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        self.step(move |steps| steps.insert(&entry))
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.step(move |steps| steps.purge(limit))
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        self.step(move |steps| steps.list(after, limit))
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        self.step(move |steps| steps.forget(id))
    }

    fn counts(&self) -> Pending<'_, Counts> {
        self.step(|steps| Ok(steps.counts()))
    }
}

impl Drop for Sqlite {
    /// Waits until what was asked is done and the file is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}
