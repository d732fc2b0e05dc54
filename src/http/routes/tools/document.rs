//! `GET /tools/openapi.json`: the tools of one key, as agents import them.

use http::HeaderMap;
use http::header::HOST;
use http::uri::Authority;
use serde_json::{Map, Value, json};

use super::{Tool, schema};
use crate::catalog::Model;

/// The document. Its paths begin behind `/tools`: what an importer is given
/// as the address of the tools is where it finds this beside them.
pub(super) fn document(tools: &[Tool], base: &str) -> Value {
    let paths: Map<String, Value> = tools.iter().map(path).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Coze bots",
            "description": "Bots and workflows as tools: each takes a message and gives an answer.",
            "version": env!("CARGO_PKG_VERSION")
        },
        "servers": [{ "url": base }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": { "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } } }
    })
}

fn path(tool: &Tool) -> (String, Value) {
    let Tool { name, model, description } = tool;
    let answer = json!({ "type": "object", "properties": schema::answer(), "required": ["answer", "coze"] });
    let error = json!({ "type": "object", "properties": { "error": schema::error() } });
    let item = json!({
        "post": {
            "operationId": name,
            "summary": summary(model),
            "description": description,
            "requestBody": {
                "required": true,
                "content": { "application/json": { "schema": schema::input(model) } }
            },
            "responses": {
                "200": {
                    "description": "The answer.",
                    "content": { "application/json": { "schema": answer } }
                },
                "default": {
                    "description": "An error: `code` says in one word what went wrong.",
                    "content": { "application/json": { "schema": error } }
                }
            }
        }
    });
    // The name of the model, unless that would be hard to write in a path.
    (format!("/{name}"), item)
}

fn summary(model: &Model) -> String {
    format!("Asks {}", model.name)
}

/// Where the tools are, as the client reaches them. Only itself is told, so
/// that it may say what it likes.
pub(super) fn base(headers: &HeaderMap, has_tls: bool) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let first =
        |list: Option<&'_ str>| list.and_then(|list| list.split(',').next()).map(|one| one.trim().to_owned());
    let scheme = match first(text("x-forwarded-proto")).as_deref() {
        Some("https") => "https",
        Some("http") => "http",
        _ if has_tls => "https",
        _ => "http",
    };
    let host = first(text("x-forwarded-host")).or_else(|| text(HOST.as_str()).map(str::to_owned));
    let is_host = |host: &String| {
        !host.contains('@') && host.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty())
    };
    match host.filter(is_host) {
        Some(host) => format!("{scheme}://{host}/tools"),
        None => "/tools".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_the_client_uses() {
        for (headers, tls, expected) in [
            (&[("host", "x.example:8787")][..], false, "http://x.example:8787/tools"),
            (&[("host", "x.example")], true, "https://x.example/tools"),
            (
                &[
                    ("host", "inner"),
                    ("x-forwarded-proto", "https, http"),
                    ("x-forwarded-host", "outer.example"),
                ],
                false,
                "https://outer.example/tools",
            ),
            (&[("host", "[::1]:1"), ("x-forwarded-proto", "ftp")], false, "http://[::1]:1/tools"),
            (&[("host", "a@b")], false, "/tools"),
            (&[("host", "a/b")], false, "/tools"),
            (&[], false, "/tools"),
        ] {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(base(&headers, tls), expected, "{headers:?}");
        }
    }
}
