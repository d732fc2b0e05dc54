//! How far a run has come.

use std::future::Future;
use std::pin::Pin;

use tokio::time::Sleep;

use super::sending::Unpacked;
use crate::coze::client::{Begun, ByteStream};
use crate::relay::start::Packed;
use crate::secret::Secret;
use crate::turn::{Failure, Finish, Usage};

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How far a run has come.
pub(super) enum Phase {
    /// Files are brought to Coze; it knows of no chat yet.
    Uploading(Boxed<Result<Packed, Unpacked>>),
    /// Coze runs another chat in the conversation, and has begun none of this
    /// one; the call is made again in a while.
    Pausing(Pin<Box<Sleep>>),
    /// The head of the answer has not come.
    Opening(Boxed<Result<(Begun, Secret), Failure>>),
    /// Events come.
    Streaming(ByteStream),
    /// The answer is whole; only what it cost is still asked for.
    Counting(Boxed<Option<Usage>>, Finish),
    /// All is said; only the end is still remembered, so that a client that
    /// goes on at once finds it.
    Remembering(Boxed<bool>, End),
    /// Nothing more comes.
    Over,
}

/// How a run ends once that is remembered.
pub(super) enum End {
    Finished(Finish),
    Failed(Failure),
}

impl Phase {
    /// Whether Coze knows of no chat, nor can one be on its way there.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Uploading(_) | Self::Pausing(_))
    }

    /// Its name, in lower case.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Uploading(_) => "uploading",
            Self::Pausing(_) => "pausing",
            Self::Opening(_) => "opening",
            Self::Streaming(_) => "streaming",
            Self::Counting(..) => "counting",
            Self::Remembering(..) => "remembering",
            Self::Over => "over",
        }
    }
}
