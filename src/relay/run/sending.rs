//! A run whose files have to be at Coze first: they are uploaded, then the
//! call is made; both once more where Coze has refused what can be had anew.

use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::{Boxed, Phase, Run, open_with};
use crate::coze::{Reader, Target, files, sse};
use crate::relay::start::{Packed, Parcel};
use crate::relay::uploads::{Uploads, Used};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

/// What is held until the chat has begun.
#[derive(Debug)]
pub(super) struct Sending {
    parcel: Arc<Parcel>,
    /// How long the upload of a file may take.
    limit: Duration,
    /// What the call is made with.
    token: Option<Secret>,
    used: Vec<Used>,
    /// It was done again, since the token had changed.
    renewed: bool,
    /// It was done again, since Coze had a file no more.
    resent: bool,
}

impl Sending {
    pub(super) fn new(parcel: Arc<Parcel>, limit: Duration) -> Self {
        Self { parcel, limit, token: None, used: Vec::new(), renewed: false, resent: false }
    }

    /// Brings the files to Coze.
    pub(super) fn begin(
        &self,
        uploads: &Uploads,
        target: &Target,
        token: Option<Secret>,
        refused: Vec<Used>,
    ) -> Boxed<Result<Packed, Failure>> {
        let Some(token) = token else {
            let failure = Failure::new(Kind::Auth, "There is no Coze token for this model.");
            return Box::pin(std::future::ready(Err(failure)));
        };
        let (uploads, target) = (uploads.clone(), target.clone());
        Box::pin(Arc::clone(&self.parcel).pack(uploads, target, token, self.limit, refused))
    }
}

impl Run {
    /// The files are at Coze: makes the call.
    pub(super) fn packed(&mut self, packed: Packed) {
        let Packed { call, token, used } = packed;
        if let Some(sending) = &mut self.sending {
            (sending.token, sending.used) = (Some(token.clone()), used);
        }
        self.clocks.restart();
        self.phase = Phase::Opening(open_with(self.target.clone(), call, token));
    }

    /// Does all of it again, if it failed of a token or a file that there is
    /// anew by now, and no chat was begun.
    pub(super) fn sends_again(&mut self, failure: &Failure) -> bool {
        let unheard = self.account.ids.is_none() && !self.account.spoken;
        let Some(sending) = self.sending.as_mut().filter(|_| unheard) else { return false };
        let token = match (&sending.token, &self.caller_token, &self.target.token) {
            (Some(token), ..) | (None, Some(token), _) => token.clone(),
            (None, None, Some(source)) => source.current(),
            (None, None, None) => return false,
        };
        let (token, refused) = if failure.kind == Kind::Auth && !sending.renewed {
            let source = self.target.token.as_ref().filter(|_| self.caller_token.is_none());
            let Some(renewed) = source.and_then(|source| source.after_refusal(&token)) else { return false };
            sending.renewed = true;
            (renewed, Vec::new())
        } else if files::is_lost(failure) && !sending.resent {
            let mut refused = std::mem::take(&mut sending.used);
            refused.retain(|used| used.remembered);
            if refused.is_empty() {
                return false;
            }
            sending.resent = true;
            (token, refused)
        } else {
            return false;
        };
        self.phase = Phase::Uploading(sending.begin(&self.relay.uploads, &self.target, Some(token), refused));
        self.account = Account::default();
        (self.decoder, self.reader) = (sse::Decoder::default(), Reader::of(&self.target.callee));
        true
    }

    /// Lets go of what would be sent again: that may be megabytes.
    pub(super) fn forget_sent(&mut self) {
        if self.account.ids.is_some() {
            self.sending = None;
        }
        if self.account.spoken {
            self.replay = None;
        }
    }
}
