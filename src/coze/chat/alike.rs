//! Deltas that differ in their text alone, as most do.
//!
//! In comes the data of an event, out comes its [`Message`]. What stands around
//! the text is compared with the last delta's and not read again: two
//! comparisons in the place of some twenty strings, which take 7,500 instructions.
//! The property test holds it against the parser.

use std::ops::Range;

use super::wire::Message;
use crate::coze::json::{Raw, Word, parse_plain};
use crate::coze::scan;
use crate::turn::Failure;

/// The longest data that is kept, in bytes; the server's deltas have some 600
/// beside their text.
const MAX_KEPT: usize = 4096;

/// The last delta that was read in full.
#[derive(Debug, Default)]
pub(super) struct Alike(Option<Box<Last>>);

#[derive(Debug, Default)]
struct Last {
    /// Its data.
    text: String,
    /// Where the text stands there, with its quotes, in which the next one may
    /// differ.
    hole: Range<usize>,
    /// Whether that is the thinking.
    thinks: bool,
    words: [Range<usize>; 6],
    content: Option<Range<usize>>,
    thinking: Option<Range<usize>>,
    meta_data: Option<Range<usize>>,
}

impl Alike {
    /// Reads a delta and hands it to `read`.
    ///
    /// # Errors
    /// If the data makes no sense, and those of `read`.
    pub(super) fn read<T>(
        &mut self,
        data: &[u8],
        read: impl FnOnce(&Message<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(message) = self.0.as_ref().and_then(|last| last.again(data)) {
            return read(&message);
        }
        let message = parse_plain(data)?;
        if let Some(last) = Last::of(data, &message) {
            self.0 = Some(Box::new(last));
        }
        read(&message)
    }
}

impl Last {
    /// What has to be known to read the next one; `None` if it will have to be
    /// read in full.
    fn of(data: &[u8], message: &Message<'_>) -> Option<Self> {
        let text = std::str::from_utf8(data).ok().filter(|text| text.len() <= MAX_KEPT)?;
        let Message { id, conversation_id, chat_id, section_id, kind, content_type, .. } = message;
        let words = [id, conversation_id, chat_id, section_id, kind, content_type];
        let mut places: [Range<usize>; 6] = Default::default();
        for (place, word) in places.iter_mut().zip(words) {
            *place = place_of(text, &word.0)?;
        }
        let raw = |raw: &Option<Raw<'_>>| match raw {
            Some(raw) => place_of(text, raw.0).map(Some),
            None => Some(None),
        };
        let (content, thinking) = (raw(&message.content)?, raw(&message.reasoning_content)?);
        let has_text =
            |raw: &Option<Raw<'_>>| raw.is_some_and(|raw| raw.0.len() > 2 && raw.0.starts_with('"'));
        let thinks = has_text(&message.reasoning_content);
        let hole = if thinks { &thinking } else { &content };
        let hole = hole.clone().filter(|_| thinks || has_text(&message.content))?;
        let meta_data = raw(&message.meta_data)?;
        Some(Self { text: text.to_owned(), hole, thinks, words: places, content, thinking, meta_data })
    }

    /// The message of some data that differs in the text alone. Its other
    /// fields are the last one's.
    fn again<'a>(&'a self, data: &'a [u8]) -> Option<Message<'a>> {
        let (head, tail) = (self.text.get(..self.hole.start)?, self.text.get(self.hole.end..)?);
        let text = data.strip_prefix(head.as_bytes())?.strip_suffix(tail.as_bytes())?;
        let text = std::str::from_utf8(text).ok().filter(|text| scan::is_string(text))?;
        let [id, conversation_id, chat_id, section_id, kind, content_type] =
            self.words.each_ref().map(|place| Word(self.text.get(place.clone()).unwrap_or_default().into()));
        let raw = |place: &Option<Range<usize>>| self.text.get(place.clone()?).map(Raw);
        let (mut content, mut reasoning_content) = (raw(&self.content), raw(&self.thinking));
        *(if self.thinks { &mut reasoning_content } else { &mut content }) = Some(Raw(text));
        let meta_data = raw(&self.meta_data);
        Some(Message {
            id,
            conversation_id,
            chat_id,
            section_id,
            kind,
            content_type,
            content,
            reasoning_content,
            meta_data,
        })
    }
}

