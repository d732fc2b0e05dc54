//! One request on a connection, and the answer to it.
//!
//! In go a connection and a request's bytes, out comes the head of the answer
//! and its body to be polled. Bytes are read into space on the stack: a stream
//! that is silent holds none. At its end the connection goes back to its pool.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::http1::{Body, Head, HeadReader, Malformed};
use super::pool::{Connection, Pool};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// How large a block of memory is that payloads share. A body that nobody
/// reads on keeps all of the one that it is in.
const SHARED: usize = 16 * 1024;

/// An exchange came to no good end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection closed before anything of the answer had come.
    #[error("the connection closed before an answer: {0}")]
    Unanswered(Closed),
    /// It closed in the middle of the answer.
    #[error("the connection closed within the answer: {0}")]
    Cut(Closed),
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// How a connection closed.
#[derive(Debug)]
pub(super) enum Closed {
    /// As it should be.
    End,
    /// With an error.
    Failed(io::Error),
    /// By us: a success came before the request was written, which nothing
    /// but waiting could follow.
    Early,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) incoming: Incoming,
}

/// The body of an answer as it comes. Dropped before its end, it closes the
/// connection.
#[derive(Debug)]
pub(super) struct Incoming {
    /// `None` once it is given back, or closed.
    connection: Option<Connection>,
    body: Body,
    /// What came with the head.
    first: Bytes,
    persistent: bool,
    home: Weak<Pool>,
}

/// What is still to be written of a request.
struct Outgoing {
    head: Bytes,
    body: [Bytes; 3],
    failed: Option<io::Error>,
    done: bool,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("without an error"),
            Self::Failed(error) => error.fmt(f),
            Self::Early => f.write_str("since it answered before it had the request"),
        }
    }
}

impl Broken {
    /// Whether the connection was closed by the other side before it answered
    /// anything.
    pub(super) fn is_closed_door(&self) -> bool {
        match self {
            Self::Unanswered(Closed::End) => true,
            Self::Unanswered(Closed::Failed(error)) => is_hangup(error),
            Self::Unanswered(Closed::Early) | Self::Cut(_) | Self::Malformed(_) => false,
        }
    }
}

/// Whether the other side has closed the connection.
fn is_hangup(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            // An end without TLS's own.
            | ErrorKind::UnexpectedEof
    )
}

/// Sends a request and waits for the head of its answer; `header` is given
/// each header of that.
///
/// # Errors
/// If there is none.
pub(super) async fn ask(
    mut connection: Connection,
    head: Vec<u8>,
    body: [Bytes; 3],
    home: &Arc<Pool>,
    mut header: impl FnMut(&str, &[u8]),
) -> Result<Answer, Broken> {
    let mut outgoing = Outgoing { head: head.into(), body, failed: None, done: false };
    let mut reader = HeadReader::default();
    let (head, body, first) = poll_fn(|cx| {
        // An answer may come while the request is still being written: a
        // refusal, as a rule.
        outgoing.poll_write(cx, &mut connection);
        loop {
            let mut space = [const { MaybeUninit::uninit() }; READ];
            let mut read = ReadBuf::uninit(&mut space);
            let result = match Pin::new(&mut connection.socket).poll_read(cx, &mut read) {
                // Who has hung up may have answered before, and that comes.
                Poll::Pending if outgoing.failed.as_ref().is_none_or(is_hangup) => return Poll::Pending,
                Poll::Pending => Ok(()),
                Poll::Ready(result) => result,
            };
            if result.is_err() || read.filled().is_empty() {
                // An error of the write is the cause of what follows it.
                let error = outgoing.failed.take().or(result.err());
                let closed = error.map_or(Closed::End, Closed::Failed);
                let broken = if reader.has_begun() { Broken::Cut } else { Broken::Unanswered };
                return Poll::Ready(Err(broken(closed)));
            }
            if let Some((head, used)) = reader.push(read.filled(), &mut header)? {
                let rest = read.filled().get(used..).unwrap_or_default();
                let mut body = head.body;
                let (first, used) = payload(&mut body, rest)?;
                let head = Head { persistent: head.persistent && used == rest.len(), ..head };
                return Poll::Ready(Ok::<_, Broken>((head, body, first)));
            }
        }
    })
    .await?;
    if head.status.is_success() && !outgoing.done {
        // It would wait for the rest for ever.
        return Err(Broken::Cut(Closed::Early));
    }
    // The rest of a request that was refused before its end is not sent.
    let persistent = head.persistent && outgoing.done;
    let home = Arc::downgrade(home);
    let mut incoming = Incoming { connection: Some(connection), body, first, persistent, home };
    incoming.settle();
    Ok(Answer { head, incoming })
}

