//! What gateways that use one store hold together beside conversations: the
//! use of limits.
//!
//! In come counters and what is taken of them, out comes how they stand. The
//! arithmetic is that of `access::gcra`; what a limit means is `access`'s to
//! know.

use std::fmt;
use std::time::Duration;

use super::{Id, Pending};

/// One set of counters, and the limits that they are under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Whose it is.
    pub name: String,
    /// So many requests a minute, if that is limited.
    pub requests: Option<u64>,
    /// So many tokens a minute, if that is limited.
    pub tokens: Option<u64>,
    /// So many slots at one time, if that is limited.
    pub slots: Option<u64>,
}

/// What is wanted of counters: of all of them, or of none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Which.
    pub counters: Vec<Counter>,
    /// So many requests: 0 only asks how they stand.
    pub requests: u64,
    /// So many slots.
    pub slots: u64,
    /// Who holds the slots.
    pub holder: Id,
    /// For how long, unless they are renewed.
    pub lease: Duration,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The index of the counter.
    pub counter: usize,
    /// Which of its limits.
    pub which: Which,
    /// How long to wait; nobody knows it for slots.
    pub wait: Duration,
}

/// One of the limits of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Slots.
    Slots,
}

/// How a counter stands: how long it takes until nothing is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of its requests.
    pub requests: Duration,
    /// Of its tokens.
    pub tokens: Duration,
}

/// What came of taking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The limit that is in the way, of several the one that takes longest.
    /// Nothing was taken then.
    pub reached: Option<Reached>,
    /// How each counter stands now.
    pub taken: Vec<Taken>,
}

/// What has happened since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Slots are free again.
    Release {
        /// Who held them.
        holder: Id,
        /// Of which counters, by their names.
        counters: Vec<String>,
    },
    /// The slots are held for so long from now.
    Renew {
        /// Who holds them.
        holder: Id,
        /// Of which counters, by their names.
        counters: Vec<String>,
        /// For how long.
        lease: Duration,
    },
    /// Tokens were spent.
    Spend {
        /// Of which counters.
        counters: Vec<Counter>,
        /// How many.
        tokens: u64,
    },
}

/// Counters that several gateways use.
pub trait Shared: fmt::Debug + Send + Sync {
    /// Takes what is wanted, if all of it is there.
    fn take(&self, take: Take) -> Pending<'_, Answer>;

    /// Notes what has happened. What cannot be noted is lost: slots are free
    /// when their time is over.
    fn note(&self, changes: Vec<Change>) -> Pending<'_, ()>;
}
