//! What a client may have made of an answer before it sends it back.
//!
//! In comes an assistant's text, as the bot said it or as a client resends
//! it; out comes the form in which both are the same. Clients normalise
//! Unicode and line ends, trim, and put the thinking they were shown in front;
//! whatever else differs is another text.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// A leading block of thinking: how it begins and ends.
const THINKING: [(&str, &str); 2] = [("<think>", "</think>"), ("<details type=\"reasoning\"", "</details>")];

/// NFC, LF, trimmed, without a leading block of thinking.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    let text = without_thinking(text);
    let text = if memchr::memchr(b'\r', text.as_bytes()).is_some() {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    };
    if is_nfc(&text) { text } else { Cow::Owned(text.nfc().collect()) }
}

/// The text after its leading blocks of thinking, trimmed.
fn without_thinking(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(rest) = after_block(text) {
        text = rest.trim_start();
    }
    text
}

fn after_block(text: &str) -> Option<&str> {
    THINKING.iter().find_map(|(start, end)| {
        let inside = text.strip_prefix(start)?;
        inside.split_once(end).map(|(_, rest)| rest)
    })
}

/// Whether a text is in NFC. Most are, and are told by a look at their bytes.
fn is_nfc(text: &str) -> bool {
    is_plain(text.as_bytes()) || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

/// Whether a text has only characters of which each is in NFC and none
/// combines with another: those below U+0300, Cyrillic, the punctuation of
/// U+2010 to U+2027, of U+3000 to U+3029 and of U+FF01 to U+FF9D, symbols from
/// U+2600 to U+27BF and pictures from U+1F000 to U+1FAFF with their selectors,
/// kana, the ideographs of U+3400 to U+9FFF, and Hangul's syllables. A
/// transcript is gone over with this from end to end.
fn is_plain(utf8: &[u8]) -> bool {
    const NOT_ASCII: u64 = 0x8080_8080_8080_8080;
    let mut rest = utf8;
    loop {
        while let Some((eight, behind)) = rest.split_first_chunk()
            && u64::from_le_bytes(*eight) & NOT_ASCII == 0
        {
            rest = behind;
        }
        let length = match rest {
            [] => return true,
            [..0x80, ..] => 1,
            [0xC2..=0xCB | 0xD0 | 0xD1 | 0xD3, _, ..] => 2,
            [0xE4..=0xE9 | 0xEB | 0xEC, _, _, ..]
            | [0xEA, 0xB0..=0xFF, _, ..]
            | [0xED, ..=0x9D, _, ..]
            | [0xE3, 0x90..=0xFF, _, ..]
            | [0xE3, 0x80, ..=0xA9, ..]
            | [0xE3, 0x81, 0x81..=0xFF, ..]
            | [0xE3, 0x82, ..=0x96 | 0xA0..=0xFF, ..]
            | [0xE3, 0x83, _, ..]
            | [0xE2, 0x80, 0x90..=0xA7, ..]
            | [0xE2, 0x98..=0x9E, _, ..]
            | [0xEF, 0xB8, ..=0x8F, ..]
            | [0xEF, 0xBC, 0x81..=0xFF, ..]
            | [0xEF, 0xBD, _, ..]
            | [0xEF, 0xBE, ..=0x9D, ..] => 3,
            [0xF0, 0x9F, ..=0xAB, _, ..] => 4,
            _ => return false,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::char::canonical_combining_class;

    use super::*;

    #[test]
    fn what_clients_do_to_an_answer_changes_nothing() {
        for sent_back in [
            "caf\u{e9}\nok",
            "cafe\u{301}\nok",
            "  caf\u{e9}\r\nok\n",
            "caf\u{e9}\rok",
            "<think>hm</think>\n\ncaf\u{e9}\nok",
            "<think></think><details type=\"reasoning\" done=\"true\" duration=\"3\">\n<summary>Thought</summary>\n> hm\n</details>\ncaf\u{e9}\nok",
        ] {
            assert_eq!(normal(sent_back), "caf\u{e9}\nok", "{sent_back:?}");
        }
    }

    #[test]
    fn what_clients_do_not_do_is_another_text() {
        for other in [
            "caf\u{e9}\n\nok",
            "Caf\u{e9}\nok",
            "caf\u{e9} <think>x</think>\nok",
            "<think>caf\u{e9}\nok",
            "<details>x</details>caf\u{e9}\nok",
        ] {
            assert_ne!(normal(other), "caf\u{e9}\nok", "{other:?}");
        }
    }

    fn is_in_ranges(c: char) -> bool {
        matches!(
            c,
            '\0'..'\u{300}'
                | '\u{400}'..='\u{47f}'
                | '\u{4c0}'..='\u{4ff}'
                | '\u{2010}'..='\u{2027}'
                | '\u{2600}'..='\u{27bf}'
                | '\u{3000}'..='\u{3029}'
                | '\u{3041}'..='\u{3096}'
                | '\u{30a0}'..='\u{30ff}'
                | '\u{3400}'..='\u{9fff}'
                | '\u{ac00}'..='\u{d77f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{ff01}'..='\u{ff9d}'
                | '\u{1f000}'..='\u{1faff}'
        )
    }

    proptest! {
        #[test]
        fn the_look_at_ranges_agrees_with_unicode(text in any::<String>()) {
            let plain: String = text.nfc().collect();
            prop_assert_eq!(is_nfc(&text), is_nfc_quick(text.chars()) == IsNormalized::Yes);
            prop_assert!(!is_nfc(&text) || plain == text);
        }

        #[test]
        fn normal_is_normal(text in "(<think>|</think>|\r|\n| |a|e\u{301}|\u{1100}\u{1161}){0,12}") {
            let once = normal(&text).into_owned();
            prop_assert_eq!(normal(&once), once.as_str());
        }
    }

    #[test]
    fn every_character_that_the_ranges_let_pass_is_normal_beside_every_other() {
        for c in '\0'..=char::MAX {
            assert_eq!(is_plain(c.to_string().as_bytes()), is_in_ranges(c), "{:x}", u32::from(c));
            if is_in_ranges(c) {
                // It is never changed, by what comes before it neither.
                assert_eq!(is_nfc_quick(std::iter::once(c)), IsNormalized::Yes, "{:x}", u32::from(c));
                assert_eq!(canonical_combining_class(c), 0, "{:x}", u32::from(c));
            }
        }
    }
}
