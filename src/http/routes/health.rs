//! Signs of life, without a key.

use axum::Extension;
use axum::response::Response;
use http::StatusCode;

use crate::http::respond::json;
use crate::http::{Context, Phase};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    json(br#"{"status":"ok"}"#.to_vec())
}

/// `GET /readyz`: new requests are welcome.
pub(super) async fn ready(Extension(context): Extension<Context>) -> Response {
    if context.app.phase() == Phase::Serving {
        return json(br#"{"state":"ready"}"#.to_vec());
    }
    let mut response = json(br#"{"state":"draining"}"#.to_vec());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
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
