//! `POST /api/permission/oauth2/token`: a signed JWT for an access token
//! (protocol 9).
//!
//! In comes Coze's answer, out comes a token with its lifetime, or why there
//! is none. Never calls anybody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};

use crate::coze::client::Plain;
use crate::coze::{Call, error};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

/// How long a token is asked for. What is leaked is good no longer.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// From here on a number of seconds is a point in time.
const A_POINT_IN_TIME: u64 = 1_000_000_000;

/// How far two clocks may be apart before that is worth a word.
const APART: Duration = Duration::from_secs(60);

/// The call that asks for a token.
pub(super) fn call() -> Call {
    let body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "duration_seconds": LIFETIME.as_secs(),
    });
    let path = "/api/permission/oauth2/token".to_owned();
    Call { method: http::Method::POST, path, body: Some(body.to_string().into()) }
}

/// The token in an answer, and how long it is good.
///
/// # Errors
/// If there is none.
pub(super) fn read(answer: &Plain, now: SystemTime) -> Result<(Secret, Duration), Failure> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // The access token stands at the top; elsewhere Coze wraps what it says.
    let field = |name: &str| body.get(name).or_else(|| body.get("data")?.get(name));
    let token = field("access_token").and_then(Value::as_str).unwrap_or_default();
    if !answer.status.is_success() || token.is_empty() {
        return Err(refused(answer, &body, now));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(Kind::Broken, "Coze gave the gateway a token that no header takes."));
    }
    let seconds =
        field("expires_in").and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    // Coze's own clock says how long that is: this machine's may be wrong.
    let now = answer.date.unwrap_or(now).duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = match seconds {
        None => LIFETIME,
        Some(point) if point >= A_POINT_IN_TIME => Duration::from_secs(point).saturating_sub(now),
        Some(seconds) => Duration::from_secs(seconds),
    };
    if left.is_zero() {
        return Err(Failure::new(Kind::Broken, "Coze gave the gateway a token that is good no more."));
    }
    Ok((Secret::new(token), left.min(LIFETIME)))
}

/// Why Coze gives no token.
fn refused(answer: &Plain, body: &Value, now: SystemTime) -> Failure {
    if let Some(failure) = &answer.failure
        && matches!(failure.kind, Kind::RateLimited(_) | Kind::Unsupported)
    {
        return failure.clone();
    }
    // A refusal of the app has a status of its own, as a rule.
    if let Some(failure) = own_failure(body).filter(|_| answer.status.is_success()) {
        return failure;
    }
    if answer.status.is_server_error() || answer.status.is_success() && body.is_null() {
        let says = "Coze failed to give the gateway a token.";
        return Failure::new(Kind::Broken, says).with_detail(format!("status {}", answer.status));
    }
    if answer.status == StatusCode::NOT_FOUND && body.is_null() {
        return Failure::new(Kind::Unsupported, "This Coze deployment gives no OAuth tokens: the clouds do.");
    }
    let word = |name: &str| match body.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) if number.as_i64() != Some(0) => Some(number.to_string()),
        _ => None,
    };
    let code = word("error_code").or_else(|| word("error")).or_else(|| word("code"));
    let text = word("error_message").or_else(|| word("error_description")).or_else(|| word("msg"));
    let text = error::for_clients(&text.unwrap_or_default());
    let code = code.map(|code| format!(" ({})", error::for_clients(&code))).unwrap_or_default();
    let text = if text.is_empty() { ".".to_owned() } else { format!(": {text}.") };
    let clock = skew(answer.date, now).map(|skew| format!(" {skew}")).unwrap_or_default();
    let mut failure = Failure::new(
        Kind::Auth,
        format!(
            "Coze refused the gateway's OAuth app{code}{text}{clock} Its operator has to check app_id, key_id and the private key."
        ),
    );
    failure.coze_code = answer.failure.as_ref().and_then(|failure| failure.coze_code);
    failure
}

