//! The parameters whose values matter: in come their wire forms, out comes
//! what they mean for a bot, or the fault.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fault::{Fault, quoted};
use super::json::{Any, Bool, Given, List, Map, Object, Str, Text, TextOr, Whole};
use crate::turn::StopWords;

/// How many answers a request may ask for.
const MAX_CHOICES: u8 = 8;

/// Said of `tool_choice` and `function_call`.
const FORCES_A_CALL: &str = "that forces a call is not supported: a bot calls its own tools, and never a \
                             client's; leave it out or send 'auto' or 'none'";

/// `n`, 1 if there is none.
pub(super) fn choices(n: Option<Whole>) -> Result<usize, Fault> {
    let Some(Whole(n)) = n else { return Ok(1) };
    if n < 1.0 {
        return Err(Fault::new("integer_below_min_value", "n", "must be at least 1"));
    }
    let choices = (1..=MAX_CHOICES).rev().find(|&choices| f64::from(choices) <= n).unwrap_or(1);
    if f64::from(choices) < n {
        let says = format!("must be at most {MAX_CHOICES}: each choice is a chat of its own");
        return Err(Fault::new("integer_above_max_value", "n", says));
    }
    Ok(usize::from(choices))
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: Given<Bool>,
}

/// `stop`: its first strings, one more than are allowed at most.
#[derive(Debug, Default)]
pub(super) struct Stop {
    words: Vec<String>,
    is_empty_list: bool,
}

impl Stop {
    pub(super) fn into_words(self) -> Result<StopWords, Fault> {
        if self.is_empty_list {
            return Err(Fault::new("empty_array", "stop", "must hold 1 to 4 strings; leave it out for none"));
        }
        StopWords::new(self.words).map_err(|error| Fault::invalid("stop", format!("is invalid: {error}")))
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = Stop;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, word: &str) -> Result<Stop, E> {
                Ok(Stop { words: vec![word.to_owned()], is_empty_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Stop, A::Error> {
                let mut stop = Stop::default();
                while let Some(Text(word)) = words.next_element()? {
                    stop.words.push(word.into_owned());
                    if stop.words.len() > 4 {
                        while words.next_element::<Text<'de>>()?.is_some() {}
                        break;
                    }
                }
                stop.is_empty_list = stop.words.is_empty();
                Ok(stop)
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// `tools` and `functions`: whether there are any.
#[derive(Debug)]
pub(super) struct Tools {
    is_empty: bool,
}

impl Tools {
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Tools;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tools: A) -> Result<Tools, A::Error> {
                let mut is_empty = true;
                while tools.next_element::<IgnoredAny>()?.is_some() {
                    is_empty = false;
                }
                Ok(Tools { is_empty })
            }
        }

        deserializer.deserialize_seq(Any)
    }
}

/// `metadata`: what a conversation is called there, and whether there is more.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    pub(super) conversation_id: Option<Text<'a>>,
    other: bool,
}

impl Metadata<'_> {
    /// Whether something is said that plays no part.
    pub(super) fn is_ignored(&self) -> bool {
        self.other || self.conversation_id.is_none()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata<'de>, A::Error> {
                let mut metadata = Metadata::default();
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    if key == "conversation_id" {
                        if metadata.conversation_id.is_some() {
                            return Err(serde::de::Error::duplicate_field("conversation_id"));
                        }
                        metadata.conversation_id = map.next_value()?;
                    } else {
                        metadata.other = true;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(metadata)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// `parameters`, a field of the gateway's own: start parameters of a workflow,
/// as they were written.
#[derive(Debug)]
pub(super) struct Parameters<'a>(pub(super) &'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for Parameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('{') {
            Ok(Self(raw))
        } else {
            Err(super::json::mismatch(raw.get(), "an object"))
        }
    }
}

/// `modalities`.
#[derive(Debug, Default)]
pub(super) struct Modalities {
    audio: bool,
    other: bool,
}

impl Modalities {
    /// Whether the answer is wanted aloud.
    pub(super) fn is_aloud(&self) -> bool {
        self.audio
    }

    /// Whether something else than text is wanted.
    pub(super) fn is_ignored(&self) -> bool {
        self.other
    }
}

impl<'de> Deserialize<'de> for Modalities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Modalities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Modalities, A::Error> {
                let mut modalities = Modalities::default();
                while let Some(Text(name)) = names.next_element::<Text<'de>>()? {
                    match &*name {
                        "text" => {}
                        "audio" => modalities.audio = true,
                        _ => modalities.other = true,
                    }
                }
                Ok(modalities)
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

/// `audio`: how the answer is wanted aloud.
#[derive(Debug, Deserialize)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    format: Option<Text<'a>>,
    #[serde(default)]
    voice: Given<Any>,
}

