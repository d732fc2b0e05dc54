//! Which web pages, and which `Host`s, are served.
//!
//! With keys any page may call: it has to have one. Without keys a page
//! could drive the bots of whoever opens it, by cross-origin calls or by DNS
//! rebinding; then only loopback origins and hosts are served.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::config::Server;
use crate::openai::ApiError;

/// What pages may read of an answer's headers.
const EXPOSED: &str = "x-request-id, retry-after, retry-after-ms, x-should-retry, x-conversation-id, \
    x-cozeway-conversation, x-cozeway-ignored, x-cozeway-trimmed, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
    x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, mcp-session-id";

/// The rules of a config.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    origins: Option<&'a [String]>,
    loopback_only: bool,
}

/// What a request's origin is told.
#[derive(Debug)]
pub(super) enum Grant {
    /// There is no origin, or it may send but not read.
    Silent,
    /// Every origin may read.
    Everyone,
    /// This origin may read.
    Origin(HeaderValue),
}

impl<'a> Rules<'a> {
    pub(super) fn new(server: &'a Server, without_keys: bool) -> Self {
        Self {
            origins: server.cors_origins.as_deref(),
            loopback_only: without_keys && !server.allow_anonymous,
        }
    }

    /// Judges where a request comes from and what host it thinks this is.
    pub(super) fn judge(&self, headers: &HeaderMap, uri: &Uri) -> Result<Grant, ApiError> {
        if self.loopback_only {
            // All that are given: `host`, and the one of HTTP/2 and of whole
            // URLs. What is no text is no loopback name.
            let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
            if named.chain(uri.host()).any(|host| !is_loopback(host)) {
                return Err(forbidden(
                    "host_not_allowed",
                    "Without keys this gateway answers only to loopback names such as localhost.",
                ));
            }
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(Grant::Silent);
        };
        let text = origin.to_str().unwrap_or_default();
        let listed = self.origins.is_some_and(|origins| origins.iter().any(|one| one == text));
        if listed || (self.loopback_only && is_loopback_origin(text)) {
            return Ok(Grant::Origin(origin.clone()));
        }
        match self.origins {
            _ if self.loopback_only => Err(forbidden(
                "origin_not_allowed",
                "Without keys this gateway serves no web page but those of this machine.",
            )),
            None => Ok(Grant::Everyone),
            Some(origins) if origins.iter().any(|one| one == "*") => Ok(Grant::Everyone),
            Some(_) => Ok(Grant::Silent),
        }
    }
}

impl Grant {
    /// Tells the browser.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Silent => return,
            Self::Everyone => HeaderValue::from_static("*"),
            Self::Origin(origin) => origin,
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.insert(VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
    }
}

/// The answer to `OPTIONS` on any path: whatever headers the page wants to
/// send, it may; fixed lists miss what SDKs add.
pub(super) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn forbidden(code: &'static str, message: &str) -> ApiError {
    ApiError::invalid(StatusCode::FORBIDDEN, code, message)
}

fn is_loopback_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(is_loopback)
}

/// Whether a host, with or without a port, is this machine by name.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_told_from_others() {
        for host in ["localhost", "LOCALHOST:8787", "127.0.0.1:1", "127.1.2.3", "[::1]:8787", "a.localhost:1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.com",
            "localhost.evil.com",
            "10.0.0.1",
            "[::2]",
            "127.0.0.1.evil.com",
            "",
            "notlocalhost",
            "[::1].evil.com",
            "[::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn one_foreign_host_is_one_too_many() {
        let server = Server::default();
        let judge = |hosts: &[&[u8]], uri: &'static str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_bytes(host).unwrap());
            }
            Rules::new(&server, true).judge(&headers, &Uri::from_static(uri)).is_ok()
        };
        assert!(judge(&[b"localhost"], "/v1/models"));
        assert!(judge(&[b"localhost"], "http://127.0.0.1:8787/v1/models"));
        assert!(judge(&[], "/v1/models"), "HTTP/1.0, which no browser speaks");
        for (hosts, uri) in [
            (&[&b"evil.com"[..]][..], "/v1/models"),
            (&[b"localhost", b"evil.com"], "/v1/models"),
            (&[b"\xE9vil.com"], "/v1/models"),
            (&[b""], "/v1/models"),
            (&[b"localhost"], "http://evil.com/v1/models"),
            (&[], "http://evil.com/v1/models"),
        ] {
            assert!(!judge(hosts, uri), "{hosts:?} {uri}");
        }
    }

    #[test]
    fn origins_need_a_scheme_of_the_web() {
        assert!(is_loopback_origin("http://localhost:3000"));
        for origin in ["null", "file://", "localhost", "http://evil.com", "http://localhost@evil.com"] {
            assert!(!is_loopback_origin(origin), "{origin}");
        }
    }
}
