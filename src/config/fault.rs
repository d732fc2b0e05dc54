//! What is wrong with a config: where, which key, and why.
//!
//! A reason never repeats a value, since any value may hold a secret that
//! was put into the wrong place.

use std::fmt;
use std::path::Path;

use super::Files;

/// Where a value stands: the line of the file and the path of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 1; `None` outside of any file.
    pub(super) line: Option<usize>,
    /// The keys down to the value, joined by dots; empty for the whole file.
    pub(super) key: String,
}

impl Place {
    /// A key at the top of the file, where what is missing would belong.
    pub(super) fn top(key: &str) -> Self {
        Self { line: Some(1), key: key.to_owned() }
    }

    /// A variable of the environment.
    pub(super) fn variable(name: &str) -> Self {
        Self { line: None, key: name.to_owned() }
    }

    /// A key inside of the table at this place, on a line of its own.
    pub(super) fn child(&self, key: &str, line: Option<usize>) -> Self {
        let key = quoted(key);
        let path = if self.key.is_empty() { key } else { format!("{}.{key}", self.key) };
        Self { line, key: path }
    }

    /// An item of the list at this place.
    pub(super) fn item(&self, index: usize, line: Option<usize>) -> Self {
        Self { line, key: format!("{}[{index}]", self.key) }
    }
}

/// A key as TOML writes it: bare where that is possible.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    at: Place,
    reason: String,
}

/// Everything that is wrong with a config, by line. Shown as one line for
/// each fault: `FILE:LINE: KEY: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    origin: String,
    list: Vec<Fault>,
}

impl Faults {
    /// One fault that concerns a config as a whole.
    pub(super) fn whole(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        let fault = Fault { at: Place::default(), reason: reason.into() };
        Self { origin: origin.into(), list: vec![fault] }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl Faults {
    /// Each fault as a line of its own.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|fault| {
            let line = fault.at.line.map(|line| format!(":{line}")).unwrap_or_default();
            let key = if fault.at.key.is_empty() { String::new() } else { format!(": {}", fault.at.key) };
            format!("{}{line}{key}: {}", self.origin, fault.reason)
        })
    }
}

impl std::error::Error for Faults {}

/// The faults found so far, while a config is read and built.
#[derive(Debug, Default)]
pub(super) struct Report {
    list: Vec<Fault>,
    /// What is no fault, but the operator should know.
    pub(super) notes: Vec<String>,
    /// What was read on the way.
    pub(super) files: Files,
}

impl Report {
    /// Notes a fault and goes on.
    pub(super) fn add(&mut self, at: &Place, reason: impl Into<String>) {
        self.list.push(Fault { at: at.clone(), reason: reason.into() });
    }

    /// Notes what is no fault.
    pub(super) fn note(&mut self, at: &Place, text: &str) {
        self.notes.push(format!("{}: {text}", at.key));
    }

    /// The value of a check, or a fault.
    pub(super) fn check<T>(&mut self, at: &Place, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|reason| self.add(at, reason.to_string())).ok()
    }

    /// What a small file holds, or a fault at the place that names it.
    pub(super) fn read_file(&mut self, at: &Place, path: &Path, most: u64) -> Option<Vec<u8>> {
        let read = self.files.read(path, most);
        self.check(at, read)
    }

    /// All faults by line; `None` if there are none.
    pub(super) fn into_faults(mut self, origin: &str) -> Option<Faults> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|fault| fault.at.line);
        Some(Faults { origin: origin.to_owned(), list: self.list })
    }
}

/// `; did you mean "…"?` with the candidate that is nearest to a word, or
/// nothing if none is near.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let near = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    near.map(|(_, candidate)| format!("; did you mean {candidate:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_out_by_line_one_each() {
        let mut report = Report::default();
        let server = Place::top("server");
        report.add(&server.child("b\nc", Some(7)), "late");
        report.add(&server.child("list", Some(3)).item(2, Some(4)), "early");
        report.add(&Place::variable("NAME"), "nowhere");
        let faults = report.into_faults("f.toml").unwrap();
        assert_eq!(
            faults.to_string(),
            "f.toml: NAME: nowhere\nf.toml:4: server.list[2]: early\nf.toml:7: server.\"b\\nc\": late"
        );
    }

    #[test]
    fn only_what_is_near_is_meant() {
        assert_eq!(did_you_mean("lisen", ["keepalive", "listen"]), "; did you mean \"listen\"?");
        assert_eq!(did_you_mean("Passthru", ["keys", "passthrough"]), "; did you mean \"passthrough\"?");
        assert_eq!(did_you_mean("zebra", ["keepalive", "listen"]), "");
    }
}
