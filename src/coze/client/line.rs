//! The way to one deployment: whether it is open, and what went over it.
//!
//! In come calls and what became of them, out go passes, figures, and a log
//! line on each change. Never makes a call itself.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::coze::circuit::{Circuit, Phase, Ticket};
use crate::turn::{Failure, Kind};

/// The figures of a deployment at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What becomes of calls.
    pub phase: Phase,
    /// Whether the last connection that was tried came about.
    pub up: bool,
    /// Calls that were made.
    pub calls: u64,
    /// Calls that were not made, since they would have failed.
    pub refused: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Calls that got no connection.
    pub unconnected: u64,
    /// Event streams that are being read.
    pub open_streams: u64,
    /// Connections that stand, in use or idle.
    pub open_connections: u64,
    /// Connections that wait for a call.
    pub idle_connections: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    name: String,
    circuit: Mutex<Circuit>,
    calls: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
    unconnected: AtomicU64,
    open_streams: AtomicU64,
    open_connections: AtomicUsize,
}

/// Leave to make one call. Dropped without a word, it says that nothing was
/// learned.
#[derive(Debug)]
pub(super) struct Pass {
    line: Arc<Line>,
    ticket: Option<Ticket>,
}

/// An event stream that is being read.
#[derive(Debug)]
pub(super) struct Reading(Arc<Line>);

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Standing(Arc<Line>);

impl Line {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// Lets a call pass.
    ///
    /// # Errors
    /// If the deployment could not be reached of late.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Pass, Failure> {
        match self.change(|circuit| circuit.admit(Instant::now())) {
            Ok(ticket) => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                Ok(Pass { line: Arc::clone(self), ticket: Some(ticket) })
            }
            Err(wait) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(refusal(wait))
            }
        }
    }

    /// Counts a stream for as long as it is held.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        Reading(Arc::clone(self))
    }

    /// A connection stands, long before an answer comes perhaps. Counts it
    /// for as long as it is held.
    pub(super) fn connected(self: &Arc<Self>) -> Standing {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open_connections.fetch_add(1, Ordering::Relaxed);
        self.change(Circuit::connected);
        Standing(Arc::clone(self))
    }

    /// How many connections stand.
    pub(super) fn standing(&self) -> usize {
        self.open_connections.load(Ordering::Relaxed)
    }

    /// The figures, beside so many idle connections.
    pub(super) fn figures(&self, idle_connections: u64) -> Figures {
        let (phase, up) = {
            let circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
            (circuit.phase(), circuit.is_up())
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            phase,
            up,
            calls: read(&self.calls),
            refused: read(&self.refused),
            connections: read(&self.connections),
            unconnected: read(&self.unconnected),
            open_streams: read(&self.open_streams),
            open_connections: u64::try_from(self.standing()).unwrap_or(u64::MAX),
            idle_connections,
        }
    }

    /// Changes the circuit, and tells the log if that is another now.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let (before, result, after) = {
            let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
            let before = circuit.phase();
            let result = change(&mut circuit);
            (before, result, circuit.phase())
        };
        if before != after {
            self.tell(after);
        }
        result
    }

    fn tell(&self, phase: Phase) {
        let name = self.name.as_str();
        match phase {
            Phase::Open => tracing::warn!(
                coze.deployment = name,
                "Coze cannot be reached: requests for {name} fail at once for a while"
            ),
            Phase::Probing => {
                tracing::info!(
                    coze.deployment = name,
                    "one request tries whether {name} can be reached again"
                );
            }
            Phase::Closed => tracing::info!(coze.deployment = name, "{name} can be reached again"),
        }
    }
}

/// What a call that is not made fails with.
fn refusal(wait: Duration) -> Failure {
    // None too early.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Failure::new(
        Kind::Unreachable(Some(wait)),
        format!("Coze cannot be reached; it is tried again in {seconds} s."),
    )
    .with_detail("not tried: the last connections failed")
}

impl Pass {
    /// The call was answered.
    pub(super) fn reached(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.line.change(|circuit| circuit.reached(ticket));
        }
    }

    /// The call got no connection.
    pub(super) fn missed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.line.unconnected.fetch_add(1, Ordering::Relaxed);
            self.line.change(|circuit| circuit.missed(ticket, Instant::now()));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.line.change(|circuit| circuit.abandoned(ticket, Instant::now()));
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
