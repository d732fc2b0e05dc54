//! Where conversations are remembered: what a restart, and another replica,
//! have to find again.
//!
//! In come [`Entry`]s, out comes at most one holder of each at a time. The
//! store knows nothing of transcripts or of Coze: it finds entries by keys,
//! lends each to one turn under a [`Lease`], and forgets what nobody has used
//! for long. What an entry means is `conversation`'s to know. Beside them it
//! caches small values for a time.
//!
//! [`open`] gives the store of a [`Place`]: in memory, in a file by SQLite, or
//! on a Redis server that replicas share. One suite of tests, `tests/store`,
//! holds for all of them.
//!
//! ```text
//!              claim                            settle(Keep)
//!   free ────────────────▶ lent (lease, fence) ──────────────▶ free
//!    ▲                       │       │  │ settle(Drop)
//!    └── purge ──▶ gone ◀────┼───────┼──┘
//!                            │ lease runs out,
//!                            │ settle(Abandon)
//!                            ▼
//!                        abandoned ── claim ──▶ lent, told that it was
//! ```

pub mod kept;
pub mod memory;
mod open;
mod place;
pub mod redis;
pub mod shared;
pub mod sqlite;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

pub use open::{OpenError, open};
pub use place::{BadPlace, Place};

/// What a store promises for later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The store cannot be asked now. Its message is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state store is away: {0}")]
pub struct Unavailable(pub String);

/// What something is found by: a keyed hash of it.
pub type Key = [u8; 16];

/// The id of an entry, never used for another one. See [`Id::random`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

/// One remembered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its own id.
    pub id: Id,
    /// Whose it is: an id finds it only together with this.
    pub space: Key,
    /// The transcript so far, where it may be found by that. It takes the
    /// [`root`](Self::root) too: without one it is not found by its head.
    pub head: Option<Key>,
    /// The name that its client gave it. One entry at most has a name: the
    /// last that is remembered with it takes it from another.
    pub name: Option<Key>,
    /// How its transcript begins. Nothing is found by it alone; it tells that
    /// a chat with this beginning is known.
    pub root: Option<Key>,
    /// What is remembered, opaque to the store. A few hundred bytes.
    pub value: Vec<u8>,
}

/// An entry as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// When it was last settled, or else when it began. A claim alone is no
    /// use.
    pub used: SystemTime,
    /// Whether a turn holds it now.
    pub lent: bool,
}

/// How an entry is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the transcript so far, and by how that begins.
    Head {
        /// The transcript so far.
        head: Key,
        /// How it begins.
        root: Key,
    },
    /// By its client's name for it. One that is not there is made.
    Name {
        /// The name; it says whose it is.
        name: Key,
        /// For an entry that is made: whose it is.
        space: Key,
        /// For an entry that is made.
        id: Id,
    },
    /// By its id.
    Id {
        /// The id.
        id: Id,
        /// Whose it has to be.
        space: Key,
    },
}

/// The right to one entry, for a while.
///
/// Each claim has a higher fence than the one before: who settles with an
/// old one has lost its lease to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The entry.
    pub id: Id,
    /// Rises with each claim of this entry, from 1.
    pub fence: u64,
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The entry is lent, as it was last settled. From now on it has no head:
    /// it is found by one again when it is settled with one, and if it is
    /// abandoned, never.
    Lent {
        /// To be renewed, and given back with [`Store::settle`].
        lease: Lease,
        /// What was remembered. Of one that was made, or whose first turn
        /// never settled, the value is empty.
        entry: Entry,
        /// Who held it before never settled: what has happened to the
        /// conversation since is not known.
        abandoned: bool,
    },
    /// There is none.
    Absent {
        /// Whether a live entry begins as this transcript does
        /// (only of [`By::Head`]).
        begun: bool,
    },
    /// Two or more have this head, and nobody can say which is meant. None of
    /// them is lent, and all stay.
    Ambiguous,
    /// Another turn holds it, and its lease runs for this long.
    Busy(Duration),
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The entry is remembered so, and is free. Its id is the lease's.
    Keep(Entry),
    /// The entry is forgotten.
    Drop,
    /// The entry is free, and abandoned as if the lease had run out: whoever
    /// claims it next is told so, and it has no head. No use of it. What was
    /// settled stays so.
    Abandon,
}

