//! What starts a chat: a call, or a prompt that becomes one once its files
//! are at Coze.

use std::sync::Arc;
use std::time::Duration;

use super::uploads::{Means, Uploads, Used};
use crate::coze::workflow::Answering;
use crate::coze::{Asking, Bearer, Call, Callee, Refused, Target};
use crate::secret::Secret;
use crate::turn::{Failure, Given, Kind, Prompt};

/// What starts a chat. Clones share what is large.
#[derive(Clone, Debug)]
pub enum Start {
    /// A call that can be made.
    Call(Call),
    /// A prompt whose files come first.
    Files(Arc<Parcel>),
}

/// A prompt with files in it, and how it is sent.
#[derive(Debug)]
pub struct Parcel {
    prompt: Prompt,
    user_id: String,
    conversation: Option<String>,
    answered: Option<Answered>,
    given: Given,
}

/// What is answered: see [`Answering`].
#[derive(Debug)]
struct Answered {
    kind: i64,
    form: Vec<(String, Option<String>)>,
}

/// A prompt whose files are at Coze.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) call: Call,
    /// What they were uploaded with, and the call has to be made with.
    pub(super) token: Secret,
    pub(super) used: Vec<Used>,
}

impl Start {
    /// What starts the chat of this prompt, and how many of its messages are
    /// left out.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn of(callee: &Callee, prompt: &mut Prompt, asking: Asking<'_>) -> Result<(Self, usize), Refused> {
        if prompt.has_inline() {
            let trimmed = callee.trim(prompt, asking)?;
            // Perhaps they went with what was left out.
            if prompt.has_inline() {
                return Ok((Self::Files(Arc::new(Parcel::of(prompt.clone(), asking))), trimmed));
            }
            let (call, more) = callee.call(prompt, asking)?;
            return Ok((Self::Call(call), trimmed + more));
        }
        let (call, trimmed) = callee.call(prompt, asking)?;
        Ok((Self::Call(call), trimmed))
    }
}

impl Parcel {
    fn of(prompt: Prompt, asking: Asking<'_>) -> Self {
        let Asking { user_id, conversation, answering, given, .. } = asking;
        Self {
            prompt,
            user_id: user_id.to_owned(),
            conversation: conversation.map(str::to_owned),
            answered: answering.map(|Answering { kind, form }| Answered { kind, form: form.to_vec() }),
            given: given.clone(),
        }
    }

    /// Uploads the files, and makes the call.
    ///
    /// # Errors
    /// If a file cannot be uploaded, or Coze could not store the whole.
    pub(super) async fn pack(
        self: Arc<Self>,
        uploads: Uploads,
        target: Target,
        (bearer, token): (&Bearer, Secret),
        limit: Duration,
        refused: Vec<Used>,
    ) -> Result<Packed, Failure> {
        let mut prompt = self.prompt.clone();
        let owner = bearer.owner(&token);
        let means = Means { target: &target, token: &token, owner: &owner, limit, refused: &refused };
        let used = uploads.bring(&mut prompt, means).await?;
        let asking = Asking {
            kind: target.deployment.kind,
            user_id: &self.user_id,
            conversation: self.conversation.as_deref(),
            answering: self.answered.as_ref().map(|Answered { kind, form }| Answering { kind: *kind, form }),
            // What was too much is left out already.
            held: 0,
            given: &self.given,
        };
        let called = target.callee.call(&mut prompt, asking);
        let (call, _) = called
            .map_err(|refused| Failure::new(Kind::TooLong, format!("context_length_exceeded: {refused}.")))?;
        Ok(Packed { call, token, used })
    }
}
