//! One connection too many without TLS: told in one write, without a task.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{SCRATCH_BYTES, error};
use crate::http::listener::raw::last_answer;
use crate::http::request_id;

/// What a client that speaks HTTP/2 begins with, and no other one.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// How often one client is read before it is the next one's turn.
const READS: usize = 4;

/// How often at most it is read at its end.
const LAST_READS: usize = 16;

/// A connection that is being refused.
#[derive(Debug)]
pub(super) struct Plain {
    stream: TcpStream,
    deadline: Instant,
    told: bool,
}

/// What comes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It can be ended.
    Over,
    /// Its client speaks HTTP/2 and would not understand; nothing has been
    /// read yet.
    Http2,
}

impl Plain {
    pub(super) fn new(stream: TcpStream, deadline: Instant) -> Self {
        Self { stream, deadline, told: false }
    }

    /// When its patience ends.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Tells the client as soon as it begins to ask (many take an answer that
    /// comes before the question for a fault), and then reads on until it
    /// has closed its side.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Next> {
        for _ in 0..READS {
            if !self.told {
                let mut seen = ReadBuf::new(scratch);
                if !matches!(ready!(self.stream.poll_peek(cx, &mut seen)), Ok(1..)) {
                    return Poll::Ready(Next::Over);
                }
                if seen.filled().starts_with(HTTP2) {
                    return Poll::Ready(Next::Http2);
                }
                let answer = last_answer(error(), &request_id::among(seen.filled()));
                if self.stream.try_write(&answer).is_ok() {
                    self.told = true;
                    let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
                }
            }
            let mut rest = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(Next::Over);
            }
        }
        // Who sends without end keeps nobody else waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Closes it now; told, whether or not it has asked.
    pub(super) fn end(self) {
        // The socket stays non-blocking.
        let Ok(mut stream) = self.stream.into_std() else {
            return;
        };
        let mut scratch = [0; SCRATCH_BYTES];
        let mut request_id = None;
        for _ in 0..LAST_READS {
            match stream.read(&mut scratch) {
                Ok(0) => break,
                Ok(length) => {
                    let read = scratch.get(..length).unwrap_or_default();
                    request_id.get_or_insert_with(|| request_id::among(read));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if !self.told {
            let request_id = request_id.unwrap_or_else(|| request_id::among(b""));
            // A few hundred bytes into an empty buffer: they go as a whole.
            let _ = stream.write(&last_answer(error(), &request_id));
        }
        let _ = stream.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Plain) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Plain::new(listener.accept().await.unwrap().0, Instant::now()))
    }

    async fn next(plain: &mut Plain) -> Next {
        poll_fn(|cx| plain.poll(cx, &mut [0; SCRATCH_BYTES])).await
    }

    async fn read(client: &mut TcpStream) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_asks_is_told_and_read_to_its_end() {
        let (mut client, mut plain) = pair().await;
        client.write_all(b"POST / HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n").await.unwrap();
        let refused = tokio::spawn(async move {
            let next = next(&mut plain).await;
            plain.end();
            next
        });
        let answer = read(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("x-request-id: mine\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "it is told once");
        client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        drop(client);
        assert_eq!(refused.await.unwrap(), Next::Over);
    }

    #[tokio::test]
    async fn who_has_said_nothing_yet_is_told_at_the_end() {
        let (mut client, plain) = pair().await;
        plain.end();
        let answer = read(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("x-request-id: req_"), "{answer}");
    }

    #[tokio::test]
    async fn who_speaks_http2_is_left_unread() {
        let (mut client, mut plain) = pair().await;
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        assert_eq!(next(&mut plain).await, Next::Http2);
        let mut start = [0; 3];
        plain.into_stream().read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"PRI");
    }
}