/// What came of settling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As it was asked.
    Done,
    /// The lease had gone to somebody else, or the entry was forgotten by an
    /// operator: nothing was changed.
    Lost,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All entries, with those that [`Store::purge`] has yet to remove.
    pub entries: u64,
    /// Those with a name.
    pub named: u64,
}

/// Remembers conversations. Every step is atomic, also against other
/// processes that use the same store.
///
/// A dropped future leaves the step either done or not done. An entry that is
/// neither lent nor used for the store's time to live counts as absent, even
/// before [`purge`](Self::purge) has removed it; only whoever claimed it last
/// may still renew or settle until then.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The key of all keyed hashes: random, made at the store's first use and
    /// the same ever after, unless the store has lost all that it knew.
    fn secret(&self) -> Pending<'_, [u8; 32]>;

    /// The same, where it is known without waiting.
    fn known_secret(&self) -> Option<[u8; 32]> {
        None
    }

    /// Looks for an entry and lends it for `lease`. An entry whose lease has
    /// run out is free again, as an abandoned one.
    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed>;

    /// Whether it is known without waiting that no entry has this root. A
    /// claim by it would find nothing, but of what other processes write it
    /// may know a little less than a claim would.
    fn lacks(&self, _root: &Key) -> bool {
        false
    }

    /// Lengthens leases to `lease` from now, never shortens them; gives those
    /// that are lost, or were settled.
    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>>;

    /// Ends a lease. One that has run out still settles, unless the entry was
    /// claimed again or purged since. Who does not know whether settling was
    /// done may settle again in the same way; what was dropped or abandoned is
    /// lost by then.
    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled>;

    /// Remembers a new entry, free from the beginning. If its id is known, it
    /// was done before, and nothing is changed. Where no other process could
    /// look for it, it may be written a moment later; what is asked later
    /// finds it all the same.
    fn insert(&self, entry: Entry) -> Pending<'_, ()>;

    /// The same at once, where that takes no waiting; gives the entry back
    /// where it does, and nothing is done.
    fn insert_now(&self, entry: Entry) -> Option<Entry> {
        Some(entry)
    }

    /// The same, and a process that is killed once this is done has not lost
    /// it, as far as the store lasts at all.
    fn insert_for_good(&self, entry: Entry) -> Pending<'_, ()> {
        self.insert(entry)
    }

    /// Removes at most `limit` entries that have not been used for the time
    /// to live, and gives them.
    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>>;

    /// At most `limit` entries with ids above `after`, in the order of their
    /// ids.
    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>>;

    /// Forgets an entry, lent or not; gives it if there was one.
    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>>;

    /// How much there is. May be some seconds old.
    fn counts(&self) -> Pending<'_, Counts>;

    /// What was kept under a key, if its time is not over. Nothing that is
    /// cached has to be found: who does not find it makes it anew.
    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>>;

    /// Keeps a small value under a key for a time, in the place of what is
    /// there.
    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()>;

    /// How many entries could not be written after it was said that they are
    /// remembered, since the process began.
    fn lost(&self) -> u64 {
        0
    }

    /// The counters that all gateways with this store use, if it is a store
    /// for several.
    fn shared(&self) -> Option<&dyn shared::Shared> {
        None
    }
}

impl Id {
    /// A new one: 128 random bits, as hard to guess as a key. Stores count on
    /// ids and keys being spread evenly. From a generator that the system
    /// seeds now and then: asking the system for each costs half a
    /// microsecond.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its 32 digits of lower-case hex.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        digits
    }
}

impl fmt::Display for Id {
    /// In lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl std::str::FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let mut id = [0; 16];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoId);
        }
        for (byte, pair) in id.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoId)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoId)?;
        }
        Ok(Self(id))
    }
}

/// A text is not an [`Id`]: 32 digits of lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an entry")]
pub struct NoId;
