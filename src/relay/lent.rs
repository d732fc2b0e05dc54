//! A conversation in a turn's hands.
//!
//! Wraps a [`Thread`] so that none is ever lost: one that nobody ends is put
//! back when it is dropped.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
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
    /// what happened is remembered. Left half-way it ends all the same.
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

/// What happened, on its way to the store. Who stops waiting for that does
/// not stop it: dropped, it goes on in the background.
struct Storing {
    /// Taken when it is done.
    work: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    relay: Relay,
}

/// Stores what happened, in the background.
pub(super) fn remember_later(settlement: Settlement, leftovers: Option<Leftovers>, relay: &Relay) {
    drop(Storing::new(settlement, leftovers, relay.clone()));
}

/// Stores what happened; past a short wait, in the background, and so if it is
/// not waited for at all. Says whether it is remembered.
pub(super) fn remember(
    settlement: Settlement,
    leftovers: Option<Leftovers>,
    relay: Relay,
) -> impl Future<Output = bool> + Send {
    // What asks and is not remembered is an error: that is waited for.
    let wait = if settlement.asks() { LIMIT } else { WAIT };
    let storing = Storing::new(settlement, leftovers, relay);
    async move { tokio::time::timeout(wait, storing).await.unwrap_or(false) }
}

impl Storing {
    fn new(settlement: Settlement, leftovers: Option<Leftovers>, relay: Relay) -> Self {
        Self { work: Some(Box::pin(store(settlement, leftovers, relay.clone()))), relay }
    }
}

impl Future for Storing {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(work) = &mut self.work else { return Poll::Ready(false) };
        let stored = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(stored)
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.relay.spawn(async move {
                let _ = tokio::time::timeout(LIMIT, work).await;
            });
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

#[cfg(test)]
mod tests;
