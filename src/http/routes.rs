//! The routes, and what answers where there is none.

mod chat;
mod health;
mod mcp;
mod metrics;
mod models;
mod openapi;
mod tools;

use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Method, StatusCode};

use crate::http::Context;
use crate::http::path::normal;
use crate::openai::ApiError;
use crate::telemetry::metrics::UNKNOWN;

pub(super) use chat::complete;

/// The name of the route that runs bots.
pub(super) const CHAT: &str = "/v1/chat/completions";

/// The router over normalised paths.
pub(super) fn router() -> Router {
    Router::new()
        // What is posted there does not come this way.
        .route("/chat/completions", post(unknown_url))
        .route("/models", get(models::list))
        .route("/models/{*id}", get(models::one))
        .route("/", get(health::root))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::document))
        .route("/mcp", post(mcp::answer))
        .route("/tools/openapi.json", get(tools::describe))
        .route("/tools/{*model}", post(tools::call))
        .fallback(unknown_url)
        .method_not_allowed_fallback(wrong_method)
}

/// The route's name in metrics: the path of its description. Every path that
/// is none has the same one.
pub(super) fn name(path: &str) -> &'static str {
    match &*normal(path) {
        "/" => "/",
        "/chat/completions" => CHAT,
        "/models" => "/v1/models",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        "/openapi.json" => "/openapi.json",
        "/mcp" => "/mcp",
        "/tools/openapi.json" => "/tools/openapi.json",
        path if path.starts_with("/tools/") => "/tools/{model}",
        path if path.starts_with("/models/") => "/v1/models/{id}",
        _ => UNKNOWN,
    }
}

async fn unknown_url(method: Method, Extension(context): Extension<Context>) -> ApiError {
    ApiError::invalid(
        StatusCode::NOT_FOUND,
        "unknown_url",
        format!(
            "Invalid URL ({method} {}). This gateway serves /v1/chat/completions and /v1/models.",
            shown(context.journal.path())
        ),
    )
}

async fn wrong_method(method: Method, Extension(context): Extension<Context>) -> ApiError {
    ApiError::invalid(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("Not allowed method ({method} {}).", shown(context.journal.path())),
    )
}

fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

type Answer = Result<Response, ApiError>;
