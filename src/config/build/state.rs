//! `[state]`: where conversations are remembered, and for how long.

use std::path::Path;
use std::time::Duration;

use crate::config::fault::Report;
use crate::config::file::StateTable;
use crate::config::{Snapshot, State};
use crate::store::Place;

/// What is taken if nothing is said.
const DEFAULT_URL: &str = "sqlite:cozeway.db";

/// How long a conversation is remembered since it was last used.
const DEFAULT_TTL: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn build(
    table: StateTable,
    base: &Path,
    running: Option<&Snapshot>,
    report: &mut Report,
) -> Option<State> {
    let (text, at) = match &table.url {
        Some(item) => (item.value.as_str(), &item.at),
        None => (DEFAULT_URL, &table.at.child("url", table.at.line)),
    };
    let place = report.check(at, Place::parse(text, base))?;
    let state = State { place, ttl: table.ttl.unwrap_or(DEFAULT_TTL) };
    if running.is_some_and(|running| running.state != state) {
        report.add(at, "cannot change while the gateway runs: restart it");
    }
    Some(state)
}
