//! What a tool is called with: an object of arguments in, a chat request of
//! one message out, or the argument at fault.

use serde_json::{Map, Value};

use crate::catalog::Model;
use crate::coze::Callee;
use crate::coze::workflow::Input;
use crate::openai::ApiError;
use crate::openai::chat::Request;
use crate::turn::{Ask, Given, Message, Role};

/// Whether the text is itself the start parameters, so that these can stand
/// alone.
pub(super) fn text_is_json(model: &Model) -> bool {
    matches!(&model.target.callee, Callee::Workflow(workflow) if workflow.input == Input::Json)
}

/// Reads the arguments of a call. One that is null is left out, since models
/// write that.
///
/// # Errors
/// A 400 with the argument at fault in `param`.
pub(super) fn request(model: &Model, mut arguments: Map<String, Value>) -> Result<Request, ApiError> {
    arguments.retain(|_, value| !value.is_null());
    let message = text(&mut arguments, "message")?;
    // Models fill in what they could leave out.
    let conversation = text(&mut arguments, "conversation")?.filter(|name| !name.is_empty());
    check(model, &arguments, conversation.is_some())?;
    let arguments: Map<String, Value> =
        arguments.into_iter().map(|(name, value)| plain(model, name, value)).collect();
    let parameters = (!arguments.is_empty()).then(|| Value::Object(arguments).to_string());
    let (message, parameters) = match (message, parameters) {
        (None, parameters) if text_is_json(model) => (parameters.unwrap_or_else(|| "{}".to_owned()), None),
        (Some(message), parameters) => (message, parameters),
        (None, _) => return Err(missing("message")),
    };
    if message.trim().is_empty() {
        return Err(invalid("invalid_value", "message", "'message' is empty."));
    }
    Ok(Request {
        model: model.name.clone(),
        stream: false,
        include_usage: false,
        choices: 1,
        ignored: Vec::new(),
        conversation: conversation.map(|name| ("conversation", name)).into_iter().collect(),
        ask: Ask {
            messages: vec![Message::text(Role::User, message)],
            question: Some(0),
            given: Given { parameters, extras: None },
            ..Ask::default()
        },
    })
}

fn text(arguments: &mut Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match arguments.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid("invalid_type", name, format!("'{name}' must be a string."))),
    }
}

/// Checks the parameters. What goes on may leave out what is required: most
/// often it answers a question.
fn check(model: &Model, arguments: &Map<String, Value>, goes_on: bool) -> Result<(), ApiError> {
    for (name, value) in arguments {
        let known = model.parameters.iter().find(|parameter| parameter.name == *name);
        let Some(parameter) = known else {
            let shown: String = name.chars().take(64).collect();
            let says = format!("This tool has no parameter '{}'.", shown.escape_debug());
            return Err(invalid("unknown_parameter", &shown, says));
        };
        if !parameter.kind.admits(value) {
            return Err(invalid("invalid_type", name, format!("'{name}' must be {}.", parameter.kind)));
        }
        if !parameter.admits(value) {
            let choices: Vec<String> = parameter.choices.iter().map(Value::to_string).collect();
            let says = format!("'{name}' must be one of {}.", choices.join(", "));
            return Err(invalid("invalid_value", name, says));
        }
    }
    let is_missing = |name: &String| !goes_on && !arguments.contains_key(name);
    let mut required = model.parameters.iter().filter(|parameter| parameter.required);
    match required.find(|parameter| is_missing(&parameter.name)) {
        Some(parameter) => Err(missing(&parameter.name)),
        None => Ok(()),
    }
}

fn plain(model: &Model, name: String, value: Value) -> (String, Value) {
    let value = match model.parameters.iter().find(|parameter| parameter.name == name) {
        Some(parameter) => parameter.kind.plain(value),
        None => value,
    };
    (name, value)
}

fn missing(name: &str) -> ApiError {
    invalid("missing_required_parameter", name, format!("'{name}' is required, but missing or null."))
}

fn invalid(code: &'static str, name: &str, says: impl Into<String>) -> ApiError {
    ApiError::bad_request(code, Some(name.to_owned()), says)
}

/// The same error in the words of a tool, which knows one message alone.
pub(super) fn in_words_of_a_tool(error: ApiError) -> ApiError {
    let of_messages = |param: &str| param.starts_with("messages");
    if error.param.as_deref().is_some_and(of_messages) {
        return error.with_param(Some("message".to_owned()));
    }
    error
}
