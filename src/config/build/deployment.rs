//! `[coze.NAME]`: the way to a Coze.

use std::path::Path;
use std::sync::Arc;

use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{oauth, token};
use crate::config::Snapshot;
use crate::config::document::Item;
use crate::config::fault::Report;
use crate::config::file::{self, Field};
use crate::coze::client::{Client, Settings};
use crate::coze::token::Source;
use crate::coze::{Deployment, Kind};

/// A deployment as far as it could be built.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) token: Field<Arc<Source>>,
    /// `None` if there was a fault.
    pub(super) built: Option<Arc<Deployment>>,
}

impl Entry {
    /// The deployment with the token that it gives to its models.
    pub(super) fn token(&self) -> Option<(Arc<Deployment>, Arc<Source>)> {
        match (&self.built, &self.token) {
            (Some(deployment), Field::Is(token)) => Some((Arc::clone(deployment), Arc::clone(token))),
            _ => None,
        }
    }
}

/// The headers that the gateway writes itself.
const OWN: [HeaderName; 7] =
    [ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, USER_AGENT];

/// The largest file of certificates, in bytes.
const MAX_CA_BYTES: u64 = 4 << 20;

/// Builds all. A deployment of `running` whose settings are the same is taken
/// as it is, with its connections.
pub(super) fn build(
    tables: Vec<file::Deployment>,
    base: &Path,
    running: Option<&Snapshot>,
    report: &mut Report,
) -> Vec<Entry> {
    tables.into_iter().map(|table| one(table, base, running, report)).collect()
}

fn one(table: file::Deployment, base: &Path, running: Option<&Snapshot>, report: &mut Report) -> Entry {
    if table.name.value.is_empty() || table.name.value.chars().any(char::is_control) {
        report.add(&table.name.at, "the name of a deployment is not empty and has no control characters");
    }
    let token = token::build(table.token, base, report);
    let url = table.base_url.as_ref().and_then(|item| report.check(&item.at, base_url(&item.value)));
    let proxy = table.proxy.and_then(|item| {
        report.check(&item.at, check_proxy(&item.value))?;
        Some(item.value)
    });
    let headers = headers(table.headers, report);
    let ca_at = table.ca_file.as_ref().map(|item| item.at.clone());
    let ca_pem =
        table.ca_file.and_then(|item| report.read_file(&item.at, &base.join(&item.value), MAX_CA_BYTES));
    let built = url.and_then(|url| {
        let kind = table.kind.map_or_else(|| kind_of(&url), |kind| kind.value);
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        let settings = Settings { name: table.name.value.clone(), base_url, ca_pem, proxy, headers };
        let same = |old: &&Arc<Deployment>| {
            old.name == table.name.value && old.kind == kind && *old.client.settings() == settings
        };
        if let Some(kept) = running.and_then(|running| running.deployments.iter().find(same)) {
            return Some(Arc::clone(kept));
        }
        let client = Client::new(settings);
        let client = report.check(ca_at.as_ref().unwrap_or(&table.name.at), client)?;
        Some(Arc::new(Deployment { name: table.name.value.clone(), kind, client }))
    });
    let token = match (token, table.oauth) {
        (Field::Absent, Some(table)) => oauth::build(table, base, built.as_deref(), running, report),
        (token, Some(table)) => {
            report.add(&table.at, "there is a token, too; only one of token, token_file and oauth can be");
            token
        }
        (token, None) => token,
    };
    Entry { name: table.name.value, token, built }
}

fn base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "expected a URL such as \"https://api.coze.com\"")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected a URL that begins with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: use token, or headers");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the host or a path: no query, no fragment");
    }
    Ok(url)
}

/// The family that a URL tells: the clouds have their own domains.
fn kind_of(url: &Url) -> Kind {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let cloud = ["coze.com", "coze.cn"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    if cloud { Kind::Cloud } else { Kind::Studio }
}

fn check_proxy(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "expected the URL of a proxy such as \"http://proxy:3128\"")?;
    match url.scheme() {
        "http" | "https" | "socks5" | "socks5h" => Ok(()),
        scheme if scheme.starts_with("socks") => Err("of SOCKS, only socks5:// is supported"),
        _ => Err("expected a URL that begins with http://, https:// or socks5://"),
    }
}

fn headers(given: Vec<(String, Item<String>)>, report: &mut Report) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, item) in given {
        let name = HeaderName::try_from(name).map_err(|_| "is not the name of a header");
        let Some(name) = report.check(&item.at, name) else {
            continue;
        };
        if OWN.contains(&name) {
            report.add(&item.at, "the gateway sets this header itself");
        } else if headers.contains_key(&name) {
            report.add(&item.at, "the same header is given twice");
        } else if let Ok(mut value) = HeaderValue::try_from(item.value) {
            // It may hold what opens a door on the way.
            value.set_sensitive(true);
            headers.insert(name, value);
        } else {
            report.add(&item.at, "holds characters that no header takes");
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clouds_are_told_from_their_domains() {
        for (url, kind) in [
            ("https://api.coze.com", Kind::Cloud),
            ("https://api.coze.cn/", Kind::Cloud),
            ("https://API.EU.coze.com:8443", Kind::Cloud),
            ("https://notcoze.com", Kind::Studio),
            ("https://coze.com.example.org", Kind::Studio),
            ("http://127.0.0.1:8888", Kind::Studio),
        ] {
            assert_eq!(kind_of(&base_url(url).unwrap()), kind, "{url}");
        }
    }
}
