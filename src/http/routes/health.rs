//! Signs of life, without a key.

use axum::response::Response;

use crate::http::respond::json;

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    json(br#"{"status":"ok"}"#.to_vec())
}

/// `GET /`: what this is, for whoever types the address into a browser.
pub(super) async fn root() -> Response {
    json(
        concat!(
            r#"{"name":"cozeway","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","openai_base_url":"/v1"}"#
        )
        .as_bytes()
        .to_vec(),
    )
}
