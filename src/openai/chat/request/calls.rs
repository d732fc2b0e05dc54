//! The tool calls of an assistant's message: in comes OpenAI's array, out
//! comes what was called with what.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::fault::Fault;
use super::json::{Object, Text};

/// How long a function's name may be, in bytes (OpenAI: 64 characters).
/// Each result repeats it, so that a long one would multiply a body's size.
const MAX_NAME: usize = 256;

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// What its result refers to; the deprecated form has none.
    pub(super) id: Option<Cow<'a, str>>,
    /// What was called.
    pub(super) name: Cow<'a, str>,
    /// JSON, or a custom tool's free text, as the client wrote it.
    pub(super) arguments: Cow<'a, str>,
}

/// The calls of one message up to the first fault.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    calls: Vec<Call<'a>>,
    fault: Option<Fault>,
}

impl<'a> Calls<'a> {
    pub(super) fn into_vec(self) -> Result<Vec<Call<'a>>, Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.calls),
        }
    }
}

/// One call on the wire.
#[derive(Debug, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Object<Function<'a>>>,
    #[serde(borrow)]
    custom: Option<Object<Custom<'a>>>,
}

/// A function and its arguments; the deprecated `function_call` is just that.
#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

impl<'a> Function<'a> {
    /// The call without an id. Servers leave the arguments out where there
    /// are none, and clients send that back.
    pub(super) fn into_call(self) -> Result<Call<'a>, Fault> {
        call(self.name, self.arguments)
    }
}

#[derive(Debug, Deserialize)]
struct Custom<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Text<'a>>,
}

impl<'a> Wire<'a> {
    fn into_call(self) -> Result<Call<'a>, Fault> {
        let is_custom = self.kind.is_some_and(|Text(kind)| kind == "custom");
        let call = match (self.function, self.custom) {
            (_, Some(Object(custom))) if is_custom => {
                call(custom.name, custom.input).map_err(|fault| fault.within("custom"))
            }
            (_, None) if is_custom => Err(Fault::missing("custom")),
            (Some(Object(function)), _) => function.into_call().map_err(|fault| fault.within("function")),
            (None, _) => Err(Fault::missing("function")),
        };
        Ok(Call { id: self.id.map(|Text(id)| id), ..call? })
    }
}

fn call<'a>(name: Option<Text<'a>>, arguments: Option<Text<'a>>) -> Result<Call<'a>, Fault> {
    let Text(name) = name.ok_or_else(|| Fault::missing("name"))?;
    if name.len() > MAX_NAME {
        return Err(Fault::invalid("name", format!("must have at most {MAX_NAME} bytes")));
    }
    let Text(arguments) = arguments.unwrap_or_default();
    Ok(Call { id: None, name, arguments })
}

impl<'de: 'a, 'a> Deserialize<'de> for Calls<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for List<'a> {
            type Value = Calls<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of tool calls")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut wires: A) -> Result<Calls<'a>, A::Error> {
                let mut calls = Calls::default();
                while let Some(Object(wire)) = wires.next_element::<Object<Wire<'a>>>()? {
                    match wire.into_call() {
                        Ok(call) => calls.calls.push(call),
                        Err(fault) => {
                            let place = format!("tool_calls[{}]", calls.calls.len());
                            calls.fault = Some(fault.within(&place));
                            while wires.next_element::<IgnoredAny>()?.is_some() {}
                            break;
                        }
                    }
                }
                Ok(calls)
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}
