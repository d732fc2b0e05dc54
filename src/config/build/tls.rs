//! `server.tls`: the gateway's own certificate.

use std::path::Path;

use crate::config::fault::Report;
use crate::config::file;
use crate::config::server::Tls;
use crate::tls::Identity;

/// The largest file of certificates or of a key, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub(super) fn build(table: file::Tls, base: &Path, report: &mut Report) -> Option<Tls> {
    let [cert, key] = [table.cert, table.key].map(|item| {
        let item = item?;
        let path = base.join(item.value);
        let bytes = report.read_file(&item.at, &path, MAX_FILE_BYTES)?;
        Some((path, bytes))
    });
    let ((cert, certificates), (key, key_bytes)) = (cert?, key?);
    let identity = report.check(&table.at, Identity::from_pem(&certificates, &key_bytes))?;
    Some(Tls { cert, key, identity })
}
