//! Whether Coze takes files: it is given one of a few bytes.
//!
//! In comes a model's target, out comes what went wrong. There is no way to
//! take the file away again.

use bytes::Bytes;

use crate::coze::{Bearer, Target, files};
use crate::turn::{Failure, Inline};

/// Uploads a small text.
///
/// # Errors
/// If Coze does not take it.
pub(super) async fn upload(target: &Target, bearer: &Bearer) -> Result<(), Failure> {
    let text = Bytes::from_static(b"cozeway check --online\n");
    let form = files::form(&Inline::new(text, "text/plain", "cozeway-check.txt"));
    let token = bearer.token().await?;
    target.deployment.client.upload(&form, &token).await.map(drop)
}
