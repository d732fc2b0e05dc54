//! HTTP/1.1 as a client writes and reads it, without a socket.
//!
//! In go the parts of a request and the bytes of a connection as they come;
//! out come the bytes to send, the head of the answer, and the payload of its
//! body. However the bytes are cut, the result is the same. Nothing is kept
//! but the beginning of a head that has not come whole, and every length is
//! bounded. What could be read in two ways is an error: whoever reads it in
//! the other one would find another answer on the connection.
//!
//! Own code and not hyper's client: polled by whoever reads the stream,
//! without a task, that holds 14.9 KiB for each stream that is silent, where a
//! socket holds 0.5 and this holds nothing (`docs/performance.md`). hyper is
//! the oracle of the tests.

mod body;
mod head;
mod request;

pub(super) use body::Body;
pub(super) use head::{Head, HeadReader};
pub(super) use request::{Asked, Requests};

/// An answer that makes no sense. No text of the server is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the head of the answer is not HTTP/1.1")]
    Head,
    #[error("the head of the answer is too long")]
    HeadTooLong,
    #[error("the answer changes to a protocol that nobody asked for")]
    Upgrade,
    #[error("the head of the answer tells its length in no way or in several")]
    Length,
    #[error("the answer has a transfer coding that nobody asked for")]
    Coding,
    #[error("the answer has a malformed chunk")]
    Chunk,
    #[error("the answer has a line around its chunks that is too long")]
    LineTooLong,
    #[error("the answer ends with malformed trailers")]
    Trailers,
}

#[cfg(test)]
mod tests;