thread_local! {
    /// Where payloads are put that are soon read: one block of memory serves
    /// many of them, one after the other. An allocation of its own for each
    /// made the allocator tidy up what else was freed.
    static SPACE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The payload in what was read, in one piece, and how much of that belongs
/// to the body.
fn payload(body: &mut Body, read: &[u8]) -> Result<(Bytes, usize), Malformed> {
    let mut take = |whole: &mut BytesMut| {
        let used = body.push(read, |piece| whole.extend_from_slice(piece))?;
        Ok((whole.split().freeze(), used))
    };
    if read.len() > SHARED / 4 {
        return take(&mut BytesMut::with_capacity(read.len()));
    }
    SPACE.with_borrow_mut(|space| {
        if space.capacity() < read.len() {
            space.reserve(SHARED);
        }
        space.clear();
        take(space)
    })
}

impl Outgoing {
    /// Writes what can be written. An error is kept: an answer may have come
    /// before it.
    fn poll_write(&mut self, cx: &mut Context<'_>, connection: &mut Connection) {
        while !self.done && self.failed.is_none() {
            let mut socket = Pin::new(&mut connection.socket);
            if !self.head.has_remaining() && !self.body.iter().any(Bytes::has_remaining) {
                match socket.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.done = true,
                    Poll::Ready(Err(error)) => self.failed = Some(error),
                    Poll::Pending => return,
                }
                continue;
            }
            let [first, second, third] = &self.body;
            let slices = [&self.head, first, second, third].map(|piece| IoSlice::new(piece));
            match socket.as_mut().poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(0)) => self.failed = Some(ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    let mut left = written;
                    for piece in std::iter::once(&mut self.head).chain(&mut self.body) {
                        let of_it = left.min(piece.len());
                        piece.advance(of_it);
                        left -= of_it;
                    }
                }
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => return,
            }
        }
    }
}

impl Incoming {
    /// The next bytes; `Ready(None)` at the proper end.
    ///
    /// # Errors
    /// If the connection broke off, or what comes makes no sense.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        while let Some(connection) = &mut self.connection {
            let mut space = [const { MaybeUninit::uninit() }; READ];
            let mut read = ReadBuf::uninit(&mut space);
            let result = ready!(Pin::new(&mut connection.socket).poll_read(cx, &mut read));
            let taken = match result {
                Ok(()) if read.filled().is_empty() => self.closed(),
                Ok(()) => self.take(read.filled()),
                Err(error) => Err(Broken::Cut(Closed::Failed(error))),
            };
            match taken {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Err(broken) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn take(&mut self, read: &[u8]) -> Result<Bytes, Broken> {
        let (bytes, used) = payload(&mut self.body, read)?;
        // What comes behind the end was not asked for.
        self.persistent &= used == read.len();
        self.settle();
        Ok(bytes)
    }

    fn closed(&mut self) -> Result<Bytes, Broken> {
        if !self.body.close() {
            return Err(Broken::Cut(Closed::End));
        }
        self.persistent = false;
        self.settle();
        Ok(Bytes::new())
    }

    /// Lets go of the connection once the body is over.
    fn settle(&mut self) {
        if self.body.is_over()
            && let Some(connection) = self.connection.take()
            && self.persistent
            && let Some(home) = self.home.upgrade()
        {
            home.keep(connection);
        }
    }
}
