//! What a tool takes and gives, as JSON Schema: a model in, objects out. Plain
//! types and nothing by reference, since not every importer follows one.

use serde_json::{Map, Value, json};

use super::arguments::text_is_json;
use crate::catalog::Model;
use crate::catalog::tool::Parameter;

/// The object that a call's arguments are.
pub(in crate::http::routes) fn input(model: &Model) -> Map<String, Value> {
    let converses = model.target.callee.converses();
    let is_json = text_is_json(model);
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    if !is_json {
        required.push("message");
    }
    let message = match (converses, is_json) {
        (true, _) => "What to say to the bot, or the answer to what it has asked.",
        (false, false) => "The text that the workflow runs on, or the answer to what it has asked.",
        (false, true) => "Only to answer what the workflow has asked: the answer.",
    };
    let conversation = if converses {
        "Leave this out to begin a new conversation. To go on with one, give the `conversation` that came with its last answer."
    } else {
        "Only to answer what the workflow has asked: the `conversation` that came with the question."
    };
    properties.insert("message".to_owned(), json!({ "type": "string", "description": message }));
    for parameter in &model.parameters {
        properties.insert(parameter.name.clone(), property(parameter));
        if parameter.required {
            required.push(&parameter.name);
        }
    }
    properties.insert("conversation".to_owned(), json!({ "type": "string", "description": conversation }));
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

fn property(parameter: &Parameter) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), parameter.kind.name().into());
    if let Some(description) = &parameter.description {
        schema.insert("description".to_owned(), description.as_str().into());
    }
    if parameter.kind == crate::catalog::tool::ParameterKind::Array {
        // OpenAI takes no list of which nothing is said.
        schema.insert("items".to_owned(), json!({}));
    }
    if !parameter.choices.is_empty() {
        schema.insert("enum".to_owned(), parameter.choices.clone().into());
    }
    Value::Object(schema)
}

/// The properties of an answer.
pub(in crate::http::routes) fn answer() -> Value {
    json!({
        "answer": { "type": "string", "description": "What the bot says." },
        "conversation": {
            "type": "string",
            "description": "Give this as `conversation` to go on. Left out where nothing can go on."
        },
        "coze": {
            "type": "object",
            "description": "What Coze says beside the answer: its ids; follow_ups; interrupt, if the bot has asked something and waits.",
            "additionalProperties": true
        }
    })
}

/// The object that an error is.
pub(in crate::http::routes) fn error() -> Value {
    let text = |says: &str| json!({ "type": "string", "description": says });
    json!({
        "type": "object",
        "properties": {
            "message": text("What went wrong."),
            "type": text("The class of the error."),
            // A list of types would be more than some importers take.
            "param": { "description": "The argument at fault, or null." },
            "code": text("What went wrong, in one word.")
        }
    })
}
