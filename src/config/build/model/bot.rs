//! A bot, and what it is given beside the messages.

use std::collections::BTreeMap;

use super::callee::{checked, variable};
use crate::config::document::Item;
use crate::config::fault::Report;
use crate::config::file;
use crate::coze::bot::Bot;
use crate::turn::{Extras, Shortcut, SystemRule};

pub(super) fn build(table: file::Bot, system: &SystemRule, report: &mut Report) -> Option<Bot> {
    let file::Bot { id, variables, shortcut, params, parameters, steps, history, unsaved } = table;
    let id = id.and_then(|id| checked(id, "bot", report));
    for (name, item) in &variables {
        if Some(name.as_str()) == variable(system) {
            report.add(&item.at, "is what system goes into: it cannot be fixed as well");
        }
    }
    let shortcut = shortcut.map(|file::Shortcut { command, parameters }| {
        let command = command.and_then(|id| checked(id, "command", report))?;
        Some(Shortcut { command, parameters: values(parameters) })
    });
    let extras = Extras {
        variables: values(variables),
        params: values(params),
        parameters: parameters.into_iter().map(|(name, item)| (name, item.value.to_string())).collect(),
        shortcut: match shortcut {
            Some(shortcut) => Some(shortcut?),
            None => None,
        },
    };
    Some(Bot { id: id?, extras, steps, history, unsaved: unsaved.is_some() })
}

fn values(entries: Vec<(String, Item<String>)>) -> BTreeMap<String, String> {
    entries.into_iter().map(|(name, item)| (name, item.value)).collect()
}
