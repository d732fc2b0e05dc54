//! An error as the bytes of HTTP/1.1, for where there is no hyper to write
//! it: the last answer of its connection.

use std::time::SystemTime;

use axum::response::IntoResponse as _;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderName, HeaderValue};

use crate::openai::ApiError;

/// The whole answer, head and body.
pub(super) fn last_answer(error: ApiError, request_id: &str) -> Vec<u8> {
    let (status, body) = (error.status, error.body());
    let mut response = error.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let date = httpdate::fmt_http_date(SystemTime::now());
    let request_id = (HeaderName::from_static("x-request-id"), request_id);
    for (name, value) in [(DATE, date.as_str()), request_id] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &*headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_whole_answer() {
        let answer = String::from_utf8(last_answer(ApiError::overloaded("Full."), "req_1")).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 503 Service Unavailable");
        lines.sort_unstable();
        let length = format!("content-length: {}", body.len());
        assert_eq!(
            lines,
            [
                "connection: close",
                length.as_str(),
                "content-type: application/json",
                "retry-after-ms: 1000",
                "retry-after: 1",
                "x-request-id: req_1"
            ]
        );
        assert!(head.contains("\r\ndate: "), "{head}");
        assert!(head.ends_with(" GMT") || head.contains(" GMT\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["message"], "Full.");
    }
}
