//! `GET /openapi.json`, without a key: exactly what is served.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// Written by hand; tests hold it to the router and to real answers. Its
/// server is a relative URL: a name taken from the request would be what the
/// client says, behind a proxy the wrong one.
const DOCUMENT: &str = include_str!("openapi.json");

/// The description of all routes.
pub(super) async fn document() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::routes::name;
    use crate::telemetry::metrics::UNKNOWN;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// The routes of the router's own text: method and path as described.
    fn routes() -> BTreeSet<(String, &'static str)> {
        let text = include_str!("../routes.rs");
        let mut routes = BTreeSet::new();
        for rest in text.split(".route(\"").skip(1) {
            let (path, rest) = rest.split_once("\", ").unwrap();
            let (method, _) = rest.split_once('(').unwrap();
            let name = name(&path.replace("{*", "{"));
            assert_ne!(name, UNKNOWN, "{path} has a name in metrics");
            routes.insert((method.to_owned(), name));
        }
        routes
    }

    #[test]
    fn it_describes_every_route_and_no_other() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert((method.clone(), path.clone()));
            }
        }
        let routes: BTreeSet<_> =
            routes().into_iter().map(|(method, name)| (method, name.to_owned())).collect();
        assert!(routes.len() >= 8);
        assert_eq!(described, routes);
    }

    #[test]
    fn it_tells_the_version_that_runs() {
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    object.values().for_each(|value| check(value, document));
                }
                Value::Array(array) => array.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}
