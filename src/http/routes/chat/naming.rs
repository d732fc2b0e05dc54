//! What a request calls its conversation.
//!
//! In come headers and the fields of the body, out comes one name, or the
//! field at fault. In a header a name is percent-encoded where it has to be,
//! as the gateway's own answers have it.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::conversation::Name;
use crate::openai::ApiError;
use crate::openai::chat::Request;

/// Names a conversation, in requests and in answers.
pub(super) const NAME: &str = "x-conversation-id";

/// Says how a request that names one is meant.
pub(super) const MODE: &str = "x-conversation-mode";

/// What a header cannot hold, and what would be decoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// What a request calls its conversation, and how much of it the request is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// The name, if it gives one.
    pub(super) name: Option<Name>,
    /// Whether it is the whole transcript in any case.
    pub(super) whole: bool,
}

impl Naming {
    /// Reads a request.
    ///
    /// # Errors
    /// If a name is none, two names differ, or the mode is unknown.
    pub(super) fn of(headers: &HeaderMap, request: &Request) -> Result<Self, ApiError> {
        let mut given: Option<(&str, String)> = None;
        let header = headers.get(NAME).map(decoded).transpose()?.map(|name| (NAME, name));
        for (field, text) in header.into_iter().chain(request.conversation.iter().cloned()) {
            match &given {
                Some((first, name)) if *name != text => {
                    let says = format!("'{first}' and '{field}' name different conversations.");
                    return Err(invalid(field, says));
                }
                Some(_) => {}
                None => given = Some((field, text)),
            }
        }
        let name = given.map(|(field, text)| {
            Name::parse(&text).map_err(|error| invalid(field, format!("'{field}' {error}.")))
        });
        let whole = match headers.get(MODE).map(HeaderValue::as_bytes) {
            None | Some(b"delta") => false,
            Some(b"transcript") => true,
            Some(_) => {
                return Err(invalid(MODE, format!("'{MODE}' must be 'transcript' or 'delta'.")));
            }
        };
        Ok(Self { name: name.transpose()?, whole })
    }
}

/// A name as a header has it.
pub(super) fn encoded(name: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(utf8_percent_encode(name, ENCODED).to_string()).ok()
}

fn decoded(value: &HeaderValue) -> Result<String, ApiError> {
    let text = percent_decode(value.as_bytes()).decode_utf8();
    text.map(Into::into).map_err(|_| invalid(NAME, format!("'{NAME}' is not UTF-8.")))
}

fn invalid(field: &str, says: String) -> ApiError {
    ApiError::bad_request("invalid_value", Some(field.to_owned()), says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &str)], fields: &str) -> Result<Naming, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        Naming::of(&map, &Request::parse(body.as_bytes()).unwrap())
    }

    fn given(name: &str) -> Option<Name> {
        Some(Name::Given(name.to_owned()))
    }

    #[test]
    fn a_name_is_taken_from_each_of_its_places() {
        assert_eq!(of(&[], "").unwrap(), Naming::default());
        assert_eq!(of(&[(NAME, "a")], "").unwrap().name, given("a"));
        assert_eq!(of(&[], r#","conversation_id":"a b%20c""#).unwrap().name, given("a b%20c"));
        assert_eq!(of(&[], r#","metadata":{"x":"y","conversation_id":"a"}"#).unwrap().name, given("a"));
        let all = of(&[(NAME, "a")], r#","conversation_id":"a","metadata":{"conversation_id":"a"}"#);
        assert_eq!(all.unwrap().name, given("a"));
        assert_eq!(of(&[], r#","conversation_id":null,"metadata":null"#).unwrap().name, None);
    }

    #[test]
    fn names_that_differ_are_refused() {
        for (headers, fields, param) in [
            (&[(NAME, "a")][..], r#","conversation_id":"b""#, "conversation_id"),
            (&[], r#","conversation_id":"a","metadata":{"conversation_id":"b"}"#, "metadata.conversation_id"),
            (&[(NAME, "")], "", NAME),
            (&[(NAME, "a%0ab")], "", NAME),
            (&[(NAME, "a%ff")], "", NAME),
            (&[], r#","conversation_id":"""#, "conversation_id"),
            (&[(MODE, "both")], "", MODE),
        ] {
            let error = of(headers, fields).unwrap_err();
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{error}");
        }
        let long = "x".repeat(257);
        assert!(of(&[(NAME, long.as_str())], "").is_err());
        assert!(of(&[(NAME, &long[..256])], "").is_ok());
    }

    #[test]
    fn a_name_goes_through_a_header_and_back() {
        for name in ["plain", "a b%c", "你好", "50% \"x\""] {
            assert_eq!(decoded(&encoded(name).unwrap()).unwrap(), name);
        }
        assert_eq!(of(&[(NAME, "你好")], "").unwrap().name, given("你好"));
    }
}
