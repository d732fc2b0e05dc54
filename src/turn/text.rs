//! A piece of text, kept as the JSON fragment that it came as while possible.

use std::borrow::Cow;

/// A piece of answer text.
///
/// Both dialects are JSON. Text that arrives inside a JSON string leaves
/// inside one, so the escaped bytes are carried through and only decoded where
/// somebody has to read them (a stop string, say).
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// The inside of a JSON string literal, without its quotes. Its escapes
    /// are complete and pair their surrogates: it may be copied into any
    /// other JSON string as it is.
    Escaped(&'a str),
    /// Plain characters, not escaped.
    Plain(Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// Takes a whole JSON string literal, quotes included, that a JSON parser
    /// has already accepted. `None` if it is not a string literal.
    ///
    /// A lone surrogate, which JSON's grammar allows and Unicode does not,
    /// becomes U+FFFD.
    pub fn from_json_literal(literal: &'a str) -> Option<Self> {
        let inside = literal.strip_prefix('"')?.strip_suffix('"')?;
        if has_lone_surrogate(inside.as_bytes()) {
            return Some(Self::Plain(Cow::Owned(unescape(inside))));
        }
        Some(Self::Escaped(inside))
    }

    /// Whether there is no character in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Escaped(text) => text.is_empty(),
            Self::Plain(text) => text.is_empty(),
        }
    }

    /// The characters.
    #[must_use]
    pub fn decode(&self) -> Cow<'_, str> {
        match self {
            Self::Escaped(text) if memchr::memchr(b'\\', text.as_bytes()).is_none() => Cow::Borrowed(text),
            Self::Escaped(text) => Cow::Owned(unescape(text)),
            Self::Plain(text) => Cow::Borrowed(text),
        }
    }

    /// Appends its characters to `out`.
    pub fn decode_into(&self, out: &mut String) {
        match self {
            Self::Escaped(text) => unescape_into(text, out),
            Self::Plain(text) => out.push_str(text),
        }
    }

    /// Appends it to `out` as the inside of a JSON string literal.
    pub fn write_escaped(&self, out: &mut Vec<u8>) {
        match self {
            Self::Escaped(text) => out.extend_from_slice(text.as_bytes()),
            Self::Plain(text) => super::escape_into(text, out),
        }
    }
}

/// Whether an escaped text holds half of a surrogate pair.
fn has_lone_surrogate(escaped: &[u8]) -> bool {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let Some(escape) = rest.get(at..) else {
            return false;
        };
        match unit_of(escape) {
            Some(0xD800..=0xDBFF) => {
                let low = escape.get(6..).and_then(unit_of);
                if !matches!(low, Some(0xDC00..=0xDFFF)) {
                    return true;
                }
                rest = escape.get(12..).unwrap_or_default();
            }
            Some(0xDC00..=0xDFFF) => return true,
            Some(_) => rest = escape.get(6..).unwrap_or_default(),
            None => rest = escape.get(2..).unwrap_or_default(),
        }
    }
    false
}

/// The UTF-16 unit of a `\uXXXX` escape that stands at the start of `bytes`.
fn unit_of(bytes: &[u8]) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = bytes.first_chunk::<6>()? else { return None };
    digits.iter().try_fold(0, |unit, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(unit << 4 | u16::from(digit))
    })
}

/// Decodes the inside of a JSON string literal; what no character stands for
/// becomes U+FFFD.
fn unescape(escaped: &str) -> String {
    let mut out = String::with_capacity(escaped.len());
    unescape_into(escaped, &mut out);
    out
}

fn unescape_into(escaped: &str, out: &mut String) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (clean, escape) = rest.split_at(at);
        out.push_str(clean);
        let bytes = escape.as_bytes();
        let mut taken = 2;
        match bytes.get(1) {
            Some(b'n') => out.push('\n'),
            Some(b't') => out.push('\t'),
            Some(b'r') => out.push('\r'),
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'u') => {
                taken = 6;
                match unit_of(bytes) {
                    Some(high @ 0xD800..=0xDBFF) => match bytes.get(6..).and_then(unit_of) {
                        Some(low @ 0xDC00..=0xDFFF) => {
                            taken = 12;
                            let point =
                                0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
                            out.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
                        }
                        _ => out.push(char::REPLACEMENT_CHARACTER),
                    },
                    Some(unit) => {
                        out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    None => out.push(char::REPLACEMENT_CHARACTER),
                }
            }
            Some(&other) => out.push(char::from(other)),
            None => taken = 1,
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn from(literal: &str) -> Text<'_> {
        Text::from_json_literal(literal).expect("a string literal")
    }

    #[test]
    fn an_escaped_text_is_carried_as_it_came() {
        let mut out = Vec::new();
        from(r#""a\u003cb\u003e \n\"""#).write_escaped(&mut out);
        assert_eq!(out, br#"a\u003cb\u003e \n\""#);
    }

    #[test]
    fn decoding_agrees_with_serde_json() {
        for literal in
            [r#""""#, r#""plain 你好""#, r#""\u003c\u4f60\ud83d\ude00 \b\f\n\r\t\/\\\"""#, r#""\\u003c""#]
        {
            let expected: String = serde_json::from_str(literal).unwrap();
            assert_eq!(from(literal).decode(), expected, "{literal}");
        }
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for literal in [r#""a\ud800b""#, r#""a\udc00b""#, r#""a\ud800\u0062""#] {
            let mut out = b"\"".to_vec();
            from(literal).write_escaped(&mut out);
            out.push(b'"');
            let decoded: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(decoded, "a\u{FFFD}b", "{literal}");
        }
    }

    #[test]
    fn plain_text_survives_the_way_through_json() {
        let text = "\u{0}\u{1f}\"\\/\n\r\t\u{7f}\u{2028}你😀";
        let mut out = b"\"".to_vec();
        Text::Plain(text.into()).write_escaped(&mut out);
        out.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn what_is_no_string_literal_is_refused() {
        for literal in ["null", "12", "{}", "\"", ""] {
            assert!(Text::from_json_literal(literal).is_none(), "{literal}");
        }
    }
}
