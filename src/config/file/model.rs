//! `[models.NAME]`: the shape of a model's table, which depends on what the
//! model is.

use std::num::NonZeroU32;

use serde_json::Value;

use super::{Bot, Field, OneOf, TOKEN, bot, one_of, required, tool};
use crate::catalog::tool::Parameter;
use crate::catalog::{Memory, Overflow};
use crate::config::document::{Item, Reader, Table};
use crate::coze::chatflow::FollowUps;
use crate::turn::{Reasoning, SystemRule};

/// A `[models.NAME]` table.
pub(in crate::config) struct Model {
    pub(in crate::config) name: Item<String>,
    pub(in crate::config) deployment: Field<Item<String>>,
    pub(in crate::config) runs: Runs,
    pub(in crate::config) token: OneOf,
    pub(in crate::config) aliases: Vec<Item<String>>,
    pub(in crate::config) description: Option<String>,
    pub(in crate::config) system: SystemRule,
    pub(in crate::config) reasoning: Reasoning,
    pub(in crate::config) overflow: Overflow,
    pub(in crate::config) memory: Memory,
    pub(in crate::config) history_rounds: Option<NonZeroU32>,
    pub(in crate::config) cleanup: bool,
    /// What it takes as a tool.
    pub(in crate::config) parameters: Vec<Item<Parameter>>,
}

/// What a model is.
pub(in crate::config) enum Runs {
    /// A bot.
    Bot(Box<Bot>),
    /// A workflow.
    Workflow(Box<Workflow>),
    /// A chatflow.
    Chatflow(Box<Flow>, FollowUps),
}

/// What a table says of any flow.
pub(in crate::config) struct Flow {
    pub(in crate::config) id: Option<Item<String>>,
    /// `bot_id` or `app_id`.
    pub(in crate::config) within: OneOf,
    pub(in crate::config) parameters: Vec<(String, Item<Value>)>,
    pub(in crate::config) version: Option<String>,
    pub(in crate::config) show_debug_url: bool,
}

/// What a table says of a workflow.
pub(in crate::config) struct Workflow {
    pub(in crate::config) flow: Flow,
    pub(in crate::config) input: Option<Item<String>>,
    /// Whether the text is JSON of start parameters.
    pub(in crate::config) json: bool,
    pub(in crate::config) history: Option<Item<String>>,
    pub(in crate::config) output: Option<String>,
    pub(in crate::config) stream: bool,
}

/// More rounds than Coze lets anybody set.
const MAX_ROUNDS: u32 = 100_000;

/// What every model has.
const ALL: &[&str] = &["coze", "token", "token_file", "aliases", "description", "system"];

/// What a bot has beside that.
const BOT: &[&str] = &[
    "bot_id",
    "reasoning",
    "overflow",
    "memory",
    "history_rounds",
    "cleanup",
    "custom_variables",
    "shortcut_command",
    "extra_params",
    "parameters",
    "steps",
    "history",
    "auto_save_history",
];

/// What a flow has beside that.
const FLOW: &[&str] = &["bot_id", "app_id", "parameters", "version", "show_debug_url", "tool"];

/// What only a workflow has.
const WORKFLOW: &[&str] = &["workflow_id", "input", "input_format", "history", "output", "stream"];

/// What a chatflow has beside that of a flow.
const CHATFLOW: &[&str] = &["chatflow_id", "follow_ups", "reasoning", "memory", "history_rounds", "cleanup"];

/// Which kind of thing a table is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bot,
    Workflow,
    Chatflow,
}

pub(super) fn read(reader: &mut Reader<'_>, name: Item<String>, table: &Table<'_>) -> Model {
    let kind = kind(reader, table);
    let (own, says) = match kind {
        Kind::Bot => (BOT.to_vec(), "this is for workflows and chatflows alone"),
        Kind::Workflow => (
            [WORKFLOW, FLOW].concat(),
            "a workflow has no conversation and shows no thinking: this is not for it",
        ),
        Kind::Chatflow => ([CHATFLOW, FLOW].concat(), "this is not for chatflows"),
    };
    let foreign = [BOT, WORKFLOW, CHATFLOW, FLOW].concat();
    reader.only_some(table, &[ALL, &own].concat(), &[], (&foreign, says));
    let deployment = match (table.has("coze"), reader.text(table, "coze")) {
        (false, _) => Field::Absent,
        (true, None) => Field::Wrong,
        (true, Some(name)) => Field::Is(name),
    };
    let reasoning = [
        ("field", Reasoning::Field),
        ("both", Reasoning::Both),
        ("think", Reasoning::Think),
        ("drop", Reasoning::Drop),
    ];
    let overflow = [("trim", Overflow::Trim), ("reject", Overflow::Reject)];
    let memory = [("auto", Memory::Auto), ("explicit", Memory::Explicit), ("off", Memory::Off)];
    Model {
        name,
        deployment,
        runs: match kind {
            Kind::Bot => Runs::Bot(Box::new(bot::read(reader, table))),
            Kind::Workflow => Runs::Workflow(Box::new(workflow(reader, table))),
            Kind::Chatflow => {
                let flow = flow(reader, table, "chatflow_id");
                if !table.has("bot_id") && !table.has("app_id") {
                    let says = "bot_id or app_id is missing: a chatflow is run in the name of one";
                    reader.report.add(&table.at, says);
                }
                Runs::Chatflow(Box::new(flow), follow_ups(reader, table))
            }
        },
        token: one_of(reader, table, TOKEN),
        aliases: reader.texts(table, "aliases").map(|list| list.value).unwrap_or_default(),
        description: reader.text(table, "description").map(|text| text.value),
        system: system(reader, table).unwrap_or_default(),
        reasoning: reader.word(table, "reasoning", &reasoning).map(|word| word.value).unwrap_or_default(),
        overflow: reader.word(table, "overflow", &overflow).map(|word| word.value).unwrap_or_default(),
        memory: reader.word(table, "memory", &memory).map(|word| word.value).unwrap_or_default(),
        history_rounds: reader.count(table, "history_rounds", MAX_ROUNDS),
        cleanup: reader.boolean(table, "cleanup").unwrap_or_default(),
        parameters: if kind == Kind::Bot { Vec::new() } else { tool::read(reader, table) },
    }
}

