//! JSON, strictly and in one pass: in comes a body, out comes a borrowed
//! value, or the error that names the field at fault.
//!
//! No tree is built, on no path. What is only checked or ignored is skipped
//! without recursion, so nesting costs no stack, and its numbers are never
//! converted, so none is too large.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::openai::ApiError;

/// Reads a body that has to be one object.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        invalid_json(None, format!("The body is not UTF-8: the byte at offset {at} begins no character."))
    })?;
    match serde_json::from_str(text) {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(diagnose::<T>(text, &error)),
    }
}

/// Reads a refused body once more, to tell broken JSON from a wrong type and
/// to find the field: the way to it is only followed when it is needed.
#[cold]
fn diagnose<'a, T: Deserialize<'a>>(text: &'a str, refusal: &serde_json::Error) -> ApiError {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let hint = if text.starts_with('\u{feff}') { " (it begins with a byte order mark)" } else { "" };
        return invalid_json(None, format!("The body is not valid JSON: {error}{hint}."));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, Object<T>>(&mut json) else {
        return invalid_json(None, format!("The body cannot be read: {refusal}."));
    };
    let path = (error.path().iter().next().is_some()).then(|| error.path().to_string());
    let cause = error.inner().to_string();
    if let Some(key) = cause.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next()) {
        let param = path.map_or_else(|| key.to_owned(), |path| format!("{path}.{key}"));
        return invalid_json(Some(&param), format!("'{param}' is given twice."));
    }
    // A number that no float can hold is fine JSON; where it is refused, no
    // number was wanted.
    let data = error.inner().classify() == Category::Data || cause.starts_with("number out of range");
    let name = path.as_deref().map_or_else(|| "The body".to_owned(), |path| format!("'{path}'"));
    if !data {
        return invalid_json(path.as_deref(), format!("{name} is not valid JSON: {cause}."));
    }
    let message = match expectation(&cause) {
        Some(expected) => format!("{name} must be {expected}, not {}.", finding(&cause)),
        None => format!("{name} must not be {}.", finding(&cause)),
    };
    ApiError::bad_request("invalid_type", path, message)
}

fn invalid_json(param: Option<&str>, message: String) -> ApiError {
    ApiError::bad_request("invalid_json", param.map(str::to_owned), message)
}

/// What serde's message says was expected. These words are all from this
/// module's and its siblings' visitors.
fn expectation(cause: &str) -> Option<&str> {
    let (_, expected) = cause.rsplit_once(", expected ")?;
    expected.split(" at line ").next()
}

/// What serde's message says was found, without the value, which may be
/// megabytes.
fn finding(cause: &str) -> &'static str {
    const WORDS: [(&str, &str); 8] = [
        ("boolean", "a boolean"),
        ("string", "a string"),
        ("null", "null"),
        ("sequence", "an array"),
        ("map", "an object"),
        ("fraction", "a fraction"),
        ("integer", "a number"),
        ("floating point", "a number"),
    ];
    let found = cause.strip_prefix("invalid type: ").unwrap_or("");
    WORDS.iter().find(|(word, _)| found.starts_with(word)).map_or("a number", |(_, name)| name)
}

/// An object: derived structs alone would take an array of their fields too.
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A string, borrowed from the body where it has no escapes. (serde derives
/// an `Option<Cow<str>>` that always copies.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Chars<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for Chars<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Chars(PhantomData))
    }
}

/// A field that OpenAI lets be a string or an object.
#[derive(Debug)]
pub(super) enum TextOr<'a, T> {
    Text(Text<'a>),
    Object(T),
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a, T>(PhantomData<(&'a str, T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Either<'a, T> {
            type Value = TextOr<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<'a, T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Object)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Whether a field is there and not null; its value is checked for its type
/// and dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<K> {
    given: bool,
    kind: PhantomData<K>,
}

impl<K> Given<K> {
    pub(super) fn is_given(&self) -> bool {
        self.given
    }
}

impl<K> Default for Given<K> {
    fn default() -> Self {
        Self { given: false, kind: PhantomData }
    }
}

impl<'de, K: Kind> Deserialize<'de> for Given<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let given = raw != "null";
        if given && !K::admits(raw) {
            return Err(mismatch(raw, K::NAME));
        }
        Ok(Self { given, kind: PhantomData })
    }
}

/// A type of JSON, told from a value's own text.
pub(super) trait Kind {
    /// With its article, for messages.
    const NAME: &'static str;
    /// Whether this valid piece of JSON is of the type.
    fn admits(raw: &str) -> bool;
}

macro_rules! kinds {
    ($($kind:ident: $name:literal, $admits:expr;)*) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(super) enum $kind {}

        impl Kind for $kind {
            const NAME: &'static str = $name;

            fn admits(raw: &str) -> bool {
                let admits: fn(&str) -> bool = $admits;
                admits(raw)
            }
        }
    )*};
}

kinds! {
    Any: "a value", |_| true;
    Map: "an object", |raw| raw.starts_with('{');
    List: "an array", |raw| raw.starts_with('[');
    Str: "a string", |raw| raw.starts_with('"');
    Bool: "a boolean", |raw| raw.starts_with(['t', 'f']);
    Number: "a number", |raw| number(raw).is_some();
    Integer: "an integer", |raw| number(raw).is_some_and(is_whole);
}

/// A whole number of any size, `1.0` and `1e999` too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub(super) f64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match number(raw) {
            Some(value) if is_whole(value) => Ok(Self(value)),
            _ => Err(mismatch(raw, Integer::NAME)),
        }
    }
}

/// JSON's numbers are a part of Rust's; too large ones become infinite.
fn number(raw: &str) -> Option<f64> {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| raw.parse().ok()).flatten()
}

#[expect(clippy::float_cmp, reason = "a whole number is exactly its own whole part, infinity too")]
fn is_whole(value: f64) -> bool {
    value.trunc() == value
}

/// In serde's own words, so that [`diagnose`] reads one form.
pub(super) fn mismatch<E: serde::de::Error>(raw: &str, expected: &'static str) -> E {
    let found = match raw.as_bytes().first() {
        Some(b'{') => "map",
        Some(b'[') => "sequence",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ if number(raw).is_some_and(is_whole) => "integer",
        _ => "fraction",
    };
    E::custom(format_args!("invalid type: {found}, expected {expected}"))
}
