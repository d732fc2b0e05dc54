//! What is counted, and how that is told to Prometheus.
//!
//! In come the facts of each request once it is over, and a few single
//! happenings; out goes text in the OpenMetrics form. The values of labels
//! are words of the config or of this module, never of a client: whoever
//! calls may send anything, and makes no new series with it.

mod labels;
mod memory;
mod process;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::turn::Usage;
use labels::{
    Conversation, FailedKey, LimitHit, ModelOnly, Reloaded, Requested, RouteAndModel, TokensOf,
    UpstreamError, ZERO_LIMITS,
};
pub use labels::{Limit, Refusal, Reload, Scope};
pub use memory::Memory;
pub use upstream::{Circuit, Upstream};

/// What [`Metrics::encode`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The value of a label where there is nothing to name.
pub const NONE: &str = "(none)";

/// The value of a label for names that are no words of the config.
pub const UNKNOWN: &str = "(unknown)";

/// Bounds of durations, in seconds.
const DURATIONS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Bounds of the wait for the first words, in seconds.
const WAITS: [f64; 14] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0];

/// The metrics of one gateway. Each has a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Requested, Counter>,
    request_duration: Family<RouteAndModel, Histogram, fn() -> Histogram>,
    time_to_first_content: Family<ModelOnly, Histogram, fn() -> Histogram>,
    stream_duration: Family<ModelOnly, Histogram, fn() -> Histogram>,
    open_requests: Gauge,
    open_streams: Gauge,
    tokens: Family<TokensOf, Counter>,
    usage_unknown: Family<ModelOnly, Counter>,
    upstream_errors: Family<UpstreamError, Counter>,
    limit_hits: Family<LimitHit, Counter>,
    failed_keys: Family<FailedKey, Counter>,
    reloads: Family<Reloaded, Counter>,
    turns: Family<Conversation, Counter>,
    unremembered: Family<ModelOnly, Counter>,
}

/// A request that is over, however that came about.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The route's name.
    pub route: &'static str,
    /// The model's name in the config, [`NONE`] or another fixed word.
    pub model: &'a str,
    /// The key's name in the config, [`NONE`] or another fixed word.
    pub key: &'a str,
    /// The HTTP status; 0 if the client left before there was one.
    pub status: u16,
    /// `done`, `failed` or `client_left`.
    pub outcome: &'static str,
    /// From the request's head to its end.
    pub duration: Duration,
    /// From the request's head to the answer's first words, in a stream.
    pub first_content: Option<Duration>,
    /// From the head of a streamed answer to its end.
    pub streamed: Option<Duration>,
    /// What it cost.
    pub tokens: Tokens,
    /// The deployment that failed it, and the kind of failure.
    pub upstream_error: Option<(&'a str, &'static str)>,
    /// Why the client was not let in.
    pub refusal: Option<Refusal>,
    /// The limit that it was over.
    pub over: Option<(Limit, Scope)>,
    /// What was done with its conversation, and why.
    pub conversation: Option<(&'static str, Option<&'static str>)>,
    /// Whether it should have been remembered and was not.
    pub unremembered: bool,
}

/// What is not counted here but looked at when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now<'a> {
    /// The deployments.
    pub upstreams: &'a [Upstream<'a>],
    /// Slots of the limits on concurrent requests that are in use.
    pub slots: u32,
    /// Chats that a token limit could not charge, since Coze never told what
    /// they had cost.
    pub uncharged: u64,
    /// What is remembered.
    pub memory: Memory,
}

/// What a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Nothing: no bot was asked.
    None,
    /// What Coze says.
    Known(Usage),
    /// Something, but Coze does not say what.
    Unknown,
}

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

