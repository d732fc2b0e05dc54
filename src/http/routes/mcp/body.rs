//! The body of a call that may be called off: then it ends, and with it the
//! call.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::http::calls::Running;

/// Ends when its call is called off.
#[derive(Debug)]
pub(super) struct Stoppable {
    /// `None` once it is.
    inner: Option<Body>,
    off: Pin<Box<WaitForCancellationFutureOwned>>,
    _running: Running,
}

impl Stoppable {
    pub(super) fn new(inner: Body, running: Running) -> Self {
        Self { inner: Some(inner), off: Box::pin(running.off.clone().cancelled_owned()), _running: running }
    }
}

impl http_body::Body for Stoppable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.off.as_mut().poll(cx).is_ready() {
            self.inner = None;
        }
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
