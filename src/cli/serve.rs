//! `cozeway serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reload::{self, Origin};
use super::{ConfigArgs, LogArgs, Stop, print, runtime};
use crate::config::{Loaded, Snapshot};
use crate::conversation::Conversations;
use crate::http::{App, Service, listener};
use crate::relay::{self, Relay};
use crate::store;

/// How long work that outlives its request (ending a chat at Coze) may take
/// when the gateway stops.
const LAST_WORK: Duration = Duration::from_secs(5);

/// How long the other gateways may be told what was used, at the end.
const LAST_SHARING: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs the gateway of a config file, or of the environment.
pub(super) fn run(args: Args) -> Result<(), Stop> {
    let source = args.config.source()?;
    let Loaded { result, files } = source.read(&super::env, None);
    let snapshot = result?;
    args.log.init()?;
    for note in &snapshot.notes {
        tracing::warn!("{note}");
    }
    let scheme = if snapshot.server.tls.is_some() { "https" } else { "http" };
    let ready = |address| print(&format!("cozeway listens on {scheme}://{address}\n"));
    runtime()?.block_on(gateway(snapshot, Origin::Source(source, files), ready))
}

/// Runs a gateway until it is told to stop. `ready` is called with the
/// address once connections are accepted.
///
/// # Errors
/// If the address cannot be listened on.
pub(super) async fn gateway(
    snapshot: Snapshot,
    origin: Origin,
    ready: impl FnOnce(SocketAddr) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let listen = snapshot.server.listen;
    let listener = listener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("the listener has no address")?;

    let tracker = TaskTracker::new();
    let store = store::open(&snapshot.state.place, snapshot.state.ttl).map_err(anyhow::Error::new)?;
    let conversations = Conversations::new(Arc::clone(&store));
    let relay = Relay::new(tracker.clone(), store);
    let app = Arc::new(App::new(snapshot, relay, conversations));
    ready(address)?;
    let in_time = tokio::select! {
        in_time = listener::serve(listener, Service::new(Arc::clone(&app)), stop) => in_time,
        never = reload::follow(Arc::clone(&app), origin, hangup) => match never {},
        never = relay::share(app.limits()) => match never {},
        never = relay::keep(app.conversations(), |record| app.expired(&record)) => match never {},
    };
    if in_time {
        tracing::info!("every request in flight was answered");
    } else {
        tracing::warn!("requests were still in flight at the end of the grace");
    }
    tracker.close();
    let _ = tokio::time::timeout(LAST_WORK, tracker.wait()).await;
    // What that work has charged, too.
    let _ = tokio::time::timeout(LAST_SHARING, app.limits().share_rest()).await;
    Ok(())
}

/// Cancelled by the first SIGTERM or SIGINT. A second one ends the process
/// as it does where nobody listens for it.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping, requests in flight may finish"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping, requests in flight may finish"),
        }
        told.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("a second signal: ended at once");
        std::process::exit(1);
    });
    Ok(stop)
}
