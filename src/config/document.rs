//! A TOML document with the place of every value.
//!
//! In come tables of the parsed text, out come values of the kind that was
//! asked for. What is of another kind is a fault in the [`Report`], and
//! reading goes on.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Place, Report, did_you_mean};
use super::interpolate::interpolate;
use super::units;

mod json;

/// A value of the config and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

/// What reading a document needs, and the faults that it found.
pub(super) struct Reader<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    /// Where the lines end.
    lines: Vec<usize>,
    pub(super) report: Report,
}

/// A table with its entries in the order of the file.
pub(super) struct Table<'d> {
    pub(super) at: Place,
    entries: Vec<Entry<'d>>,
}

/// A value under its name.
pub(super) struct Entry<'d> {
    pub(super) name: &'d str,
    pub(super) at: Place,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Table<'d> {
    fn get(&self, name: &str) -> Option<&Entry<'d>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Whether there is a value under this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Where the value under this name stands.
    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.get(name).map(|entry| &entry.at)
    }

    /// Whether the value under this name is a table.
    pub(super) fn is_table(&self, name: &str) -> bool {
        self.get(name).is_some_and(|entry| entry.value.get_ref().is_table())
    }

    /// The values, in the order of the file.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<'d>> {
        self.entries.iter()
    }
}

impl<'e> Reader<'e> {
    /// Prepares reading this text.
    pub(super) fn new(text: &str, env: &'e dyn Fn(&str) -> Option<String>, report: Report) -> Self {
        let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { env, lines, report }
    }

    fn line(&self, span: &Range<usize>) -> Option<usize> {
        Some(self.lines.partition_point(|end| *end < span.start) + 1)
    }

