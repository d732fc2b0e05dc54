//! Connections too many: each is told, at a cost that is bounded for all.
//!
//! Those without TLS wait in a queue for their first byte, are told in one
//! write, and are read for a moment longer, since a socket that is closed
//! with unread bytes takes its last words back. When the queue is full the
//! oldest has to go, told all the same. TLS and HTTP/2 need a task each.

mod plain;
pub(super) mod spoken;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::openai::ApiError;
use plain::{Next, Plain};

/// How many there are of those with a task at a time.
const MAX_SPOKEN: usize = 64;

/// How long a refusal may take, handshake and all.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much is read of a connection at once, and thrown away.
const SCRATCH_BYTES: usize = 4096;

/// What every one of them is told.
fn error() -> ApiError {
    ApiError::overloaded("The gateway has as many connections as it takes; try again in a moment.")
}

/// The connections that are being refused.
#[derive(Debug)]
pub(super) struct Refusals {
    shared: Arc<Shared>,
    /// In the order of their deadlines.
    plain: VecDeque<Plain>,
    spoken: TaskTracker,
    /// How many there may be of both.
    most: usize,
    timer: Pin<Box<Sleep>>,
}

impl Refusals {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let timer = Box::pin(tokio::time::sleep(PATIENCE));
        Self { shared, plain: VecDeque::new(), spoken: TaskTracker::new(), most: 0, timer }
    }

    /// Refuses a connection, one of at most `most` at a time;
    /// [`Self::run`] has to go on for that.
    pub(super) fn take(&mut self, stream: TcpStream, peer: IpAddr, tls: Option<TlsAcceptor>, most: usize) {
        self.most = most;
        tracing::debug!(client.address = %peer.to_canonical(), "a connection too many is refused");
        if tls.is_some() {
            return self.speak(stream, tls);
        }
        while self.len() >= self.most
            && let Some(oldest) = self.plain.pop_front()
        {
            oldest.end();
        }
        let plain = Plain::new(stream, Instant::now() + PATIENCE);
        if self.len() < self.most {
            self.plain.push_back(plain);
        } else {
            plain.end();
        }
    }

    /// Lets the refusals go on for as long as it is polled.
    pub(super) async fn run(&mut self) -> Infallible {
        poll_fn(|cx| {
            self.poll(cx);
            Poll::Pending
        })
        .await
    }

    /// Comes to the end with all that wait; gives those that a task still
    /// talks to.
    pub(super) fn finish(&mut self) -> TaskTracker {
        self.plain.drain(..).for_each(Plain::end);
        self.spoken.close();
        self.spoken.clone()
    }

    fn len(&self) -> usize {
        self.plain.len() + self.spoken.len()
    }

    /// A handshake costs too much for it to be done for a whole flood: past
    /// the bound such a connection is closed without a word.
    fn speak(&mut self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if self.spoken.len() < MAX_SPOKEN && self.len() < self.most {
            self.spoken.spawn(spoken::refuse(Arc::clone(&self.shared), stream, tls));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.plain.is_empty() {
            return;
        }
        let mut scratch = [0; SCRATCH_BYTES];
        let mut at = 0;
        while let Some(plain) = self.plain.get_mut(at) {
            let Poll::Ready(next) = plain.poll(cx, &mut scratch) else {
                at += 1;
                continue;
            };
            match (self.plain.remove(at), next) {
                (Some(plain), Next::Http2) => self.speak(plain.into_stream(), None),
                (Some(plain), Next::Over) => plain.end(),
                (None, _) => {}
            }
        }
        while let Some(oldest) = self.plain.front() {
            if oldest.deadline() <= Instant::now() {
                self.plain.pop_front().into_iter().for_each(Plain::end);
                continue;
            }
            if self.timer.deadline() != oldest.deadline() {
                self.timer.as_mut().reset(oldest.deadline());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }
}
