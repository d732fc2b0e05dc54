//! The socket of a connection, plain or with TLS, as hyper sees it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::Activity;
use super::unreadable::Unreadable;

/// A socket, once any handshake is done: plain, or with TLS.
pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How long a client that was refused is read on, so that its connection does
/// not break before it has seen why.
const LINGER: Duration = Duration::from_secs(1);

/// A socket that tells of what it reads, gives up on a client that takes
/// nothing of what is written, and puts our words in the place of hyper's.
///
/// hyper answers by itself only what it cannot read as a request, and that
/// is between requests: once every request has ended and all bytes of their
/// answers have gone (hyper flushes when it has nothing left to write), a
/// write before the next request begins is such an answer.
#[derive(Debug)]
pub(super) struct Transport {
    socket: Socket,
    activity: Arc<Activity>,
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    unreadable: Option<Unreadable>,
    /// How many requests had ended when all was last flushed.
    flushed: usize,
    /// What hyper has refused.
    refused: Option<Box<Refused>>,
}

/// A refusal of hyper's in our words, on its way.
#[derive(Debug)]
struct Refused {
    answer: Vec<u8>,
    written: usize,
    /// Runs once all is written.
    linger: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    pub(super) fn new(socket: Socket, activity: Arc<Activity>, patience: Duration) -> Self {
        Self { socket, activity, patience, stalled: None, unreadable: None, flushed: 0, refused: None }
    }

    /// From now on hyper's own refusals are put into our words. For HTTP/1
    /// alone: what is written of HTTP/2 are frames.
    pub(super) fn watch_refusals(&mut self, unreadable: Unreadable) {
        self.unreadable = Some(unreadable);
    }

    /// Whether this write is a refusal of hyper's; ours is written instead.
    fn replace(&mut self, head: &[u8]) -> bool {
        if self.activity.begun() != self.flushed || self.refused.is_some() {
            return false;
        }
        let Some(answer) = self.unreadable.as_ref().and_then(|unreadable| unreadable.instead_of(head)) else {
            return false;
        };
        self.refused = Some(Box::new(Refused { answer, written: 0, linger: None }));
        true
    }

    /// Writes what is to be written instead, if there is anything.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(refused) = &mut self.refused else {
            return Poll::Ready(Ok(()));
        };
        while let Some(rest) = refused.answer.get(refused.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => refused.written = refused.written.saturating_add(length),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and throws away what a refused client still sends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(refused) = &mut self.refused else {
            return Poll::Ready(());
        };
        let timer = refused.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scratch = [0; 4096];
        while timer.as_mut().poll(cx).is_pending() {
            let mut rest = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }

    /// What becomes of a write: any progress stops the clock.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of what is written",
        )))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, into);
        if into.filled().len() > before {
            self.activity.read();
        }
        read
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|head| self.replace(head)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = self.activity.ended();
        let flushed = match self.poll_refused(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_flush(cx),
            unfinished => unfinished,
        };
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.as_ref().is_none_or(|refused| refused.linger.is_none()) {
            let shut = match self.poll_refused(cx) {
                Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_shutdown(cx),
                unfinished => unfinished,
            };
            ready!(self.judge(cx, shut))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let patience = Duration::from_millis(100);
        let mut transport = Transport::new(Socket::Left(stream), Arc::new(Activity::new()), patience);
        let piece = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = transport.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
