//! The shape of the file: every table as it was written, nothing decided.
//!
//! In comes the document, out comes a [`File`]. Unknown keys, values of a
//! wrong type and what has to be there but is not are faults here; whether
//! values fit together is for [`super::build`].

mod bot;
mod model;
mod oauth;
mod tool;

use std::time::Duration;

use super::Server;
use super::document::{Item, Reader, Table};
use super::fault::Place;
use crate::access::{Mode, Quota};
use crate::coze::Kind;

pub(super) use bot::{Bot, Shortcut};
pub(super) use model::{Flow, Model, Runs, Workflow};
pub(super) use oauth::OAuth;

/// Something that may be left out, and may be wrong.
pub(super) enum Field<T> {
    /// Left out.
    Absent,
    /// There, but a fault.
    Wrong,
    /// There.
    Is(T),
}

/// A config file.
pub(super) struct File {
    /// Whether it is only looked at: models and keys may be missing.
    pub(super) draft: bool,
    pub(super) serving: Serving,
    pub(super) mode_at: Place,
    pub(super) mode: Field<Mode>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) models: Vec<Model>,
    pub(super) keys: Vec<Key>,
    /// The `[limits]` table.
    pub(super) limits: Quota,
    pub(super) state: StateTable,
}

/// The `[state]` table.
pub(super) struct StateTable {
    pub(super) at: Place,
    pub(super) url: Option<Item<String>>,
    pub(super) ttl: Option<Duration>,
}

/// The `[server]` table.
pub(super) struct Serving {
    /// All but `tls`.
    pub(super) server: Server,
    pub(super) at: Place,
    pub(super) listen_at: Place,
    pub(super) tls: Field<Tls>,
}

/// The `server.tls` table.
pub(super) struct Tls {
    pub(super) at: Place,
    pub(super) cert: Option<Item<String>>,
    pub(super) key: Option<Item<String>>,
}

/// One of several keys that say the same in different ways: which it was,
/// and its value.
pub(super) type OneOf = Field<(&'static str, Item<String>)>;

/// A `[coze.NAME]` table.
pub(super) struct Deployment {
    pub(super) name: Item<String>,
    pub(super) base_url: Option<Item<String>>,
    pub(super) kind: Option<Item<Kind>>,
    pub(super) ca_file: Option<Item<String>>,
    pub(super) proxy: Option<Item<String>>,
    /// Names and values; the place is that of the entry.
    pub(super) headers: Vec<(String, Item<String>)>,
    pub(super) token: OneOf,
    pub(super) oauth: Option<OAuth>,
}

/// A `[keys.NAME]` table.
pub(super) struct Key {
    pub(super) name: Item<String>,
    pub(super) key: OneOf,
    pub(super) models: Option<Item<Vec<Item<String>>>>,
    pub(super) user_headers: Vec<Item<String>>,
    pub(super) allow_coze_fields: bool,
    pub(super) quota: Quota,
}

/// The ways to give a token.
const TOKEN: &[&str] = &["token", "token_file"];

/// The ways to give a key.
const KEY: &[&str] = &["key", "sha256", "key_file"];

/// The limits that a key has, and all together.
const LIMITS: &[&str] = &["requests_per_minute", "tokens_per_minute", "concurrent_requests"];

/// The largest limit: up to here a minute divides well enough.
const MAX_LIMIT: u32 = 1_000_000_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Ten years.
const MAX_TTL: Duration = Duration::from_secs(3650 * 86_400);

/// Reads a whole document.
pub(super) fn read(reader: &mut Reader<'_>, root: &Table<'_>, draft: bool) -> File {
    reader.only(root, &["server", "coze", "models", "keys", "limits", "auth", "state"], &[]);
    let serving = super::server::read(reader, root);
    let (mode, mode_at) = auth(reader, root);
    let deployments = needed(reader, root, "coze", "there is no Coze deployment: add a [coze.NAME] table");
    let models = match mode {
        // A caller's bot needs no entry there: its id is its name.
        Field::Is(Mode::Passthrough) => reader.sections(root, "models"),
        _ if draft => reader.sections(root, "models"),
        _ => needed(reader, root, "models", "there is no model: add a [models.NAME] table"),
    };
    let keys = reader.sections(root, "keys");
    let limits = reader.section(root, "limits").map(|table| {
        reader.only(&table, LIMITS, &[]);
        quota(reader, &table)
    });
    File {
        draft,
        serving,
        mode_at,
        mode,
        deployments: deployments.into_iter().map(|(name, table)| deployment(reader, name, &table)).collect(),
        models: models.into_iter().map(|(name, table)| model::read(reader, name, &table)).collect(),
        keys: keys.into_iter().map(|(name, table)| key(reader, name, &table)).collect(),
        limits: limits.unwrap_or_default(),
        state: state(reader, root),
    }
}

fn state(reader: &mut Reader<'_>, root: &Table<'_>) -> StateTable {
    let Some(table) = reader.section(root, "state") else {
        return StateTable { at: Place::top("state"), url: None, ttl: None };
    };
    reader.only(&table, &["url", "conversation_ttl"], &[]);
    StateTable {
        url: reader.text(&table, "url"),
        ttl: reader.duration(&table, "conversation_ttl", MINUTE, MAX_TTL),
        at: table.at,
    }
}

/// Named tables of which there has to be one.
fn needed<'d>(
    reader: &mut Reader<'_>,
    root: &Table<'d>,
    name: &str,
    missing: &str,
) -> Vec<(Item<String>, Table<'d>)> {
    if !root.has(name) {
        reader.report.add(&Place::top(name), missing);
        return Vec::new();
    }
    if let Some(outer) = reader.section(root, name) {
        if outer.entries().next().is_none() {
            reader.report.add(&outer.at, missing);
        }
        return reader.sections(root, name);
    }
    Vec::new()
}

