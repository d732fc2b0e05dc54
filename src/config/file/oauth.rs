//! `[coze.NAME.oauth]`: an OAuth app that gets its tokens from Coze.

use super::required;
use crate::config::document::{Item, Reader, Table};
use crate::config::fault::Place;

/// What a table says of an OAuth app.
pub(in crate::config) struct OAuth {
    pub(in crate::config) at: Place,
    pub(in crate::config) app_id: Option<Item<String>>,
    pub(in crate::config) key_id: Option<Item<String>>,
    pub(in crate::config) key_file: Option<Item<String>>,
    pub(in crate::config) audience: Option<Item<String>>,
    pub(in crate::config) session_name: Option<Item<String>>,
}

pub(super) fn read(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<OAuth> {
    if !table.has("oauth") {
        return None;
    }
    let inner = reader.section(table, "oauth")?;
    reader.only(&inner, &["app_id", "key_id", "private_key_file", "audience", "session_name"], &[]);
    super::require(reader, &inner, "app_id");
    Some(OAuth {
        app_id: reader.id(&inner, "app_id"),
        key_id: required(reader, &inner, "key_id"),
        key_file: required(reader, &inner, "private_key_file"),
        audience: reader.text(&inner, "audience"),
        session_name: reader.text(&inner, "session_name"),
        at: inner.at,
    })
}
