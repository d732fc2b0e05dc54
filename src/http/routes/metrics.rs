//! `GET /metrics`, without a key.

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::coze::Deployment;
use crate::coze::circuit::Phase;
use crate::http::Context;
use crate::telemetry::metrics::{self, Circuit, Memory, Now, Upstream};

/// Everything that was counted, for Prometheus.
pub(super) async fn scrape(Extension(context): Extension<Context>) -> Response {
    let upstreams: Vec<Upstream<'_>> =
        context.snapshot.deployments.iter().map(|deployment| upstream(deployment)).collect();
    let limits = context.app.limits();
    let standing = context.app.conversations.standing();
    let cleaned = context.app.relay.cleaned();
    let now = Now {
        upstreams: &upstreams,
        slots: limits.running(),
        uncharged: limits.unknown_usage(),
        memory: Memory {
            up: standing.up,
            entries: standing.counts.entries,
            named: standing.counts.named,
            expired: standing.expired,
            lost: standing.lost,
            deleted: cleaned.deleted,
            undeleted: [("failed", cleaned.failed), ("dropped", cleaned.dropped)],
        },
    };
    let mut response = Response::new(Body::from(context.app.metrics().encode(now)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

fn upstream(deployment: &Deployment) -> Upstream<'_> {
    let figures = deployment.client.figures();
    Upstream {
        deployment: &deployment.name,
        up: figures.up,
        circuit: match figures.phase {
            Phase::Closed => Circuit::Closed,
            Phase::Open => Circuit::Open,
            Phase::Probing => Circuit::Probing,
        },
        calls: figures.calls,
        refused: figures.refused,
        connections: figures.connections,
        unconnected: figures.unconnected,
        open_streams: figures.open_streams,
        open_connections: figures.open_connections,
        idle_connections: figures.idle_connections,
    }
}
