//! A run whose files have to be at Coze first: they are uploaded, then the
//! call is made; both once more where Coze has refused what can be had anew.

use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::{Boxed, Phase, Run, open_with};
use crate::coze::{Bearer, Reader, Target, files, sse};
use crate::relay::Room;
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
    used: Vec<Used>,
    /// It was done again, since the token had changed.
    renewed: bool,
    /// It was done again, since Coze had a file no more.
    resent: bool,
}

/// What all of it is done again with.
#[derive(Debug)]
pub(super) enum Token {
    /// The one that it was done with.
    Same(Secret),
    /// Another one than this, which Coze has refused.
    Refused(Secret, Failure),
}

/// Why there is no call.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) failure: Failure,
    /// What the files were sent with; there may be another one by now.
    pub(super) token: Option<Secret>,
}

impl Sending {
    pub(super) fn new(parcel: Arc<Parcel>, limit: Duration) -> Self {
        Self { parcel, limit, used: Vec::new(), renewed: false, resent: false }
    }

    /// Brings the files to Coze.
    pub(super) fn begin(
        &self,
        uploads: &Uploads,
        target: &Target,
        bearer: Result<Bearer, Failure>,
        token: Option<Token>,
        refused: Vec<Used>,
    ) -> Boxed<Result<Packed, Unpacked>> {
        let (uploads, target, parcel, limit) =
            (uploads.clone(), target.clone(), Arc::clone(&self.parcel), self.limit);
        Box::pin(async move {
            let chosen = async {
                let bearer = bearer?;
                let token = match token {
                    None => bearer.token().await?,
                    Some(Token::Same(token)) => token,
                    Some(Token::Refused(refused, failure)) => bearer.renewed(failure, &refused).await?,
                };
                Ok((bearer, token))
            };
            let (bearer, token) =
                chosen.await.map_err(|failure: Failure| Unpacked { failure, token: None })?;
            let packed = parcel.pack(uploads, target, (&bearer, token.clone()), limit, refused).await;
            packed.map_err(|failure| Unpacked { failure, token: Some(token) })
        })
    }
}

impl Run {
    /// The files are at Coze: makes the call.
    pub(super) fn packed(&mut self, packed: Packed) {
        let Packed { call, token, used } = packed;
        if let Some(sending) = &mut self.sending {
            sending.used = used;
        }
        if let Some(again) = &mut self.again {
            again.made(call.clone(), Some(token.clone()));
        }
        self.token = Some(token.clone());
        self.clocks.restart();
        self.phase = Phase::Opening(open_with(self.target.clone(), call, token));
    }

    /// Does all of it again, if it failed of a token or a file that there is
    /// anew by now, and no chat was begun.
    pub(super) fn sends_again(&mut self, failure: &Failure) -> bool {
        let unheard = self.account.ids.is_none() && !self.account.spoken;
        let Some(sending) = self.sending.as_mut().filter(|_| unheard) else { return false };
        let bearer = self.target.bearer(self.caller_token.as_ref());
        let Some(token) = self.token.clone() else { return false };
        let has_more = matches!(bearer, Ok(Bearer::Source(_)));
        let (token, refused) = if failure.kind == Kind::Auth && !sending.renewed && has_more {
            sending.renewed = true;
            (Token::Refused(token, failure.clone()), Vec::new())
        } else if files::is_lost(failure) && !sending.resent {
            let mut refused = std::mem::take(&mut sending.used);
            refused.retain(|used| used.remembered);
            if refused.is_empty() {
                return false;
            }
            sending.resent = true;
            (Token::Same(token), refused)
        } else {
            return false;
        };
        let begun = sending.begin(&self.relay.shared.uploads, &self.target, bearer, Some(token), refused);
        self.phase = Phase::Uploading(begun);
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
        if self.sending.is_none() && self.replay.is_none() {
            self.room = Room::default();
        }
    }
}
