//! The call for a prompt, whatever it is for.

use super::chat::{self, TooLong};
use super::workflow::{Answering, NoForm, Unfit};
use super::{Call, Callee, Kind, chatflow, workflow};
use crate::turn::Prompt;

/// How a prompt is sent.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// What kind of Coze it is.
    pub kind: Kind,
    /// Coze's `user_id`.
    pub user_id: &'a str,
    /// The conversation that goes on, or the event of a workflow's question
    /// that is answered; without one a fresh one begins.
    pub conversation: Option<&'a str>,
    /// What the last message answers, if that takes more than words.
    pub answering: Option<Answering<'a>>,
    /// The client's start parameters: a JSON object.
    pub parameters: Option<&'a str>,
}

/// A prompt cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// There is no place for something in it.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It does not fill in the form that was asked for.
    #[error(transparent)]
    NoForm(#[from] NoForm),
    /// It has too many messages.
    #[error("the request has {0} new messages, and a chatflow takes {max}", max = chatflow::MAX_MESSAGES)]
    TooMany(usize),
}

impl Callee {
    /// The call that sends a prompt, and how many of its messages are left
    /// out.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn call(&self, prompt: &mut Prompt, asking: Asking<'_>) -> Result<(Call, usize), Refused> {
        let Asking { kind, user_id, conversation, answering, parameters } = asking;
        if let (Self::Workflow(workflow), Some(event), Some(last)) =
            (self, conversation, prompt.messages.last())
        {
            let answering = answering.unwrap_or_default();
            return Ok((workflow::resume(workflow, event, user_id, &last.text, answering)?, 0));
        }
        if let (Some(Answering { form: form @ [_, ..], .. }), Some(last)) =
            (answering, prompt.messages.last_mut())
        {
            last.text = workflow::lines(&last.text, form)?;
        }
        match self {
            Self::Bot(id) => {
                let trimmed = chat::fit(prompt, kind)?;
                Ok((chat::call(id, user_id, prompt, conversation), trimmed))
            }
            Self::Workflow(flow) => Ok(workflow::run(flow, kind, user_id, prompt, parameters)?),
            Self::Chatflow(chatflow) => Ok((chatflow::call(chatflow, prompt, asking)?, 0)),
        }
    }

    /// Whether a prompt can be sent at all, however much is left out and
    /// wherever it goes.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check(&self, prompt: &Prompt, kind: Kind, parameters: Option<&str>) -> Result<(), Refused> {
        match self {
            Self::Bot(_) => Ok(chat::fits_at_all(prompt, kind)?),
            Self::Workflow(workflow) => Ok(workflow::check(workflow, prompt, parameters)?),
            Self::Chatflow(_) => Ok(chatflow::check(prompt, parameters)?),
        }
    }
}
