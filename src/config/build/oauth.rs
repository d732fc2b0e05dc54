//! `[coze.NAME.oauth]`: the app, with its key read for the first time.

use std::path::Path;
use std::sync::Arc;

use super::token::visible;
use crate::config::Snapshot;
use crate::config::document::Item;
use crate::config::fault::{Place, Report};
use crate::config::file::{self, Field};
use crate::coze::Deployment;
use crate::coze::oauth::{OAuth, Settings};
use crate::coze::token::Source;

/// Builds an app's source of tokens. One of `running` that is the same is
/// taken as it is, with the token that it has.
pub(super) fn build(
    table: file::OAuth,
    base: &Path,
    deployment: Option<&Deployment>,
    running: Option<&Snapshot>,
    report: &mut Report,
) -> Field<Arc<Source>> {
    let file::OAuth { app_id, key_id, key_file, audience, session_name, at: _ } = table;
    let mut word = |item: Option<Item<String>>| {
        let item = item?;
        report.check(&item.at, visible(&item.value)).map(str::to_owned)
    };
    let (app_id, key_id) = (word(app_id), word(key_id));
    let given = audience.is_some();
    let (audience, session_name) = (word(audience), session_name.map(|name| name.value));
    let (Some(key_file), Some(app_id), Some(key_id), Some(deployment)) =
        (key_file, app_id, key_id, deployment)
    else {
        return Field::Wrong;
    };
    if given && audience.is_none() {
        return Field::Wrong;
    }
    let path = base.join(&key_file.value);
    let audience = audience.unwrap_or_else(|| host(deployment.client.base_url()));
    let settings = Settings { app_id, key_id, key_file: path, audience, session_name };
    let opened = report.check(&key_file.at, OAuth::open(settings, deployment.client.clone()));
    let Some(oauth) = opened else { return Field::Wrong };
    warn_if_open_to_all(&oauth.settings().key_file, &key_file.at, report);
    let new = Source::OAuth(Arc::new(oauth));
    let kept = running
        .into_iter()
        .flat_map(|running| running.catalog.models())
        .filter_map(|model| model.target.token.as_ref())
        .find(|token| ***token == new);
    Field::Is(kept.map_or_else(|| Arc::new(new), Arc::clone))
}

/// The name of the host in a URL that is known to have one.
fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// A key that everybody on the machine can read is everybody's.
fn warn_if_open_to_all(path: &Path, at: &Place, report: &mut Report) {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHERS_READ: u32 = 0o004;
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS_READ != 0) {
        report.note(at, "everybody on this machine can read the private key: chmod o-r");
    }
}