/// Where a part of a text stands there. `None` if it is none.
fn place_of(text: &str, part: &str) -> Option<Range<usize>> {
    if part.is_empty() {
        return Some(0..0);
    }
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (text.get(start..end)? == part).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one reads of data, one after the other, and a parser of each.
    fn assert_as_parsed(events: &[String]) {
        let mut alike = Alike::default();
        for event in events {
            let mut read = None;
            let result = alike.read(event.as_bytes(), |message| {
                read = Some(format!("{message:?}"));
                Ok(())
            });
            let parsed = serde_json::from_str::<Message<'_>>(event).map(|message| format!("{message:?}"));
            assert_eq!(result.is_ok(), parsed.is_ok(), "{event}");
            assert_eq!(read, parsed.ok(), "{event}");
        }
    }

    fn server(content: &str, thinking: &str) -> String {
        format!(
            r#"{{"id":"1","conversation_id":"2","bot_id":"3","role":"assistant","type":"answer","content":{content},"content_type":"text","meta_data":{{"bot_state":"{{\"a\":1}}"}},"chat_id":"4","section_id":"5","created_at":1754000001,"reasoning_content":{thinking}}}"#
        )
    }

    fn is_known(alike: &Alike, event: &str) -> bool {
        alike.0.as_ref().is_some_and(|last| last.again(event.as_bytes()).is_some())
    }

    #[test]
    fn what_differs_in_its_text_alone_is_not_read_again() {
        let mut alike = Alike::default();
        let read = |alike: &mut Alike, event: &str| alike.read(event.as_bytes(), |_| Ok(())).unwrap();
        for (first, then, others) in [
            (
                server(r#""a""#, r#""""#),
                server(r#""\n你""#, r#""""#),
                [server(r#""a""#, r#""x""#), server("null", r#""""#)],
            ),
            (
                server(r#""""#, r#""a""#),
                server(r#""""#, r#""""#),
                [server(r#""a""#, r#""x""#), server(r#""""#, "1")],
            ),
        ] {
            read(&mut alike, &first);
            assert!(is_known(&alike, &then));
            for other in others {
                assert!(!is_known(&alike, &other), "{other}");
            }
            assert!(!is_known(&alike, &then.replace("\"1\"", "\"7\"")));
        }
    }

    #[test]
    fn what_only_looks_like_text_is_read_by_the_parser() {
        let (begin, end) = (r#"{"content":"#, r#","id":"1"}"#);
        let mut alike = Alike::default();
        alike.read(format!(r#"{begin}"a"{end}"#).as_bytes(), |_| Ok(())).unwrap();
        for text in [r#""a","id":"2""#, r#""a"#, r#"a""#, "1", "", r#""\x""#, "\"\n\""] {
            assert!(!is_known(&alike, &format!("{begin}{text}{end}")), "{text}");
        }
    }

    #[test]
    fn what_is_long_is_not_kept() {
        let mut alike = Alike::default();
        let long = server(&format!("\"{}\"", "x".repeat(MAX_KEPT)), "\"\"");
        alike.read(long.as_bytes(), |_| Ok(())).unwrap();
        assert!(alike.0.is_none());
    }

    proptest! {
        #[test]
        fn every_delta_is_as_a_parser_reads_it(
            events in prop::collection::vec((
                prop::sample::select(vec![
                    r#""""#, r#""a""#, r#""b\"c""#, r#""你\n""#, "null", "1", r#""x","id":"9""#, "\"", "[\"a\"]",
                ]),
                prop::sample::select(vec![r#""""#, r#""t""#, r#""\u0041""#, "null", r#""}"#]),
                prop::sample::select(vec!["\"1\"", "\"1\"", "\"2\"", "3", r#""\u0031""#]),
                any::<bool>(),
            ), 0..8),
        ) {
            let events: Vec<String> = events
                .iter()
                .map(|(content, thinking, id, swapped)| {
                    let event = server(content, thinking).replace("\"1\"", id);
                    if *swapped { event.replace(r#","content_type":"text""#, "") } else { event }
                })
                .collect();
            assert_as_parsed(&events);
        }
    }
}
