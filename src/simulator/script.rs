//! Scripted answers: what a test wants the wire to do.
//!
//! In comes a [`Script`], out goes a response that plays it step by step.
//! Nothing here knows Coze's forms: a script may be a whole transcript,
//! garbage, or silence.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::server::Connection;
use super::streams::Open;

/// The largest piece of a [`Step::SendRepeated`] that exists at a time.
const REPEATED_CHUNK: usize = 64 * 1024;

/// How long bytes have to leave before a reset throws away what has not.
pub(super) const BEFORE_RESET: Duration = Duration::from_millis(20);

/// One answer to one request, step by step.
#[derive(Clone, Debug)]
pub struct Script {
    /// How long nothing at all is sent.
    pub delay: Duration,
    /// What comes first.
    pub opening: Opening,
    /// What the body does; no step left ends it properly.
    pub steps: Vec<Step>,
}

/// What a script begins with.
#[derive(Clone, Debug)]
pub enum Opening {
    /// Status and headers; the steps follow.
    Head(Head),
    /// The connection is reset in place of a head.
    Reset,
    /// No head ever comes: silence until the client leaves.
    Hang,
}

/// The status and headers of a scripted answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// Any status, `200` in a stream of the server's.
    pub status: StatusCode,
    /// The `Content-Type`; `None` sends none.
    pub content_type: Option<HeaderValue>,
    /// More headers, `Retry-After` say.
    pub headers: HeaderMap,
}

/// One step of a scripted body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes, as one HTTP chunk.
    Send(Bytes),
    /// A prefix, a unit many times over, a suffix: made while it is sent, so
    /// that an event larger than memory can be played.
    SendRepeated {
        /// Sent once, first.
        prefix: Bytes,
        /// Sent `times` times.
        unit: Bytes,
        /// How often.
        times: u64,
        /// Sent once, last.
        suffix: Bytes,
    },
    /// Silence.
    Sleep(Duration),
    /// Silence until the client leaves.
    Hang,
    /// Aborts the TCP connection with RST; what was sent before has 20 ms to
    /// leave.
    Reset,
    /// Closes the connection without the chunk that ends the body.
    Cut,
    /// Ends the body properly, whatever steps follow.
    End,
}

impl Head {
    /// The head of the server's event streams (protocol 3.4).
    #[must_use]
    pub fn event_stream() -> Self {
        Self {
            status: StatusCode::OK,
            content_type: Some(HeaderValue::from_static("text/event-stream")),
            headers: HeaderMap::from_iter([
                (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
                (super::server::ACCEL_BUFFERING, HeaderValue::from_static("no")),
            ]),
        }
    }

    /// A head with a status and a content type, and no more.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str) -> Self {
        Self { status, content_type: Some(HeaderValue::from_static(content_type)), headers: HeaderMap::new() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Script {
    /// An event stream of these steps.
    #[must_use]
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::new(Head::event_stream(), steps)
    }

    /// These steps under a head of one's own.
    #[must_use]
    pub fn new(head: Head, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { delay: Duration::ZERO, opening: Opening::Head(head), steps: steps.into_iter().collect() }
    }

    /// A transcript in one piece.
    #[must_use]
    pub fn transcript(bytes: impl Into<Bytes>) -> Self {
        Self::stream([Step::Send(bytes.into())])
    }

    /// A transcript in pieces of this many bytes; at least one each.
    #[must_use]
    pub fn pieces(bytes: impl Into<Bytes>, size: usize) -> Self {
        let mut rest: Bytes = bytes.into();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            steps.push(Step::Send(rest.split_to(size.max(1).min(rest.len()))));
        }
        Self::stream(steps)
    }

    /// A transcript cut at these places, given in bytes and ascending.
    #[must_use]
    pub fn cut_at(bytes: impl Into<Bytes>, places: &[usize]) -> Self {
        let mut rest: Bytes = bytes.into();
        let mut done = 0;
        let mut steps = Vec::new();
        for place in places {
            let size = place.saturating_sub(done).min(rest.len());
            if size > 0 {
                done += size;
                steps.push(Step::Send(rest.split_to(size)));
            }
        }
        steps.push(Step::Send(rest));
        Self::stream(steps)
    }

    /// A JSON body with a status, as the server's other answers
    /// (protocol 1.4).
    #[must_use]
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(Head::new(status, super::server::JSON), [Step::Send(body.into())])
    }

