//! The connections to one deployment that wait for a call.
//!
//! In come connections whose last answer was read to its end, out goes the
//! one that was used last. One that was idle for too long, that the server
//! has closed, or on which something came that nobody asked for, is never
//! given out. One task for all watches them while there are any, and closes
//! what has no more use; it ends with the pool, and the sockets do too.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;

use super::line::Standing;
use super::socket::Socket;

/// How long an idle connection is kept: below the 60 s after which the
/// server closes it (protocol 8).
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// How many are kept. (Few in tests, as the machine may not let them have
/// more files.)
const MAX_IDLE: usize = if cfg!(test) { 8 } else { 1024 };

/// A connection to Coze.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Counts it among those that stand.
    _standing: Standing,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    /// The one that was used last is the last one.
    kept: VecDeque<Kept>,
    /// Watches what is kept; `None` while that is nothing.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    until: Instant,
}

#[derive(Debug)]
struct Watch {
    /// Wakes the task; `None` before it has run.
    waker: Option<Waker>,
    _task: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) fn new(socket: Socket, standing: Standing) -> Self {
        Self { socket, _standing: standing }
    }

    /// Whether it stands and has nothing to say; if so, the waker is told
    /// when that changes.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are kept.
    pub(super) fn count(&self) -> usize {
        self.idle().kept.len()
    }

    /// Gives a connection that stands, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let mut kept = self.idle().kept.pop_back()?;
            if now < kept.until && kept.connection.is_quiet(&mut cx) {
                return Some(kept.connection);
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Connection) {
        let mut idle = self.idle();
        match &idle.watch {
            Some(Watch { waker: Some(waker), .. }) => {
                if !connection.is_quiet(&mut Context::from_waker(waker)) {
                    return;
                }
            }
            // Its first look is still to come, and finds this one.
            Some(Watch { waker: None, .. }) => {}
            None => match self.watch() {
                Some(task) => idle.watch = Some(Watch { waker: None, _task: task }),
                None => return,
            },
        }
        if idle.kept.len() >= MAX_IDLE {
            idle.kept.pop_front();
        }
        idle.kept.push_back(Kept { connection, until: Instant::now() + POOL_IDLE });
    }

    /// Starts the task; not where the runtime is gone.
    fn watch(self: &Arc<Self>) -> Option<AbortOnDropHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let pool = Arc::downgrade(self);
        let watcher = Watcher { pool, timer: Box::pin(tokio::time::sleep(POOL_IDLE)) };
        Some(AbortOnDropHandle::new(runtime.spawn(watcher)))
    }

    /// Closes what has no more use. Gives the time when the next one will have
    /// none; `None` if nothing is left to watch.
    fn sweep(&self, cx: &mut Context<'_>) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle();
        idle.kept.retain_mut(|kept| now < kept.until && kept.connection.is_quiet(cx));
        let next = idle.kept.front().map(|kept| kept.until);
        match (next, &mut idle.watch) {
            (None, _) => idle.watch = None,
            (Some(_), Some(watch)) => watch.waker = Some(cx.waker().clone()),
            (Some(_), None) => {}
        }
        next
    }
}

/// The task that watches a pool.
struct Watcher {
    pool: Weak<Pool>,
    timer: Pin<Box<Sleep>>,
}

impl Future for Watcher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = self.pool.upgrade().and_then(|pool| pool.sweep(cx));
            let Some(next) = next else { return Poll::Ready(()) };
            self.timer.as_mut().reset(next);
            ready!(self.timer.as_mut().poll(cx));
        }
    }
}

#[cfg(test)]
mod tests;
