//! The config file: from TOML to a [`Snapshot`], or to every fault at once.
//!
//! ```text
//!  text ──▶ document ──▶ file ──▶ build ──▶ Snapshot
//!           types,       shape    meaning
//!           ${NAME}
//!              └───────────┴─────────┴────▶ Faults, by line
//! ```
//!
//! Reads files and builds values of the modules below; they never see TOML.
//! Never shows a value, since any may be a secret.

mod build;
mod changes;
mod document;
mod fault;
mod file;
mod files;
mod interpolate;
mod resolve;
mod server;
mod source;
mod units;

use std::path::Path;
use std::sync::Arc;

pub use changes::{Changes, Names};
pub use fault::{Fault, Faults};
pub use files::Files;
pub use resolve::NoModel;
pub use server::{Server, Tls};
pub use source::{Source, from_environment};

use crate::access::{Keys, Quota};
use crate::catalog::Catalog;
use crate::coze::Deployment;
use crate::coze::token::Source as Token;
use document::Reader;
use fault::{Place, Report};

/// Everything that a running gateway was told, immutable. A request takes
/// one `Arc` of it and keeps it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How to serve.
    pub server: Server,
    /// Who may call.
    pub keys: Keys,
    /// The limits of all callers together; in passthrough mode those of each
    /// token.
    pub limits: Quota,
    /// Where conversations are remembered.
    pub state: State,
    /// What can be called.
    pub catalog: Catalog,
    /// The Coze deployments, in the order of the config.
    pub deployments: Vec<Arc<Deployment>>,
    /// The tokens that deployments give to their models.
    pub tokens: Vec<(Arc<Deployment>, Arc<Token>)>,
    /// What is no fault, but the operator should know.
    pub notes: Vec<String>,
}

/// The `[state]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where conversations are remembered.
    pub place: crate::store::Place,
    /// For how long since they were last used.
    pub ttl: std::time::Duration,
}

/// Where values of the environment come from.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Reads a config file.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load(path: &Path, env: Env<'_>) -> Result<Snapshot, Faults> {
    read(path, env, Reading::default()).result
}

/// What came of reading a config.
#[derive(Debug)]
pub struct Loaded {
    /// The config, or everything that is wrong with it.
    pub result: Result<Snapshot, Faults>,
    /// The files that were read for it.
    pub files: Files,
}

/// What a config is read for.
#[derive(Clone, Copy, Default)]
struct Reading<'s> {
    /// The config of the gateway that runs already.
    running: Option<&'s Snapshot>,
    /// It is only looked at: models and keys may be missing.
    draft: bool,
}

/// Reads a config file.
fn read(path: &Path, env: Env<'_>, reading: Reading<'_>) -> Loaded {
    let mut report = Report::default();
    let text = report.read_file(&Place::default(), path, MAX_FILE_BYTES).and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text");
        report.check(&Place::default(), text)
    });
    match text {
        Some(text) => parse_for(&text, path, env, reading, report),
        None => finish(None, report, &path.display().to_string()),
    }
}

/// Reads the text of a config file that stands at this path.
///
/// # Errors
/// With everything that is wrong with it.
pub fn parse(text: &str, path: &Path, env: Env<'_>) -> Result<Snapshot, Faults> {
    parse_for(text, path, env, Reading::default(), Report::default()).result
}

fn parse_for(text: &str, path: &Path, env: Env<'_>, reading: Reading<'_>, report: Report) -> Loaded {
    let mut reader = Reader::new(text, env, report);
    let snapshot = reader.parse(text).and_then(|document| {
        let root = reader.table(Place::default(), document.get_ref());
        let file = file::read(&mut reader, &root, reading.draft);
        build::build(file, path.parent().unwrap_or(Path::new("")), reading.running, &mut reader.report)
    });
    finish(snapshot, reader.report, &path.display().to_string())
}

/// A snapshot counts only without any fault.
fn finish(snapshot: Option<Snapshot>, mut report: Report, origin: &str) -> Loaded {
    let files = std::mem::take(&mut report.files);
    let result = match (report.into_faults(origin), snapshot) {
        (Some(faults), _) => Err(faults),
        (None, Some(snapshot)) => Ok(snapshot),
        (None, None) => Err(Faults::whole(origin, "is not a complete config")),
    };
    Loaded { result, files }
}

/// A duration as the config writes it; `None` if the text is none.
#[must_use]
pub fn duration(text: &str) -> Option<std::time::Duration> {
    units::duration(text)
}

/// What is wrong with the name of a key, for whoever is about to make one.
#[must_use]
pub fn key_name_fault(name: &str) -> Option<&'static str> {
    build::key_name_fault(name)
}

#[cfg(test)]
mod tests;
