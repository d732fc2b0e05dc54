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
mod document;
mod fault;
mod file;
mod interpolate;
mod resolve;
mod server;
mod source;
mod units;

use std::path::Path;
use std::sync::Arc;

pub use fault::{Fault, Faults};
pub use resolve::NoModel;
pub use server::Server;
pub use source::{Source, from_environment};

use crate::access::{Keys, Quota};
use crate::catalog::Catalog;
use crate::coze::Deployment;
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
    /// What can be called.
    pub catalog: Catalog,
    /// The Coze deployments, in the order of the config.
    pub deployments: Vec<Arc<Deployment>>,
    /// What is no fault, but the operator should know.
    pub notes: Vec<String>,
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
    let origin = path.display().to_string();
    let bytes = build::read_file(path, MAX_FILE_BYTES).map_err(|reason| Faults::whole(&origin, reason))?;
    let text = String::from_utf8(bytes).map_err(|_| Faults::whole(&origin, "is not UTF-8 text"))?;
    parse(&text, path, env)
}

/// Reads the text of a config file that stands at this path.
///
/// # Errors
/// With everything that is wrong with it.
pub fn parse(text: &str, path: &Path, env: Env<'_>) -> Result<Snapshot, Faults> {
    let mut reader = Reader::new(text, env);
    let snapshot = reader.parse(text).and_then(|document| {
        let root = reader.table(Place::default(), document.get_ref());
        let file = file::read(&mut reader, &root);
        build::build(file, path.parent().unwrap_or(Path::new("")), &mut reader.report)
    });
    finish(snapshot, reader.report, &path.display().to_string())
}

/// A snapshot counts only without any fault.
fn finish(snapshot: Option<Snapshot>, report: Report, origin: &str) -> Result<Snapshot, Faults> {
    match (report.into_faults(origin), snapshot) {
        (Some(faults), _) => Err(faults),
        (None, Some(snapshot)) => Ok(snapshot),
        (None, None) => Err(Faults::whole(origin, "is not a complete config")),
    }
}

/// What is wrong with the name of a key, for whoever is about to make one.
#[must_use]
pub fn key_name_fault(name: &str) -> Option<&'static str> {
    build::key_name_fault(name)
}

#[cfg(test)]
mod tests;
