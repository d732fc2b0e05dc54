//! Whether there is room for a request, and what its client is told of that.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Context;
use super::journal::Journal;
use crate::access::{Caller, Gauge, Limits, Measure, Over, Permit, Quotas, Scope, Standing, Subject};
use crate::openai::ApiError;
use crate::telemetry::metrics;

/// The limits that one request meets.
#[derive(Debug)]
pub(super) struct Admission<'c> {
    limits: &'c Arc<Limits>,
    journal: &'c Journal,
    subject: Subject,
    quotas: Quotas,
    /// How the limits of all gateways stood when that was last told.
    standing: OnceLock<Standing>,
}

impl Context {
    /// The limits that a caller meets.
    pub(super) fn admission(&self, caller: &Caller) -> Admission<'_> {
        Admission {
            limits: &self.app.limits,
            journal: &self.journal,
            subject: Subject::of(caller),
            quotas: self.snapshot.quotas(caller),
            standing: OnceLock::new(),
        }
    }
}

impl Admission<'_> {
    /// Lets the request in, with a slot for each of its choices.
    ///
    /// # Errors
    /// If a limit is reached.
    pub(super) async fn admit(&self, choices: usize) -> Result<Permit, ApiError> {
        let slots = u32::try_from(choices).unwrap_or(u32::MAX);
        let admitting = self.limits.admit_everywhere(self.subject.clone(), self.quotas, slots, now());
        let (admitted, standing) = admitting.await;
        // Who is refused here need not ask the others how it stands.
        let here = || self.limits.standing(&self.subject, &self.quotas, now());
        if let Some(standing) = standing.or_else(|| admitted.is_err().then(here)) {
            let _ = self.standing.set(standing);
        }
        admitted.map_err(|over| {
            self.journal.note(|facts| {
                facts.detail = Some(over.to_string());
                facts.over = Some(counted(&over));
            });
            ApiError::rate_limited(self.words(&over, slots), over.wait)
        })
    }

    /// Writes how the limits stand now, as `x-ratelimit-*`.
    pub(super) async fn tell(&self, headers: &mut HeaderMap) {
        let standing = match self.standing.get() {
            Some(standing) => *standing,
            None => match self.limits.standing_everywhere(&self.subject, &self.quotas).await {
                Some(standing) => standing,
                None => self.limits.standing(&self.subject, &self.quotas, now()),
            },
        };
        let names = [
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        ];
        for (names, gauge) in names.into_iter().zip([standing.requests, standing.tokens]) {
            let Some(Gauge { limit, remaining, reset }) = gauge else {
                continue;
            };
            let [limit_name, remaining_name, reset_name] = names.map(HeaderName::from_static);
            headers.insert(limit_name, HeaderValue::from(limit));
            headers.insert(remaining_name, HeaderValue::from(remaining));
            if let Ok(reset) = HeaderValue::try_from(seconds(reset)) {
                headers.insert(reset_name, reset);
            }
        }
    }

    fn words(&self, over: &Over, slots: u32) -> String {
        let whose = match (over.scope, &self.subject) {
            (Scope::Everyone, _) => "this gateway",
            (Scope::Own, Subject::Token(_)) => "this token",
            (Scope::Own, Subject::Key(_) | Subject::Anybody) => "this API key",
        };
        let limit = over.limit;
        let wait = seconds(over.wait);
        match over.measure {
            Measure::Requests => format!(
                "Rate limit reached for requests per minute of {whose}: limit {limit}. Try again in {wait}."
            ),
            Measure::Tokens => format!(
                "Rate limit reached for tokens per minute of {whose}: limit {limit}, all of which have been used. Try again in {wait}."
            ),
            Measure::Concurrent if u64::from(slots) > limit => format!(
                "Rate limit reached for concurrent requests of {whose}: limit {limit}, and n = {slots} counts as {slots}. It never fits."
            ),
            Measure::Concurrent => format!(
                "Rate limit reached for concurrent requests of {whose}: limit {limit}. Try again when an answer has ended."
            ),
        }
    }
}

/// The limit as the metrics know it.
fn counted(over: &Over) -> (metrics::Limit, metrics::Scope) {
    let limit = match over.measure {
        Measure::Requests => metrics::Limit::Requests,
        Measure::Tokens => metrics::Limit::Tokens,
        Measure::Concurrent => metrics::Limit::Concurrency,
    };
    let scope = match over.scope {
        Scope::Own => metrics::Scope::Key,
        Scope::Everyone => metrics::Scope::Everyone,
    };
    (limit, scope)
}

/// The limits have no clock of their own.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A time as `1.2s`, rounded up to a thousandth.
fn seconds(time: Duration) -> String {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return format!("{whole}s");
    }
    let fraction = format!("{rest:03}");
    format!("{whole}.{}s", fraction.trim_end_matches('0'))
}

/// A body that holds a permit until its last byte.
#[derive(Debug)]
pub(super) struct Held {
    inner: Body,
    _permit: Permit,
}

impl Held {
    pub(super) fn new(inner: Body, permit: Permit) -> Self {
        Self { inner, _permit: permit }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_rounded_up() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "0.001s"),
            (1_200_000_000, "1.2s"),
            (45_000_000, "0.045s"),
            (360_000_000_000, "360s"),
            (999_999_999, "1s"),
        ] {
            assert_eq!(seconds(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
