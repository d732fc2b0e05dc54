//! `[keys.NAME]`: who may call. Only digests are kept.

use std::collections::BTreeMap;
use std::path::Path;

use http::HeaderName;

use super::token::visible;
use crate::access::Key;
use crate::config::document::Item;
use crate::config::fault::{Report, did_you_mean};
use crate::config::file::{self, Field, OneOf};
use crate::secret::Digest;

/// The shortest key: what is shorter can be guessed.
const MIN_KEY: usize = 16;

/// The longest name of a key.
const MAX_NAME: usize = 32;

/// The largest key file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What is wrong with the name of a key.
pub(in crate::config) fn name_fault(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let fine = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(allowed);
    (!fine).then_some("the name of a key has 1 to 32 characters: a-z, 0-9, - and _")
}

pub(super) fn build(
    tables: Vec<file::Key>,
    models: &[String],
    aliases: &BTreeMap<String, String>,
    base: &Path,
    report: &mut Report,
) -> Vec<Key> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut keys = Vec::new();
    for table in tables {
        if let Some(reason) = name_fault(&table.name.value) {
            report.add(&table.name.at, reason);
        }
        let patterns = table.models.map(|list| {
            if list.value.is_empty() {
                report.add(&list.at, "an empty list allows no model: leave it out to allow all");
            }
            for pattern in &list.value {
                check_pattern(pattern, models, aliases, report);
            }
            list.value.into_iter().map(|pattern| pattern.value).collect()
        });
        let user_headers = user_headers(table.user_headers, report);
        let Some(digest) = digest(table.key, base, report) else {
            continue;
        };
        let name = table.name.value;
        if let Some(other) = seen.insert(digest.to_hex(), name.clone()) {
            report.add(&table.name.at, format!("has the same key as [keys.{other}]"));
        }
        keys.push(Key {
            name,
            digest,
            models: patterns,
            user_headers,
            allow_coze_fields: table.allow_coze_fields,
            quota: table.quota,
        });
    }
    keys
}

/// A pattern has to match at least one model, by its own name.
fn check_pattern(
    pattern: &Item<String>,
    models: &[String],
    aliases: &BTreeMap<String, String>,
    report: &mut Report,
) {
    let text = pattern.value.as_str();
    let (exact, prefix) = match text.strip_suffix('*') {
        Some(prefix) => (false, prefix),
        None => (true, text),
    };
    if prefix.contains('*') {
        report.add(&pattern.at, "only the last character may be a *");
        return;
    }
    let matched = models.iter().any(|name| if exact { name == text } else { name.starts_with(prefix) });
    // Without any model, that is the fault.
    if matched || models.is_empty() {
        return;
    }
    if let Some(model) = aliases.get(text) {
        report.add(&pattern.at, format!("is an alias: keys are given models by name, here {model:?}"));
    } else {
        let near = did_you_mean(prefix, models.iter().map(String::as_str));
        report.add(&pattern.at, format!("there is no such model{near}"));
    }
}

fn user_headers(items: Vec<Item<String>>, report: &mut Report) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for item in items {
        let name = HeaderName::try_from(item.value).map_err(|_| "is not the name of a header");
        names.extend(report.check(&item.at, name));
    }
    names
}

fn digest(key: OneOf, base: &Path, report: &mut Report) -> Option<Digest> {
    let Field::Is((name, item)) = key else {
        return None;
    };
    let digest = match name {
        "sha256" => Digest::from_hex(&item.value).ok_or_else(|| {
            "expected the SHA-256 of a key: 64 digits of 0-9 and a-f, in lower case".to_owned()
        }),
        "key_file" => report
            .files
            .read(&base.join(&item.value), MAX_FILE_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "what it holds is not a key".to_owned()))
            .and_then(|text| digest_of(&text).map_err(|reason| format!("the file {reason}"))),
        _ => digest_of(&item.value).map_err(|reason| reason.to_owned()),
    };
    report.check(&item.at, digest)
}

fn digest_of(text: &str) -> Result<Digest, &'static str> {
    let key = visible(text)?;
    if key.len() < MIN_KEY {
        return Err("holds a key of less than 16 characters, which can be guessed");
    }
    Ok(Digest::of(key))
}
