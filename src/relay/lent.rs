//! A conversation in a turn's hands.
//!
//! Wraps a [`Thread`] so that none is ever lost: one that nobody ends is put
//! back when it is dropped.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::Relay;
use super::cleanup::Leftovers;
use crate::conversation::{Ending, Settlement, Thread};
use crate::store::Settled;

/// How long the end of an answer waits for the store.
const WAIT: Duration = Duration::from_millis(250);

/// How long the store has in all.
const LIMIT: Duration = Duration::from_secs(5);

/// A thread that is put back unless it is ended.
#[derive(Debug)]
pub struct Lent {
    thread: Option<Box<Thread>>,
    relay: Relay,
}

impl Lent {
    pub(super) fn new(thread: Box<Thread>, relay: Relay) -> Self {
        Self { thread: Some(thread), relay }
    }

    /// Ends the turn, and waits for the store, but not for long. Says whether
    /// what happened is remembered.
    pub async fn end(mut self, ending: Ending<'_>) -> bool {
        match self.thread.take() {
            Some(thread) => remember(thread.end(ending), None, self.relay.clone()).await,
            None => true,
        }
    }

    /// Ends the turn; gives what to store.
    pub(super) fn settlement(mut self, ending: Ending<'_>) -> Option<Settlement> {
        self.thread.take().map(|thread| thread.end(ending))
    }
}

/// Stores what happened, in the background.
pub(super) fn remember_later(settlement: Settlement, leftovers: Option<Leftovers>, relay: &Relay) {
    let storing = store(settlement, leftovers, relay.clone());
    relay.spawn(async move {
        let _ = tokio::time::timeout(LIMIT, storing).await;
    });
}

/// Stores what happened; past a short wait, in the background. Says whether
/// it is remembered.
pub(super) async fn remember(settlement: Settlement, leftovers: Option<Leftovers>, relay: Relay) -> bool {
    // What asks and is not remembered is an error: that is waited for.
    let wait = if settlement.asks() { LIMIT } else { WAIT };
    let mut storing = Box::pin(store(settlement, leftovers, relay.clone()));
    match tokio::time::timeout(wait, &mut storing).await {
        Ok(stored) => stored,
        Err(_) => {
            relay.spawn(async move {
                let _ = tokio::time::timeout(LIMIT, storing).await;
            });
            false
        }
    }
}

/// Stores what happened. Only then nothing refers to what is left over.
async fn store(settlement: Settlement, leftovers: Option<Leftovers>, relay: Relay) -> bool {
    match settlement.store().await {
        Ok(Settled::Done) => {
            if let Some(leftovers) = leftovers {
                relay.delete(leftovers);
            }
            true
        }
        Ok(Settled::Lost) => {
            tracing::debug!("another turn has taken the conversation meanwhile");
            false
        }
        Err(away) => {
            tracing::debug!(%away, "the end of a turn could not be stored");
            false
        }
    }
}

impl Deref for Lent {
    type Target = Thread;

    fn deref(&self) -> &Thread {
        self.thread.as_ref().expect("it is only taken by what takes the whole")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Thread {
        self.thread.as_mut().expect("it is only taken by what takes the whole")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            remember_later(thread.end(Ending::Refused), None, &self.relay);
        }
    }
}
