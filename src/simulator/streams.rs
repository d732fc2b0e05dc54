//! How many answers are being written at this moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of open `/v3/chat` answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// One open answer; counted until it is dropped, which happens at its end
/// and when its client leaves.
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
