//! `[models.NAME.tool]`: what a model's table says of it as a tool.

use crate::catalog::tool::{Parameter, ParameterKind};
use crate::config::document::{Item, Reader, Table};

/// What every tool takes, which no parameter can be called.
const RESERVED: [&str; 2] = ["message", "conversation"];

/// The longest name of a parameter, in bytes.
const MAX_NAME: usize = 64;

/// The parameters, in the order of the file.
pub(super) fn read(reader: &mut Reader<'_>, table: &Table<'_>) -> Vec<Item<Parameter>> {
    let Some(tool) = reader.section(table, "tool") else {
        return Vec::new();
    };
    reader.only(&tool, &["parameters"], &[]);
    let tables = reader.sections(&tool, "parameters");
    tables.into_iter().filter_map(|(name, table)| parameter(reader, name, &table)).collect()
}

fn parameter(reader: &mut Reader<'_>, name: Item<String>, table: &Table<'_>) -> Option<Item<Parameter>> {
    let name = super::model::named(reader, name)?;
    if RESERVED.contains(&name.value.as_str()) {
        reader.report.add(&name.at, "every tool has this already: a parameter has another name");
    } else if name.value.len() > MAX_NAME {
        reader.report.add(&name.at, "the name of a parameter has at most 64 bytes");
    }
    reader.only(table, &["type", "description", "required", "enum"], &[]);
    let kind = reader.word(table, "type", &ParameterKind::ALL);
    let kind = kind.map_or(ParameterKind::String, |word| word.value);
    let mut choices = Vec::new();
    if let Some(list) = reader.values(table, "enum") {
        if list.value.is_empty() {
            reader.report.add(&list.at, "is empty: then no value would do");
        }
        for choice in list.value {
            if !kind.admits(&choice.value) {
                reader.report.add(&choice.at, format!("is not {kind}, which the parameter's type says"));
            }
            choices.push(choice.value);
        }
    }
    let value = Parameter {
        name: name.value,
        kind,
        description: reader.text(table, "description").map(|text| text.value),
        required: reader.boolean(table, "required").unwrap_or_default(),
        choices,
    };
    Some(Item { value, at: name.at })
}
