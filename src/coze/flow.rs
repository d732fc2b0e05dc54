//! What the body of every run of a flow names (protocol 5.1, 5.4).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Kind, Within};

/// Which flow is run, in whose name, for whom.
#[derive(Serialize)]
pub(super) struct Flow<'a> {
    workflow_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    /// The community server's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// The cloud's.
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_version: Option<&'a str>,
    ext: BTreeMap<&'static str, &'a str>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(
        kind: Kind,
        id: &'a str,
        within: Option<&'a Within>,
        version: Option<&'a str>,
        user_id: &'a str,
    ) -> Self {
        Self {
            workflow_id: id,
            bot_id: within.and_then(Within::bot),
            app_id: within.and_then(Within::app),
            version: version.filter(|_| kind == Kind::Studio),
            workflow_version: version.filter(|_| kind == Kind::Cloud),
            ext: [("user_id", user_id)].into(),
        }
    }
}
