//! Paths as people type them: with and without `/v1`, with doubled slashes.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Rewrites a request's path to the one that the routes know: single
/// slashes, no `/v1` ahead, no slash at the end.
pub(super) fn normalize(uri: &mut Uri) {
    let normal = normal(uri.path());
    if normal == uri.path() {
        return;
    }
    let mut target = normal.into_owned();
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let mut parts = std::mem::take(uri).into_parts();
    // Made of pieces of a valid path, it is one.
    parts.path_and_query = PathAndQuery::try_from(target).ok().or(parts.path_and_query);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// The path that the routes know.
pub(super) fn normal(path: &str) -> Cow<'_, str> {
    let has_doubled = path.as_bytes().windows(2).any(|pair| pair == b"//");
    if !has_doubled && (path == "/" || !path.ends_with('/')) {
        return Cow::Borrowed(without_version(path));
    }
    let mut normal = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        normal.push('/');
        normal.push_str(segment);
    }
    Cow::Owned(without_version(&normal).to_owned())
}

/// A path of single slashes without `/v1` ahead.
fn without_version(path: &str) -> &str {
    match path.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path) {
        "" => "/",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_the_same_route() {
        for (typed, normal) in [
            ("/v1/models", "/models"),
            ("/models", "/models"),
            ("//v1//models/", "/models"),
            ("/v1/v1/models", "/v1/models"),
            ("/v1", "/"),
            ("/", "/"),
            ("/v1beta/models", "/v1beta/models"),
            ("/v1/models/a%2Fb?x=//y", "/models/a%2Fb?x=//y"),
            ("/v1/models/a/b", "/models/a/b"),
        ] {
            let mut uri: Uri = typed.parse().unwrap();
            normalize(&mut uri);
            assert_eq!(uri, normal, "{typed}");
        }
    }

    #[test]
    fn a_whole_url_keeps_its_host() {
        let mut uri: Uri = "http://localhost:8787/v1/models".parse().unwrap();
        normalize(&mut uri);
        assert_eq!(uri, "http://localhost:8787/models");
    }
}
