//! `POST /tools/{model}` and `GET /tools/openapi.json`: every model as a tool
//! over plain HTTP, and what all protocols for tools have in common.

mod arguments;
mod document;
pub(super) mod run;
pub(super) mod schema;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use super::Answer;
use crate::access::Caller;
use crate::catalog::Model;
use crate::http::admit::{Admission, Held};
use crate::http::{Context, body, respond};
use crate::openai::ApiError;

/// A model as a tool.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    /// Its name, which every kind of client takes.
    pub(super) name: String,
    pub(super) model: Arc<Model>,
    /// What an agent is told about it.
    pub(super) description: String,
}

/// The tools of a caller, by name.
pub(super) async fn tools(context: &Context, caller: &Caller) -> Vec<Tool> {
    let may_use = |(_, model): &(&str, &Arc<Model>)| caller.may_use(&model.name);
    let tools: Vec<(&str, &Arc<Model>)> = context.snapshot.catalog.tools().filter(may_use).collect();
    let descriptions =
        context.app.descriptions.of(tools.iter().map(|(_, model)| Arc::clone(model)).collect(), caller).await;
    let tool = |((name, model), description): ((&str, &Arc<Model>), String)| Tool {
        name: name.to_owned(),
        model: Arc::clone(model),
        description,
    };
    tools.into_iter().zip(descriptions).map(tool).collect()
}

/// Describes the caller's tools.
pub(super) async fn describe(Extension(context): Extension<Context>, headers: HeaderMap) -> Answer {
    let caller = context.authenticate(&headers)?;
    let tools = tools(&context, &caller).await;
    let base = document::base(&headers, context.snapshot.server.tls.is_some());
    let mut response = respond::json(document::document(&tools, &base).to_string().into_bytes());
    let headers = response.headers_mut();
    // It is another one for each key.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Authorization"));
    Ok(response)
}

/// Calls a tool.
pub(super) async fn call(
    Extension(context): Extension<Context>,
    model: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let caller = context.authenticate(&headers)?;
    let admission = context.admission(&caller);
    let answered = answer(&context, &caller, &admission, model, &headers, body).await;
    let mut response = answered.into_response();
    // Errors tell of the limits too.
    admission.tell(response.headers_mut()).await;
    Ok(response)
}

async fn answer(
    context: &Context,
    caller: &Caller,
    admission: &Admission<'_>,
    name: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let bytes = body::read(headers, body, context.snapshot.server.max_body).await?;
    let arguments = object(&bytes)?;
    drop(bytes);
    // A name whose escapes make no text is no model's.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    // The name of the tool will do, too: it is easier to write in a path.
    let tool = context.snapshot.catalog.tool(&name);
    let resolved = context.snapshot.resolve(caller, tool.map_or(&name, |model| &model.name));
    let model = resolved.map_err(|error| respond::unresolved(error, &name))?;
    context.journal.note(|facts| facts.model = Some(Arc::clone(&model)));
    let run = match run::begin(context, caller, admission, headers, &model, arguments).await {
        Ok(run) => run,
        Err(refusal) => {
            let (error, remarks) = *refusal;
            return Ok(remarks.on(error.into_response()));
        }
    };
    let (answered, remarks, permit) = run.answer().await;
    let answered = answered.map(|answered| respond::json(answered.body()));
    let mut response: Response = answered.unwrap_or_else(ApiError::into_response);
    remarks.apply(response.headers_mut());
    Ok(response.map(|body| Body::new(Held::new(body, permit))))
}

/// Reads a body that has to be one object.
fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad_request(
            "invalid_type",
            None,
            "The body must be an object: {\"message\": \"…\"}.",
        )),
        Err(error) => {
            let says = format!("The body is not valid JSON: {error}.");
            Err(ApiError::bad_request("invalid_json", None, says))
        }
    }
}
