//! `coze`, a field of the gateway's own: what a bot is given beside the
//! messages.
//!
//! In comes the object, out come [`Extras`]. Its fields are Coze's; one that
//! is not known is a fault, since its loss would go unnoticed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fault::{Fault, quoted};
use super::json::Text;
use super::parameters::Parameters;
use crate::turn::{Extras, Shortcut};

/// The longest number that can be an id.
const MAX_ID_DIGITS: usize = 19;

/// The object.
#[derive(Debug, Default)]
pub(super) struct Coze {
    custom_variables: Option<Strings>,
    shortcut_command: Option<Command>,
    extra_params: Option<Strings>,
    parameters: Option<String>,
    /// The first field that is none.
    strange: Option<String>,
}

/// `shortcut_command`.
#[derive(Debug, Default)]
struct Command {
    command_id: Option<String>,
    parameters: Option<Strings>,
    strange: Option<String>,
}

/// An object of strings.
#[derive(Debug, Default)]
struct Strings(BTreeMap<String, String>);

impl Coze {
    /// Checks what types cannot say.
    pub(super) fn into_extras(self) -> Result<Extras, Fault> {
        let Self { custom_variables, shortcut_command, extra_params, parameters, strange } = self;
        known(strange, "custom_variables, shortcut_command, extra_params and parameters")?;
        let strings = |map: Option<Strings>| map.map(|Strings(map)| map).unwrap_or_default();
        let parameters = parameters.as_deref().map(entries).transpose()?.unwrap_or_default();
        Ok(Extras {
            variables: strings(custom_variables),
            shortcut: shortcut_command
                .map(|command| command.into_shortcut().map_err(|fault| fault.within("shortcut_command")))
                .transpose()?,
            params: strings(extra_params),
            parameters,
        })
    }
}

impl Command {
    fn into_shortcut(self) -> Result<Shortcut, Fault> {
        known(self.strange, "command_id and parameters")?;
        let command = self.command_id.ok_or_else(|| Fault::missing("command_id"))?;
        let is_id = !command.is_empty()
            && command.len() <= MAX_ID_DIGITS
            && command.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id {
            return Err(Fault::invalid("command_id", "must be an id: decimal digits"));
        }
        Ok(Shortcut { command, parameters: self.parameters.map(|Strings(map)| map).unwrap_or_default() })
    }
}

fn known(strange: Option<String>, fields: &str) -> Result<(), Fault> {
    match strange {
        None => Ok(()),
        Some(name) => {
            let says = format!("has no field {}: there are {fields}", quoted(&name));
            Err(Fault::new("unknown_parameter", "", says))
        }
    }
}

/// The entries of a JSON object, each as it was written.
fn entries(object: &str) -> Result<BTreeMap<String, String>, Fault> {
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(object)
        .map_err(|error| Fault::invalid("parameters", format!("cannot be read: {error}")))?;
    Ok(entries.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect())
}

impl<'de> Deserialize<'de> for Coze {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Coze;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Coze, A::Error> {
                let mut coze = Coze::default();
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    match &*key {
                        "custom_variables" => coze.custom_variables = map.next_value()?,
                        "shortcut_command" => coze.shortcut_command = map.next_value()?,
                        "extra_params" => coze.extra_params = map.next_value()?,
                        "parameters" => {
                            let object = map.next_value::<Option<Parameters<'de>>>()?;
                            coze.parameters = object.map(|Parameters(raw)| raw.get().to_owned());
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            coze.strange.get_or_insert_with(|| key.into_owned());
                        }
                    }
                }
                Ok(coze)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Command, A::Error> {
                let mut command = Command::default();
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    match &*key {
                        "command_id" => {
                            let id = map.next_value::<Option<Text<'de>>>()?;
                            command.command_id = id.map(|Text(id)| id.into_owned());
                        }
                        "parameters" => command.parameters = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            command.strange.get_or_insert_with(|| key.into_owned());
                        }
                    }
                }
                Ok(command)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Strings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    let Text(value) = map.next_value()?;
                    all.insert(key.into_owned(), value.into_owned());
                }
                Ok(Strings(all))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::openai::ApiError;
    use crate::openai::chat::Request;
    use crate::turn::Extras;

    fn extras(coze: &serde_json::Value) -> Result<Option<Extras>, ApiError> {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "coze": coze});
        Request::parse(body.to_string().as_bytes()).map(|request| request.ask.given.extras.map(|all| *all))
    }

    #[test]
    fn the_fields_are_cozes() {
        let all = extras(&json!({
            "custom_variables": {"persona": "be brief"}, "extra_params": {"trace": "1"},
            "shortcut_command": {"command_id": "75", "parameters": {"city": "Paris"}},
            "parameters": {"n": 1.50, "deep": {"a": [null]}},
        }))
        .unwrap()
        .unwrap();
        assert_eq!(all.variables["persona"], "be brief");
        assert_eq!(all.params["trace"], "1");
        let shortcut = all.shortcut.unwrap();
        assert_eq!((shortcut.command.as_str(), shortcut.parameters["city"].as_str()), ("75", "Paris"));
        assert_eq!(all.parameters["deep"], r#"{"a":[null]}"#);
        assert_eq!(extras(&json!(null)).unwrap(), None);
        let nulls = json!({"custom_variables": null, "shortcut_command": null, "parameters": null});
        assert_eq!(extras(&nulls).unwrap(), Some(Extras::default()));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (coze, code, param) in [
            (json!("x"), "invalid_type", "coze"),
            (json!({"custom_variables": {"n": 1}}), "invalid_type", "coze.custom_variables.n"),
            (json!({"custom_variables": []}), "invalid_type", "coze.custom_variables"),
            (json!({"parameters": "{}"}), "invalid_type", "coze.parameters"),
            (json!({"custom_variable": {}}), "unknown_parameter", "coze"),
            (
                json!({"shortcut_command": {}}),
                "missing_required_parameter",
                "coze.shortcut_command.command_id",
            ),
            (
                json!({"shortcut_command": {"command_id": "x"}}),
                "invalid_value",
                "coze.shortcut_command.command_id",
            ),
            (
                json!({"shortcut_command": {"command_id": 7}}),
                "invalid_type",
                "coze.shortcut_command.command_id",
            ),
            (
                json!({"shortcut_command": {"command_id": "7", "x": 1}}),
                "unknown_parameter",
                "coze.shortcut_command",
            ),
        ] {
            let error = extras(&coze).unwrap_err();
            assert_eq!((error.code.as_ref(), error.param.as_deref()), (code, Some(param)), "{coze}: {error}");
        }
    }
}
