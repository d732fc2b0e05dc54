//! `[models.NAME]`: what clients put in `model`.

mod bot;
mod callee;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use super::deployment::Entry;
use super::token;
use crate::access::Mode;
use crate::catalog::{DEFAULT_HISTORY_ROUNDS, Memory, Model};
use crate::config::document::Item;
use crate::config::fault::{Report, did_you_mean};
use crate::config::file::{self, Field};
use crate::coze::token::Source;
use crate::coze::{Kind, Target};

/// The longest name of a model, in characters.
const MAX_NAME: usize = 128;

/// Checks all names and aliases; gives each alias with its model's name.
pub(super) fn check_names(tables: &[file::Model], report: &mut Report) -> BTreeMap<String, String> {
    let names: Vec<&str> = tables.iter().map(|table| table.name.value.as_str()).collect();
    let mut aliases: BTreeMap<String, String> = BTreeMap::new();
    for table in tables {
        report.check(&table.name.at, check_name(&table.name.value));
        for alias in &table.aliases {
            let Some(text) = report.check(&alias.at, check_alias(&alias.value)) else {
                continue;
            };
            if names.contains(&text) {
                report.add(&alias.at, "is already the name of a model");
            } else if let Some(other) = aliases.get(text) {
                report.add(&alias.at, format!("is already an alias of the model {other:?}"));
            } else {
                aliases.insert(text.to_owned(), table.name.value.clone());
            }
        }
    }
    aliases
}

fn check_name(name: &str) -> Result<&str, &'static str> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err("the name of a model has 1 to 128 characters");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the name of a model has no spaces and no control characters");
    }
    if name.contains('*') {
        return Err("only an alias may hold a *, at its end");
    }
    Ok(name)
}

fn check_alias(alias: &str) -> Result<&str, &'static str> {
    match alias.strip_suffix('*') {
        Some("") => Ok(alias),
        Some(prefix) if prefix.contains('*') => Err("only the last character may be a *"),
        Some(prefix) => check_name(prefix).map(|_| alias),
        None if alias.contains('*') => Err("only the last character may be a *"),
        None => check_name(alias),
    }
}

pub(super) fn build(
    tables: Vec<file::Model>,
    deployments: &[Entry],
    mode: Option<Mode>,
    base: &Path,
    report: &mut Report,
) -> Vec<Model> {
    tables.into_iter().filter_map(|table| one(table, deployments, mode, base, report)).collect()
}

fn one(
    table: file::Model,
    deployments: &[Entry],
    mode: Option<Mode>,
    base: &Path,
    report: &mut Report,
) -> Option<Model> {
    let unsaved = match &table.runs {
        file::Runs::Bot(bot) => bot.unsaved.clone(),
        file::Runs::Workflow(_) | file::Runs::Chatflow(..) => None,
    };
    let callee = callee::build(table.runs, &table.system, report);
    if let Some(callee) = &callee {
        callee::check_tool(callee, &table.system, &table.parameters, report);
    }
    let own = token::build(table.token, base, report);
    let entry = find(&table.name, &table.deployment, deployments, report)?;
    if let Some(at) = &unsaved {
        if entry.built.as_ref().is_some_and(|deployment| deployment.kind == Kind::Studio) {
            report.add(at, "only the clouds know this: Coze Studio keeps every chat");
        } else if table.memory != Memory::Off {
            report.add(at, "needs memory = \"off\": nothing can go on that Coze does not keep");
        }
    }
    let token = token_of(&table.name, own, entry, mode, report);
    let callee = callee?;
    Some(Model {
        name: table.name.value,
        aliases: table.aliases.into_iter().map(|alias| alias.value).collect(),
        description: table.description,
        target: Target { deployment: Arc::clone(entry.built.as_ref()?), callee, token },
        system: table.system,
        reasoning: table.reasoning,
        overflow: table.overflow,
        memory: table.memory,
        cleanup: table.cleanup,
        parameters: table.parameters.into_iter().map(|parameter| parameter.value).collect(),
        history_rounds: table.history_rounds.map_or(DEFAULT_HISTORY_ROUNDS, NonZeroU32::get),
    })
}

/// The deployment that a model names, or else the only one.
fn find<'d>(
    model: &Item<String>,
    named: &Field<Item<String>>,
    deployments: &'d [Entry],
    report: &mut Report,
) -> Option<&'d Entry> {
    match (named, deployments) {
        (Field::Wrong, _) => None,
        // That there is none at all is a fault already.
        (_, []) => None,
        (Field::Absent, [only]) => Some(only),
        (Field::Absent, [..]) => {
            let names: Vec<String> = deployments.iter().map(|entry| format!("{:?}", entry.name)).collect();
            let names = names.join(", ");
            report.add(
                &model.at,
                format!("coze is missing: with several deployments say which one, of {names}"),
            );
            None
        }
        (Field::Is(name), _) => {
            let found = deployments.iter().find(|entry| entry.name == name.value);
            if found.is_none() {
                let near = did_you_mean(&name.value, deployments.iter().map(|entry| entry.name.as_str()));
                report.add(&name.at, format!("there is no such Coze deployment{near}"));
            }
            found
        }
    }
}

/// What a model is called with: `None` is the caller's own token.
fn token_of(
    model: &Item<String>,
    own: Field<Arc<Source>>,
    entry: &Entry,
    mode: Option<Mode>,
    report: &mut Report,
) -> Option<Arc<Source>> {
    if matches!(mode, None | Some(Mode::Passthrough)) {
        return None;
    }
    match (own, &entry.token) {
        (Field::Is(token), _) => Some(token),
        (Field::Absent, Field::Is(token)) => Some(Arc::clone(token)),
        (Field::Absent, Field::Absent) => {
            let deployment = &entry.name;
            report.add(
                &model.at,
                format!("there is no token for it: give token or token_file here or in [coze.{deployment}], or [coze.{deployment}.oauth]"),
            );
            None
        }
        (Field::Wrong, _) | (_, Field::Wrong) => None,
    }
}
