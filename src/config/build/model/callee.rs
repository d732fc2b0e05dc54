//! What a model is: a bot or a workflow, chosen once and for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::document::Item;
use crate::config::fault::Report;
use crate::config::file::{self, Field, Runs};
use crate::coze::workflow::{Input, Within, Workflow};
use crate::coze::{Callee, is_id};
use crate::turn::SystemRule;

pub(super) fn build(runs: Runs, system: &SystemRule, report: &mut Report) -> Option<Callee> {
    match runs {
        Runs::Bot(id) => Some(Callee::Bot(checked(id?, "bot", report)?)),
        Runs::Workflow(table) => Some(Callee::Workflow(Arc::new(workflow(*table, system, report)?))),
    }
}

fn checked(id: Item<String>, what: &str, report: &mut Report) -> Option<String> {
    if is_id(&id.value) {
        return Some(id.value);
    }
    report.add(
        &id.at,
        format!("expected the id of a {what}: decimal digits, as in the address of the {what}'s page"),
    );
    None
}

fn workflow(table: file::Workflow, system: &SystemRule, report: &mut Report) -> Option<Workflow> {
    let id = table.id.and_then(|id| checked(id, "workflow", report));
    let within = match table.within {
        Field::Is(("app_id", id)) => checked(id, "app", report).map(Within::App),
        Field::Is((_, id)) => checked(id, "bot", report).map(Within::Bot),
        Field::Absent | Field::Wrong => None,
    };
    let variable = match system {
        SystemRule::Variable(name) => Some(name.as_str()),
        _ => None,
    };
    let mut places: Vec<(&str, &str)> = Vec::new();
    for (key, name) in [
        ("input", table.input.as_ref().map(|item| item.value.as_str())),
        ("history", table.history.as_ref().map(|item| item.value.as_str())),
        ("system", variable),
    ] {
        let Some(name) = name else { continue };
        if let Some((other, _)) = places.iter().find(|(_, taken)| *taken == name)
            && let Some(at) = table.history.as_ref().or(table.input.as_ref()).map(|item| &item.at)
        {
            report.add(at, format!("{other} and {key} name the same start parameter"));
        }
        places.push((key, name));
    }
    let mut parameters = BTreeMap::new();
    for (name, item) in table.parameters {
        if let Some((key, _)) = places.iter().find(|(_, taken)| *taken == name) {
            report.add(&item.at, format!("is what {key} goes into: it cannot be fixed as well"));
        }
        parameters.insert(name, item.value);
    }
    let input = match (table.json, table.input) {
        (true, _) => Input::Json,
        (false, Some(name)) => Input::Parameter(name.value),
        (false, None) => Input::None,
    };
    Some(Workflow {
        id: id?,
        input,
        history: table.history.map(|name| name.value),
        parameters,
        output: table.output,
        stream: table.stream,
        within,
        version: table.version,
        show_debug_url: table.show_debug_url,
    })
}
