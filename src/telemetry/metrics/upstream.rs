//! The deployments, as they are when somebody looks.
//!
//! They count for themselves; here their figures get their names. A
//! deployment that is no longer in the config is no longer shown.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It lets them pass.
    Closed,
    /// It fails them at once.
    Open,
    /// It has let one pass to find out.
    Probing,
}

/// The figures of one deployment.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Its name in the config.
    pub deployment: &'a str,
    /// Whether the last connection that was tried came about.
    pub up: bool,
    /// What becomes of calls.
    pub circuit: Circuit,
    /// Calls that were made.
    pub calls: u64,
    /// Calls that were not made, since they would have failed.
    pub refused: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Calls that got no connection.
    pub unconnected: u64,
    /// Event streams that are being read.
    pub open_streams: u64,
    /// Connections that stand, in use or idle.
    pub open_connections: u64,
    /// Connections that wait for a call.
    pub idle_connections: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDeployment {
    deployment: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCircuit {
    deployment: Arc<str>,
    state: &'static str,
}

type Count = Family<OfDeployment, Counter>;
type Level<T> = Family<T, Gauge<u64, AtomicU64>>;

pub(super) fn register(registry: &mut Registry, upstreams: &[Upstream<'_>]) {
    let up: Level<OfDeployment> = Level::default();
    let circuit: Level<OfCircuit> = Level::default();
    let [open_streams, open_connections, idle_connections]: [Level<OfDeployment>; 3] = Default::default();
    let [calls, refused, connections, unconnected]: [Count; 4] = Default::default();
    for upstream in upstreams {
        let of = OfDeployment { deployment: upstream.deployment.into() };
        up.get_or_create(&of).set(upstream.up.into());
        for (state, name) in
            [(Circuit::Closed, "closed"), (Circuit::Open, "open"), (Circuit::Probing, "probing")]
        {
            let labels = OfCircuit { deployment: Arc::clone(&of.deployment), state: name };
            circuit.get_or_create(&labels).set((upstream.circuit == state).into());
        }
        open_streams.get_or_create(&of).set(upstream.open_streams);
        open_connections.get_or_create(&of).set(upstream.open_connections);
        idle_connections.get_or_create(&of).set(upstream.idle_connections);
        calls.get_or_create(&of).inc_by(upstream.calls);
        refused.get_or_create(&of).inc_by(upstream.refused);
        connections.get_or_create(&of).inc_by(upstream.connections);
        unconnected.get_or_create(&of).inc_by(upstream.unconnected);
    }
    let help = "Whether the last connection to Coze that was tried came about";
    registry.register("deployment_up", help, up);
    let help = "1 for the state that it is in: closed lets calls pass, open fails them at once, \
                probing has let one pass";
    registry.register("circuit_state", help, circuit);
    registry.register("circuit_refused", "Calls to Coze that an open circuit failed at once", refused);
    registry.register("upstream_calls", "Calls to Coze that were made", calls);
    let help = "Connections to Coze that were opened; all other calls went over one that stood";
    registry.register("upstream_connections", help, connections);
    registry.register("upstream_connection_failures", "Calls to Coze that got no connection", unconnected);
    registry.register("upstream_open_streams", "Event streams of Coze that are being read", open_streams);
    let help = "Connections to Coze that stand, in use or idle";
    registry.register("upstream_open_connections", help, open_connections);
    let help = "Connections to Coze that wait for a call";
    registry.register("upstream_idle_connections", help, idle_connections);
}