/// What went wrong in Coze itself, if a code in the body says so.
fn own_failure(body: &Value) -> Option<Failure> {
    let code = body.get("code")?.as_i64().filter(|code| *code != 0)?;
    let text = body.get("msg").and_then(Value::as_str).unwrap_or_default();
    let failure = error::failure(code, text);
    let own = matches!(failure.kind, Kind::Broken | Kind::Timeout);
    own.then_some(Failure { may_be_running: false, ..failure })
}

/// A sentence, if this machine's clock is not Coze's.
#[must_use]
pub fn skew(theirs: Option<SystemTime>, ours: SystemTime) -> Option<String> {
    let (apart, word) = match theirs?.duration_since(ours) {
        Ok(behind) => (behind, "behind"),
        Err(error) => (error.duration(), "ahead of"),
    };
    let seconds = apart.as_secs();
    (apart > APART).then(|| {
        format!("The clock of the gateway's machine is {seconds} s {word} Coze's: it has to be set.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn answer(status: u16, body: &str, clock: Option<u64>) -> Plain {
        Plain {
            status: StatusCode::from_u16(status).unwrap(),
            date: clock.map(|clock| UNIX_EPOCH + Duration::from_secs(clock)),
            failure: None,
            body: body.to_owned().into(),
        }
    }

    fn lifetime(body: &str, clock: Option<u64>) -> Result<u64, Kind> {
        let read = read(&answer(200, body, clock), UNIX_EPOCH + NOW);
        read.map(|(_, left)| left.as_secs()).map_err(|failure| failure.kind)
    }

    #[test]
    fn a_lifetime_is_reckoned_by_cozes_clock() {
        let until = |at: u64| format!(r#"{{"access_token":"t","expires_in":{at}}}"#);
        assert_eq!(lifetime(&until(1_800_000_900), None), Ok(900));
        assert_eq!(lifetime(&until(1_800_000_900), Some(1_800_000_600)), Ok(300));
        assert_eq!(lifetime(&until(900), None), Ok(900));
        assert_eq!(lifetime(&until(999_999), None), Ok(3600));
        assert_eq!(lifetime(&until(1_700_000_000), None), Err(Kind::Broken));
        assert_eq!(lifetime(r#"{"access_token":"t"}"#, None), Ok(3600));
        assert_eq!(lifetime(r#"{"data":{"access_token":"t","expires_in":"60"}}"#, None), Ok(60));
        assert_eq!(lifetime(r#"{"access_token":"a b"}"#, None), Err(Kind::Broken));
    }

    #[test]
    fn a_refusal_says_why_and_what_clock_is_wrong() {
        let body = r#"{"error_code":"invalid_request","error_message":"iat is invalid"}"#;
        let refused = |clock| read(&answer(400, body, clock), UNIX_EPOCH + NOW).unwrap_err();
        let failure = refused(Some(NOW.as_secs() + 7200));
        assert_eq!(failure.kind, Kind::Auth);
        assert_eq!(
            failure.message,
            "Coze refused the gateway's OAuth app (invalid_request): iat is invalid. The clock of the gateway's \
             machine is 7200 s behind Coze's: it has to be set. Its operator has to check app_id, key_id and the \
             private key."
        );
        assert!(refused(Some(NOW.as_secs() - 61)).message.contains("61 s ahead of Coze's"));
        for fine in [None, Some(NOW.as_secs() + 30)] {
            assert!(!refused(fine).message.contains("clock"));
        }
    }

    #[test]
    fn what_is_no_refusal_is_not_taken_for_one() {
        for (status, body, kind) in [
            (502, "<html>", Kind::Broken),
            (200, "<html>", Kind::Broken),
            (404, "404 page not found", Kind::Unsupported),
            (200, r#"{"code":4100,"msg":"x"}"#, Kind::Auth),
            (200, r#"{"code":5000,"msg":"internal error"}"#, Kind::Broken),
            (200, r#"{"code":6023,"msg":"late"}"#, Kind::Timeout),
            (400, r#"{"code":5000,"error_message":"no such app"}"#, Kind::Auth),
            (401, "", Kind::Auth),
        ] {
            assert_eq!(
                read(&answer(status, body, None), UNIX_EPOCH).unwrap_err().kind,
                kind,
                "{status} {body}"
            );
        }
    }
}