    /// A reset in place of a head.
    #[must_use]
    pub fn reset() -> Self {
        Self { delay: Duration::ZERO, opening: Opening::Reset, steps: Vec::new() }
    }

    /// No answer at all.
    #[must_use]
    pub fn hang() -> Self {
        Self { delay: Duration::ZERO, opening: Opening::Hang, steps: Vec::new() }
    }

    /// The same after a delay before the head.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same with more steps at the end.
    #[must_use]
    pub fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }
}

/// Plays a script on a connection.
pub(super) async fn play(script: Script, connection: Connection, open: Open) -> Response<Body> {
    if !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    let head = match script.opening {
        Opening::Head(head) => head,
        Opening::Reset => return connection.reset().await,
        Opening::Hang => return std::future::pending().await,
    };
    let player = Player { steps: script.steps.into_iter(), repeated: None, connection, _open: open };
    let body = stream::unfold(player, |mut player| async move {
        let item = player.next().await?;
        Some((item, player))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(value) = head.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// The body was cut off on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut by the script")]
struct CutOff;

struct Player {
    steps: std::vec::IntoIter<Step>,
    repeated: Option<Repeated>,
    connection: Connection,
    _open: Open,
}

impl Player {
    /// The next chunk; `None` at the body's proper end.
    async fn next(&mut self) -> Option<Result<Bytes, CutOff>> {
        loop {
            if let Some(chunk) = self.repeated.as_mut().and_then(Repeated::next) {
                return Some(Ok(chunk));
            }
            match self.steps.next()? {
                // An empty chunk would end the body.
                Step::Send(bytes) if bytes.is_empty() => {}
                Step::Send(bytes) => return Some(Ok(bytes)),
                Step::SendRepeated { prefix, unit, times, suffix } => {
                    let times = if unit.is_empty() { 0 } else { times };
                    self.repeated = Some(Repeated { prefix, unit, times, suffix });
                }
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Hang => std::future::pending().await,
                Step::Reset => {
                    tokio::time::sleep(BEFORE_RESET).await;
                    self.connection.reset().await
                }
                Step::Cut => {
                    // hyper throws unsent bytes away when a body fails.
                    tokio::time::sleep(BEFORE_RESET).await;
                    return Some(Err(CutOff));
                }
                Step::End => return None,
            }
        }
    }
}

struct Repeated {
    prefix: Bytes,
    unit: Bytes,
    times: u64,
    suffix: Bytes,
}

impl Repeated {
    fn next(&mut self) -> Option<Bytes> {
        if !self.prefix.is_empty() {
            return Some(std::mem::take(&mut self.prefix));
        }
        if self.times > 0 {
            let mut chunk = BytesMut::with_capacity(REPEATED_CHUNK);
            while self.times > 0 && (chunk.is_empty() || chunk.len() + self.unit.len() <= REPEATED_CHUNK) {
                chunk.extend_from_slice(&self.unit);
                self.times -= 1;
            }
            return Some(chunk.freeze());
        }
        (!self.suffix.is_empty()).then(|| std::mem::take(&mut self.suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(script: &Script) -> Vec<&[u8]> {
        script
            .steps
            .iter()
            .map(|step| match step {
                Step::Send(bytes) => bytes.as_ref(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_transcript_is_cut_anywhere() {
        assert_eq!(sent(&Script::pieces("abcde", 2)), [b"ab".as_ref(), b"cd", b"e"]);
        assert_eq!(sent(&Script::pieces("abc", 0)).len(), 3);
        assert_eq!(sent(&Script::cut_at("abcde", &[1, 1, 4])), [b"a".as_ref(), b"bcd", b"e"]);
        assert_eq!(sent(&Script::cut_at("abc", &[9])), [b"abc".as_ref(), b""]);
    }

    #[test]
    fn a_repeated_unit_is_made_piece_by_piece() {
        let mut repeated =
            Repeated { prefix: "<".into(), unit: "abc".into(), times: 100_000, suffix: ">".into() };
        let mut total = 0;
        while let Some(chunk) = repeated.next() {
            assert!(chunk.len() <= REPEATED_CHUNK);
            total += chunk.len();
        }
        assert_eq!(total, 300_002);
    }
}
