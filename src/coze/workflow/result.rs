//! What the End node gives, as text.
//!
//! In comes its content, which is JSON of variables or plain text, and what
//! the Output nodes have streamed; out comes what is still to be shown.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What is shown of an End node's content: the variable `output`, else a lone
/// string, else the JSON. What `said` holds already is not repeated.
pub(super) fn text<'a>(content: &'a str, output: Option<&str>, said: &str) -> Cow<'a, str> {
    let Some(Variables(mut all)) = variables(content) else {
        return if is_said(content, said) { Cow::Borrowed("") } else { Cow::Borrowed(content) };
    };
    if let Some(text) = plain(&all) {
        return if is_said(&text, said) { Cow::Borrowed("") } else { text };
    }
    if let Some(name) = output
        && let Some((_, value)) = all.iter().find(|(key, _)| key == name)
    {
        let text = shown(value);
        return if is_said(&text, said) { Cow::Borrowed("") } else { text };
    }
    let count = all.len();
    // Each is looked for in all that was said.
    if !said.is_empty() && count <= MAX_COMPARED {
        all.retain(|(_, value)| !is_said(&shown(value), said));
    }
    match all.as_slice() {
        [] if count > 0 => Cow::Borrowed(""),
        [(_, value)] if value.get().starts_with('"') => shown(value),
        rest if rest.len() == count => Cow::Borrowed(content),
        rest => Cow::Owned(json(rest)),
    }
}

/// So many variables are compared at most with what was said; of more the
/// JSON is shown.
const MAX_COMPARED: usize = 64;

/// Whether a content is JSON of variables.
pub(super) fn is_json(content: &str) -> bool {
    variables(content).is_some()
}

type Variable<'a> = (Cow<'a, str>, &'a RawValue);

/// A JSON object's entries, in their order.
struct Variables<'a>(Vec<Variable<'a>>);

fn variables(content: &str) -> Option<Variables<'_>> {
    if !content.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(content).ok()
}

/// The text of an End node that returns text
/// (`workflow_run_text.server.json`).
fn plain<'a>(all: &[Variable<'a>]) -> Option<Cow<'a, str>> {
    let find = |name: &str| Some(all.iter().find(|(key, _)| key == name)?.1);
    let marked = find("content_type")?.get() == "1" && find("type_for_model").is_some();
    let data = find("data").filter(|data| marked && data.get().starts_with('"'))?;
    Some(shown(data))
}

/// A value as text: a string's characters, else its JSON.
fn shown(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str(value.get()) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(value.get()),
    }
}

/// From this length on, in bytes, words are not twice in an answer by chance.
const TELLING: usize = 24;

/// Whether a text has been shown already: Output nodes show what they are
/// given with words of their own around it. A short one may stand there for
/// something else, unless it has whole lines to itself: rather twice than
/// lost.
fn is_said(text: &str, said: &str) -> bool {
    let text = text.trim();
    if text.is_empty() || text.len() >= TELLING {
        return !said.is_empty() && said.contains(text);
    }
    said.match_indices(text).any(|(at, _)| {
        let (before, rest) = said.split_at(at);
        let after = rest.get(text.len()..).unwrap_or_default();
        let begins = before.trim_end_matches([' ', '\t']);
        let ends = after.trim_start_matches([' ', '\t', '\r']);
        (begins.is_empty() || begins.ends_with('\n')) && (ends.is_empty() || ends.starts_with('\n'))
    })
}

fn json(variables: &[Variable<'_>]) -> String {
    let entries: Vec<String> = variables
        .iter()
        .map(|(name, value)| {
            let name = serde_json::to_string(name).expect("strings always serialise");
            format!("{name}:{}", value.get())
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

impl<'de: 'a, 'a> Deserialize<'de> for Variables<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Variables<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    all.push(entry);
                }
                Ok(Variables(all))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_string_stands_for_the_json() {
        assert_eq!(text(r#"{"output":"a\nb"}"#, None, ""), "a\nb");
        assert_eq!(text(r#"{"a":"x","b":"y"}"#, None, ""), r#"{"a":"x","b":"y"}"#);
        assert_eq!(text(r#"{"a":[1, 2]}"#, None, ""), r#"{"a":[1, 2]}"#);
        assert_eq!(text("{}", None, ""), "{}");
        assert_eq!(text("plain", None, ""), "plain");
        assert_eq!(text("{broken", None, ""), "{broken");
    }

    #[test]
    fn a_variable_can_be_picked() {
        let content = r#"{"a":"x","b":{"n":12345678901234567890123}}"#;
        assert_eq!(text(content, Some("a"), ""), "x");
        assert_eq!(text(content, Some("b"), ""), r#"{"n":12345678901234567890123}"#);
        assert_eq!(text(content, Some("missing"), ""), content);
    }

    #[test]
    fn text_mode_is_its_text() {
        assert_eq!(text(r#"{"content_type":1,"data":"the text","type_for_model":2}"#, None, ""), "the text");
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let long = "a story that is long enough";
        assert_eq!(text(&format!(r#"{{"output":"{long}"}}"#), None, &format!("Here: {long}.")), "");
        assert_eq!(text(r#"{"output":"a story"}"#, None, "Here:\n a story \n\nNext"), "");
        assert_eq!(text("a story", None, "a story"), "");
        assert_eq!(text(r#"{"output":"a story","n":7}"#, None, "a story"), r#"{"n":7}"#);
        assert_eq!(text(r#"{"output":"a story","sum":"good"}"#, None, "a story"), "good");
        assert_eq!(text(r#"{"output":"another"}"#, None, "a story"), "another");
        assert_eq!(text(r#"{"output":"a story","x":"y"}"#, Some("output"), "a story"), "");
        assert_eq!(text(r#"{"output":null}"#, None, "a story"), r#"{"output":null}"#);
        // By chance the same word: it is the answer all the same.
        assert_eq!(text(r#"{"output":"5"}"#, None, "Looking at 5 pages"), "5");
        assert_eq!(text(r#"{"output":"yes"}"#, None, "Of yesterday"), "yes");
    }
}
