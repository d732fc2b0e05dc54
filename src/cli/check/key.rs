//! What is shown of a key and of limits.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use serde::Serialize;

use crate::access::{Key, Quota};
use crate::config::Snapshot;

#[derive(Serialize)]
pub(super) struct ShownKey<'s> {
    name: &'s str,
    /// `None` is all models.
    patterns: Option<&'s [String]>,
    /// What the patterns come to.
    models: Vec<&'s str>,
    user_headers: Vec<&'s str>,
    allow_coze_fields: bool,
    limits: ShownQuota,
}

#[derive(Serialize)]
pub(super) struct ShownQuota {
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_minute: Option<NonZeroU32>,
    concurrent_requests: Option<NonZeroU32>,
}

impl<'s> ShownKey<'s> {
    pub(super) fn of(key: &'s Key, snapshot: &'s Snapshot) -> Self {
        let names = snapshot.catalog.models().map(|model| model.name.as_str());
        Self {
            name: &key.name,
            patterns: key.models.as_deref(),
            models: names.filter(|name| key.may_use(name)).collect(),
            user_headers: key.user_headers.iter().map(http::HeaderName::as_str).collect(),
            allow_coze_fields: key.allow_coze_fields,
            limits: ShownQuota::of(key.quota),
        }
    }

    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let models = if self.patterns.is_none() { "all".to_owned() } else { self.models.join(", ") };
        writeln!(out, "\nkey {}", self.name)?;
        writeln!(out, "  models     {models}")?;
        if !self.user_headers.is_empty() {
            writeln!(out, "  user from  {}", self.user_headers.join(", "))?;
        }
        if self.allow_coze_fields {
            writeln!(out, "  may set    coze fields")?;
        }
        if let Some(limits) = self.limits.words() {
            writeln!(out, "  limits     {limits}")?;
        }
        Ok(())
    }
}

impl ShownQuota {
    pub(super) fn of(quota: Quota) -> Self {
        let Quota { requests_per_minute, tokens_per_minute, concurrent_requests } = quota;
        Self { requests_per_minute, tokens_per_minute, concurrent_requests }
    }

    /// `None` without any limit.
    pub(super) fn words(&self) -> Option<String> {
        let limits = [
            (self.requests_per_minute, "requests per minute"),
            (self.tokens_per_minute, "tokens per minute"),
            (self.concurrent_requests, "at one time"),
        ];
        let set: Vec<String> =
            limits.iter().filter_map(|(limit, words)| Some(format!("{} {words}", (*limit)?))).collect();
        (!set.is_empty()).then(|| set.join(", "))
    }
}
