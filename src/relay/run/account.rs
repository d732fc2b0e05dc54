//! What a run itself has to know of the events that pass.

use crate::conversation::{self, Question};
use crate::relay::lent::Lent;
use crate::relay::place::{lost, unix_seconds};
use crate::relay::shaping::Shaping;
use crate::turn::{Asked, Event, Failure, Kind, Usage, Wants};

/// What the gateway itself has to remember of the events.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) log_id: Option<String>,
    pub(super) ids: Option<Ids>,
    /// The chat is not in the conversation that it was sent to.
    pub(super) misplaced: bool,
    /// Something was said.
    pub(super) spoken: bool,
    /// What was said is a question.
    pub(super) asked: bool,
    /// The event of a workflow that waits for the answer.
    pub(super) event: Option<String>,
    /// It is one that nobody could answer, since it is not remembered.
    pub(super) dead_end: bool,
    pub(super) usage: Option<Usage>,
}

/// What has to be remembered of a question.
fn question(asked: &Asked) -> Question {
    let form = match &asked.wants {
        Wants::Form(fields) => fields.iter().map(|field| (field.name.clone(), field.kind.clone())).collect(),
        Wants::Text | Wants::Choice(_) => Vec::new(),
    };
    let kind = asked.resume.as_ref().map_or(0, |resume| resume.kind);
    Question { kind, form, asked_at: unix_seconds(), run: asked.resume.is_some() }
}

impl Account {
    /// # Errors
    /// If what was said makes no sense to a client.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.misplaced {
            return Err(lost());
        }
        if self.dead_end {
            let says = "The workflow asks something back, and the answer could not be brought to it: \
                        this request is not remembered.";
            return Err(Failure::new(Kind::RequiresAction, says));
        }
        Ok(())
    }
}

/// What Coze calls the chat.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) conversation: String,
    pub(super) chat: String,
    pub(super) section: Option<String>,
}

impl Ids {
    pub(super) fn chat(&self) -> conversation::Chat<'_> {
        conversation::Chat {
            conversation: &self.conversation,
            section: self.section.as_deref(),
            id: &self.chat,
        }
    }
}

/// The way of an event from the reader to the sink.
pub(super) struct Passing<'r, 's> {
    pub(super) account: &'r mut Account,
    pub(super) lent: Option<&'r mut Lent>,
    pub(super) shaping: &'r mut Shaping,
    pub(super) sink: &'s mut dyn FnMut(Event<'_>),
}

impl Passing<'_, '_> {
    /// Whether nothing more is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.shaping.stopped() || self.account.misplaced
    }

    /// Takes note of an event and passes it on. The end is not passed on:
    /// the run itself decides when that has come.
    pub(super) fn event(&mut self, event: Event<'_>) {
        if self.account.misplaced {
            return;
        }
        match &event {
            Event::Started { conversation, chat, section } => {
                let ids = Ids {
                    conversation: conversation.to_string(),
                    chat: chat.to_string(),
                    section: section.as_deref().map(str::to_owned),
                };
                let placed = self.lent.as_ref().is_none_or(|lent| lent.is_at(ids.chat()));
                self.account.ids = Some(ids);
                if !placed {
                    self.account.misplaced = true;
                    return;
                }
            }
            Event::Text(text) => {
                self.account.spoken = true;
                if let Some(lent) = &mut self.lent {
                    lent.hear(text);
                }
            }
            Event::Thinking(_) | Event::Sound(_) => self.account.spoken = true,
            Event::Asked(asked) => {
                self.account.asked = true;
                self.account.event = asked.resume.as_ref().map(|resume| resume.event.clone());
                match &mut self.lent {
                    Some(lent) => lent.ask(question(asked)),
                    None => self.account.dead_end = asked.resume.is_some(),
                }
            }
            Event::Usage(usage) => self.account.usage = Some(*usage),
            Event::Finished(_) => return,
            Event::Logged(_) | Event::Suggestion(_) | Event::Step(_) | Event::Debug(_) => {}
        }
        self.shaping.push(event, self.sink);
    }
}
