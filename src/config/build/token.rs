//! Tokens and keys: visible ASCII, from the file itself or from one beside it.

use std::path::Path;
use std::sync::Arc;

use crate::config::fault::Report;
use crate::config::file::{Field, OneOf};
use crate::coze::token::{File, Source};
use crate::secret::Secret;

/// The token that a table gives.
pub(super) fn build(token: OneOf, base: &Path, report: &mut Report) -> Field<Arc<Source>> {
    let (name, item) = match token {
        Field::Absent => return Field::Absent,
        Field::Wrong => return Field::Wrong,
        Field::Is(given) => given,
    };
    let source = if name == "token_file" {
        report.check(&item.at, File::open(base.join(&item.value))).map(Source::File)
    } else {
        report.check(&item.at, visible(&item.value)).map(|token| Source::Fixed(Secret::new(token)))
    };
    source.map_or(Field::Wrong, |source| Field::Is(Arc::new(source)))
}

/// A secret without the white space around it, as callers send it.
pub(super) fn visible(text: &str) -> Result<&str, &'static str> {
    match text.trim() {
        "" => Err("is empty"),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text),
        _ => Err("holds a space or other characters that no header takes"),
    }
}
