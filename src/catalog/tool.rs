//! A model as a tool: what its name becomes, and what it takes beside a
//! message.
//!
//! In come names and values of the config and of callers, out come names that
//! every kind of client takes, and what is wrong with a value. Knows no
//! protocol.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

/// A parameter of a tool, which a flow is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, which is the start parameter's.
    pub name: String,
    /// What its value is.
    pub kind: ParameterKind,
    /// What an agent is told about it.
    pub description: Option<String>,
    /// Whether a call without it is refused.
    pub required: bool,
    /// The values that it can have; empty where that is any of its kind.
    pub choices: Vec<Value>,
}

impl Parameter {
    /// Whether a value is one of those that it can have.
    #[must_use]
    pub fn admits(&self, value: &Value) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| is_same(choice, value))
    }
}

/// Whether two values are the same to JSON Schema, to which `2.0` is `2`.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.is_number() && other.is_number() && whole(one) == whole(other) && whole(one).is_some()
}

/// A number without a fraction, however it is written.
fn whole(value: &Value) -> Option<i64> {
    let in_digits = |number: f64| format!("{number:.0}").parse().ok();
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0).and_then(in_digits))
}

/// The types that JSON Schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list of anything.
    Array,
    /// An object of anything.
    Object,
}

impl ParameterKind {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    /// Its name in JSON Schema.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// A value of this kind as Coze takes it: a whole number without a point.
    #[must_use]
    pub fn plain(self, value: Value) -> Value {
        match whole(&value) {
            Some(number) if self == Self::Integer => number.into(),
            _ => value,
        }
    }

    /// Whether a value is of this kind.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            // `2.0` is a whole number too, as JSON Schema has it.
            Self::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

/// With its article, for messages.
impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if matches!(self, Self::Integer | Self::Array | Self::Object) { "an" } else { "a" };
        write!(f, "{article} {}", self.name())
    }
}

/// The longest name that clients take for a tool: that of a function of
/// OpenAI's.
const MAX_NAME: usize = 64;

/// How many characters of a name's hash stand in a name that was changed.
const HASH: usize = 8;

/// Gives each model a name that every client takes: 1 to 64 of
/// `A-Za-z0-9_-`. A name that is one stays as it is; any other is made one,
/// with a hash of the original behind, so that it stays the same whatever
/// else is in the config.
#[must_use]
pub fn names<'m>(models: impl Iterator<Item = &'m str> + Clone) -> BTreeMap<String, &'m str> {
    let mut names: BTreeMap<String, &str> =
        models.clone().filter(|name| is_fit(name)).map(|name| (name.to_owned(), name)).collect();
    for model in models.filter(|name| !is_fit(name)) {
        // Another hash where even the name with the hash is taken.
        let mut fit = (0..).map(|seed| made_fit(model, seed));
        if let Some(name) = fit.find(|name| !names.contains_key(name)) {
            names.insert(name, model);
        }
    }
    names
}

fn is_fit(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn made_fit(name: &str, seed: u64) -> String {
    let mut fit = String::new();
    for c in name.chars() {
        let c = if u8::try_from(c).is_ok_and(is_allowed) { c } else { '_' };
        if (c != '_' || !fit.ends_with('_')) && fit.len() < MAX_NAME - HASH - 1 {
            fit.push(c);
        }
    }
    let fit = fit.trim_matches('_');
    let fit = if fit.is_empty() { "model" } else { fit };
    let hash = format!("{:016x}", xxh64(name.as_bytes(), seed));
    format!("{fit}_{}", hash.get(..HASH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_becomes_one_that_clients_take() {
        let long = "x".repeat(200);
        let models =
            ["support", "gpt-4o_b", "客服", "客户", "a b", "a.b", "a/b", "gpt-4.1", "__", "", long.as_str()];
        let names = names(models.iter().copied());
        assert_eq!(names.len(), models.len(), "without a clash: {names:?}");
        assert!(names.keys().all(|name| is_fit(name)), "{names:?}");
        assert_eq!((names["support"], names["gpt-4o_b"]), ("support", "gpt-4o_b"));
        assert!(names.iter().any(|(name, model)| *model == "gpt-4.1" && name.starts_with("gpt-4_1_")));
        assert!(names.iter().any(|(name, model)| *model == "客服" && name.starts_with("model_")));
    }

    #[test]
    fn a_name_is_the_same_whatever_else_there_is() {
        let alone = names(["a.b"].into_iter());
        let (name, _) = alone.first_key_value().unwrap();
        let with_others = names(["a_b", "a/b", "a.b"].into_iter());
        assert_eq!(with_others.get(name), Some(&"a.b"));
        // Who takes just that name keeps it.
        let taken = names(["a.b", name.as_str()].into_iter());
        assert_eq!((taken.len(), taken.get(name)), (2, Some(&name.as_str())));
    }

    #[test]
    fn values_are_of_a_kind() {
        for (kind, good, bad) in [
            (ParameterKind::String, json!("x"), json!(1)),
            (ParameterKind::Integer, json!(-7), json!(1.5)),
            (ParameterKind::Integer, json!(2.0), json!("2")),
            (ParameterKind::Number, json!(1.5), json!("1.5")),
            (ParameterKind::Boolean, json!(false), json!(0)),
            (ParameterKind::Array, json!([]), json!({})),
            (ParameterKind::Object, json!({}), json!([])),
        ] {
            assert!(kind.admits(&good) && !kind.admits(&bad), "{kind}");
        }
        assert!(ParameterKind::ALL.iter().all(|(name, kind)| *name == kind.name()));
    }
}
