//! What calls are made with: a token, and another one where Coze refuses it.
//!
//! In comes a call, out comes its answer. A call is made once more only where
//! Coze has refused the token, since nothing has run then.

use std::sync::Arc;

use bytes::Bytes;

use super::client::{Begun, Client};
use super::token::Source;
use super::{Call, Target};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

/// Whose token calls are made with.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// The caller's own.
    Caller(Secret),
    /// The gateway's.
    Source(Arc<Source>),
}

impl Target {
    /// What it is called with: the caller's own token, where there is one.
    ///
    /// # Errors
    /// If there is none at all.
    pub fn bearer(&self, caller: Option<&Secret>) -> Result<Bearer, Failure> {
        match (caller, &self.token) {
            (Some(token), _) => Ok(Bearer::Caller(token.clone())),
            (None, Some(source)) => Ok(Bearer::Source(Arc::clone(source))),
            (None, None) => Err(Failure::new(Kind::Auth, "There is no Coze token for this model.")),
        }
    }
}

impl Bearer {
    /// The token that was last used, to be taken out of what is shown.
    #[must_use]
    pub fn known(&self) -> Option<Secret> {
        match self {
            Self::Caller(token) => Some(token.clone()),
            Self::Source(source) => source.known(),
        }
    }

    /// The token to use now.
    ///
    /// # Errors
    /// If there is none.
    pub async fn token(&self) -> Result<Secret, Failure> {
        match self {
            Self::Caller(token) => Ok(token.clone()),
            Self::Source(source) => source.current().await,
        }
    }

    /// Whose a token is: of an OAuth app it is not the same for long.
    #[must_use]
    pub fn owner(&self, token: &Secret) -> Secret {
        match self {
            Self::Source(source) => source.owner().unwrap_or_else(|| token.clone()),
            Self::Caller(_) => token.clone(),
        }
    }

    /// Makes a call that begins an answer; gives the token, too, that it was
    /// made with, to be taken out of what is shown.
    ///
    /// # Errors
    /// As [`Client::begin`] says.
    pub async fn begin(
        &self,
        client: &Client,
        call: &Call,
        streams: bool,
    ) -> Result<(Begun, Secret), Failure> {
        let token = self.token().await?;
        let failure = match client.begin(call, &token, streams).await {
            Ok(begun) => return Ok((begun, token)),
            Err(failure) => failure,
        };
        let token = self.renewed(failure, &token).await?;
        Ok((client.begin(call, &token, streams).await?, token))
    }

    /// Makes a call that is answered by a small JSON body.
    ///
    /// # Errors
    /// As [`Client::fetch`] says.
    pub async fn fetch(&self, client: &Client, call: &Call) -> Result<Bytes, Failure> {
        let token = self.token().await?;
        let failure = match client.fetch(call, &token).await {
            Ok(body) => return Ok(body),
            Err(failure) => failure,
        };
        let token = self.renewed(failure, &token).await?;
        client.fetch(call, &token).await
    }

    /// The token to try after a failure.
    ///
    /// # Errors
    /// With that failure, where another token would not help, or with why
    /// there is none.
    pub async fn renewed(&self, failure: Failure, refused: &Secret) -> Result<Secret, Failure> {
        match self {
            Self::Source(source) if failure.kind == Kind::Auth && source.may_help(&failure) => {
                source.after_refusal(refused).await?.ok_or(failure)
            }
            Self::Source(_) | Self::Caller(_) => Err(failure),
        }
    }
}
