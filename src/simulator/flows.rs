//! The flows of the simulated server, and what each of them does.
//!
//! In come start parameters and the answers to its questions so far, out come
//! the steps of its run. Writes nothing to the wire.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::bots::{Behaviour, Standing};

/// The id of the `poem` workflow.
pub const POEM: &str = "7530512345678910001";
/// The id of the `parameters` workflow.
pub const PARAMETERS: &str = "7530512345678910002";
/// The id of the `trip` workflow.
pub const TRIP: &str = "7530512345678910003";

/// The id of the `guide` chatflow.
pub const GUIDE: &str = "7530512345678920001";
/// The app that the `guide` chatflow belongs to.
pub const APP: &str = "7530512345678930001";

/// A flow of the demonstration, as a model list needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoFlow {
    /// The public model name.
    pub name: &'static str,
    /// The flow's id.
    pub id: &'static str,
    /// What the entry of the model needs beside its description, as TOML.
    pub entry: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
    runs: Runs,
}

/// The flows of the demonstration.
#[must_use]
pub fn demo_flows() -> &'static [DemoFlow] {
    &[
        DemoFlow {
            name: "poem",
            id: POEM,
            entry: "workflow_id = \"7530512345678910001\"\ninput = \"topic\"\n",
            description: "A workflow: its Output node streams a poem, its End node repeats it.",
            runs: Runs::Poem,
        },
        DemoFlow {
            name: "parameters",
            id: PARAMETERS,
            entry: "workflow_id = \"7530512345678910002\"\ninput = \"input\"\n",
            description: "A workflow that lists the start parameters that it was given.",
            runs: Runs::Parameters,
        },
        DemoFlow {
            name: "trip",
            id: TRIP,
            entry: "workflow_id = \"7530512345678910003\"\ninput = \"input\"\n",
            description: "A workflow that asks where to, when, and for a form, and then plans a trip.",
            runs: Runs::Trip,
        },
        DemoFlow {
            name: "guide",
            id: GUIDE,
            entry: "chatflow_id = \"7530512345678920001\"\napp_id = \"7530512345678930001\"\n",
            description: "A chatflow that asks a question back.",
            runs: Runs::Chat(Behaviour::Ask),
        },
    ]
}

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Streams a poem on the parameter `topic`, and repeats it at the end.
    Poem,
    /// Gives its start parameters as `name: value` lines, sorted, in the
    /// variable `output`.
    Parameters,
    /// Asks where to, then when, then for a form, and gives a plan.
    Trip,
    /// Says a few words, then fails.
    Broken,
    /// A chatflow that does what a bot of this behaviour does.
    Chat(Behaviour),
}

/// A flow of the simulated server.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its id: decimal digits.
    pub id: String,
    /// What it does.
    pub runs: Runs,
    /// Whether it may be used.
    pub standing: Standing,
}

impl Flow {
    /// A published flow.
    #[must_use]
    pub fn new(id: &str, runs: Runs) -> Self {
        Self { id: id.to_owned(), runs, standing: Standing::Published }
    }
}

impl From<&DemoFlow> for Flow {
    fn from(demo: &DemoFlow) -> Self {
        Self::new(demo.id, demo.runs)
    }
}

/// One thing that a workflow does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A piece of its Output node's text; the last one ends the node.
    Say(String, bool),
    /// Its End node's variables, and the run ends.
    End(Value),
    /// A node waits for an answer, and the run is interrupted: a text
    /// question, one with options, or a form.
    Ask(Question),
    /// A node fails.
    Fail,
}

/// What a node asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// A Question node's.
    Text(&'static str),
    /// A Question node's with options.
    Options(&'static str, [&'static str; 2]),
    /// An Input node's: name and type of each field.
    Form([(&'static str, &'static str); 2]),
}

/// What a workflow does from its start, or from the last answer on.
pub(super) fn steps(runs: Runs, parameters: &Map<String, Value>, answers: &[String]) -> Vec<Step> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default();
    match runs {
        Runs::Poem => {
            let topic = text("topic");
            let poem = format!("Of {topic} I sing,\na small & <quiet> thing.\u{2028}Nothing else.");
            let mut steps: Vec<Step> =
                poem.split_inclusive(' ').map(|word| Step::Say(word.to_owned(), false)).collect();
            if let Some(Step::Say(_, last)) = steps.last_mut() {
                *last = true;
            }
            steps.push(Step::End(json!({ "output": poem })));
            steps
        }
        Runs::Parameters => {
            let mut lines = String::new();
            for (name, value) in parameters {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{name}: {value}");
            }
            vec![Step::End(json!({ "output": lines.trim_end() }))]
        }
        Runs::Trip => vec![match answers {
            [] => Step::Ask(Question::Text("Where would you like to go?")),
            [_] => Step::Ask(Question::Options("When?", ["summer", "winter"])),
            [_, _] => Step::Ask(Question::Form([("days", "integer"), ("name", "string")])),
            [place, season, form, ..] => {
                let form: Value = serde_json::from_str(form).unwrap_or_default();
                let field = |name: &str| match form.get(name) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => "?".to_owned(),
                };
                let plan = format!("{}: {} days in {place}, {season}.", field("name"), field("days"));
                Step::End(json!({ "output": plan }))
            }
        }],
        Runs::Broken => vec![Step::Say("Once upon".to_owned(), false), Step::Fail],
        // A chatflow is no workflow.
        Runs::Chat(_) => vec![Step::Fail],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_name_the_flows() {
        for flow in demo_flows() {
            assert!(flow.entry.contains(flow.id), "{flow:?}");
        }
    }
}
