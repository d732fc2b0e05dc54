//! What is different between two configs, by name.

use std::fmt;

use super::{Server, Snapshot};

/// What a new config changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of the models.
    pub models: Names,
    /// Of the client keys.
    pub keys: Names,
    /// Of the Coze deployments.
    pub deployments: Names,
    /// Settings with other values, by their keys in the file.
    pub settings: Vec<&'static str>,
}

/// What has come, gone or become different, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// In the new config alone.
    pub added: Vec<String>,
    /// In the old config alone.
    pub removed: Vec<String>,
    /// In both, but not the same.
    pub changed: Vec<String>,
}

impl Snapshot {
    /// What this config changes of an older one.
    #[must_use]
    pub fn changes_since(&self, old: &Self) -> Changes {
        let mut settings = self.server.changes_since(&old.server);
        if self.limits != old.limits {
            settings.push("limits");
        }
        if self.keys.mode() != old.keys.mode() {
            settings.push("auth.mode");
        }
        Changes {
            models: names(old.catalog.models(), self.catalog.models(), |model| &model.name),
            keys: names(old.keys.iter(), self.keys.iter(), |key| &key.name),
            deployments: names(&old.deployments, &self.deployments, |deployment| &deployment.name),
            settings,
        }
    }
}

impl Server {
    fn changes_since(&self, old: &Self) -> Vec<&'static str> {
        // Taken apart whole, so that no later field is forgotten.
        let Self {
            listen,
            keepalive,
            upstream_timeout,
            upload_timeout,
            drain_delay,
            shutdown_grace,
            max_body,
            max_connections,
            conversation_wait,
            conversation_hints,
            trusted_proxies,
            tls,
            cors_origins,
            allow_anonymous,
        } = self;
        let same = [
            ("server.listen", *listen == old.listen),
            ("server.keepalive", *keepalive == old.keepalive),
            ("server.upstream_timeout", *upstream_timeout == old.upstream_timeout),
            ("server.upload_timeout", *upload_timeout == old.upload_timeout),
            ("server.drain_delay", *drain_delay == old.drain_delay),
            ("server.shutdown_grace", *shutdown_grace == old.shutdown_grace),
            ("server.max_body", *max_body == old.max_body),
            ("server.max_connections", *max_connections == old.max_connections),
            ("server.conversation_wait", *conversation_wait == old.conversation_wait),
            ("server.conversation_hints", *conversation_hints == old.conversation_hints),
            ("server.trusted_proxies", *trusted_proxies == old.trusted_proxies),
            ("server.tls", *tls == old.tls),
            ("server.cors_origins", *cors_origins == old.cors_origins),
            ("server.allow_anonymous", *allow_anonymous == old.allow_anonymous),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

fn names<'s, T: PartialEq + 's>(
    old: impl IntoIterator<Item = &'s T>,
    new: impl IntoIterator<Item = &'s T>,
    name: impl Fn(&T) -> &String,
) -> Names {
    let mut left: Vec<&T> = old.into_iter().collect();
    let mut names = Names::default();
    for item in new {
        match left.iter().position(|other| name(other) == name(item)) {
            None => names.added.push(name(item).clone()),
            Some(at) => {
                if left.swap_remove(at) != item {
                    names.changed.push(name(item).clone());
                }
            }
        }
    }
    names.removed.extend(left.into_iter().map(|item| name(item).clone()));
    for list in [&mut names.added, &mut names.removed, &mut names.changed] {
        list.sort_unstable();
    }
    names
}

impl Changes {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `models added: a, b; keys changed: c; settings: server.keepalive`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let groups = [("models", &self.models), ("keys", &self.keys), ("deployments", &self.deployments)];
        let mut parts = Vec::new();
        for (group, Names { added, removed, changed }) in groups {
            for (what, list) in [("added", added), ("removed", removed), ("changed", changed)] {
                if !list.is_empty() {
                    parts.push(format!("{group} {what}: {}", list.join(", ")));
                }
            }
        }
        if !self.settings.is_empty() {
            parts.push(format!("settings: {}", self.settings.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}
