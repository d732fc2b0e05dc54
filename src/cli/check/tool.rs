//! What is shown of a model as a tool: its name there, and what it takes
//! beside a message.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::catalog::Model;
use crate::catalog::tool::Parameter;

#[derive(Serialize)]
pub(super) struct ShownTool<'s> {
    name: &'s str,
    parameters: Vec<ShownParameter<'s>>,
}

#[derive(Serialize)]
struct ShownParameter<'s> {
    name: &'s str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: Option<&'s str>,
    required: bool,
    #[serde(rename = "enum", skip_serializing_if = "<[Value]>::is_empty")]
    choices: &'s [Value],
}

impl<'s> ShownTool<'s> {
    pub(super) fn of(model: &'s Model, name: &'s str) -> Self {
        Self { name, parameters: model.parameters.iter().map(ShownParameter::of).collect() }
    }
}

impl<'s> ShownParameter<'s> {
    fn of(parameter: &'s Parameter) -> Self {
        let Parameter { name, kind, description, required, choices } = parameter;
        let description = description.as_deref();
        Self { name, kind: kind.name(), description, required: *required, choices }
    }
}

/// `weather with city (string, required), days (integer)`.
impl fmt::Display for ShownTool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (at, parameter) in self.parameters.iter().enumerate() {
            let required = if parameter.required { ", required" } else { "" };
            let between = if at == 0 { " with" } else { "," };
            write!(f, "{between} {} ({}{required})", parameter.name, parameter.kind)?;
        }
        Ok(())
    }
}
