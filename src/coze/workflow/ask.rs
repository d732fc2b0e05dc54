//! A prompt as the body of a run (protocol 5.1, 5.2).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Input, Workflow};
use crate::coze::{Call, Kind, NoPlace, Within, attached};
use crate::turn::{Message, Prompt, Role};

/// What a client sent cannot become a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The attachment of this number, counted over the whole prompt from 0,
    /// has no place.
    #[error("{1}")]
    Attachment(usize, NoPlace),
    /// The text should be a JSON object.
    #[error("for this model the last message has to be a JSON object of start parameters: {0}")]
    NoObject(String),
    /// A start parameter that the text or the transcript goes into.
    #[error("the start parameter {0:?} is what the messages go into")]
    Taken(String),
}

#[derive(Serialize)]
struct Body<'a> {
    workflow_id: &'a str,
    parameters: BTreeMap<&'a str, Parameter<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    /// The community server's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// The cloud's.
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_version: Option<&'a str>,
    ext: BTreeMap<&'static str, &'a str>,
}

/// The value of a start parameter.
#[derive(Serialize)]
#[serde(untagged)]
enum Parameter<'a> {
    /// The config's.
    Fixed(&'a Value),
    /// The client's, as it wrote it.
    Given(Box<RawValue>),
    Text(String),
    Transcript(Vec<Turn<'a>>),
}

/// One message of the transcript.
#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
}

/// The call that runs a workflow, and how many messages have no place in it.
///
/// What the client gives as `parameters` goes over the config's, and what it
/// writes into a text that is JSON over both.
///
/// # Errors
/// If the prompt cannot become a run.
pub fn run(
    workflow: &Workflow,
    kind: Kind,
    user_id: &str,
    prompt: &Prompt,
    parameters: Option<&str>,
) -> Result<(Call, usize), Unfit> {
    fits(workflow, prompt, parameters, true)?;
    let mut all: BTreeMap<&str, Parameter<'_>> =
        workflow.parameters.iter().map(|(name, value)| (name.as_str(), Parameter::Fixed(value))).collect();
    let given = parameters.map(object).transpose()?.unwrap_or_default();
    let (last, earlier) = prompt.messages.split_last().map_or((None, [].as_slice()), |(l, e)| (Some(l), e));
    let mut written = BTreeMap::new();
    let mut placed = 0;
    let text = match (&workflow.input, last) {
        (Input::Parameter(_), Some(last)) if workflow.history.is_none() => {
            // The system text stands ahead of the user's, since there is no
            // other place for it.
            let pinned = earlier.get(..prompt.pinned).unwrap_or_default();
            placed = pinned.len() + 1;
            let texts = pinned.iter().chain([last]).map(|message| message.text.as_str());
            Some(texts.collect::<Vec<_>>().join("\n\n"))
        }
        (Input::Parameter(_), Some(last)) => Some(last.text.clone()),
        (Input::Json, Some(last)) => {
            written = object(&last.text)?;
            placed = 1;
            None
        }
        (Input::None, _) | (_, None) => None,
    };
    for (name, value) in given.iter().chain(&written) {
        all.insert(name, Parameter::Given(value.clone()));
    }
    if let (Input::Parameter(name), Some(text)) = (&workflow.input, text) {
        all.insert(name, Parameter::Text(text));
    }
    if let Some(name) = &workflow.history {
        // Each message once: what has a parameter of its own is not repeated.
        let shown = if workflow.input == Input::None { prompt.messages.as_slice() } else { earlier };
        all.insert(name, Parameter::Transcript(shown.iter().map(Turn::from).collect()));
        placed = prompt.messages.len();
    }
    if let Some((name, text)) = &prompt.variable {
        all.insert(name, Parameter::Text(text.clone()));
    }
    let version = workflow.version.as_deref();
    let body = Body {
        workflow_id: &workflow.id,
        parameters: all,
        bot_id: workflow.within.as_ref().and_then(Within::bot),
        app_id: workflow.within.as_ref().and_then(Within::app),
        version: version.filter(|_| kind == Kind::Studio),
        workflow_version: version.filter(|_| kind == Kind::Cloud),
        ext: [("user_id", user_id)].into(),
    };
    let path = if workflow.stream { "/v1/workflow/stream_run" } else { "/v1/workflow/run" };
    let call = Call {
        method: http::Method::POST,
        path: path.to_owned(),
        body: Some(serde_json::to_vec(&body).expect("strings and valid JSON always serialise").into()),
    };
    Ok((call, prompt.messages.len().saturating_sub(placed)))
}

/// Whether a prompt can become a run, or answer a question of one: what does
/// may be any text.
///
/// # Errors
/// If it can do neither.
pub fn check(workflow: &Workflow, prompt: &Prompt, parameters: Option<&str>) -> Result<(), Unfit> {
    let may_answer = prompt.messages.iter().any(|message| message.role == Role::Assistant);
    fits(workflow, prompt, parameters, !may_answer)
}

/// Whether a prompt can become a run; `reads` says whether a text that has to
/// be JSON is looked at.
fn fits(workflow: &Workflow, prompt: &Prompt, parameters: Option<&str>, reads: bool) -> Result<(), Unfit> {
    let last = prompt.messages.last();
    let first = if workflow.history.is_some() { 0 } else { prompt.messages.len().saturating_sub(1) };
    attached::check(prompt, first, |_| Some(NoPlace::Workflow))?;
    let mut given = parameters.map(object).transpose()?.unwrap_or_default();
    if let (Input::Json, Some(last), true) = (&workflow.input, last, reads) {
        given.append(&mut object(&last.text)?);
    }
    let input = match &workflow.input {
        Input::Parameter(name) => Some(name),
        Input::Json | Input::None => None,
    };
    let variable = prompt.variable.as_ref().map(|(name, _)| name);
    let mut taken = [input, workflow.history.as_ref(), variable].into_iter().flatten();
    taken.find(|name| given.contains_key(*name)).map_or(Ok(()), |name| Err(Unfit::Taken(name.clone())))
}

/// The entries of a JSON object, each as it was written.
pub(in crate::coze) fn object(text: &str) -> Result<BTreeMap<String, Box<RawValue>>, Unfit> {
    if !text.trim_start().starts_with('{') {
        return Err(Unfit::NoObject("it does not begin with {".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| Unfit::NoObject(error.to_string()))
}

impl<'a> From<&'a Message> for Turn<'a> {
    fn from(message: &'a Message) -> Self {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        Self { role, content: &message.text }
    }
}

#[cfg(test)]
mod tests;
