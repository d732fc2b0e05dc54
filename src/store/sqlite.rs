//! A store in one file, which survives the process.
//!
//! In come the steps of [`Store`], each for the one thread that has the file
//! (`worker`), by a bounded queue. Out come their answers, when what was done
//! is committed. Only new entries are not waited for, unless they are inserted
//! for good: whatever is asked later comes behind them in the queue, so that a
//! process finds what it has inserted, and one that is killed has lost at
//! worst those of the last 10 ms. Absent, they are replayed; a claim
//! that was not in the file would have let a conversation be told something
//! twice.
//!
//! Several processes may use one file on one machine. A process that is not
//! alone waits for its new entries, too, so that all of them find everything:
//! whoever opens a file that has a journal is not, and whoever sees numbers of
//! rows that it has not given; each takes one when it opens the file.
//!
//! What makes it cheap was measured. A page that is written costs some 4 µs,
//! one row or eighteen on it, so rows are only ever added at the end, and
//! indexes of random keys, a page a row, stand in memory: they are read from
//! the file when it is opened (figures in docs/performance.md), and what other
//! processes add is learned at the beginning of each transaction. Rows that
//! were replaced are removed later, those of a page together. Pages of 2 KiB
//! to 8 KiB do equally well; it has SQLite's usual 4 KiB.

mod cache;
mod file;
mod index;
mod inserts;
mod packed;
mod queue;
mod rows;
mod steps;
mod upkeep;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable,
};
pub use file::{Unusable, Why};
use queue::{CAPACITY, Haste, Refused};
use steps::Steps;
use worker::{Asked, Desk, Task};

/// The store.
pub struct Sqlite {
    secret: [u8; 32],
    desk: Arc<Desk>,
    /// `None` once it is dropped.
    thread: Option<JoinHandle<()>>,
}

/// Tells askers that the thread has ended, however it has.
struct Attended(Arc<Desk>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.trusted.store(false, Ordering::Release);
        self.0.queue.end();
    }
}

impl Sqlite {
    /// Opens a file, or makes it; its folder has to be there. Blocks while
    /// the file is read.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path, ttl: Duration) -> Result<Self, Unusable> {
        let unusable = |why| Unusable { path: path.to_owned(), why };
        let company = file::may_be_open(path);
        let mut file = file::open(path).map_err(unusable)?;
        let secret = file::secret(&mut file).map_err(unusable)?;
        let desk = Arc::new(Desk::new());
        let attended = Attended(Arc::clone(&desk));
        // The statements are bound to the connection, so both are its
        // thread's, and only that can say whether the file could be read.
        let (ready, is_ready) = sync_channel(1);
        let work = move || {
            let steps = match Steps::new(&file, ttl, company, Arc::clone(&attended.0.roots)) {
                Ok(steps) => steps,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            worker::work(&file, steps, &attended.0);
        };
        let thread = std::thread::Builder::new().name("cozeway-state".to_owned()).spawn(work);
        let thread = thread.map_err(|error| unusable(Why::Refused(error)))?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self { secret, desk, thread: Some(thread) }),
            Ok(Err(error)) => Err(unusable(error.into())),
            Err(_) => Err(unusable(Why::Refused(std::io::Error::other("its thread has ended")))),
        }
    }

    /// Has the thread do a step, and waits for it.
    fn step<T, F>(&self, step: F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&mut Steps<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.desk.queue.push(Task::Asked(Box::new(Asked::new(step, reply))), Haste::Waited)?;
            answer.await.map_err(|_| ended())?
        })
    }
}

impl From<Refused> for Unavailable {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self(format!("{CAPACITY} steps wait for its file already")),
            Refused::Ended => ended(),
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("trusted", &self.desk.trusted).finish_non_exhaustive()
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
        if let Outcome::Keep(entry) = &outcome {
            self.desk.announce(entry);
        }
        self.step(move |steps| steps.settle(lease, &outcome))
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        match self.insert_now(entry) {
            None => Box::pin(std::future::ready(Ok(()))),
            Some(entry) => self.insert_for_good(entry),
        }
    }

    fn insert_now(&self, entry: Entry) -> Option<Entry> {
        let is_trusted = self.desk.trusted.load(Ordering::Acquire);
        if is_trusted && self.desk.insert(&entry).is_ok() { None } else { Some(entry) }
    }

    fn known_secret(&self) -> Option<[u8; 32]> {
        Some(self.secret)
    }

    fn lacks(&self, root: &Key) -> bool {
        self.desk.trusted.load(Ordering::Acquire) && self.desk.roots.lacks(root)
    }

    fn insert_for_good(&self, entry: Entry) -> Pending<'_, ()> {
        self.desk.announce(&entry);
        self.step(move |steps| steps.insert((&entry).into()))
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

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        self.step(move |steps| steps.cached(&key))
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        self.step(move |steps| steps.put(&key, &value, steps::millis(life)))
    }

    fn lost(&self) -> u64 {
        self.desk.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Sqlite {
    /// Waits until what was asked is done and the file is closed.
    fn drop(&mut self) {
        self.desk.queue.close();
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}
