//! What waits for the thread that has the file.
//!
//! In come tasks from all sides, in their order; out come batches of them, for
//! one transaction each. A transaction costs some 20 µs and waking the thread
//! some 5, so both are shared: after a batch the thread rests for a moment, and
//! longer while nobody waits for anything. Who waits for an answer and works
//! alone is served at once all the same. Bounded. Never does a task.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many steps wait at most.
pub(super) const CAPACITY: usize = 4096;

/// So many steps are done in one transaction, and what comes with the last.
const BATCH: usize = 256;

/// So long the thread rests: a step may take so much longer, and a busy
/// gateway makes no more than a thousand transactions a second.
const REST: Duration = Duration::from_millis(1);

/// So long it rests while nobody waits: as much is lost at most when the
/// process is killed. At 20,000 new entries a second a row costs 2 µs less
/// than with a rest of 1 ms.
const LINGER: Duration = Duration::from_millis(10);

/// Whether somebody waits for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    Waited,
    Later,
}

/// Why a task cannot wait here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    /// The thread has ended.
    Ended,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These tasks.
    Batch,
    /// Nothing came for as long as was given.
    Idle,
    /// Nothing, ever again.
    End,
}

/// What waits here.
pub(super) trait Load {
    /// How many steps it is.
    fn steps(&self) -> usize;
}

/// Tasks that wait.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    tasks: VecDeque<T>,
    /// How many steps these are.
    steps: usize,
    /// Whether somebody waits for one of them.
    waited: bool,
    /// No more will come.
    closed: bool,
    /// Nobody takes them any more.
    ended: bool,
}

impl<T: Load> Queue<T> {
    pub(super) fn new() -> Self {
        let tasks = VecDeque::new();
        let waiting = Waiting { tasks, steps: 0, waited: false, closed: false, ended: false };
        Self { waiting: Mutex::new(waiting), bell: Condvar::new() }
    }

    /// Has a task of one step wait for the thread.
    pub(super) fn push(&self, task: T, haste: Haste) -> Result<(), Refused> {
        self.join(haste, |_| Some(task))
    }

