//! The label sets as types, and the words that labels are made of.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

/// What a request had too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests at the same time.
    Concurrency,
    /// Failed keys per minute.
    FailedKeys,
    /// Connections at the same time.
    Connections,
}

/// Whose limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One key's.
    Key,
    /// Everyone's together.
    Everyone,
    /// One address's.
    Address,
}

/// Why a client was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It sent no key.
    Missing,
    /// It sent a wrong one.
    Wrong,
}

/// What came of reading the config again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It is wrong; the old one stays.
    Refused,
}

/// The limits that there are.
pub(super) const ZERO_LIMITS: [(Limit, Scope); 8] = [
    (Limit::Requests, Scope::Key),
    (Limit::Requests, Scope::Everyone),
    (Limit::Tokens, Scope::Key),
    (Limit::Tokens, Scope::Everyone),
    (Limit::Concurrency, Scope::Key),
    (Limit::Concurrency, Scope::Everyone),
    (Limit::FailedKeys, Scope::Address),
    (Limit::Connections, Scope::Everyone),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Requested {
    pub(super) route: &'static str,
    pub(super) model: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) status: u16,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteAndModel {
    pub(super) route: &'static str,
    pub(super) model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelOnly {
    pub(super) model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokensOf {
    pub(super) model: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamError {
    pub(super) deployment: Arc<str>,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitHit {
    limit: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FailedKey {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reloaded {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Conversation {
    pub(super) mode: &'static str,
    pub(super) reason: &'static str,
}

impl LimitHit {
    pub(super) fn new(limit: Limit, scope: Scope) -> Self {
        let limit = match limit {
            Limit::Requests => "requests",
            Limit::Tokens => "tokens",
            Limit::Concurrency => "concurrency",
            Limit::FailedKeys => "failed_keys",
            Limit::Connections => "connections",
        };
        let scope = match scope {
            Scope::Key => "key",
            Scope::Everyone => "everyone",
            Scope::Address => "address",
        };
        Self { limit, scope }
    }
}

impl FailedKey {
    pub(super) fn new(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::Missing => "missing",
            Refusal::Wrong => "wrong",
        };
        Self { reason }
    }
}

impl Reloaded {
    pub(super) fn new(result: Reload) -> Self {
        let result = match result {
            Reload::Applied => "applied",
            Reload::Refused => "refused",
        };
        Self { result }
    }
}
