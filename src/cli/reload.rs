//! A changed config, taken by a gateway that runs.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::watch::Watch;
use crate::config::{Files, Loaded, Snapshot, Source};
use crate::http::App;
use crate::telemetry::metrics::Reload;

/// Where the config of a running gateway is from.
#[derive(Debug)]
pub(super) enum Origin {
    /// From here, by way of these files.
    Source(Source, Files),
    /// From nowhere that could change.
    Fixed,
}

/// Takes the config anew at each SIGHUP and whenever its files change.
pub(super) async fn follow(app: Arc<App>, origin: Origin, mut hangup: Signal) -> Infallible {
    let (source, mut watch) = match origin {
        Origin::Source(source @ Source::File(_), files) => (source, Watch::new(files)),
        Origin::Source(Source::Environment, _) | Origin::Fixed => loop {
            hangup.recv().await;
            tracing::info!("SIGHUP: there is no config file to read again");
        },
    };
    loop {
        let why = tokio::select! {
            _ = hangup.recv() => "SIGHUP",
            () = watch.changed() => "a file changed",
        };
        let loaded = load(source.clone(), app.snapshot()).await;
        let Some(Loaded { result, files }) = loaded else {
            continue;
        };
        watch = Watch::new(files);
        match result {
            Ok(snapshot) => {
                take(&app, snapshot, why);
                app.metrics().reloaded(Reload::Applied);
            }
            Err(faults) => {
                app.metrics().reloaded(Reload::Refused);
                for fault in faults.lines() {
                    tracing::error!(fault, "{why}: the new config is refused, the old one stays: {fault}");
                }
            }
        }
    }
}

/// Reads the config beside the requests, since that takes its time.
async fn load(source: Source, running: Arc<Snapshot>) -> Option<Loaded> {
    let reading = tokio::task::spawn_blocking(move || source.read(&super::env, Some(&running)));
    match reading.await {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::error!(%error, "reading the config failed; the old one stays");
            None
        }
    }
}

fn take(app: &App, snapshot: Snapshot, why: &str) {
    let old = app.snapshot();
    let changes = snapshot.changes_since(&old);
    for note in snapshot.notes.iter().filter(|note| !old.notes.contains(note)) {
        tracing::warn!("{note}");
    }
    app.replace(snapshot);
    tracing::info!(
        models.added = ?changes.models.added,
        models.removed = ?changes.models.removed,
        models.changed = ?changes.models.changed,
        keys.added = ?changes.keys.added,
        keys.removed = ?changes.keys.removed,
        keys.changed = ?changes.keys.changed,
        deployments.added = ?changes.deployments.added,
        deployments.removed = ?changes.deployments.removed,
        deployments.changed = ?changes.deployments.changed,
        settings = ?changes.settings,
        "{why}: the new config is in force: {changes}"
    );
}
