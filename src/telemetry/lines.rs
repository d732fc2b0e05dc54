//! Log lines on their way out.
//!
//! In come lines from all threads, out they go in their order. Those of some
//! milliseconds go together: a write for each was 6 % of what a request cost.
//! Warnings and errors go at once, with all that waits ahead of them. Bounded:
//! who brings more than may wait writes it out, and waits for that.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// So long a line waits for others: as much is lost at most when the process
/// is killed.
const LINGER: Duration = Duration::from_millis(10);

/// So many bytes of lines wait at most.
const MOST: usize = 256 * 1024;

/// So much memory is kept for lines that come.
const KEPT: usize = 64 * 1024;

/// Where lines are written to. Clones are the same.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

/// One line that is being written.
#[derive(Debug)]
pub(super) struct Line<'a> {
    lines: &'a Lines,
    is_urgent: bool,
}

struct Shared {
    waiting: Mutex<Vec<u8>>,
    /// Rung when lines begin to wait.
    bell: Condvar,
    /// Locked ahead of what waits: so nobody's lines overtake another's.
    out: Mutex<Out>,
}

struct Out {
    sink: Box<dyn Write + Send>,
    /// What is written; empty between two writes.
    lines: Vec<u8>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines to this sink. Those that are not urgent wait for the thread that
    /// [`start`](Self::start) starts.
    pub(super) fn to(sink: impl Write + Send + 'static) -> Self {
        let out = Out { sink: Box::new(sink), lines: Vec::new() };
        let shared = Shared { waiting: Mutex::default(), bell: Condvar::new(), out: Mutex::new(out) };
        Self(Arc::new(shared))
    }

    /// Starts the thread that writes what waits. It lives as long as the
    /// process.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(&self) -> io::Result<()> {
        let lines = self.clone();
        let work = move || {
            loop {
                lines.wait();
                std::thread::sleep(LINGER);
                lines.flush();
            }
        };
        std::thread::Builder::new().name("cozeway-log".to_owned()).spawn(work).map(drop)
    }

    /// Waits until there are lines.
    fn wait(&self) {
        let waiting = self.0.bell.wait_while(lock(&self.0.waiting), |waiting| waiting.is_empty());
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes all that waits.
    pub(super) fn flush(&self) {
        let mut out = lock(&self.0.out);
        let Out { sink, lines } = &mut *out;
        std::mem::swap(&mut *lock(&self.0.waiting), lines);
        if !lines.is_empty() {
            // Of a log that cannot be written nobody can be told.
            let _ = sink.write_all(lines).and_then(|()| sink.flush());
        }
        lines.clear();
        lines.shrink_to(KEPT);
    }

    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = lock(&self.0.waiting);
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(line);
        let is_full = waiting.len() >= MOST;
        drop(waiting);
        if is_urgent || is_full {
            self.flush();
        } else if is_first {
            self.0.bell.notify_one();
        }
    }
}

/// Nothing that is done under these locks is half done after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    /// Takes a whole line, or several.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells of each write.
    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines, Receiver<String>) {
        let (told, writes) = channel();
        (Lines::to(Told(told)), writes)
    }

    #[test]
    fn what_is_urgent_goes_at_once_behind_what_waits() {
        let (lines, writes) = lines();
        lines.push(b"one\n", false);
        lines.push(b"two\n", false);
        assert!(writes.try_recv().is_err());
        lines.push(b"three\n", true);
        assert_eq!(writes.try_recv().unwrap(), "one\ntwo\nthree\n");
        lines.flush();
        assert!(writes.try_recv().is_err(), "nothing is written twice");
    }

    #[test]
    fn what_is_not_goes_soon() {
        let (lines, writes) = lines();
        lines.start().unwrap();
        for text in ["one\n", "two\n"] {
            lines.push(text.as_bytes(), false);
            assert_eq!(writes.recv_timeout(Duration::from_secs(10)).unwrap(), text);
        }
    }

    #[test]
    fn who_brings_too_much_writes_it() {
        let (lines, writes) = lines();
        let line = [b'x'; 1024];
        for _ in 0..MOST / line.len() {
            assert!(writes.try_recv().is_err());
            lines.push(&line, false);
        }
        assert_eq!(writes.try_recv().unwrap().len(), MOST);
        assert!(lock(&lines.0.waiting).is_empty());
        assert!(lock(&lines.0.out).lines.capacity() <= KEPT);
    }

    #[test]
    fn lines_of_many_threads_stay_whole_and_in_order() {
        let (lines, writes) = lines();
        lines.start().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let lines = &lines;
                scope.spawn(move || {
                    for number in 0..500 {
                        lines.push(format!("{thread} {number}\n").as_bytes(), number % 50 == 49);
                    }
                });
            }
        });
        lines.flush();
        let all: String = writes.try_iter().collect();
        for thread in 0..4 {
            let own: Vec<&str> =
                all.lines().filter_map(|line| line.strip_prefix(&format!("{thread} "))).collect();
            let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
            assert_eq!(own, expected);
        }
    }
}
