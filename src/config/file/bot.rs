//! What a model's table says of a bot.

use serde_json::Value;

use super::required;
use crate::config::document::{Item, Reader, Table};
use crate::config::fault::Place;
use crate::coze::bot::{History, Steps};

/// What a table says of a bot.
pub(in crate::config) struct Bot {
    pub(in crate::config) id: Option<Item<String>>,
    pub(in crate::config) variables: Vec<(String, Item<String>)>,
    pub(in crate::config) shortcut: Option<Shortcut>,
    pub(in crate::config) params: Vec<(String, Item<String>)>,
    pub(in crate::config) parameters: Vec<(String, Item<Value>)>,
    pub(in crate::config) steps: Steps,
    pub(in crate::config) history: History,
    /// Where it says that Coze is to keep nothing.
    pub(in crate::config) unsaved: Option<Place>,
}

/// `shortcut_command`.
pub(in crate::config) struct Shortcut {
    pub(in crate::config) command: Option<Item<String>>,
    pub(in crate::config) parameters: Vec<(String, Item<String>)>,
}

impl Bot {
    /// A bot of which nothing but the id is said.
    pub(in crate::config) fn with(id: Option<Item<String>>) -> Self {
        let (variables, params, parameters) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            id,
            variables,
            shortcut: None,
            params,
            parameters,
            steps: Steps::default(),
            history: History::default(),
            unsaved: None,
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, table: &Table<'_>) -> Bot {
    super::require(reader, table, "bot_id");
    let steps = [("hidden", Steps::Hidden), ("reasoning", Steps::Reasoning), ("coze", Steps::Listed)];
    let history = [("messages", History::Messages), ("flatten", History::Flat)];
    Bot {
        id: reader.id(table, "bot_id"),
        variables: reader.strings(table, "custom_variables"),
        shortcut: shortcut(reader, table),
        params: reader.strings(table, "extra_params"),
        parameters: reader.json(table, "parameters"),
        steps: reader.word(table, "steps", &steps).map(|word| word.value).unwrap_or_default(),
        history: reader.word(table, "history", &history).map(|word| word.value).unwrap_or_default(),
        unsaved: (reader.boolean(table, "auto_save_history") == Some(false))
            .then(|| table.place("auto_save_history").cloned())
            .flatten(),
    }
}

fn shortcut(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Shortcut> {
    let inner = reader.section(table, "shortcut_command")?;
    reader.only(&inner, &["command_id", "parameters"], &[]);
    let command = match reader.id(&inner, "command_id") {
        Some(id) => Some(id),
        None if inner.has("command_id") => None,
        None => required(reader, &inner, "command_id"),
    };
    Some(Shortcut { command, parameters: reader.strings(&inner, "parameters") })
}
