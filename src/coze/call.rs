//! The call for a prompt, whatever it is for.

use super::bot::{Bot, History};
use super::chat::{self, TooLong};
use super::workflow::{Answering, NoForm, Unfit};
use super::{Call, Callee, Kind, attached, chatflow, workflow};
use crate::turn::{Attachment, Extras, Given, Message, Prompt};

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
    /// How many messages at the front are what Coze has held itself: of these
    /// the oldest are left out where there are too many.
    pub held: usize,
    /// What the client gives beside the messages.
    pub given: &'a Given,
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
    /// Something in it is still to be uploaded.
    #[error("a file is not uploaded yet")]
    NotUploaded,
    /// It has too many messages.
    #[error("the request has {0} new messages, and a chatflow takes {max}", max = chatflow::MAX_MESSAGES)]
    TooMany(usize),
    /// It has extras that only bots have.
    #[error("these fields are for bots: a flow's start parameters are the field 'parameters'")]
    ForBots,
    /// It fills a variable that the system text goes into.
    #[error("the variable {0:?} is what the system text goes into")]
    Taken(String),
}

/// What a bot is given: the config's with the client's over it.
fn extras(bot: &Bot, prompt: &Prompt, given: &Given) -> Result<Extras, Refused> {
    let all = bot.extras.under(given.extras.as_deref());
    match &prompt.variable {
        Some((name, _)) if all.variables.contains_key(name) => Err(Refused::Taken(name.clone())),
        _ => Ok(all),
    }
}

impl Callee {
    /// The call that sends a prompt, and how many of its messages are left
    /// out.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn call(&self, prompt: &mut Prompt, asking: Asking<'_>) -> Result<(Call, usize), Refused> {
        let Asking { kind, user_id, conversation, answering, given, .. } = asking;
        if prompt.has_inline() {
            return Err(Refused::NotUploaded);
        }
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
            Self::Bot(bot) => {
                let mut extras = extras(bot, prompt, given)?;
                // What was asked is answered first, not a command.
                extras.shortcut.take_if(|_| answering.is_some());
                let trimmed = chat::fit(prompt, &extras, kind)?;
                if bot.history == History::Flat {
                    chat::flatten(prompt);
                }
                // Coze Studio has no choice.
                let saved = (kind == Kind::Cloud).then_some(!bot.unsaved);
                Ok((chat::call(&bot.id, user_id, prompt, &extras, conversation, saved), trimmed))
            }
            Self::Workflow(flow) => {
                let parameters = given.parameters.as_deref();
                Ok(workflow::run(flow, kind, user_id, prompt, parameters)?)
            }
            Self::Chatflow(chatflow) => chatflow::call(chatflow, prompt, asking),
        }
    }

    /// Leaves out what [`Self::call`] would leave out, and refuses what that
    /// would refuse, ahead of it: what is not sent needs no upload. Gives how
    /// many messages are left out.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn trim(&self, prompt: &mut Prompt, asking: Asking<'_>) -> Result<usize, Refused> {
        let Asking { kind, given, answering, .. } = asking;
        if let (Some(Answering { form: form @ [_, ..], .. }), Some(last)) =
            (answering, prompt.messages.last())
        {
            workflow::lines(&last.text, form)?;
        }
        match self {
            Self::Bot(bot) => Ok(chat::fit(prompt, &extras(bot, prompt, given)?, kind)?),
            Self::Chatflow(_) => chatflow::fit(prompt, asking.held),
            Self::Workflow(_) => Ok(0),
        }
    }

    /// Takes out of what Coze has held itself whatever it would not take again:
    /// it lists some images by a URL alone, which a chatflow does not fetch.
    pub fn take_out_what_has_no_place(&self, held: &mut Vec<Message>, kind: Kind) {
        let has_place = |attachment: &Attachment| match self {
            Self::Bot(_) => attached::of_bot(attachment, kind).is_none(),
            Self::Chatflow(_) => attached::of_chatflow(attachment, kind).is_none(),
            Self::Workflow(_) => false,
        };
        held.retain_mut(|message| {
            message.attachments.retain(has_place);
            !message.attachments.is_empty() || !message.text.trim().is_empty()
        });
    }

    /// Whether a prompt can be sent at all, however much is left out and
    /// wherever it goes.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check(&self, prompt: &Prompt, kind: Kind, given: &Given) -> Result<(), Refused> {
        let parameters = given.parameters.as_deref();
        match self {
            Self::Bot(bot) => {
                attached::check(prompt, 0, |attachment| attached::of_bot(attachment, kind))?;
                Ok(chat::fits_at_all(prompt, &extras(bot, prompt, given)?, kind)?)
            }
            _ if given.extras.is_some() => Err(Refused::ForBots),
            Self::Workflow(workflow) => Ok(workflow::check(workflow, prompt, parameters)?),
            Self::Chatflow(_) => Ok(chatflow::check(prompt, kind, parameters)?),
        }
    }
}
