//! A handler that panics is a fault of the gateway, not of its client.

use std::panic::AssertUnwindSafe;

use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;

use crate::openai::ApiError;

/// Answers with a 500 where a handler panics. What it held (a permit, a call
/// to Coze) has been dropped by then.
pub(super) async fn panics(handler: impl Future<Output = Response>, request_id: &str) -> Response {
    // Nothing that the handler shares stays locked or half changed: every
    // lock is taken by `PoisonError::into_inner` around whole changes.
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|_| {
        // What it says has gone to stderr already, by the panic hook.
        tracing::error!(request_id, "a handler panicked; the client is answered with a 500");
        ApiError::internal().into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::access::{Limits, Quota, Quotas, Subject};

    #[tokio::test]
    async fn a_panic_is_a_500_and_frees_the_slots() {
        let limits = Arc::new(Limits::new(Instant::now().into_std()));
        let quota = Quota { concurrent_requests: NonZeroU32::new(1), ..Quota::default() };
        let quotas = Quotas { own: quota, everyone: quota };
        for _ in 0..1000 {
            let admit = || limits.admit(Subject::Key("k".into()), quotas, 1, Instant::now().into_std());
            let permit = admit().expect("the slot is free");
            let mut held = false;
            let handler = async {
                let _permit = permit;
                tokio::task::yield_now().await;
                held = admit().is_err();
                std::panic::resume_unwind(Box::new("out of luck"));
            };
            let response = panics(handler, "1").await;
            assert!(held);
            assert_eq!(response.status(), 500);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], "internal_error");
        }
        assert_eq!(limits.running(), 0);
    }
}
