//! From the shape of a file to the values that the gateway works with.
//!
//! Each part is built as far as it can be, so that one fault does not hide
//! the next. The snapshot counts only if no fault was found on the way.

mod deployment;
mod key;
mod model;
mod token;

use std::path::Path;

pub(super) use key::name_fault as key_name_fault;

use super::Snapshot;
use super::fault::Report;
use super::file::{Field, File};
use crate::access::{Keys, Mode};
use crate::catalog::Catalog;

/// Builds everything; relative paths start at `base`.
pub(super) fn build(file: File, base: &Path, report: &mut Report) -> Option<Snapshot> {
    let mode = mode(&file, report);
    let mut notes = Vec::new();
    if mode == Some(Mode::Passthrough) {
        notes.extend(unused_tokens(&file));
    }
    let deployments = deployment::build(file.deployments, base, report);
    let names: Vec<String> = file.models.iter().map(|model| model.name.value.clone()).collect();
    let aliases = model::check_names(&file.models, report);
    let models = model::build(file.models, &deployments, mode, base, report);
    let keys = key::build(file.keys, &names, &aliases, base, report);
    Some(Snapshot {
        server: file.server,
        keys: Keys::new(mode?, keys),
        limits: file.limits,
        catalog: Catalog::new(models),
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
        Mode::Keys if !has_keys => {
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
            if !file.server.listen.ip().to_canonical().is_loopback() && !file.server.allow_anonymous =>
        {
            report.add(
                &file.listen_at,
                "mode \"none\" lets everybody in who reaches this address: listen on 127.0.0.1, \
                 use keys, or say allow_anonymous = true",
            );
        }
        Mode::Passthrough | Mode::Open => {}
    }
    Some(mode)
}

/// In mode passthrough the caller's own token is the only one that is used.
fn unused_tokens(file: &File) -> impl Iterator<Item = String> {
    let deployments = file.deployments.iter().map(|deployment| &deployment.token);
    let models = file.models.iter().map(|model| &model.token);
    deployments.chain(models).filter_map(|token| match token {
        Field::Is((_, item)) => Some(format!(
            "{}: is not used: in mode \"passthrough\" callers bring their own token",
            item.at.key
        )),
        Field::Absent | Field::Wrong => None,
    })
}

/// What a small file holds.
pub(super) fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("cannot read it: {error}")),
        Ok(_) if u64::try_from(bytes.len()).is_ok_and(|length| length > most) => {
            Err("the file is too large".to_owned())
        }
        Ok(_) => Ok(bytes),
    }
}
