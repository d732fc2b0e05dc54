//! Every code of Coze's that has a meaning, and what a client is told.

use cozeway::coze::error::failure;
use cozeway::openai::ApiError;
use cozeway::openai::error::Retry;

const AUTH: &[i64] = &[700_012_006, 4100, 4101, 103_000_001, 110_000_001];
const MODEL: &[i64] = &[4015, 4200, 6031, 720_702_011, 720_702_004, 100_000_000, 103_100_002];
const RATE: &[i64] = &[429, 4009, 4013, 4020];
const QUOTA: &[i64] = &[4008, 4011, 4019, 4027, 4028];
const REJECTED: &[i64] = &[400, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 4012, 4014, 4300, 4304, 6039];

fn told(code: i64) -> ApiError {
    ApiError::from_failure(&failure(code, "text"), false)
}

#[test]
fn every_code_of_the_table_is_told_as_it_says() {
    for (codes, status, name, never) in [
        (AUTH, 502, "upstream_auth_failed", true),
        (MODEL, 502, "upstream_model_unavailable", true),
        (RATE, 429, "upstream_rate_limited", false),
        (QUOTA, 429, "insufficient_quota", true),
        (&[4016], 409, "conversation_locked", false),
        (&[4010], 400, "context_length_exceeded", false),
        (&[5000, 103_200_002, 987_654], 502, "upstream_error", false),
    ] {
        for &code in codes {
            let error = told(code);
            assert_eq!((error.status.as_u16(), &*error.code), (status, name), "{code}");
            assert_eq!(error.retry == Retry::Never, never, "{code}");
        }
    }
    for &code in REJECTED {
        let error = told(code);
        assert_eq!((error.status.as_u16(), error.code), (400, format!("coze_{code}").into()), "{code}");
        assert!(error.message.contains("text"));
    }
    for code in RATE.iter().chain(&[4016]) {
        assert!(matches!(told(*code).retry, Retry::After(_)), "{code}");
    }
    assert!(told(4010).message.contains("context_length_exceeded"));
}

#[test]
fn whoever_brings_the_token_is_told_that_it_is_wrong() {
    for &code in AUTH {
        let error = ApiError::from_failure(&failure(code, "text"), true);
        assert_eq!((error.status.as_u16(), &*error.code), (401, "invalid_api_key"), "{code}");
    }
}
