//! Which question of a workflow's a transcript answers.
//!
//! A workflow has no conversation, only questions that wait for a day. The
//! head of one is hashed with the day on which it was asked: so one that waits
//! no more is not found any more, and does not stand in the way of one that
//! was asked later in the same words. What is left of it is its root, the head
//! without a day, by which its late answer is known as none. A transcript
//! whose last words were no question begins a run.

use super::fingerprint::Fingerprints;
use super::record::Record;
use super::{Begun, Conversations, Hold, LEASE, Reading, Wanted};
use crate::store::kept::give_back_later;
use crate::store::{By, Claimed, Entry, Id, Outcome, Unavailable};

/// A day, in seconds: as long as a question waits.
const DAY: u64 = 24 * 3600;

/// The day of a time in seconds since 1970.
pub(super) fn day(seconds: u64) -> u64 {
    seconds / DAY
}

/// A question that was lent. Dropped it is put back.
struct Found(Option<Lent>);

struct Lent {
    hold: Hold,
    entry: Entry,
    abandoned: bool,
}

impl Conversations {
    /// Begins a turn of a transcript that has no name.
    pub(super) async fn begin_run(
        &self,
        prints: &Fingerprints,
        id: Id,
        wanted: &Wanted<'_>,
        reading: Reading,
    ) -> Result<Begun, Unavailable> {
        let before = reading.sent.before;
        let today = day(wanted.now);
        let mut found: Option<Found> = None;
        let mut known = false;
        // One of yesterday may still wait. (Two of both days that two answers
        // come to in the same instant are not told apart: they have the same
        // words from the first to the last.)
        for day in [today, today.saturating_sub(1)] {
            let by = By::Head { head: prints.on_day(before, day), root: before };
            match self.shared.store.claim(by, LEASE).await? {
                Claimed::Lent { lease, entry, abandoned } => {
                    let this = Found(Some(Lent { hold: self.hold(lease), entry, abandoned }));
                    known = true;
                    if this.waits_no_more(wanted.now) {
                        this.put_back().await?;
                    } else if let Some(other) = found.take() {
                        this.put_back().await?;
                        other.put_back().await?;
                        return Ok(Begun::Lost);
                    } else {
                        found = Some(this);
                    }
                }
                Claimed::Ambiguous => {
                    if let Some(other) = found.take() {
                        other.put_back().await?;
                    }
                    return Ok(Begun::Lost);
                }
                Claimed::Absent { begun } => known |= begun,
                Claimed::Busy(wait) => return Ok(Begun::Busy(wait)),
            }
        }
        Ok(match found.and_then(|mut found| found.0.take()) {
            Some(Lent { hold, entry, abandoned }) => self.lent(hold, &entry, abandoned, wanted, reading),
            None if known => Begun::Lost,
            None => self.unknown(id, reading, None),
        })
    }
}

impl Found {
    fn waits_no_more(&self, now: u64) -> bool {
        let entry = self.0.as_ref().map(|lent| &lent.entry);
        entry.and_then(|entry| Record::from_bytes(&entry.value)).is_some_and(|record| record.is_overdue(now))
    }

    /// Puts it back at once. Left half-way it is put back all the same.
    async fn put_back(mut self) -> Result<(), Unavailable> {
        let Some(Lent { hold, entry, abandoned }) = &self.0 else { return Ok(()) };
        let outcome = if *abandoned { Outcome::Abandon } else { Outcome::Keep(entry.clone()) };
        let store = std::sync::Arc::clone(hold.memory.store());
        store.settle(hold.lease, outcome).await?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(Lent { hold, entry, abandoned }) = self.0.take() {
            give_back_later(hold.memory.store(), hold.lease, entry, abandoned);
        }
    }
}
