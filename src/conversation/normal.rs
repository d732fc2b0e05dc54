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

/// Whether a text is in NFC. Most are, and are told by a look at ranges.
fn is_nfc(text: &str) -> bool {
    // Below U+0300 nothing combines; of the ideographs of U+3400 to U+9FFF
    // and the syllables of Hangul none does either.
    let plain = |c: char| matches!(c, '\0'..'\u{300}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3400}'..='\u{9fff}' | '\u{ff01}'..='\u{ff9d}');
    text.is_ascii() || text.chars().all(plain) || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        // A character of the ranges must be in NFC itself and must not combine
        // with the one before it.
        for c in '\0'..'\u{ffff}' {
            if is_nfc(&c.to_string()) && is_nfc(&format!("a{c}")) {
                let pair: String = format!("a{c}b").nfc().collect();
                assert_eq!(pair, format!("a{c}b"), "{:x}", u32::from(c));
            }
        }
    }
}
