//! What several test binaries share.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod golden;
pub(crate) mod reading;
pub(crate) mod redis;
pub(crate) mod schema;

/// So many cases of a property, or as many as `PROPTEST_CASES` says: the
/// longer depth is an environment variable away.
pub(crate) fn proptest_config(cases: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