fn workflow(reader: &mut Reader<'_>, table: &Table<'_>) -> Workflow {
    let parameter =
        |reader: &mut Reader<'_>, name| reader.text(table, name).and_then(|item| named(reader, item));
    let (input, history) = (parameter(reader, "input"), parameter(reader, "history"));
    let format = reader.word(table, "input_format", &[("text", false), ("json", true)]);
    let json = format.is_some_and(|format| format.value);
    if json && table.has("input") {
        let says = "has both input and input_format = \"json\": then the text itself names the parameters";
        reader.report.add(&table.at, says);
    } else if !json && !table.has("input") && !table.has("history") {
        let says = "input is missing: name the start parameter that takes the user's text \
                    (or give history, or input_format = \"json\")";
        reader.report.add(&table.at, says);
    }
    Workflow {
        flow: flow(reader, table, "workflow_id"),
        input,
        json,
        history,
        output: reader.text(table, "output").map(|text| text.value),
        stream: reader.boolean(table, "stream").unwrap_or(true),
    }
}

/// What a table is about. One that names two things is about the first.
fn kind(reader: &mut Reader<'_>, table: &Table<'_>) -> Kind {
    match (table.has("workflow_id"), table.has("chatflow_id")) {
        (false, false) => Kind::Bot,
        (false, true) => Kind::Chatflow,
        (true, false) => Kind::Workflow,
        (true, true) => {
            reader.report.add(&table.at, "has both workflow_id and chatflow_id; only one can be");
            Kind::Workflow
        }
    }
}

fn flow(reader: &mut Reader<'_>, table: &Table<'_>, id: &str) -> Flow {
    let ids = ["bot_id", "app_id"].map(|name| (name, reader.id(table, name)));
    if table.has("bot_id") && table.has("app_id") {
        reader.report.add(&table.at, "has both bot_id and app_id; Coze takes only one");
    }
    let within = ids.into_iter().find_map(|(name, id)| Some(Field::Is((name, id?))));
    Flow {
        id: reader.id(table, id),
        within: within.unwrap_or(Field::Absent),
        parameters: reader.json(table, "parameters"),
        version: reader.text(table, "version").map(|text| text.value),
        show_debug_url: reader.boolean(table, "show_debug_url").unwrap_or_default(),
    }
}

/// A word, or a table with a prompt.
fn follow_ups(reader: &mut Reader<'_>, table: &Table<'_>) -> FollowUps {
    if !table.is_table("follow_ups") {
        let wanted = reader.boolean(table, "follow_ups").unwrap_or_default();
        return if wanted { FollowUps::Usual } else { FollowUps::None };
    }
    let Some(inner) = reader.section(table, "follow_ups") else { return FollowUps::None };
    reader.only(&inner, &["prompt"], &[]);
    let prompt = required(reader, &inner, "prompt").map(|prompt| prompt.value);
    FollowUps::Prompted(prompt.unwrap_or_default())
}

/// A name that Coze may give a parameter or a variable.
pub(super) fn named(reader: &mut Reader<'_>, name: Item<String>) -> Option<Item<String>> {
    if name.value.is_empty() || name.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        reader.report.add(&name.at, "is not the name of a parameter: it has no spaces and is not empty");
        return None;
    }
    Some(name)
}

/// A word, or a table that names a variable.
fn system(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<SystemRule> {
    if !table.is_table("system") {
        let words =
            [("prepend", SystemRule::Prepend), ("drop", SystemRule::Drop), ("reject", SystemRule::Reject)];
        return reader.word(table, "system", &words).map(|word| word.value);
    }
    let rule = reader.section(table, "system")?;
    reader.only(&rule, &["variable"], &[]);
    let name = required(reader, &rule, "variable")?;
    if name.value.is_empty() || name.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        reader.report.add(&name.at, "is not the name of a variable: it has no spaces and is not empty");
    }
    Some(SystemRule::Variable(name.value))
}
