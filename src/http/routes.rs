//! The routes, and what answers where there is none.

mod chat;
mod health;
mod models;

use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Method, StatusCode};

use crate::http::Context;
use crate::openai::ApiError;

/// The router over normalised paths.
pub(super) fn router() -> Router {
    Router::new()
        .route("/chat/completions", post(chat::complete))
        .route("/models", get(models::list))
        .route("/models/{*id}", get(models::one))
        .route("/", get(health::root))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(unknown_url)
        .method_not_allowed_fallback(wrong_method)
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