fn auth(reader: &mut Reader<'_>, root: &Table<'_>) -> (Field<Mode>, Place) {
    let absent = Place::top("auth.mode");
    let Some(table) = reader.section(root, "auth") else {
        return (if root.has("auth") { Field::Wrong } else { Field::Absent }, absent);
    };
    reader.only(&table, &["mode"], &[]);
    if !table.has("mode") {
        return (Field::Absent, table.at.child("mode", table.at.line));
    }
    let words = [("keys", Mode::Keys), ("passthrough", Mode::Passthrough), ("none", Mode::Open)];
    match reader.word(&table, "mode", &words) {
        Some(mode) => (Field::Is(mode.value), mode.at),
        None => (Field::Wrong, absent),
    }
}

fn deployment(reader: &mut Reader<'_>, name: Item<String>, table: &Table<'_>) -> Deployment {
    reader.only(
        table,
        &["base_url", "kind", "ca_file", "proxy", "headers", "token", "token_file", "oauth"],
        &[],
    );
    Deployment {
        name,
        base_url: required(reader, table, "base_url"),
        kind: reader.word(table, "kind", &[("studio", Kind::Studio), ("cloud", Kind::Cloud)]),
        ca_file: reader.text(table, "ca_file"),
        proxy: reader.text(table, "proxy"),
        headers: reader.strings(table, "headers"),
        token: one_of(reader, table, TOKEN),
        oauth: oauth::read(reader, table),
    }
}

fn key(reader: &mut Reader<'_>, name: Item<String>, table: &Table<'_>) -> Key {
    reader.only(table, &[KEY, &["models", "user_headers", "allow_coze_fields"], LIMITS].concat(), &[]);
    let key = one_of(reader, table, KEY);
    if let Field::Absent = key {
        reader.report.add(&table.at, "needs one of key, sha256 and key_file");
    }
    Key {
        name,
        key,
        models: reader.texts(table, "models"),
        user_headers: reader.texts(table, "user_headers").map(|list| list.value).unwrap_or_default(),
        allow_coze_fields: reader.boolean(table, "allow_coze_fields").unwrap_or_default(),
        quota: quota(reader, table),
    }
}

fn quota(reader: &mut Reader<'_>, table: &Table<'_>) -> Quota {
    let [requests_per_minute, tokens_per_minute, concurrent_requests] =
        ["requests_per_minute", "tokens_per_minute", "concurrent_requests"]
            .map(|name| reader.count(table, name, MAX_LIMIT));
    Quota { requests_per_minute, tokens_per_minute, concurrent_requests }
}

/// The string that has to be under a name.
pub(super) fn required(reader: &mut Reader<'_>, table: &Table<'_>, name: &str) -> Option<Item<String>> {
    require(reader, table, name);
    reader.text(table, name)
}

fn require(reader: &mut Reader<'_>, table: &Table<'_>, name: &str) {
    if !table.has(name) {
        reader.report.add(&table.at, format!("{name} is missing"));
    }
}

/// The string under the one name, of several, that is there.
fn one_of(reader: &mut Reader<'_>, table: &Table<'_>, names: &[&'static str]) -> OneOf {
    let mut given = names.iter().filter(|name| table.has(name));
    let Some(first) = given.next() else {
        return Field::Absent;
    };
    let text = reader.text(table, first);
    if let Some(second) = given.next() {
        reader.report.add(&table.at, format!("has both {first} and {second}; only one can be"));
        return Field::Wrong;
    }
    text.map_or(Field::Wrong, |text| Field::Is((first, text)))
}