    /// Parses the text; a text that is no TOML is a fault.
    pub(super) fn parse<'d>(&mut self, text: &'d str) -> Option<Spanned<DeTable<'d>>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        // What follows the first one is often only its consequence.
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let Some(error) = errors.into_iter().min_by_key(start) else {
            return Some(document);
        };
        let line = self.line(&error.span().unwrap_or_default());
        self.report.add(&Place { line, key: String::new() }, error.message());
        None
    }

    /// The entries of a table at a place.
    pub(super) fn table<'d>(&self, at: Place, table: &'d DeTable<'d>) -> Table<'d> {
        let mut entries: Vec<(usize, Entry<'d>)> = table
            .iter()
            .map(|(name, value)| {
                let at = at.child(name.get_ref(), self.line(&name.span()));
                (name.span().start, Entry { name: name.get_ref(), at, value })
            })
            .collect();
        entries.sort_by_key(|(start, _)| *start);
        Table { at, entries: entries.into_iter().map(|(_, entry)| entry).collect() }
    }

    /// Notes every entry that is not among the names, as one that this
    /// version does not support or as an unknown one.
    pub(super) fn only(&mut self, table: &Table<'_>, names: &[&str], unsupported: &[&str]) {
        for entry in &table.entries {
            if unsupported.contains(&entry.name) {
                self.report.add(&entry.at, "is not supported by this version");
            } else if !names.contains(&entry.name) {
                let near = did_you_mean(entry.name, names.iter().copied());
                self.report.add(&entry.at, format!("unknown key{near}"));
            }
        }
    }

    /// The same, where there are names that belong to other tables.
    pub(super) fn only_some(
        &mut self,
        table: &Table<'_>,
        names: &[&str],
        unsupported: &[&str],
        (foreign, says): (&[&str], &str),
    ) {
        let known = |entry: &Entry<'_>| names.contains(&entry.name) || unsupported.contains(&entry.name);
        let mut rest: Vec<&str> = names.to_vec();
        for entry in table.entries.iter().filter(|entry| foreign.contains(&entry.name) && !known(entry)) {
            self.report.add(&entry.at, says);
            rest.push(entry.name);
        }
        self.only(table, &rest, unsupported);
    }

    /// The table under a name.
    pub(super) fn section<'d>(&mut self, table: &Table<'d>, name: &str) -> Option<Table<'d>> {
        self.as_table(table.get(name)?)
    }

    /// An entry as a table.
    pub(super) fn as_table<'d>(&mut self, entry: &Entry<'d>) -> Option<Table<'d>> {
        match entry.value.get_ref() {
            DeValue::Table(inner) => Some(self.table(entry.at.clone(), inner)),
            other => self.wrong_type(&entry.at, "a table", other),
        }
    }

    /// The tables under a name, each with a name of its own.
    pub(super) fn sections<'d>(&mut self, table: &Table<'d>, name: &str) -> Vec<(Item<String>, Table<'d>)> {
        let Some(outer) = self.section(table, name) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for entry in &outer.entries {
            if let Some(inner) = self.as_table(entry) {
                let value = entry.name.to_owned();
                sections.push((Item { value, at: entry.at.clone() }, inner));
            }
        }
        sections
    }

    /// The string under a name.
    pub(super) fn text(&mut self, table: &Table<'_>, name: &str) -> Option<Item<String>> {
        self.as_text(table.get(name)?)
    }

    /// An entry as a string, with the environment put in.
    pub(super) fn as_text(&mut self, entry: &Entry<'_>) -> Option<Item<String>> {
        self.string(&entry.at, entry.value)
    }

    fn string(&mut self, at: &Place, value: &Spanned<DeValue<'_>>) -> Option<Item<String>> {
        let raw = match value.get_ref() {
            DeValue::String(raw) => raw,
            other => return self.wrong_type(at, "a string", other),
        };
        match interpolate(raw, self.env) {
            Ok(value) => Some(Item { value, at: at.clone() }),
            Err(reasons) => {
                for reason in reasons {
                    self.report.add(at, reason);
                }
                None
            }
        }
    }

    /// The id under a name: a string of decimal digits, which are too many
    /// for the integers of some programs.
    pub(super) fn id(&mut self, table: &Table<'_>, name: &str) -> Option<Item<String>> {
        let entry = table.get(name)?;
        if let DeValue::Integer(_) = entry.value.get_ref() {
            self.report.add(&entry.at, "an id is a string: put it in quotes");
            return None;
        }
        self.as_text(entry)
    }

    /// The list of strings under a name.
    pub(super) fn texts(&mut self, table: &Table<'_>, name: &str) -> Option<Item<Vec<Item<String>>>> {
        let entry = table.get(name)?;
        let DeValue::Array(array) = entry.value.get_ref() else {
            return self.wrong_type(&entry.at, "a list of strings", entry.value.get_ref());
        };
        let mut value = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let at = entry.at.item(index, self.line(&element.span()));
            value.extend(self.string(&at, element));
        }
        Some(Item { value, at: entry.at.clone() })
    }

    /// The boolean under a name.
    pub(super) fn boolean(&mut self, table: &Table<'_>, name: &str) -> Option<bool> {
        let entry = table.get(name)?;
        match entry.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => self.wrong_type(&entry.at, "true or false", other),
        }
    }

    /// The word under a name, as what it means.
    pub(super) fn word<T: Clone>(
        &mut self,
        table: &Table<'_>,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<Item<T>> {
        let text = self.text(table, name)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Item { value: value.clone(), at: text.at });
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let near = did_you_mean(&text.value, words.iter().map(|(word, _)| *word));
        self.report.add(&text.at, format!("expected one of {}{near}", known.join(", ")));
        None
    }

    /// The entries of the table under a name, which are strings.
    pub(super) fn strings(&mut self, table: &Table<'_>, name: &str) -> Vec<(String, Item<String>)> {
        let Some(inner) = self.section(table, name) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for entry in inner.entries() {
            entries.extend(self.as_text(entry).map(|value| (entry.name.to_owned(), value)));
        }
        entries
    }

    /// The duration under a name, if it is within bounds.
    pub(super) fn duration(
        &mut self,
        table: &Table<'_>,
        name: &str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let entry = table.get(name)?;
        if let DeValue::Integer(_) = entry.value.get_ref() {
            self.report.add(&entry.at, units::NO_DURATION);
            return None;
        }
        let text = self.as_text(entry)?;
        let Some(duration) = units::duration(&text.value) else {
            self.report.add(&text.at, units::NO_DURATION);
            return None;
        };
        if duration < least || duration > most {
            let (least, most) = (units::show_duration(least), units::show_duration(most));
            self.report.add(&text.at, format!("must be from {least} to {most}"));
            return None;
        }
        Some(duration)
    }

    /// The size under a name in bytes, if it is not 0 and at most so much.
    pub(super) fn size(&mut self, table: &Table<'_>, name: &str, most: &str) -> Option<usize> {
        let entry = table.get(name)?;
        let size = match entry.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => units::size(&self.as_text(entry)?.value),
        };
        let Some(size) = size else {
            self.report.add(&entry.at, units::NO_SIZE);
            return None;
        };
        let within = size > 0 && units::size(most).is_none_or(|most| size <= most);
        let size = usize::try_from(size).ok().filter(|_| within);
        if size.is_none() {
            self.report.add(&entry.at, format!("must be from 1B to {most}"));
        }
        size
    }

    /// The count under a name, if it is not 0 and at most so much.
    pub(super) fn count(&mut self, table: &Table<'_>, name: &str, most: u32) -> Option<NonZeroU32> {
        let entry = table.get(name)?;
        let DeValue::Integer(number) = entry.value.get_ref() else {
            return self.wrong_type(&entry.at, "an integer", entry.value.get_ref());
        };
        let count = i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
        if count > i128::from(most) {
            self.report.add(&entry.at, format!("must be at most {most}"));
            return None;
        }
        let count = u32::try_from(count).ok().and_then(NonZeroU32::new);
        if count.is_none() {
            self.report.add(&entry.at, "must be at least 1");
        }
        count
    }

    fn wrong_type<T>(&mut self, at: &Place, expected: &str, found: &DeValue<'_>) -> Option<T> {
        let found = match found {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report.add(at, format!("expected {expected}, found {found}"));
        None
    }
}
