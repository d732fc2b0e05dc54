//! The committed figures: read, compared, and written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

/// With this in the environment the figures are written instead of compared.
const BLESS: &str = "COZEWAY_BLESS";

/// The figures are those of the profile that tests have. With optimisations
/// some allocations go and others come: there they may be off by this share.
const OPTIMISED: f64 = if cfg!(debug_assertions) { 0.0 } else { 0.02 };

/// What a step allocates, on average.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Figure {
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

/// A figure with its name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) figure: Figure,
    /// How far apart two runs may be.
    pub(crate) slack: Figure,
}

impl Figure {
    pub(crate) fn each(allocations: u64, bytes: u64, times: u64) -> Self {
        Self { allocations: allocations as f64, bytes: bytes as f64 }.over(times)
    }

    /// What this is more than another.
    pub(crate) fn beyond(self, other: Self) -> Self {
        Self { allocations: self.allocations - other.allocations, bytes: self.bytes - other.bytes }
    }

    /// A part of it.
    pub(crate) fn over(self, parts: u64) -> Self {
        let parts = parts as f64;
        Self { allocations: self.allocations / parts, bytes: self.bytes / parts }
    }
}

/// Compares the figures with the committed ones, or writes them if that is
/// asked for.
pub(crate) fn settle(rows: &[Row]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/allocations/figures.toml");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(path, written(rows)).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let committed = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let faults = compared(rows, &committed);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn compared(rows: &[Row], committed: &BTreeMap<String, Figure>) -> Vec<String> {
    let mut faults: Vec<String> = rows.iter().flat_map(|row| row.faults(committed.get(row.name))).collect();
    for name in committed.keys().filter(|name| rows.iter().all(|row| row.name != **name)) {
        faults.push(format!("{name}: committed, but not measured any more"));
    }
    if !faults.is_empty() {
        faults.push(format!(
            "If that is meant, commit the new figures: {BLESS}=1 cargo test --test allocations\n\
             Less than committed is as good a reason: else the next change may take it back unseen."
        ));
    }
    faults
}

impl Row {
    fn faults(&self, committed: Option<&Figure>) -> Vec<String> {
        let (name, now) = (self.name, self.figure);
        let Some(then) = committed else {
            return vec![format!("{name}: no figure is committed; {}", now.line())];
        };
        let fault = |what: &str, now: f64, then: f64, slack: f64| {
            let slack = slack + then * OPTIMISED;
            let word = if now > then { "MORE" } else { "less" };
            let is_off = (now - then).abs() > slack;
            is_off.then(|| format!("{name}: {word} {what}: {now:.2}, committed are {then:.2} ± {slack:.2}"))
        };
        [
            fault("allocations", now.allocations, then.allocations, self.slack.allocations),
            fault("bytes", now.bytes, then.bytes, self.slack.bytes),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Figure {
    fn line(self) -> String {
        format!("{{ allocations = {:.2}, bytes = {:.1} }}", self.allocations, self.bytes)
    }
}

fn written(rows: &[Row]) -> String {
    let mut text = format!(
        "# What the gateway's thread allocates for each of these, on average: counted by\n\
         # tests/allocations, written by {BLESS}=1 cargo test --test allocations\n\n"
    );
    for row in rows {
        let _ = writeln!(text, "\"{}\" = {}", row.name, row.figure.line());
    }
    text
}

#[test]
fn what_is_off_is_told_both_ways() {
    let figure = |allocations, bytes| Figure { allocations, bytes };
    let row = |allocations, bytes| {
        vec![Row { name: "a", figure: figure(allocations, bytes), slack: figure(0.5, 10.0) }]
    };
    let committed = BTreeMap::from([("a".to_owned(), figure(7.0, 100.0))]);
    assert!(compared(&row(7.4, 91.0), &committed).is_empty());
    for (measured, told) in [
        (row(8.0, 100.0), "a: MORE allocations: 8.00, committed are 7.00 ±"),
        (row(6.0, 100.0), "a: less allocations: 6.00, committed are 7.00 ±"),
        (row(7.0, 120.0), "a: MORE bytes: 120.00, committed are 100.00 ±"),
    ] {
        let faults = compared(&measured, &committed);
        assert!(faults.len() == 2 && faults[0].starts_with(told), "{faults:?}");
        assert!(faults[1].contains("COZEWAY_BLESS=1"), "{faults:?}");
    }
    assert!(compared(&[], &committed)[0].contains("not measured any more"));
    assert!(compared(&row(7.0, 100.0), &BTreeMap::new())[0].contains("no figure is committed"));
    let read: BTreeMap<String, Figure> = toml::from_str(&written(&row(7.0, 100.0))).unwrap();
    assert_eq!(read, committed);
}
