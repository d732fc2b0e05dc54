//! The head of a request.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::coze::Call;
use crate::coze::files::{self, Form};

/// A request, whatever it is for. Borrowed, and its bytes are shared.
#[derive(Debug)]
pub(in crate::coze::client) struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    /// `None` if there is no body.
    content_type: Option<&'a str>,
    pub(in crate::coze::client) body: [Bytes; 3],
}

impl<'a> From<&'a Call> for Asked<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            method: &call.method,
            path: &call.path,
            content_type: call.body.as_ref().map(|_| "application/json"),
            body: [call.body.clone().unwrap_or_default(), Bytes::new(), Bytes::new()],
        }
    }
}

impl<'a> From<&'a Form> for Asked<'a> {
    fn from(form: &'a Form) -> Self {
        let content_type = Some(form.content_type.as_str());
        Self { method: &Method::POST, path: files::PATH, content_type, body: form.body.clone() }
    }
}

/// What all requests to one server have in common.
pub(in crate::coze::client) struct Requests {
    /// What stands before the path of a call: for a proxy with the server's
    /// name.
    before_path: String,
    /// Headers, whole lines. There may be secrets among them.
    headers: Vec<u8>,
}

impl Requests {
    /// For requests with these headers; a `host` among them goes before the
    /// server's own.
    pub(in crate::coze::client) fn new(before_path: String, host: &str, given: &HeaderMap) -> Self {
        let mut headers = Vec::with_capacity(256);
        let host = given.get(HOST).map_or(host.as_bytes(), HeaderValue::as_bytes);
        line(&mut headers, HOST.as_str(), host);
        line(&mut headers, USER_AGENT.as_str(), concat!("cozeway/", env!("CARGO_PKG_VERSION")).as_bytes());
        line(&mut headers, ACCEPT.as_str(), b"text/event-stream, application/json");
        for (name, value) in given {
            if ![HOST, USER_AGENT, ACCEPT].contains(name) {
                line(&mut headers, name.as_str(), value.as_bytes());
            }
        }
        Self { before_path, headers }
    }

    /// The same with one header more, if there is a value.
    pub(in crate::coze::client) fn with(mut self, name: &HeaderName, value: Option<&HeaderValue>) -> Self {
        if let Some(value) = value {
            line(&mut self.headers, name.as_str(), value.as_bytes());
        }
        self
    }

    /// The head of the request that makes a call.
    pub(in crate::coze::client) fn head(&self, asked: &Asked<'_>, authorization: &HeaderValue) -> Vec<u8> {
        let known = self.before_path.len() + asked.path.len() + self.headers.len() + authorization.len();
        let mut head = Vec::with_capacity(known + 128);
        head.extend_from_slice(asked.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(self.before_path.as_bytes());
        path(&mut head, asked.path);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        head.extend_from_slice(&self.headers);
        line(&mut head, AUTHORIZATION.as_str(), authorization.as_bytes());
        if let Some(kind) = asked.content_type {
            line(&mut head, CONTENT_TYPE.as_str(), kind.as_bytes());
        }
        if asked.content_type.is_some() || *asked.method == Method::POST {
            let length: usize = asked.body.iter().map(Bytes::len).sum();
            line(&mut head, "content-length", length.to_string().as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// A `HeaderValue` holds no line break, a `HeaderName` neither.
fn line(into: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        into.extend_from_slice(part);
    }
}

/// Whatever could end a path or its line is escaped.
fn path(into: &mut Vec<u8>, path: &str) {
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte) {
            into.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |four: u8| HEX.get(usize::from(four)).copied().unwrap_or(b'0');
            into.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
