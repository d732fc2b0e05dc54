//! Server-sent events, as Coze writes them: bytes in, events out.
//!
//! A push decoder without I/O. It follows the WHATWG event stream format
//! (LF, CRLF or CR; one optional space after the colon; comments; a BOM;
//! several `data` lines joined by LF), with three differences that Coze's
//! streams need:
//!
//! - an event that has a name but no `data` line is given out (`event:done`);
//! - an unfinished event at the end of the stream is given out, marked as
//!   such (`chat_crlf_comments.synthetic.sse` ends without a blank line);
//! - names and data are bytes: a chunk may end inside a character, and only
//!   the reader knows whether the data is text.
//!
//! Cost is linear in the bytes, whatever the chunks. Memory is bounded by
//! [`MAX_EVENT_BYTES`], and given back after a large event.

use memchr::{memchr, memchr2};

/// The longest event that is taken, in bytes of its lines.
pub const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;

/// What a buffer may keep of its memory between events.
const KEPT_CAPACITY: usize = 16 * 1024;

/// One event, borrowed from the bytes that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The last `event` field's value; empty if there was none.
    pub name: &'a [u8],
    /// The `data` fields' values, joined by LF.
    pub data: &'a [u8],
    /// Whether the stream ended before the event did.
    pub cut_off: bool,
}

/// An event grew past [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Finds the events in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    start: Start,
    /// The line feed of a CRLF may still come.
    after_cr: bool,
    /// The line that the last chunk left unfinished.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Data,
    /// Bytes of the event's lines so far.
    size: usize,
}

/// Whether a byte order mark may still come.
#[derive(Debug, Default)]
enum Start {
    /// This many bytes of one have come.
    Mark(usize),
    #[default]
    Fresh,
    Passed,
}

/// The `data` lines of the event so far.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// Kept, since they are several or came in another chunk: everything
    /// from `start` on.
    Kept { bytes: Vec<u8>, start: usize },
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    /// Takes the next bytes and hands every event that they complete to
    /// `sink`, in order.
    ///
    /// # Errors
    /// If an event is too long; the decoder is of no more use then.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let mut rest = self.skip_mark(chunk);
        // The data line of the current event while it lies in this chunk.
        let mut lent: Option<&[u8]> = None;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.grow(rest.len())?;
                self.line.extend_from_slice(rest);
                break;
            };
            let (head, tail) = rest.split_at(end);
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.grow(head.len() + 1)?;
            if self.line.is_empty() {
                self.take_line(head, &mut lent, &mut sink);
            } else {
                self.line.extend_from_slice(head);
                self.keep(&mut lent);
                self.take_joined_line(&mut sink);
            }
        }
        self.keep(&mut lent);
        Ok(())
    }

    /// The stream is over: hands out the event that it left unfinished, if
    /// there is one.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        let mut lent = None;
        if !line.is_empty() {
            self.take_line(&line, &mut lent, &mut sink);
        }
        self.give(lent, true, &mut sink);
    }

    /// Drops a byte order mark at the very start, however it is split.
    fn skip_mark<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let mut seen = match self.start {
            Start::Passed => return chunk,
            Start::Fresh => 0,
            Start::Mark(seen) => seen,
        };
        let mut rest = chunk;
        while let (Some(expected), Some((byte, tail))) = (MARK.get(seen), rest.split_first()) {
            if byte != expected {
                // It was no mark after all: what looked like one is text.
                self.line.extend_from_slice(MARK.get(..seen).unwrap_or_default());
                self.start = Start::Passed;
                return rest;
            }
            seen += 1;
            rest = tail;
        }
        self.start = if seen == MARK.len() { Start::Passed } else { Start::Mark(seen) };
        rest
    }

    fn grow(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.size += bytes;
        if self.size > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        Ok(())
    }

    /// Takes the line that was put together from several chunks. Of a data
    /// line the buffer itself is kept: a large event is copied once.
    fn take_joined_line(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        let (field, value) = split_field(&line);
        if field == b"data" && matches!(self.data, Data::None) {
            let start = line.len() - value.len();
            self.data = Data::Kept { bytes: line, start };
            return;
        }
        let mut lent = None;
        self.take_line(&line, &mut lent, sink);
        self.keep(&mut lent);
        self.line = recycled(line);
    }

    /// Takes one whole line, without its end.
    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        lent: &mut Option<&'a [u8]>,
        sink: &mut impl FnMut(Event<'_>),
    ) {
        if line.is_empty() {
            self.give(lent.take(), false, sink);
            return;
        }
        let (field, value) = split_field(line);
        match field {
            b"data" => {
                if lent.is_none() && matches!(self.data, Data::None) {
                    *lent = Some(value);
                } else {
                    self.keep(lent);
                    self.append(value);
                }
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // Comments (an empty field), `id`, `retry` and what is unknown.
            _ => {}
        }
    }

    /// Copies a lent data line, since what it lies in is about to go.
    fn keep(&mut self, lent: &mut Option<&[u8]>) {
        if let Some(value) = lent.take() {
            self.append(value);
        }
    }

    fn append(&mut self, value: &[u8]) {
        match &mut self.data {
            Data::None => self.data = Data::Kept { bytes: value.to_vec(), start: 0 },
            Data::Kept { bytes, .. } => {
                bytes.push(b'\n');
                bytes.extend_from_slice(value);
            }
        }
    }

    /// Hands out the event that ends here, if it is one, and starts the next.
    fn give(&mut self, lent: Option<&[u8]>, cut_off: bool, sink: &mut impl FnMut(Event<'_>)) {
        let kept = std::mem::take(&mut self.data);
        let data = match (lent, &kept) {
            (Some(value), _) => Some(value),
            (None, Data::Kept { bytes, start }) => bytes.get(*start..),
            (None, Data::None) => None,
        };
        if data.is_some() || !self.name.is_empty() {
            sink(Event { name: &self.name, data: data.unwrap_or_default(), cut_off });
        }
        self.name.clear();
        self.name.shrink_to(KEPT_CAPACITY);
        self.size = 0;
    }
}

/// The name and the value of a line; a comment's name is empty.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(at) = memchr(b':', line) else {
        return (line, &[]);
    };
    let value = line.get(at + 1..).unwrap_or_default();
    (line.get(..at).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
}