impl Audio<'_> {
    /// Coze speaks in one format, and nothing here puts it into another.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match &self.format {
            Some(Text(format)) if format != "pcm16" => {
                let says = format!("must be 'pcm16', not {}: bots speak in nothing else", quoted(format));
                Err(Fault::parameter("audio.format", says))
            }
            _ => Ok(()),
        }
    }

    /// Whether a voice is asked for, which is the bot's own matter.
    pub(super) fn has_voice(&self) -> bool {
        self.voice.is_given()
    }
}

/// `response_format`.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    json_schema: Option<Object<JsonSchema>>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    strict: Option<bool>,
    #[serde(default, rename = "name")]
    _name: Given<Str>,
    #[serde(default, rename = "description")]
    _description: Given<Str>,
    #[serde(default, rename = "schema")]
    _schema: Given<Map>,
}

impl ResponseFormat<'_> {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Some(Text(kind)) = &self.kind else { return Err(Fault::missing("response_format.type")) };
        match &**kind {
            "text" | "json_object" => Ok(()),
            "json_schema" => {
                let strict = self.json_schema.as_ref().and_then(|Object(schema)| schema.strict);
                if strict != Some(true) {
                    return Ok(());
                }
                // LangChain looks for the first half of the sentence.
                let says = "of type 'json_schema' is not supported with this model when 'strict' is true: \
                            nothing makes a bot follow a schema";
                Err(Fault::parameter("response_format", says))
            }
            other => {
                let says = format!("must be 'text', 'json_object' or 'json_schema', not {}", quoted(other));
                Err(Fault::invalid("response_format.type", says))
            }
        }
    }

    /// Whether it asks for nothing but what a bot does anyway.
    pub(super) fn is_text(&self) -> bool {
        self.kind.as_ref().is_some_and(|Text(kind)| kind == "text")
    }
}

/// `tool_choice` as an object: `{"type":"function",…}`, `{"type":"custom",…}`
/// or `{"type":"allowed_tools","allowed_tools":{"mode",…}}`.
#[derive(Debug, Deserialize)]
pub(super) struct ToolChoice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    allowed_tools: Option<Object<AllowedTools<'a>>>,
    #[serde(default, rename = "function")]
    _function: Given<Map>,
    #[serde(default, rename = "custom")]
    _custom: Given<Map>,
}

#[derive(Debug, Deserialize)]
struct AllowedTools<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(default, rename = "tools")]
    _tools: Given<List>,
}

/// Refuses a `tool_choice` that forces a call: the bot's tools are its own.
pub(super) fn check_tool_choice(choice: &TextOr<'_, ToolChoice<'_>>) -> Result<(), Fault> {
    let forces = match choice {
        TextOr::Text(Text(word)) => match &**word {
            "auto" | "none" => false,
            "required" => true,
            other => {
                let says = format!("must be 'auto', 'none' or 'required', not {}", quoted(other));
                return Err(Fault::invalid("tool_choice", says));
            }
        },
        TextOr::Object(choice) => {
            let Some(Text(kind)) = &choice.kind else { return Err(Fault::missing("tool_choice.type")) };
            let mode = choice.allowed_tools.as_ref().and_then(|Object(allowed)| allowed.mode.as_ref());
            kind != "allowed_tools" || mode.is_some_and(|Text(mode)| mode != "auto")
        }
    };
    if forces { Err(Fault::parameter("tool_choice", FORCES_A_CALL)) } else { Ok(()) }
}

/// The deprecated `function_call` as an object, which always forces a call.
#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    #[serde(default, rename = "name")]
    _name: Given<Str>,
}

/// Refuses a `function_call` that forces a call.
pub(super) fn check_function_call(call: &TextOr<'_, FunctionCall>) -> Result<(), Fault> {
    match call {
        TextOr::Text(Text(word)) if word == "auto" || word == "none" => Ok(()),
        TextOr::Text(Text(word)) => {
            let says = format!("must be 'auto', 'none' or an object, not {}", quoted(word));
            Err(Fault::invalid("function_call", says))
        }
        TextOr::Object(_) => Err(Fault::parameter("function_call", FORCES_A_CALL)),
    }
}
