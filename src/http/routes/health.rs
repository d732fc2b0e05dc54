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

/// `GET /readyz`: whether it is worth sending requests here. That Coze cannot
/// be reached is no reason against it: it is the same from everywhere.
pub(super) async fn ready(Extension(context): Extension<Context>) -> Response {
    match context.app.phase() {
        Phase::Serving => json(br#"{"state":"ready"}"#.to_vec()),
        Phase::Draining | Phase::Closing | Phase::Ended => {
            let mut response =
                json(br#"{"state":"draining","reason":"the gateway was told to stop"}"#.to_vec());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use http_body_util::BodyExt as _;

    use crate::http::{App, Service};
    use crate::relay::Relay;

    #[tokio::test]
    async fn a_draining_gateway_says_so_and_goes_on_answering() {
        let text = "[coze.a]\nbase_url = \"http://127.0.0.1:1\"\ntoken = \"pat_1\"\n\
                    [models.m]\nbot_id = \"1\"\n[keys.k]\nkey = \"sk-0123456789abcdef0123456789\"\n";
        let snapshot = crate::config::parse(text, std::path::Path::new("test"), &|_| None).unwrap();
        let app =
            Arc::new(App::new(snapshot, Relay::default(), crate::conversation::Conversations::in_memory()));
        let get = async |path: &str| {
            let request = axum::extract::Request::get(path).body(Body::empty()).unwrap();
            let response = Service::new(Arc::clone(&app)).respond(request).await;
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.unwrap().to_bytes())
        };
        assert_eq!(get("/readyz").await.0, 200);
        app.lifecycle.enter(crate::http::Phase::Draining);
        let (status, body) = get("/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"state":"draining","reason":"the gateway was told to stop"}"#);
        assert_eq!(get("/healthz").await.0, 200);
    }
}