    /// Has one more step wait for the thread: what is given is the task that
    /// came last, which may take it in; else it gives a task of its own.
    pub(super) fn join(
        &self,
        haste: Haste,
        join: impl FnOnce(Option<&mut T>) -> Option<T>,
    ) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if waiting.ended {
            return Err(Refused::Ended);
        }
        if waiting.steps >= CAPACITY {
            return Err(Refused::Full);
        }
        let is_first = waiting.tasks.is_empty();
        let task = join(waiting.tasks.back_mut());
        waiting.tasks.extend(task);
        waiting.steps += 1;
        let is_waited = haste == Haste::Waited && !waiting.waited;
        waiting.waited |= is_waited;
        let rings = is_first || is_waited || waiting.steps == BATCH;
        drop(waiting);
        if rings {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Waits for tasks and puts them into `batch`, which was done before and
    /// is empty; its size said whether there was much to do.
    pub(super) fn next(&self, batch: &mut Vec<T>, done: usize, idle: Option<Duration>) -> Next {
        let begun = Instant::now();
        let (rested, lingered) = if done > 0 { (begun + REST, begun + LINGER) } else { (begun, begun) };
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let due = match waiting.steps {
                0 if waiting.closed => return Next::End,
                0 => idle.map(|idle| begun + idle),
                _ if waiting.closed => Some(now),
                // Who works alone should not wait for company.
                steps if steps >= BATCH || (waiting.waited && done < 2) => Some(now),
                _ if waiting.waited => Some(rested),
                _ => Some(lingered),
            };
            match due {
                Some(due) if due > now => {
                    let woken = self.bell.wait_timeout(waiting, due.duration_since(now));
                    waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) if waiting.tasks.is_empty() => return Next::Idle,
                Some(_) => {
                    let mut steps = 0;
                    while steps < BATCH
                        && let Some(task) = waiting.tasks.pop_front()
                    {
                        steps += task.steps();
                        batch.push(task);
                    }
                    waiting.steps = waiting.steps.saturating_sub(steps);
                    waiting.waited &= !waiting.tasks.is_empty();
                    return Next::Batch;
                }
                None => waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// No more tasks will come: those that wait are the last.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    /// Nobody takes tasks any more: those that wait are gone.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        let gone = std::mem::take(&mut waiting.tasks);
        waiting.steps = 0;
        drop(waiting);
        drop(gone);
    }

    /// Nothing that is done under the lock panics half-way.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Load for u32 {
        fn steps(&self) -> usize {
            1
        }
    }

    const SOON: Option<Duration> = Some(Duration::from_millis(1));

    fn next(queue: &Queue<u32>, done: usize) -> (Next, Vec<u32>, Duration) {
        let (begun, mut batch) = (Instant::now(), Vec::new());
        let next = queue.next(&mut batch, done, SOON);
        (next, batch, begun.elapsed())
    }

    #[test]
    fn what_is_waited_for_takes_along_what_came_before() {
        let queue = Queue::new();
        for task in 1..=3 {
            queue.push(task, if task == 3 { Haste::Waited } else { Haste::Later }).unwrap();
        }
        let (what, batch, _) = next(&queue, 0);
        assert_eq!((what, batch), (Next::Batch, vec![1, 2, 3]));
        assert_eq!(next(&queue, 3).0, Next::Idle);
    }

    #[test]
    fn what_nobody_waits_for_is_done_at_once_and_then_after_a_rest() {
        let queue = Queue::new();
        queue.push(1_u32, Haste::Later).unwrap();
        assert_eq!(next(&queue, 0).1, [1]);
        queue.push(2, Haste::Later).unwrap();
        queue.push(3, Haste::Later).unwrap();
        let (_, batch, waited) = next(&queue, 1);
        assert_eq!(batch, [2, 3]);
        assert!(waited >= REST, "{waited:?}");
    }

    #[test]
    fn who_works_alone_is_not_kept_waiting_and_who_has_company_is() {
        let queue = Queue::new();
        queue.push(1, Haste::Waited).unwrap();
        assert!(next(&queue, 2).2 >= REST);
        queue.push(2, Haste::Waited).unwrap();
        assert_eq!(next(&queue, 1).1, [2]);
    }

    #[test]
    fn it_is_bounded_and_batches_are() {
        let queue = Queue::new();
        for task in 0..u32::try_from(CAPACITY).unwrap() {
            queue.push(task, Haste::Later).unwrap();
        }
        assert_eq!(queue.push(0, Haste::Waited), Err(Refused::Full));
        let (_, batch, _) = next(&queue, 0);
        assert_eq!((batch.len(), batch.first()), (BATCH, Some(&0)));
        queue.push(0, Haste::Later).unwrap();
    }

    /// Steps that were joined.
    #[derive(Debug, PartialEq)]
    struct Joined(usize);

    impl Load for Joined {
        fn steps(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn what_was_joined_counts_as_the_steps_that_it_is() {
        let queue = Queue::new();
        let join = |last: Option<&mut Joined>| match last {
            Some(last) if last.0 < 200 => {
                last.0 += 1;
                None
            }
            _ => Some(Joined(1)),
        };
        for _ in 0..CAPACITY {
            queue.join(Haste::Later, join).unwrap();
        }
        assert_eq!(queue.join(Haste::Later, join), Err(Refused::Full));
        let mut batch = Vec::new();
        assert_eq!(queue.next(&mut batch, 0, SOON), Next::Batch);
        assert_eq!(batch, [Joined(200), Joined(200)]);
        queue.join(Haste::Later, join).unwrap();
    }

    #[test]
    fn what_waits_at_the_end_is_done_and_then_nothing() {
        let queue = Queue::new();
        queue.push(1_u32, Haste::Later).unwrap();
        queue.close();
        assert_eq!(next(&queue, 9).1, [1]);
        assert_eq!(next(&queue, 1).0, Next::End);
        queue.end();
        assert_eq!(queue.push(1, Haste::Waited), Err(Refused::Ended));
    }

    #[test]
    fn who_sleeps_is_woken() {
        let queue = std::sync::Arc::new(Queue::new());
        let sleeper = std::thread::spawn({
            let queue = std::sync::Arc::clone(&queue);
            move || {
                let mut batch = Vec::new();
                (queue.next(&mut batch, 0, None), batch)
            }
        });
        queue.push(1, Haste::Waited).unwrap();
        assert_eq!(sleeper.join().unwrap(), (Next::Batch, vec![1]));
    }
}