/// An empty buffer that keeps the memory of a used one, unless it is large.
fn recycled(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(KEPT_CAPACITY);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (String, String, bool);

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut events = Vec::new();
        let mut decoder = Decoder::default();
        let mut sink = |event: Event<'_>| {
            events.push((
                String::from_utf8_lossy(event.name).into_owned(),
                String::from_utf8_lossy(event.data).into_owned(),
                event.cut_off,
            ));
        };
        for chunk in chunks {
            decoder.push(chunk, &mut sink).unwrap();
        }
        decoder.finish(&mut sink);
        events
    }

    #[track_caller]
    fn assert_events(input: &str, expected: &[(&str, &str, bool)]) {
        let whole = decode([input.as_bytes()]);
        let expected: Vec<Owned> =
            expected.iter().map(|&(name, data, cut)| (name.to_owned(), data.to_owned(), cut)).collect();
        assert_eq!(whole, expected, "whole");
        assert_eq!(decode(input.as_bytes().chunks(1)), expected, "byte by byte");
        for at in 0..input.len() {
            let (head, tail) = input.as_bytes().split_at(at);
            assert_eq!(decode([head, tail]), expected, "cut at {at}");
        }
    }

    #[test]
    fn the_servers_form_and_the_docs_form_give_the_same() {
        assert_events("event:a\ndata:{}\n\n", &[("a", "{}", false)]);
        assert_events("event: a\ndata: {}\n\n", &[("a", "{}", false)]);
    }

    #[test]
    fn lines_end_in_lf_crlf_or_cr() {
        for end in ["\n", "\r\n", "\r"] {
            let input = "event: a\ndata: 1\n\ndata: 2\n\n".replace('\n', end);
            assert_events(&input, &[("a", "1", false), ("", "2", false)]);
        }
    }

    #[test]
    fn comments_ids_and_retries_are_skipped() {
        assert_events(": hi\n\nid: 7\nretry: 3\nwhat\ndata: x\n: there\n\n", &[("", "x", false)]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_events("\u{FEFF}data: x\n\n", &[("", "x", false)]);
        assert_events("\u{FEFF}\u{FEFF}data: x\n\ndata: y\n\n", &[("", "y", false)]);
    }

    #[test]
    fn what_only_began_like_a_mark_is_text() {
        let input = b"\xEF\xBBdata: x\n\ndata: y\n\n";
        let expected = vec![(String::new(), "y".to_owned(), false)];
        assert_eq!(decode([&input[..]]), expected);
        assert_eq!(decode(input.chunks(1)), expected);
    }

    #[test]
    fn data_lines_are_joined_by_a_line_feed() {
        assert_events("data: a\ndata\ndata:  b\n\n", &[("", "a\n\n b", false)]);
    }

    #[test]
    fn an_event_without_data_is_still_an_event() {
        assert_events("event:done\n\n", &[("done", "", false)]);
        assert_events("event:done\ndata:\n\n", &[("done", "", false)]);
        assert_events("id:1\n\n\n\n", &[]);
    }

    #[test]
    fn the_last_event_may_lack_its_end() {
        assert_events("event:done\ndata:x", &[("done", "x", true)]);
        assert_events("event:a\ndata:x\n", &[("a", "x", true)]);
        assert_events("event:do", &[("do", "", true)]);
    }

    #[test]
    fn unicode_line_separators_do_not_end_a_line() {
        assert_events("data: a\u{2028}b\u{85}c\n\n", &[("", "a\u{2028}b\u{85}c", false)]);
    }

    #[test]
    fn an_event_over_the_limit_is_an_error_at_once() {
        let mut decoder = Decoder::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let mut taken = 0;
        let error = loop {
            match decoder.push(&chunk, |_| {}) {
                Ok(()) => taken += chunk.len(),
                Err(error) => break error,
            }
        };
        assert_eq!((error, taken), (TooLong, MAX_EVENT_BYTES));
    }

    #[test]
    fn many_short_lines_count_as_one_event() {
        let mut decoder = Decoder::default();
        let chunk = b"data: 0123456789\n".repeat(1000);
        let pushed = (0..).take_while(|_| decoder.push(&chunk, |_| {}).is_ok()).count();
        assert_eq!(pushed, MAX_EVENT_BYTES / chunk.len());
    }

    #[test]
    fn a_large_event_leaves_no_large_buffer() {
        let mut decoder = Decoder::default();
        let mut input = b"data: ".to_vec();
        input.resize(1024 * 1024, b'x');
        input.extend_from_slice(b"\n\n");
        let mut events = 0;
        for chunk in input.chunks(16 * 1024) {
            decoder.push(chunk, |_| events += 1).unwrap();
        }
        assert_eq!(events, 1);
        assert!(decoder.line.capacity() <= KEPT_CAPACITY);
        assert!(matches!(decoder.data, Data::None));
    }
}
