//! Values of any shape, as JSON: what Coze is given as it stands in the file.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::{Item, Reader, Table};
use crate::config::fault::Place;

/// How deep a value may be nested.
const MAX_DEPTH: usize = 32;

impl Reader<'_> {
    /// The entries of the table under a name, whatever they are.
    pub(in crate::config) fn json(&mut self, table: &Table<'_>, name: &str) -> Vec<(String, Item<Value>)> {
        let Some(inner) = self.section(table, name) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for entry in inner.entries() {
            if let Some(value) = self.value(&entry.at, entry.value, MAX_DEPTH) {
                entries.push((entry.name.to_owned(), Item { value, at: entry.at.clone() }));
            }
        }
        entries
    }

    /// The list under a name, whatever is in it.
    pub(in crate::config) fn values(
        &mut self,
        table: &Table<'_>,
        name: &str,
    ) -> Option<Item<Vec<Item<Value>>>> {
        let entry = table.get(name)?;
        let DeValue::Array(array) = entry.value.get_ref() else {
            return self.wrong_type(&entry.at, "a list", entry.value.get_ref());
        };
        let mut list = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let at = entry.at.item(index, self.line(&element.span()));
            list.extend(self.value(&at, element, MAX_DEPTH).map(|value| Item { value, at }));
        }
        Some(Item { value: list, at: entry.at.clone() })
    }

    fn value(&mut self, at: &Place, value: &Spanned<DeValue<'_>>, depth: usize) -> Option<Value> {
        let Some(depth) = depth.checked_sub(1) else {
            self.report.add(at, "is nested too deeply");
            return None;
        };
        match value.get_ref() {
            DeValue::String(_) => self.string(at, value).map(|text| Value::String(text.value)),
            DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Some(Value::Number(number.into())),
                Err(_) => {
                    self.report.add(at, "is too large a number: put it in quotes");
                    None
                }
            },
            DeValue::Float(number) => {
                let number = number.as_str().parse().ok().and_then(Number::from_f64);
                if number.is_none() {
                    self.report.add(at, "is a number that JSON does not have");
                }
                number.map(Value::Number)
            }
            DeValue::Datetime(_) => {
                self.report.add(at, "is a date or time, which JSON does not have: put it in quotes");
                None
            }
            DeValue::Array(array) => {
                let items = array.iter().enumerate().map(|(index, item)| {
                    let at = at.item(index, self.line(&item.span()));
                    self.value(&at, item, depth)
                });
                items.collect::<Vec<_>>().into_iter().collect()
            }
            DeValue::Table(table) => {
                let mut map = Map::new();
                for (name, value) in table {
                    let at = at.child(name.get_ref(), self.line(&name.span()));
                    map.insert(name.get_ref().to_string(), self.value(&at, value, depth)?);
                }
                Some(Value::Object(map))
            }
        }
    }
}
