//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Extension;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::HeaderMap;

use super::Answer;
use crate::http::Context;
use crate::http::respond::{json, not_found};
use crate::openai::ApiError;
use crate::openai::models::{Entry, list as list_body};

/// The models that the caller may use, by every name that can be listed.
pub(super) async fn list(Extension(context): Extension<Context>, headers: HeaderMap) -> Answer {
    let caller = context.authenticate(&headers)?;
    let entries: Vec<Entry> = context
        .snapshot
        .catalog
        .names()
        .filter(|(_, model)| caller.may_use(&model.name))
        .map(|(name, model)| Entry::new(name, context.app.created, model.description.as_deref()))
        .collect();
    Ok(json(list_body(&entries)))
}

/// One of them. What the caller may not use looks as if it did not exist.
pub(super) async fn one(
    Extension(context): Extension<Context>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Answer {
    let caller = context.authenticate(&headers)?;
    // An id whose escapes make no text is no model's.
    let Path(id) = id.map_err(|_| {
        let path = context.journal.path();
        unknown(path.split_once("models/").map_or(path, |(_, id)| id))
    })?;
    let model = context.snapshot.resolve(&caller, &id).map_err(|_| unknown(&id))?;
    Ok(json(Entry::new(&id, context.app.created, model.description.as_deref()).body()))
}

fn unknown(id: &str) -> ApiError {
    not_found(id).with_param(Some("model".to_owned()))
}
