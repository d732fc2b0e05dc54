//! A clock for the first bytes of a connection.
//!
//! Until 24 bytes have come it is not known whether a client speaks HTTP/2,
//! so neither protocol's own clock runs yet: without this one a client that
//! sends nothing, or stops inside HTTP/2's preface, would hold its connection
//! for ever.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How many bytes tell the protocol: the length of HTTP/2's preface.
const TELLING_BYTES: usize = 24;

/// A stream whose first bytes have to come in time; reading fails otherwise.
#[derive(Debug)]
pub(super) struct Greeted<S> {
    inner: S,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    missing: usize,
    clock: Pin<Box<Sleep>>,
}

impl<S> Greeted<S> {
    /// Starts the clock.
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        let clock = Box::pin(tokio::time::sleep(limit));
        Self { inner, waiting: Some(Waiting { missing: TELLING_BYTES, clock }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let Some(waiting) = &mut this.waiting else {
            return polled;
        };
        if polled.is_pending() && waiting.clock.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        waiting.missing = waiting.missing.saturating_sub(buffer.filled().len() - before);
        if waiting.missing == 0 {
            this.waiting = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// How long a client that sends this much, and then no more, is waited for.
    async fn patience(sent: &[u8]) -> Option<u64> {
        let (mut client, server) = duplex(64);
        let mut server = Greeted::new(server, LIMIT);
        client.write_all(sent).await.unwrap();
        let start = Instant::now();
        let mut read = Vec::new();
        let reading = tokio::time::timeout(LIMIT * 10, server.read_to_end(&mut read));
        let ended = reading.await.ok()?;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read, sent);
        Some(start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_too_little_is_not_waited_for() {
        for sent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
            assert_eq!(patience(sent).await, Some(30), "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_protocol_is_known_the_clock_stops() {
        assert_eq!(patience(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, None);
        assert_eq!(patience(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await, None);
    }
}
