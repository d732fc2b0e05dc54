//! What an answer says: of its headers what is of use, and of one that is no
//! stream the failure in it.
//!
//! In come headers, status and body; never reads anything itself.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::Value;

use crate::coze::error;
use crate::turn::{Failure, Kind};

/// The headers that are of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The content type in lower case: it is the same in any.
    pub(super) kind: String,
    /// Coze's log id: `X-Log-ID` of the server, `x-tt-logid` of the cloud.
    pub(super) log_id: Option<String>,
    /// The wait that is asked for.
    pub(super) retry_after: Option<Duration>,
    /// The server's clock as it wrote it; read where somebody wants to know.
    date: Option<[u8; DATE_BYTES]>,
}

/// How long a date in a header is.
const DATE_BYTES: usize = 29;

impl Told {
    /// What the server's clock says.
    pub(super) fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(std::str::from_utf8(self.date.as_ref()?).ok()?).ok()
    }

    /// Takes a header. The first of a name counts.
    pub(super) fn take(&mut self, name: &str, value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let text = || std::str::from_utf8(value).ok().filter(|text| !text.is_empty());
        if is("content-type") && self.kind.is_empty() {
            self.kind = text().unwrap_or_default().to_ascii_lowercase();
        } else if (is("x-log-id") || is("x-tt-logid")) && self.log_id.is_none() {
            let is_plain = |text: &&str| text.len() <= 128 && text.bytes().all(|b| matches!(b, b' '..=b'~'));
            self.log_id = text().filter(is_plain).map(str::to_owned);
        } else if is("retry-after") && self.retry_after.is_none() {
            self.retry_after = text().and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        } else if is("date") && self.date.is_none() {
            self.date = value.try_into().ok();
        }
    }
}

/// The error in an answer that is not a stream; `None` if it holds none.
pub(super) fn judge(
    status: StatusCode,
    kind: &str,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Option<Failure> {
    let envelope: Value = if kind.starts_with("application/json") || kind.is_empty() {
        serde_json::from_slice(body).unwrap_or_default()
    } else {
        Value::Null
    };
    // Each field for itself: one that is not as it should be takes nothing
    // from the others. The cloud has two spellings.
    let text = |pointer| envelope.pointer(pointer).and_then(Value::as_str);
    let number = |pointer| {
        let value = envelope.pointer(pointer)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|code| *code != 0)
    };
    let message = text("/msg").or_else(|| text("/error_message")).unwrap_or_default();
    let code = number("/code").or_else(|| number("/error_code")).unwrap_or(0);
    // An unknown path is answered by the web session's check, not by the
    // token's (`unrouted_path.server.json`).
    if message.contains("missing session_key") {
        return Some(Failure {
            coze_code: Some(code),
            ..Failure::new(
                Kind::Unsupported,
                "This Coze deployment does not offer the API that the gateway needs; it may be too old.",
            )
        });
    }
    let mut failure = if status == StatusCode::TOO_MANY_REQUESTS {
        let mut failure = error::failure(429, message);
        failure.coze_code = (code != 0).then_some(code);
        failure
    } else if code != 0 {
        let mut failure = error::failure(code, message);
        // 401 and 403 of a gateway in front of Coze, or of the cloud with a
        // code that no list names.
        if matches!(status.as_u16(), 401 | 403) && failure.kind == Kind::Broken {
            failure.kind = Kind::Auth;
        } else if status == StatusCode::BAD_REQUEST && failure.kind == Kind::Broken {
            failure.kind = Kind::Rejected;
        }
        failure
    } else {
        return match status.as_u16() {
            401 | 403 => Some(error::failure(4100, message)),
            504 => Some(Failure {
                may_be_running: true,
                ..Failure::new(Kind::Timeout, "A proxy in front of Coze gave up waiting for it.")
            }),
            _ => None,
        };
    };
    if let Kind::RateLimited(wait) = &mut failure.kind {
        *wait = retry_after;
    }
    failure.log_id = text("/detail/logid").map(str::to_owned);
    Some(failure)
}

