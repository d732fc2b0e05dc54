//! What a model is: a bot, a workflow or a chatflow, chosen once and for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::catalog::tool::Parameter;
use crate::config::document::Item;
use crate::config::fault::Report;
use crate::config::file::{self, Field, OneOf, Runs};
use crate::coze::chatflow::{Chatflow, FollowUps, OWN};
use crate::coze::workflow::{Input, Workflow};
use crate::coze::{Callee, Within, is_id};
use crate::turn::SystemRule;

pub(super) fn build(runs: Runs, system: &SystemRule, report: &mut Report) -> Option<Callee> {
    Some(match runs {
        Runs::Bot(table) => Callee::Bot(Arc::new(super::bot::build(*table, system, report)?)),
        Runs::Workflow(table) => Callee::Workflow(Arc::new(workflow(*table, system, report)?)),
        Runs::Chatflow(table, follow_ups) => {
            Callee::Chatflow(Arc::new(chatflow(*table, follow_ups, system, report)?))
        }
    })
}

/// What a tool takes cannot go where something else goes.
pub(super) fn check_tool(
    callee: &Callee,
    system: &SystemRule,
    parameters: &[Item<Parameter>],
    report: &mut Report,
) {
    let mut places: Vec<(&str, &str)> = Vec::new();
    match callee {
        Callee::Bot(_) => {}
        Callee::Workflow(workflow) => {
            if let Input::Parameter(name) = &workflow.input {
                places.push(("the message", name));
            }
            places.extend(workflow.history.as_deref().map(|name| ("the transcript", name)));
        }
        Callee::Chatflow(_) => {
            let [name, input] = OWN;
            places.extend([("the conversation's name", name), ("the message", input)]);
        }
    }
    places.extend(variable(system).map(|name| ("the system text", name)));
    for parameter in parameters {
        if let Some((what, _)) = places.iter().find(|(_, taken)| *taken == parameter.value.name) {
            report.add(&parameter.at, format!("is what {what} goes into: it cannot be a parameter as well"));
        }
    }
}

pub(super) fn checked(id: Item<String>, what: &str, report: &mut Report) -> Option<String> {
    if is_id(&id.value) {
        return Some(id.value);
    }
    report.add(
        &id.at,
        format!("expected the id of a {what}: decimal digits, as in the address of the {what}'s page"),
    );
    None
}

fn within(within: OneOf, report: &mut Report) -> Option<Within> {
    match within {
        Field::Is(("app_id", id)) => checked(id, "app", report).map(Within::App),
        Field::Is((_, id)) => checked(id, "bot", report).map(Within::Bot),
        Field::Absent | Field::Wrong => None,
    }
}

/// The parameter that takes the system text.
pub(super) fn variable(system: &SystemRule) -> Option<&str> {
    match system {
        SystemRule::Variable(name) => Some(name.as_str()),
        _ => None,
    }
}

/// The fixed parameters; `places` are those that something else goes into.
fn parameters(
    table: Vec<(String, Item<Value>)>,
    places: &[(&str, &str)],
    report: &mut Report,
) -> BTreeMap<String, Value> {
    let mut parameters = BTreeMap::new();
    for (name, item) in table {
        if let Some((key, _)) = places.iter().find(|(_, taken)| *taken == name) {
            report.add(&item.at, format!("is what {key} goes into: it cannot be fixed as well"));
        }
        parameters.insert(name, item.value);
    }
    parameters
}

fn workflow(table: file::Workflow, system: &SystemRule, report: &mut Report) -> Option<Workflow> {
    let file::Workflow { flow, input, json, history, output, stream } = table;
    let id = flow.id.and_then(|id| checked(id, "workflow", report));
    let within = within(flow.within, report);
    let mut places: Vec<(&str, &str)> = Vec::new();
    for (key, name) in [
        ("input", input.as_ref().map(|item| item.value.as_str())),
        ("history", history.as_ref().map(|item| item.value.as_str())),
        ("system", variable(system)),
    ] {
        let Some(name) = name else { continue };
        if let Some((other, _)) = places.iter().find(|(_, taken)| *taken == name)
            && let Some(at) = history.as_ref().or(input.as_ref()).map(|item| &item.at)
        {
            report.add(at, format!("{other} and {key} name the same start parameter"));
        }
        places.push((key, name));
    }
    let parameters = parameters(flow.parameters, &places, report);
    let input = match (json, input) {
        (true, _) => Input::Json,
        (false, Some(name)) => Input::Parameter(name.value),
        (false, None) => Input::None,
    };
    Some(Workflow {
        id: id?,
        input,
        history: history.map(|name| name.value),
        parameters,
        output,
        stream,
        within,
        version: flow.version,
        show_debug_url: flow.show_debug_url,
    })
}

fn chatflow(
    table: file::Flow,
    follow_ups: FollowUps,
    system: &SystemRule,
    report: &mut Report,
) -> Option<Chatflow> {
    let id = table.id.and_then(|id| checked(id, "chatflow", report));
    let within = within(table.within, report);
    let [name, input] = OWN;
    let mut places = vec![("the conversation's name", name), ("the user's text", input)];
    places.extend(variable(system).map(|name| ("system", name)));
    Some(Chatflow {
        id: id?,
        within: within?,
        parameters: parameters(table.parameters, &places, report),
        version: table.version,
        show_debug_url: table.show_debug_url,
        follow_ups,
    })
}
