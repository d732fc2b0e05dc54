//! The body of an answer: takes bytes, gives the payload in them.

use super::Malformed;

/// The longest extension of a chunk, in bytes. Nobody sends one to us.
const MAX_EXTENSION: u16 = 4096;

/// The most trailers, in bytes.
const MAX_TRAILERS: u16 = 8192;

/// The most digits of a chunk's size.
const MAX_DIGITS: u8 = 16;

/// What of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coze::client) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks; the next byte belongs there.
    Chunked(Chunk),
    /// Everything until the connection closes.
    UntilClosed,
    /// Nothing.
    Over,
}

/// Where in a chunked body the next byte belongs.
///
/// ```text
///  Size ─▶ (Blank) ─▶ (Extension) ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size
///                                      │ 0
///                                      ▼
///                                   LineStart ─▶ Name ─▶ Value ─▶ LineLf ─▶ LineStart
///                                      └─▶ EndLf ─▶ over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coze::client) enum Chunk {
    Size { size: u64, digits: u8 },
    Blank { size: u64, length: u16 },
    Extension { size: u64, length: u16 },
    SizeLf { size: u64 },
    Data { rest: u64 },
    DataCr,
    DataLf,
    LineStart { length: u16 },
    Name { length: u16 },
    Value { length: u16 },
    LineLf { length: u16 },
    EndLf,
}

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0 };
}

impl Body {
    /// A body in chunks.
    pub(super) const CHUNKED: Self = Self::Chunked(Chunk::START);

    /// A body of so many bytes.
    pub(super) fn of_length(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Length(length) }
    }

    /// Whether nothing more comes.
    pub(in crate::coze::client) fn is_over(&self) -> bool {
        *self == Self::Over
    }

    /// Takes bytes, hands the payload in them to `payload`, and says how many
    /// of them were the body's: all, unless it is over.
    ///
    /// # Errors
    /// If they make no sense.
    pub(in crate::coze::client) fn push(
        &mut self,
        bytes: &[u8],
        mut payload: impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            match self {
                Self::Over => break,
                Self::UntilClosed => {
                    payload(rest);
                    rest = &[];
                }
                Self::Length(length) => {
                    rest = take(length, rest, &mut payload);
                    if *length == 0 {
                        *self = Self::Over;
                    }
                }
                Self::Chunked(Chunk::Data { rest: length }) => {
                    rest = take(length, rest, &mut payload);
                    if *length == 0 {
                        *self = Self::Chunked(Chunk::DataCr);
                    }
                }
                Self::Chunked(chunk) => {
                    *self = chunk.step(byte)?.map_or(Self::Over, Self::Chunked);
                    rest = behind;
                }
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// The connection has closed: whether the body is whole.
    pub(in crate::coze::client) fn close(&mut self) -> bool {
        if *self == Self::UntilClosed {
            *self = Self::Over;
        }
        self.is_over()
    }
}

/// Takes what is there of `length` bytes; gives what is behind them.
fn take<'b>(length: &mut u64, bytes: &'b [u8], payload: &mut impl FnMut(&[u8])) -> &'b [u8] {
    let wanted = usize::try_from(*length).unwrap_or(usize::MAX);
    let (taken, behind) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
    payload(taken);
    *length -= u64::try_from(taken.len()).unwrap_or(*length);
    behind
}

impl Chunk {
    /// Takes a byte that is no payload; `None` is the end of the body.
    fn step(self, byte: u8) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MAX_DIGITS => {
                // Sixteen digits of four bits each: nothing is shifted out.
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::Chunk)?;
                Self::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { size, digits: 1.. } | Self::Blank { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Size { size, digits: 1.. }, b' ' | b'\t') => Self::Blank { size, length: 0 },
            (Self::Blank { size, length }, b' ' | b'\t') => {
                Self::Blank { size, length: longer(length, MAX_EXTENSION)? }
            }
            (Self::Size { size, digits: 1.. } | Self::Blank { size, .. }, b';') => {
                Self::Extension { size, length: 0 }
            }
            (Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Extension { size, length }, _) if byte != b'\n' => {
                Self::Extension { size, length: longer(length, MAX_EXTENSION)? }
            }
            (Self::SizeLf { size: 0 }, b'\n') => Self::LineStart { length: 0 },
            (Self::SizeLf { size }, b'\n') => Self::Data { rest: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::LineStart { .. }, b'\r') => Self::EndLf,
            (Self::EndLf, b'\n') => return Ok(None),
            (Self::LineStart { length } | Self::Name { length }, _) if is_name(byte) => {
                Self::Name { length: longer(length, MAX_TRAILERS)? }
            }
            (Self::Name { length }, b':') => Self::Value { length },
            (Self::Value { length }, b'\r') => Self::LineLf { length },
            (Self::Value { length }, b'\t' | b' '..=b'~' | 0x80..) => {
                Self::Value { length: longer(length, MAX_TRAILERS)? }
            }
            (Self::LineLf { length }, b'\n') => Self::LineStart { length },
            (
                Self::LineStart { .. }
                | Self::Name { .. }
                | Self::Value { .. }
                | Self::LineLf { .. }
                | Self::EndLf,
                _,
            ) => return Err(Malformed::Trailers),
            _ => return Err(Malformed::Chunk),
        }))
    }
}

fn longer(length: u16, limit: u16) -> Result<u16, Malformed> {
    if length < limit { Ok(length + 1) } else { Err(Malformed::LineTooLong) }
}

/// Whether the name of a header may have this byte.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
