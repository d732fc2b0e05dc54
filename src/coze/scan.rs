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
    let mut scanner = Scanner::new(text)?;
    scanner.fields(0, &mut field)?;
    scanner.end()
}

/// Whether a text is one string literal and nothing else.
pub(super) fn is_string(text: &str) -> bool {
    let scan = || {
        let mut scanner = Scanner::new(text)?;
        scanner.string()?;
        (scanner.at == text.len()).then_some(())
    };
    scan().is_some()
}

/// Where the next quote or backslash stands from `at` on. Eight bytes at a
/// time: most strings are too short for anything wider.
fn special(bytes: &[u8], at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte that is zero. A borrow makes only what is
    // behind the first one untrue.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = at;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + usize::try_from(found.trailing_zeros() / 8).unwrap_or_default());
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| at + found)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// `None` where there are control characters: no string may have them, and
    /// Coze puts none between its tokens. So nobody has to look for them again.
    fn new(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let has_control = bytes.iter().fold(false, |has, byte| has | (*byte < b' '));
        (!has_control).then_some(Self { text, bytes, at: 0 })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The first byte of the next token.
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn since(&self, start: usize) -> Option<&'a str> {
        self.text.get(start..self.at)
    }

    /// Nothing but spaces may follow.
    fn end(&mut self) -> Option<()> {
        self.token().is_none().then_some(())
    }

    fn fields(
        &mut self,
        depth: usize,
        field: &mut impl FnMut(&'a str, Value<'a>) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if self.token()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            self.token()?;
            let start = self.at + 1;
            let escaped = self.string()?;
            let name = self.text.get(start..self.at.checked_sub(1)?).filter(|_| !escaped)?;
            self.expect(b':')?;
            field(name, self.value(depth)?)?;
            match self.token()? {
                b',' => self.at += 1,
                _ => return self.expect(b'}'),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let first = self.token()?;
        let start = self.at;
        let escaped = self.pass(first, depth)?;
        Some(match first {
            b'"' => Value::Text { literal: self.since(start)?, escaped },
            b'{' | b'[' => Value::Nested(self.since(start)?),
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'n' => Value::Null,
            _ => Value::Number(self.since(start)?),
        })
    }

    /// Passes over a value that begins so; whether it is a string with
    /// escapes.
    fn pass(&mut self, first: u8, depth: usize) -> Option<bool> {
        match first {
            b'"' => return self.string(),
            b'{' | b'[' if depth >= MAX_DEPTH => return None,
            b'{' => self.fields(depth + 1, &mut |_, _| Some(()))?,
            b'[' => self.items(depth + 1)?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(false)
    }

    fn items(&mut self, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        if self.token()? == b']' {
            return self.expect(b']');
        }
        loop {
            let first = self.token()?;
            self.pass(first, depth)?;
            match self.token()? {
                b',' => self.at += 1,
                _ => return self.expect(b']'),
            }
        }
    }

    /// Passes over a string literal; whether it has escapes.
    fn string(&mut self) -> Option<bool> {
        if self.peek()? != b'"' {
            return None;
        }
        let mut at = self.at + 1;
        let mut escaped = false;
        loop {
            at = special(self.bytes, at)?;
            if self.bytes.get(at) == Some(&b'"') {
                self.at = at + 1;
                return Some(escaped);
            }
            escaped = true;
            at += match self.bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                b'u' if self.bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return None,
            };
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
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
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
    fn the_first_quote_or_backslash_is_found() {
        for found in [b'"', b'\\'] {
            for length in 0..20 {
                for behind in [b"".as_slice(), b"\"\\a", b"aaaaaaaaaaaaaaaa"] {
                    let mut bytes = [b"!#[] \x7f\x80\xe9\xff~".as_slice(); 2].concat();
                    bytes.truncate(length);
                    assert_eq!(special(&bytes, 0), None);
                    bytes.push(found);
                    bytes.extend_from_slice(behind);
                    for at in 0..=length {
                        assert_eq!(special(&bytes, at), Some(length), "{found} after {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_string_literal_and_nothing_else() {
        for text in [r#""""#, r#""a\"\u00e9你""#] {
            assert!(is_string(text), "{text}");
        }
        for text in ["", "\"", r#""a"b"#, r#" "a""#, r#""a" "#, r#""a","b""#, "\"a\nb\"", r#""\x""#, "1"] {
            assert!(!is_string(text), "{text}");
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
        for text in [r#"{"\u0061":1}"#, r#"{"a":{"\u0061":1}}"#, "{\n\"a\":1}", &deep] {
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
