//! From the shape of a file to the values that the gateway works with.
//!
//! Each part is built as far as it can be, so that one fault does not hide
//! the next. The snapshot counts only if no fault was found on the way.

mod deployment;
mod key;
mod model;
mod oauth;
mod state;
mod tls;
mod token;

use std::path::Path;

pub(super) use key::name_fault as key_name_fault;

use super::Snapshot;
use super::fault::Report;
use super::file::{Field, File, OneOf};
use crate::access::{Keys, Mode};
use crate::catalog::Catalog;

/// Builds everything; relative paths start at `base`.
///
/// For a gateway that runs already, what has not changed is taken over, and
/// what cannot change is a fault.
pub(super) fn build(
    mut file: File,
    base: &Path,
    running: Option<&Snapshot>,
    report: &mut Report,
) -> Option<Snapshot> {
    if let Some(running) = running {
        check_fixed(&file, running, report);
    }
    if let Field::Is(tls) = std::mem::replace(&mut file.serving.tls, Field::Absent) {
        file.serving.server.tls = tls::build(tls, base, report);
    }
    let mode = mode(&file, report);
    let mut notes = Vec::new();
    if mode == Some(Mode::Passthrough) {
        notes.extend(unused_tokens(&file));
    }
    let deployments = deployment::build(file.deployments, base, running, report);
    let names: Vec<String> = file.models.iter().map(|model| model.name.value.clone()).collect();
    let aliases = model::check_names(&file.models, report);
    let models = model::build(file.models, &deployments, mode, base, report);
    let keys = key::build(file.keys, &names, &aliases, base, report);
    let state = state::build(file.state, base, running, report);
    notes.append(&mut report.notes);
    Some(Snapshot {
        server: file.serving.server,
        state: state?,
        keys: Keys::new(mode?, keys),
        limits: file.limits,
        catalog: Catalog::new(models),
        tokens: deployments.iter().filter_map(deployment::Entry::token).collect(),
        deployments: deployments.into_iter().filter_map(|deployment| deployment.built).collect(),
        notes,
    })
}

/// How callers are asked, and whether that fits the rest.
fn mode(file: &File, report: &mut Report) -> Option<Mode> {
    let has_keys = !file.keys.is_empty();
    let mode = match (&file.mode, has_keys) {
        (Field::Wrong, _) => return None,
        (Field::Is(mode), _) => *mode,
        (Field::Absent, false) if file.draft => return Some(Mode::Keys),
        (Field::Absent, true) => Mode::Keys,
        (Field::Absent, false) => {
            report.add(
                &file.mode_at,
                "there is no key: add one (`cozeway key NAME` makes it), or set mode to \"passthrough\" or \"none\"",
            );
            return None;
        }
    };
    match mode {
        Mode::Keys if !has_keys && !file.draft => {
            report.add(&file.mode_at, "mode \"keys\" needs a key: `cozeway key NAME` makes one");
        }
        Mode::Keys => {}
        Mode::Passthrough if has_keys => {
            report.add(&file.mode_at, "there are keys, which mode \"passthrough\" does not ask for");
        }
        Mode::Open if has_keys => {
            report.add(&file.mode_at, "there are keys, which mode \"none\" does not ask for");
        }
        Mode::Open
            if !file.serving.server.listen.ip().to_canonical().is_loopback()
                && !file.serving.server.allow_anonymous =>
        {
            report.add(
                &file.serving.listen_at,
                "mode \"none\" lets everybody in who reaches this address: listen on 127.0.0.1, \
                 use keys, or say allow_anonymous = true",
            );
        }
        Mode::Passthrough | Mode::Open => {}
    }
    Some(mode)
}

/// What a running gateway cannot change: its sockets.
fn check_fixed(file: &File, running: &Snapshot, report: &mut Report) {
    let serving = &file.serving;
    if serving.server.listen != running.server.listen {
        let now = running.server.listen;
        report.add(
            &serving.listen_at,
            format!("cannot change while the gateway runs (it listens on {now}): restart it"),
        );
    }
    let place = match &serving.tls {
        Field::Wrong => return,
        Field::Is(tls) => &tls.at,
        Field::Absent => &serving.at,
    };
    match (&running.server.tls, matches!(serving.tls, Field::Is(_))) {
        (None, true) => report.add(place, "TLS cannot be turned on while the gateway runs: restart it"),
        (Some(_), false) => {
            report.add(place, "tls is missing, and cannot be turned off while the gateway runs: restart it")
        }
        (None, false) | (Some(_), true) => {}
    }
}

/// In mode passthrough the caller's own token is the only one that is used.
fn unused_tokens(file: &File) -> impl Iterator<Item = String> {
    let place = |token: &OneOf| match token {
        Field::Is((_, item)) => Some(item.at.key.clone()),
        Field::Absent | Field::Wrong => None,
    };
    let deployments = file.deployments.iter().flat_map(move |deployment| {
        let oauth = deployment.oauth.as_ref().map(|oauth| oauth.at.key.clone());
        place(&deployment.token).into_iter().chain(oauth)
    });
    let models = file.models.iter().filter_map(move |model| place(&model.token));
    deployments
        .chain(models)
        .map(|key| format!("{key}: is not used: in mode \"passthrough\" callers bring their own token"))
}