/// What cannot be an answer of Coze.
pub(super) fn unexpected(status: StatusCode, kind: &str) -> Failure {
    let kind = if kind.is_empty() { "no content type" } else { kind };
    Failure::new(
        Kind::Broken,
        format!("Coze answered with status {} where an answer was expected.", status.as_u16()),
    )
    .with_detail(format!("status {status}, {kind}: is base_url the address of a Coze API?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kind_of(status: u16, body: &str) -> Kind {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, "application/json; charset=utf-8", None, body.as_bytes()).expect("a failure").kind
    }

    #[test]
    fn a_bad_token_comes_with_status_200() {
        let body = r#"{"code":700012006,"msg":"authentication failed: CheckPermission failed"}"#;
        assert_eq!(kind_of(200, body), Kind::Auth);
    }

    #[test]
    fn an_unknown_path_is_not_a_bad_token() {
        for body in [
            r#"{"code":401,"msg":"missing session_key in cookie"}"#,
            r#"{"code":700012006,"msg":"authentication failed: missing session_key in cookie"}"#,
        ] {
            assert_eq!(kind_of(401, body), Kind::Unsupported);
        }
    }

    #[test]
    fn a_binding_error_is_a_rejected_request() {
        assert_eq!(
            kind_of(400, r#"{"code":400,"msg":"'user_id' field is a 'required' parameter"}"#),
            Kind::Rejected
        );
        assert_eq!(kind_of(400, r#"{"code":31337,"msg":"new"}"#), Kind::Rejected);
    }

    #[test]
    fn status_429_is_a_rate_limit_whatever_the_code() {
        let wait = Some(Duration::from_secs(7));
        let failure = judge(StatusCode::TOO_MANY_REQUESTS, "text/plain", wait, b"slow down").unwrap();
        assert_eq!(failure.kind, Kind::RateLimited(wait));
    }

    #[test]
    fn the_clouds_log_id_is_kept() {
        let body = br#"{"code":5000,"detail":{"logid":"2025"},"msg":"server issues"}"#;
        let failure = judge(StatusCode::OK, "application/json", None, body).unwrap();
        assert_eq!((failure.kind, failure.log_id.as_deref()), (Kind::Broken, Some("2025")));
    }

    #[test]
    fn one_strange_field_takes_nothing_from_the_others() {
        for body in [
            r#"{"code":4015,"msg":"x","detail":"y"}"#,
            r#"{"code":"4015","msg":"x"}"#,
            r#"{"code":4015,"msg":{"en":"x"}}"#,
            r#"{"code":4015,"error_code":null}"#,
            r#"{"code":0,"error_code":4015,"error_message":"x"}"#,
        ] {
            assert_eq!(kind_of(200, body), Kind::ModelUnavailable, "{body}");
        }
    }

    #[test]
    fn the_flows_own_bodies_are_judged_by_their_codes() {
        for (file, body, expected) in [
            ("run", &include_bytes!("../../../tests/golden/workflow/workflow_run.server.json")[..], None),
            ("documented", include_bytes!("../../../tests/golden/workflow/workflow_run.docs.json"), None),
            ("text", include_bytes!("../../../tests/golden/workflow/workflow_run_text.server.json"), None),
            // Its `msg` is null.
            ("async", include_bytes!("../../../tests/golden/workflow/workflow_run_async.server.json"), None),
            // It has no code at all, and bare numbers of 64 bits.
            (
                "history",
                include_bytes!("../../../tests/golden/workflow/workflow_run_history.server.json"),
                None,
            ),
            (
                "failed",
                include_bytes!("../../../tests/golden/workflow/workflow_run_failed.server.json"),
                Some((Kind::Broken, 720_701_013)),
            ),
            (
                "a question",
                include_bytes!("../../../tests/golden/workflow/workflow_run_interrupt.server.json"),
                Some((Kind::Rejected, 6039)),
            ),
            (
                "not published",
                include_bytes!("../../../tests/golden/workflow/workflow_run_not_published.server.json"),
                Some((Kind::ModelUnavailable, 6031)),
            ),
            (
                "not published, as a stream",
                include_bytes!(
                    "../../../tests/golden/workflow/workflow_stream_run_not_published.server.json"
                ),
                Some((Kind::ModelUnavailable, 720_702_011)),
            ),
            (
                "a chatflow without a name",
                include_bytes!("../../../tests/golden/chatflow/chatflow_prestream_error.server.json"),
                Some((Kind::Broken, 777_777_775)),
            ),
        ] {
            let failure = judge(StatusCode::OK, "application/json; charset=utf-8", None, body);
            let said = failure.map(|failure| (failure.kind, failure.coze_code));
            assert_eq!(said, expected.map(|(kind, code)| (kind, Some(code))), "{file}");
        }
    }

    #[test]
    fn success_and_strangers_hold_no_error() {
        assert!(judge(StatusCode::OK, "application/json", None, br#"{"code":0,"msg":""}"#).is_none());
        assert!(judge(StatusCode::OK, "text/html", None, b"<html>").is_none());
    }
}
