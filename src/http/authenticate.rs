//! Who sends a request, with the guard ahead.

use http::HeaderMap;

use super::{Context, respond};
use crate::access::{Caller, Refusal};
use crate::openai::ApiError;
use crate::telemetry::metrics::{Limit, Scope};

impl Context {
    /// The caller of a request, noted in its log line.
    ///
    /// # Errors
    /// If there is no key, or a wrong one; after too many wrong ones from one
    /// address, how long that has to wait.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let caller = self.snapshot.keys.authenticate(headers).map_err(|refusal| {
            // Who sends no key at all guesses nothing.
            if refusal == Refusal::Wrong
                && let Err(wait) = self.app.guard.failed(self.peer.0)
            {
                self.journal.note(|facts| facts.over = Some((Limit::FailedKeys, Scope::Address)));
                return ApiError::rate_limited(
                    "Too many requests with a wrong API key came from this address. A right key is let in at once.",
                    wait,
                );
            }
            respond::refused(refusal)
        })?;
        self.journal.note(|facts| facts.key = Some(caller.name()));
        Ok(caller)
    }
}
