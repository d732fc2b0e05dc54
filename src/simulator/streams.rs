//! How many answers are being written, and how many runs go on, at this
//! moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count of what is going on.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// One of what is counted, until it is dropped: an answer is at its end and
/// when its client leaves, a run only at its end.
#[derive(Debug)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Streams {
    /// Counts one more.
    pub(super) fn open(&self) -> Open {
        self.0.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
