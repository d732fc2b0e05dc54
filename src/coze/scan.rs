//! A JSON object's fields, found without a parser for all of JSON.
//!
//! In comes text, out come the names of its fields and their values as they
//! stand there. Coze writes compact, flat objects, most of which is not
//! needed: to pass over that takes a sixth fewer instructions than to have a
//! parser ignore it. What is accepted here is JSON, and everything that is
//! not plain (an escape in a name, deep nesting, a fault) is `None`: then a
//! whole parser decides, and words the error.

/// How deep values may be nested.
const MAX_DEPTH: usize = 8;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string literal with its quotes, and whether it has escapes.
    Text { literal: &'a str, escaped: bool },
    /// A number, as it is written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An object or an array, as it is written.
    Nested(&'a str),
}

impl<'a> Value<'a> {
    /// As it is written.
    pub(super) fn raw(self) -> &'a str {
        match self {
            Self::Text { literal: raw, .. } | Self::Number(raw) | Self::Nested(raw) => raw,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Null => "null",
        }
    }
}

/// Hands every field of an object to `field`, in their order. `None` if the
/// text is anything but a plain object, or `field` says so.
pub(super) fn object<'a>(
    text: &'a str,
    mut field: impl FnMut(&'a str, Value<'a>) -> Option<()>,
) -> Option<()> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    scanner.fields(0, &mut field)?;
    scanner.space();
    (scanner.at == text.len()).then_some(())
}

/// How many bytes come before the first quote, backslash or control
/// character. Eight at a time: most strings are too short for anything wider.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte that is below `limit`, which is at most 0x80.
    // A borrow makes only what is behind the first one untrue.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let escapes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = quotes | escapes | below(word, b' ');
        if found != 0 {
            return at + usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
        }
        at += 8;
    }
    let is_plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0..b' ');
    at + words.remainder().iter().take_while(is_plain).count()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest().starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn since(&self, start: usize) -> Option<&'a str> {
        self.text.get(start..self.at)
    }

    fn fields(
        &mut self,
        depth: usize,
        field: &mut dyn FnMut(&'a str, Value<'a>) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            let (name, escaped) = self.string()?;
            let name = name.get(1..name.len().checked_sub(1)?).filter(|_| !escaped)?;
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value(depth)?;
            field(name, value)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.expect(b'}'),
            }
            self.space();
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let start = self.at;
        Some(match self.peek()? {
            b'"' => {
                let (literal, escaped) = self.string()?;
                Value::Text { literal, escaped }
            }
            b'{' | b'[' if depth >= MAX_DEPTH => return None,
            b'{' => {
                self.fields(depth + 1, &mut |_, _| Some(()))?;
                Value::Nested(self.since(start)?)
            }
            b'[' => {
                self.items(depth + 1)?;
                Value::Nested(self.since(start)?)
            }
            b't' => self.word("true").map(|()| Value::Bool(true))?,
            b'f' => self.word("false").map(|()| Value::Bool(false))?,
            b'n' => self.word("null").map(|()| Value::Null)?,
            _ => {
                self.number()?;
                Value::Number(self.since(start)?)
            }
        })
    }

    fn items(&mut self, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        self.space();
        if self.peek()? == b']' {
            return self.expect(b']');
        }
        loop {
            self.value(depth)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.expect(b']'),
            }
            self.space();
        }
    }

    /// A string literal with its quotes, and whether it has escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        let start = self.at;
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at += plain(self.rest());
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some((self.since(start)?, escaped));
                }
                b'\\' => self.at += 1,
                _ => return None,
            }
            escaped = true;
            match self.peek()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                b'u' => {
                    let digits = self.rest().get(1..5)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 5;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        (digits > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    type Found = Vec<(String, String)>;

    fn found(text: &str) -> Option<Found> {
        let mut fields = Vec::new();
        object(text, |name, value| {
            fields.push((name.to_owned(), value.raw().to_owned()));
            Some(())
        })?;
        Some(fields)
    }

    /// What a whole parser finds, in the same order.
    fn parsed(text: &str) -> Option<Found> {
        struct Fields(Found);
        impl<'de> serde::Deserialize<'de> for Fields {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Map;
                impl<'de> serde::de::Visitor<'de> for Map {
                    type Value = Fields;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                        let mut fields = Vec::new();
                        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                            fields.push((name, value.get().to_owned()));
                        }
                        Ok(Fields(fields))
                    }
                }
                deserializer.deserialize_map(Map)
            }
        }
        serde_json::from_str::<Fields>(text).ok().map(|fields| fields.0)
    }

    #[test]
    fn what_is_plain_ends_at_the_first_byte_that_is_not() {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for length in 0..20 {
                for behind in [b"".as_slice(), b"\"\\\0", b"aaaaaaaaaaaaaaaa"] {
                    let mut bytes = [b"!#[] \x7f\x80\xe9\xff~".as_slice(); 2].concat();
                    bytes.truncate(length);
                    assert_eq!(plain(&bytes), length);
                    bytes.push(special);
                    bytes.extend_from_slice(behind);
                    assert_eq!(plain(&bytes), length, "{special} after {length}");
                }
            }
        }
    }

    #[test]
    fn fields_come_as_they_stand() {
        let text = r#" { "a" : "x\"yé" ,"b":-1.5e+3, "c":[1,{"d":null}],"e":{},"f":true,"g":[ ]} "#;
        let fields = found(text).unwrap();
        let of = |name: &str| fields.iter().find(|(known, _)| known == name).unwrap().1.as_str();
        assert_eq!([of("a"), of("b"), of("c")], ["\"x\\\"yé\"", "-1.5e+3", "[1,{\"d\":null}]"]);
        assert_eq!(Some(fields.clone()), parsed(text));
        assert_eq!(found("{}"), Some(vec![]));
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(9), "]".repeat(9));
        for text in [r#"{"\u0061":1}"#, &deep] {
            assert!(found(text).is_none() && parsed(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1}}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":-}",
            "{\"a\":1e}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":tru}",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{a:1}",
            "{\"a\":\"b}",
            "{\"a\":+1}",
            "{,}",
        ] {
            assert!(found(text).is_none() && parsed(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_a_whole_parser_accepts_alike(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", "\\\"", "a", "\"a\":", "\"b\":1", "1", "-", "0", ".5",
                "e9", "true", "null", " ", "\n", "é", "\\u00e9", "\\ud83d", "\"x\"", "{}", "{\"c\":[1,2]}",
            ]), 0..14),
        ) {
            let text = pieces.concat();
            for text in [text.clone(), format!("{{\"a\":{text}}}"), format!("{{\"a\":\"{text}\"}}")] {
                if let Some(fields) = found(&text) {
                    prop_assert_eq!(Some(fields), parsed(&text));
                }
            }
        }
    }
}
