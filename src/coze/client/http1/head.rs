//! The head of an answer: takes bytes until it is whole.

use std::mem::MaybeUninit;

use http::StatusCode;
use httparse::{ParserConfig, Status};

use super::{Body, Malformed};

/// The longest head, with all that were sent in advance, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The most headers.
const MAX_HEADERS: usize = 100;

/// What the head of an answer says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coze::client) struct Head {
    pub(in crate::coze::client) status: StatusCode,
    /// What comes behind it.
    pub(in crate::coze::client) body: Body,
    /// Whether the connection serves again after the body.
    pub(in crate::coze::client) persistent: bool,
}

/// Puts a head together. Holds nothing of one that comes in one piece.
#[derive(Debug, Default)]
pub(in crate::coze::client) struct HeadReader {
    kept: Vec<u8>,
    /// How long the heads were that came in advance.
    skipped: usize,
    begun: bool,
}

impl HeadReader {
    /// Whether anything of an answer has come.
    pub(in crate::coze::client) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes bytes. With the head come how many of them were its own, and
    /// each header goes to `header` once, its name as it was written.
    /// `None`: there is more to come.
    ///
    /// # Errors
    /// If they are no head, or one that could be read in two ways.
    pub(in crate::coze::client) fn push(
        &mut self,
        bytes: &[u8],
        mut header: impl FnMut(&str, &[u8]),
    ) -> Result<Option<(Head, usize)>, Malformed> {
        self.begun |= !bytes.is_empty();
        if self.kept.is_empty() {
            return match self.heads(bytes, &mut header)? {
                (Some(head), used) => Ok(Some((head, used))),
                (None, used) => {
                    self.kept.extend_from_slice(bytes.get(used..).unwrap_or_default());
                    Ok(None)
                }
            };
        }
        let before = self.kept.len();
        self.kept.extend_from_slice(bytes);
        if !bytes.contains(&b'\n') && self.kept.len() <= MAX_HEAD {
            return Ok(None);
        }
        let kept = std::mem::take(&mut self.kept);
        let (head, used) = self.heads(&kept, &mut header)?;
        match head {
            // What was kept was no whole head, so the end is in the new bytes.
            Some(head) => Ok(Some((head, used.saturating_sub(before)))),
            None => {
                self.kept = kept;
                self.kept.drain(..used);
                Ok(None)
            }
        }
    }

    /// Reads heads until one is the answer's; says how many bytes are done
    /// with.
    fn heads(
        &mut self,
        bytes: &[u8],
        header: &mut impl FnMut(&str, &[u8]),
    ) -> Result<(Option<Head>, usize), Malformed> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            // A head is looked at by whole lines: so it is not read anew for
            // each byte, and is as good or bad however it comes.
            let lines = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
            let found = parse(rest.get(..lines).unwrap_or_default(), header)?;
            let length = found.map_or(rest.len(), |(_, length)| length);
            if self.skipped + length > MAX_HEAD {
                return Err(Malformed::HeadTooLong);
            }
            let Some((head, length)) = found else { return Ok((None, used)) };
            used += length;
            if head.is_some() {
                return Ok((head, used));
            }
            self.skipped += length;
        }
    }
}

/// Reads one head: `None` if it is not whole, no head in it if it is one in
/// advance.
fn parse(
    bytes: &[u8],
    header: &mut impl FnMut(&str, &[u8]),
) -> Result<Option<(Option<Head>, usize)>, Malformed> {
    let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut space);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::HeadTooLong),
        Err(_) => return Err(Malformed::Head),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Head)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::Upgrade);
    }
    if status.is_informational() {
        return Ok(Some((None, length)));
    }
    let mut rules = Rules { is_1_1: response.version == Some(1), ..Rules::default() };
    for field in &*response.headers {
        rules.take(field.name, field.value)?;
        header(field.name, field.value);
    }
    let head = Head { status, body: rules.body(status)?, persistent: rules.persistent() };
    Ok(Some((Some(head), length)))
}

/// The headers that say where an answer ends, and what comes then.
#[derive(Debug, Default)]
struct Rules {
    is_1_1: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Rules {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        if name.eq_ignore_ascii_case("content-length") {
            if self.length.replace(length(value)?).is_some() {
                return Err(Malformed::Length);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !self.is_1_1 || self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Coding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    fn body(&self, status: StatusCode) -> Result<Body, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::Length),
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Ok(Body::Over),
            (true, None) => Ok(Body::CHUNKED),
            (false, Some(length)) => Ok(Body::of_length(length)),
            (false, None) => Ok(Body::UntilClosed),
        }
    }

    fn persistent(&self) -> bool {
        !self.close && (self.is_1_1 || self.keep_alive)
    }
}

/// A length in digits alone: no sign, no list.
fn length(value: &[u8]) -> Result<u64, Malformed> {
    let digits = value.trim_ascii();
    // As many digits as always fit.
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Length);
    }
    Ok(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}