fn waits() -> Histogram {
    Histogram::new(WAITS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a gateway that starts now.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(durations),
            time_to_first_content: Family::new_with_constructor(waits),
            stream_duration: Family::new_with_constructor(durations),
            open_requests: Gauge::default(),
            open_streams: Gauge::default(),
            tokens: Family::default(),
            usage_unknown: Family::default(),
            upstream_errors: Family::default(),
            limit_hits: Family::default(),
            failed_keys: Family::default(),
            reloads: Family::default(),
            turns: Family::default(),
            unremembered: Family::default(),
        };
        metrics.register();
        metrics.start_at_zero();
        metrics
    }

    fn register(&mut self) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let all = self.registry.sub_registry_with_prefix("cozeway");
        all.register("requests", "Requests that are over", self.requests.clone());
        let help = "From a request's head to the last byte of its answer, or to its client's leaving";
        all.register_with_unit("request_duration", help, Unit::Seconds, self.request_duration.clone());
        let help = "From the head of a request for a stream to the first words of the answer";
        all.register_with_unit(
            "time_to_first_content",
            help,
            Unit::Seconds,
            self.time_to_first_content.clone(),
        );
        let help = "From the head of a streamed answer to its last byte, or to its client's leaving";
        all.register_with_unit("stream_duration", help, Unit::Seconds, self.stream_duration.clone());
        all.register("open_requests", "Requests that are not over", self.open_requests.clone());
        all.register("open_streams", "Streamed answers that are not over", self.open_streams.clone());
        all.register("tokens", "Tokens as Coze counts them", self.tokens.clone());
        let help = "Requests that a bot was asked for and whose tokens Coze did not tell";
        all.register("usage_unknown", help, self.usage_unknown.clone());
        let help = "Requests that failed at Coze or on the way there, by kind of failure";
        all.register("upstream_errors", help, self.upstream_errors.clone());
        all.register("limit_hits", "Requests that were over a limit", self.limit_hits.clone());
        all.register("failed_keys", "Requests without a key that is let in", self.failed_keys.clone());
        all.register("reloads", "Attempts to read the config again", self.reloads.clone());
        let help = "Requests to a bot, by what was done with their conversation, and why";
        all.register("conversation_turns", help, self.turns.clone());
        let help = "Turns of conversations whose end could not be remembered in time";
        all.register("unremembered_turns", help, self.unremembered.clone());
        all.register("build", "The version that runs", version);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let start_time: Gauge<f64, AtomicU64> = Gauge::default();
        start_time.set(started);
        let help = "When the process started, in seconds since 1970";
        self.registry.register_with_unit("process_start_time", help, Unit::Seconds, start_time);
    }

    /// What may happen at any time stands there from the start: a rate over
    /// a series that begins with 1 does not see its first happening.
    fn start_at_zero(&self) {
        for (limit, scope) in ZERO_LIMITS {
            let _ = self.limit_hits.get_or_create(&LimitHit::new(limit, scope));
        }
        for reason in [Refusal::Missing, Refusal::Wrong] {
            let _ = self.failed_keys.get_or_create(&FailedKey::new(reason));
        }
        for result in [Reload::Applied, Reload::Refused] {
            let _ = self.reloads.get_or_create(&Reloaded::new(result));
        }
    }

    /// A request has come. [`Self::ended`] belongs to it.
    pub fn began(&self) {
        self.open_requests.inc();
    }

    /// A streamed answer has begun. Its [`Request::streamed`] belongs to it.
    pub fn stream_began(&self) {
        self.open_streams.inc();
    }

    /// A request is over.
    pub fn ended(&self, request: &Request<'_>) {
        self.open_requests.dec();
        let model: Arc<str> = request.model.into();
        let key: Arc<str> = request.key.into();
        let of_model = ModelOnly { model: Arc::clone(&model) };

        let labels = RouteAndModel { route: request.route, model: Arc::clone(&model) };
        self.request_duration.get_or_create(&labels).observe(request.duration.as_secs_f64());
        if let Some(wait) = request.first_content {
            self.time_to_first_content.get_or_create(&of_model).observe(wait.as_secs_f64());
        }
        if let Some(time) = request.streamed {
            self.open_streams.dec();
            self.stream_duration.get_or_create(&of_model).observe(time.as_secs_f64());
        }
        match request.tokens {
            Tokens::None => {}
            Tokens::Known(usage) => {
                for (direction, count) in [("input", usage.input), ("output", usage.output)] {
                    let labels = TokensOf { model: Arc::clone(&model), key: Arc::clone(&key), direction };
                    self.tokens.get_or_create(&labels).inc_by(count);
                }
            }
            Tokens::Unknown => {
                self.usage_unknown.get_or_create(&of_model).inc();
            }
        }
        if let Some((deployment, kind)) = request.upstream_error {
            let labels = UpstreamError { deployment: deployment.into(), kind };
            self.upstream_errors.get_or_create(&labels).inc();
        }
        if let Some(refusal) = request.refusal {
            self.failed_keys.get_or_create(&FailedKey::new(refusal)).inc();
        }
        if let Some((limit, scope)) = request.over {
            self.limit_hit(limit, scope);
        }
        if let Some((mode, reason)) = request.conversation {
            let labels = Conversation { mode, reason: reason.unwrap_or(NONE) };
            self.turns.get_or_create(&labels).inc();
            // Stands at 0 before its first happening.
            self.unremembered.get_or_create(&of_model).inc_by(u64::from(request.unremembered));
        }
        let labels =
            Requested { route: request.route, model, key, status: request.status, outcome: request.outcome };
        self.requests.get_or_create(&labels).inc();
    }

    /// Something was over a limit before it was a request.
    pub fn limit_hit(&self, limit: Limit, scope: Scope) {
        self.limit_hits.get_or_create(&LimitHit::new(limit, scope)).inc();
    }

    /// The config was read again.
    pub fn reloaded(&self, result: Reload) {
        self.reloads.get_or_create(&Reloaded::new(result)).inc();
    }

    /// Everything as text.
    #[must_use]
    pub fn encode(&self, now: Now<'_>) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let mut looked_at = Registry::default();
        let ours = looked_at.sub_registry_with_prefix("cozeway");
        upstream::register(ours, now.upstreams);
        let (slots, uncharged) = (Gauge::<u32, AtomicU32>::default(), Counter::<u64>::default());
        slots.set(now.slots);
        uncharged.inc_by(now.uncharged);
        ours.register("slots_in_use", "Slots of concurrent requests that are in use", slots);
        let help = "Chats that a token limit could not charge, since Coze never told what they had cost";
        ours.register("usage_uncharged", help, uncharged);
        memory::register(ours, &now.memory);
        process::register(&mut looked_at);
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &looked_at))
            .and_then(|()| encode_eof(&mut text))
            .expect("a string takes all that is written to it");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<'static> {
        Request {
            route: "/v1/chat/completions",
            model: "support",
            key: "team-a",
            status: 200,
            outcome: "done",
            duration: Duration::from_millis(1500),
            first_content: Some(Duration::from_millis(300)),
            streamed: Some(Duration::from_millis(1200)),
            tokens: Tokens::Known(Usage { input: 10, output: 3 }),
            upstream_error: None,
            refusal: None,
            over: None,
            conversation: Some(("replayed", Some("edited"))),
            unremembered: false,
        }
    }

    #[test]
    fn a_request_is_counted_once_everywhere() {
        let metrics = Metrics::new();
        metrics.began();
        metrics.stream_began();
        metrics.ended(&request());
        let text = metrics.encode(Now::default());
        for line in [
            "cozeway_requests_total{route=\"/v1/chat/completions\",model=\"support\",key=\"team-a\",status=\"200\",outcome=\"done\"} 1",
            "cozeway_request_duration_seconds_sum{route=\"/v1/chat/completions\",model=\"support\"} 1.5",
            "cozeway_time_to_first_content_seconds_bucket{le=\"0.5\",model=\"support\"} 1",
            "cozeway_time_to_first_content_seconds_bucket{le=\"0.25\",model=\"support\"} 0",
            "cozeway_stream_duration_seconds_count{model=\"support\"} 1",
            "cozeway_open_requests 0",
            "cozeway_conversation_turns_total{mode=\"replayed\",reason=\"edited\"} 1",
            "cozeway_unremembered_turns_total{model=\"support\"} 0",
            "cozeway_open_streams 0",
            "cozeway_tokens_total{model=\"support\",key=\"team-a\",direction=\"input\"} 10",
            "cozeway_tokens_total{model=\"support\",key=\"team-a\",direction=\"output\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("usage_unknown_total"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_failed_says_where() {
        let metrics = Metrics::new();
        metrics.ended(&Request {
            tokens: Tokens::Unknown,
            upstream_error: Some(("local", "timeout")),
            refusal: Some(Refusal::Wrong),
            over: Some((Limit::Tokens, Scope::Everyone)),
            conversation: Some(("new", None)),
            unremembered: true,
            ..request()
        });
        metrics.reloaded(Reload::Refused);
        let text = metrics.encode(Now::default());
        for line in [
            "cozeway_usage_unknown_total{model=\"support\"} 1",
            "cozeway_upstream_errors_total{deployment=\"local\",kind=\"timeout\"} 1",
            "cozeway_failed_keys_total{reason=\"wrong\"} 1",
            "cozeway_failed_keys_total{reason=\"missing\"} 0",
            "cozeway_limit_hits_total{limit=\"tokens\",scope=\"everyone\"} 1",
            "cozeway_limit_hits_total{limit=\"tokens\",scope=\"key\"} 0",
            "cozeway_reloads_total{result=\"refused\"} 1",
            "cozeway_reloads_total{result=\"applied\"} 0",
            "cozeway_conversation_turns_total{mode=\"new\",reason=\"(none)\"} 1",
            "cozeway_unremembered_turns_total{model=\"support\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn deployments_are_shown_as_they_are() {
        let upstream = Upstream {
            deployment: "local",
            up: false,
            circuit: Circuit::Open,
            calls: 7,
            refused: 2,
            connections: 3,
            unconnected: 5,
            open_streams: 1,
            open_connections: 3,
            idle_connections: 2,
        };
        let text =
            Metrics::new().encode(Now { upstreams: &[upstream], slots: 3, uncharged: 4, ..Now::default() });
        for line in [
            "cozeway_deployment_up{deployment=\"local\"} 0",
            "cozeway_circuit_state{deployment=\"local\",state=\"open\"} 1",
            "cozeway_circuit_state{deployment=\"local\",state=\"closed\"} 0",
            "cozeway_circuit_refused_total{deployment=\"local\"} 2",
            "cozeway_upstream_calls_total{deployment=\"local\"} 7",
            "cozeway_upstream_connections_total{deployment=\"local\"} 3",
            "cozeway_upstream_connection_failures_total{deployment=\"local\"} 5",
            "cozeway_upstream_open_streams{deployment=\"local\"} 1",
            "cozeway_upstream_open_connections{deployment=\"local\"} 3",
            "cozeway_upstream_idle_connections{deployment=\"local\"} 2",
            "cozeway_slots_in_use 3",
            "cozeway_usage_uncharged_total 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
