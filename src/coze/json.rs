//! Coze's JSON, read in every form that occurs: ids and codes as strings or
//! numbers, fields absent or null, errors as objects or as plain text.
//!
//! In comes the data of an event, out come values or a failure.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use super::error;
use super::scan::Value;
use crate::turn::{Failure, Kind, Text};

/// A short text that may come as a string, a number or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::coze) struct Word<'a>(pub(in crate::coze) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Word<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(value.to_owned())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(value.to_string())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(value.to_string())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(value.to_string())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(value.to_string())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Word::default())
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl<'a> Word<'a> {
    /// A value as a word; `None` if a parser has to say what it is.
    pub(in crate::coze) fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Text { literal, escaped: false } => {
                let inside = literal.strip_prefix('"')?.strip_suffix('"')?;
                Some(Self(Cow::Borrowed(inside)))
            }
            // A number may be written in several ways: this one is its own.
            Value::Number(digits) if digits.len() < 19 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(Self(Cow::Borrowed(digits)))
            }
            Value::Null => Some(Self::default()),
            _ => None,
        }
    }
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coze) struct Raw<'a>(pub(in crate::coze) &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(raw.get()))
    }
}

impl<'a> Raw<'a> {
    pub(in crate::coze) fn of(value: Value<'a>) -> Option<Self> {
        (value != Value::Null).then(|| Self(value.raw()))
    }
}

/// What a plain object of this kind says, found without a parser.
pub(in crate::coze) trait Plain<'a>: Sized {
    /// `None` if the text is not a plain object of this kind: a parser has to
    /// say what it is.
    fn plain(text: &'a str) -> Option<Self>;
}

/// An error with its number, which is a string on some endpoints.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::coze) struct Fault<'a> {
    #[serde(borrow, alias = "error_code")]
    pub(in crate::coze) code: Word<'a>,
    #[serde(borrow, alias = "error_message")]
    pub(in crate::coze) msg: Word<'a>,
}

/// A code with its message.
pub(in crate::coze) fn fault(code: &Word<'_>, message: &Word<'_>) -> Failure {
    error::failure(code.0.parse().unwrap_or(0), &message.0)
}

/// `error`: an object with code and message, an empty one, or plain text.
pub(in crate::coze) fn error_event(data: &[u8]) -> Failure {
    match serde_json::from_slice::<Fault<'_>>(data) {
        Ok(Fault { code, msg }) => fault(&code, &msg),
        Err(_) => {
            let text: Cow<'_, str> = String::from_utf8_lossy(data.get(..4096).unwrap_or(data));
            error::failure(0, &text)
        }
    }
}

/// The error in an event without a name, as a proxy or the cloud may send it.
pub(in crate::coze) fn unnamed_error(data: &[u8]) -> Option<Failure> {
    if !data.starts_with(b"{") {
        return None;
    }
    let Fault { code, msg } = serde_json::from_slice(data).ok()?;
    code.0.parse().is_ok_and(|code: i64| code > 0).then(|| fault(&code, &msg))
}

/// Reads an event's data.
pub(in crate::coze) fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_str(object(data)?).map_err(|error| garbage(error.to_string()))
}

/// Reads an event's data that is a plain object, as a rule.
pub(in crate::coze) fn parse_plain<'a, T: Plain<'a> + Deserialize<'a>>(data: &'a [u8]) -> Result<T, Failure> {
    plain_or_parsed(object(data)?).map_err(|error| garbage(error.to_string()))
}

/// Reads an object that is a plain one, as a rule.
pub(in crate::coze) fn plain_or_parsed<'a, T: Plain<'a> + Deserialize<'a>>(
    text: &'a str,
) -> serde_json::Result<T> {
    T::plain(text).map_or_else(|| serde_json::from_str(text), Ok)
}

/// The text of an object.
fn object(data: &[u8]) -> Result<&str, Failure> {
    // An array would be taken for an object by the order of its fields.
    if !data.trim_ascii_start().starts_with(b"{") {
        return Err(garbage("the data is not an object".to_owned()));
    }
    // Checked once here; the parser then need not check every string.
    std::str::from_utf8(data).map_err(|error| garbage(error.to_string()))
}

fn garbage(detail: String) -> Failure {
    Failure::new(Kind::Broken, "Coze sent an event that makes no sense.").with_detail(detail)
}

/// A field that holds text.
pub(in crate::coze) fn string(raw: Option<Raw<'_>>) -> Result<Option<Text<'_>>, Failure> {
    raw.map(|raw| {
        Text::from_json_literal(raw.0)
            .ok_or_else(|| garbage("the text of a message is not a string".to_owned()))
    })
    .transpose()
}
