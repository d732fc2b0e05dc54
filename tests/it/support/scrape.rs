//! What Prometheus sees, read by the letter of the OpenMetrics text format.

use std::collections::{BTreeMap, BTreeSet};

use super::Gateway;

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A whole answer of `/metrics`.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) samples: Vec<Sample>,
}

impl Scrape {
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let response = gateway.client.get(gateway.url("/metrics")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        Self::parse(&response.text().await.unwrap())
    }

    /// Panics at anything that is not as it has to be.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let mut samples: Vec<Sample> = Vec::new();
        let mut families = BTreeSet::new();
        let (mut family, mut kind) = (String::new(), String::new());
        let mut seen = BTreeSet::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').expect(line);
                let (name, rest) = rest.split_once(' ').expect(line);
                match word {
                    "HELP" => {
                        assert!(families.insert(name.to_owned()), "a family comes once: {line}");
                        (family, kind) = (name.to_owned(), String::new());
                    }
                    "TYPE" => {
                        let kinds = ["counter", "gauge", "histogram", "info"];
                        assert!(family == name && kinds.contains(&rest), "{line}");
                        rest.clone_into(&mut kind);
                    }
                    "UNIT" => assert!(family == name && name.ends_with(&format!("_{rest}")), "{line}"),
                    _ => panic!("{line}"),
                }
                assert!(!rest.is_empty() && !rest.contains("  "), "{line}");
                continue;
            }
            let sample = sample(line);
            let suffix = sample.name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            let suffixes: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => panic!("{line} has no type"),
            };
            assert!(suffixes.contains(&suffix), "{line} in {family}, a {kind}");
            assert!(sample.value >= 0.0, "{line}");
            let (series, _) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "a series comes once: {line}");
            samples.push(sample);
        }
        let scrape = Self { samples };
        scrape.assert_histograms();
        scrape
    }

    /// Buckets are cumulative, and the last one counts all.
    #[track_caller]
    fn assert_histograms(&self) {
        let mut last: BTreeMap<(String, BTreeMap<String, String>), (f64, f64)> = BTreeMap::new();
        for sample in &self.samples {
            let Some(name) = sample.name.strip_suffix("_bucket") else { continue };
            let mut labels = sample.labels.clone();
            let le = labels.remove("le").expect("a bound");
            let le: f64 = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            let before = last
                .insert((name.to_owned(), labels), (le, sample.value))
                .unwrap_or((f64::NEG_INFINITY, 0.0));
            assert!(le > before.0 && sample.value >= before.1, "{sample:?} after {before:?}");
        }
        for ((name, labels), (le, count)) in last {
            assert!(le.is_infinite(), "{name}");
            let whole = self.samples.iter().find(|s| s.name == format!("{name}_count") && s.labels == labels);
            assert_eq!(whole.unwrap().value.to_bits(), count.to_bits(), "{name} {labels:?}");
        }
    }

    /// The sum of all series of a name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

/// `name{label="value",…} number`
#[track_caller]
fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}').expect(line);
                    break;
                }
            }
        }
    }
    let number = rest.strip_prefix(' ').expect(line);
    assert!(!number.contains(' '), "no timestamp: {line}");
    Sample { name: name.to_owned(), labels, value: number.parse().expect(line) }
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next().expect("a closing quote") {
            (at, '"') => return (value, &text[at + 1..]),
            (_, '\\') => match characters.next().unwrap().1 {
                'n' => value.push('\n'),
                other @ ('\\' | '"') => value.push(other),
                other => panic!("\\{other}"),
            },
            (_, other) => value.push(other),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
