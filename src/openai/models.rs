//! `/v1/models`.

use serde::Serialize;

/// One entry of the list.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What clients put in `model`.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When the gateway read its config, in seconds since 1970.
    pub created: u64,
    /// Always `coze`.
    pub owned_by: &'static str,
    /// What the operator says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Entry {
    /// An entry for a model of the gateway.
    #[must_use]
    pub fn new(id: &str, created: u64, description: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            object: "model",
            created,
            owned_by: "coze",
            description: description.map(str::to_owned),
        }
    }

    /// It as a body of its own.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }
}

/// The body of the whole list.
#[must_use]
pub fn list(entries: &[Entry]) -> Vec<u8> {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: &'a [Entry],
    }
    serde_json::to_vec(&List { object: "list", data: entries }).expect("strings and numbers always serialise")
}
