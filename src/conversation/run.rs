//! Which question of a workflow's a transcript answers.
//!
//! A workflow has no conversation, only questions that wait for a day. The
//! head of one is hashed with the day on which it was asked: so one that waits
//! no more is not found any more, and does not stand in the way of one that
//! was asked later in the same words. What is left of it is its root, by which
//! its late answer is known as none.

use super::fingerprint::Fingerprints;
use super::record::Record;
use super::{Begun, Conversations, Hold, LEASE, Reading, Wanted};
use crate::store::{By, Claimed, Entry, Id, Outcome, Unavailable};

/// A day, in seconds: as long as a question waits.
const DAY: u64 = 24 * 3600;

/// The day of a time in seconds since 1970.
pub(super) fn day(seconds: u64) -> u64 {
    seconds / DAY
}

/// A question that was lent.
struct Found {
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
        let (before, root) = (reading.sent.before, reading.root);
        let today = day(wanted.now);
        let mut found: Option<Found> = None;
        let mut known = false;
        // One of yesterday may still wait. (Two of both days that two answers
        // come to in the same instant are not told apart: they have the same
        // words from the first to the last.)
        for day in [today, today.saturating_sub(1)] {
            let by = By::Head { head: prints.on_day(before, day), root };
            match self.shared.store.claim(by, LEASE).await? {
                Claimed::Lent { lease, entry, abandoned } => {
                    let this = Found { hold: self.hold(lease), entry, abandoned };
                    known = true;
                    if this.waits_no_more(wanted.now) {
                        self.put_back(this).await?;
                    } else if let Some(other) = found.take() {
                        self.put_back(this).await?;
                        self.put_back(other).await?;
                        return Ok(Begun::Lost);
                    } else {
                        found = Some(this);
                    }
                }
                Claimed::Ambiguous => {
                    if let Some(other) = found.take() {
                        self.put_back(other).await?;
                    }
                    return Ok(Begun::Lost);
                }
                Claimed::Absent { begun } => known |= begun,
                Claimed::Busy(wait) => return Ok(Begun::Busy(wait)),
            }
        }
        if let Some(Found { hold, entry, abandoned }) = found {
            return Ok(self.lent(hold, &entry, abandoned, wanted, reading));
        }
        // A run that has ended after a question: what comes next begins anew.
        match self.shared.store.claim(By::Head { head: before, root }, LEASE).await? {
            Claimed::Lent { lease, entry, abandoned } => {
                Ok(self.lent(self.hold(lease), &entry, abandoned, wanted, reading))
            }
            Claimed::Ambiguous => Ok(self.unknown(id, wanted, reading, None)),
            Claimed::Absent { begun } if begun || known => Ok(Begun::Lost),
            Claimed::Absent { .. } => Ok(self.unknown(id, wanted, reading, None)),
            Claimed::Busy(wait) => Ok(Begun::Busy(wait)),
        }
    }

    async fn put_back(&self, found: Found) -> Result<(), Unavailable> {
        let Found { hold, entry, abandoned } = found;
        let outcome = if abandoned { Outcome::Abandon } else { Outcome::Keep(entry) };
        self.shared.store.settle(hold.lease, outcome).await.map(|_| ())
    }
}

impl Found {
    fn waits_no_more(&self, now: u64) -> bool {
        Record::from_bytes(&self.entry.value).is_some_and(|record| record.is_overdue(now))
    }
}
