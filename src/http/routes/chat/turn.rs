//! From a prompt to the order that the relay runs: which conversation it
//! belongs to, and what is sent there.

use http::{HeaderMap, HeaderName};

use super::naming::Naming;
use super::{Remarks, context_length_exceeded, refused};
use crate::access::Caller;
use crate::catalog::{Memory, Model, Overflow};
use crate::conversation::{Ending, Name, Plan, Reason, Space, Wanted};
use crate::coze;
use crate::coze::chat::user_id;
use crate::coze::workflow::Answering;
use crate::http::{Context, respond};
use crate::openai::ApiError;
use crate::openai::chat::Request;
use crate::relay::{Asking, Order, Placed, Remembered, Replay, Room, Start, Unplaced, unremembered};
use crate::secret::Secret;
use crate::turn::{Failure, Prompt, Reasoning, Role};

/// Who wants what of whom.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) context: &'a Context,
    pub(super) caller: &'a Caller,
    pub(super) model: &'a Model,
    pub(super) user: Option<&'a str>,
    /// The caller's own Coze token, where that is used.
    pub(super) caller_token: Option<Secret>,
}

impl Turn<'_> {
    /// Finds the conversation that a prompt belongs to. An error has with it
    /// what is said of the conversation.
    pub(super) async fn place(
        &self,
        headers: &HeaderMap,
        naming: &Naming,
        prompt: &Prompt,
        choices: usize,
    ) -> Result<Placed, Box<(ApiError, Remarks)>> {
        let first = !prompt.messages.iter().any(|message| message.role == Role::Assistant);
        let target = &self.model.target;
        let detached = |reason| Ok(Placed::detached(unremembered(first, reason)));
        match (self.model.memory, &naming.name) {
            (Memory::Off, _) => return detached(Reason::Off),
            // What may answer a workflow's question is looked up.
            _ if choices > 1 && (first || target.callee.converses()) => return detached(Reason::Choices),
            (Memory::Explicit, None) => return detached(Reason::Unnamed),
            (Memory::Auto | Memory::Explicit, _) => {}
        }
        let caller = self.caller.space();
        let hints = &self.context.snapshot.server.conversation_hints;
        let hint = |name: &HeaderName| Some(headers.get(name)?.as_bytes());
        let wanted = Wanted {
            space: Space {
                caller: &caller,
                deployment: &target.deployment.name,
                kind: target.callee.kind(),
                target: target.callee.id(),
                user: self.user,
                hint: hints.iter().find_map(hint),
            },
            name: naming.name.as_ref(),
            whole: naming.whole,
            prompt,
            history_rounds: self.model.history_rounds,
            now: respond::unix_seconds(),
        };
        let asking = Asking {
            target,
            caller_token: self.caller_token.as_ref(),
            wait: self.context.snapshot.server.conversation_wait,
        };
        let app = &self.context.app;
        let named = |error, note| {
            let name = naming.name.as_ref().and_then(Name::text);
            Err(Box::new((error, Remarks { name, note, ..Remarks::default() })))
        };
        match app.relay.place(&app.conversations, &wanted, asking).await {
            Ok(placed) if choices > 1 => {
                let answers = matches!(placed.plan, Plan::Resume { .. });
                if let Some(lent) = placed.lent {
                    Box::pin(lent.end(Ending::Refused)).await;
                }
                if answers { named(one_answer(), None) } else { detached(Reason::Choices) }
            }
            Ok(placed) => Ok(placed),
            Err(Unplaced::NotFound) => {
                Err(Box::new((ApiError::conversation_not_found(), Remarks::default())))
            }
            Err(Unplaced::Away(why)) => {
                self.context.journal.note(|facts| facts.detail = Some(why));
                match naming.name {
                    // Nor would it be known which question this answers.
                    None if !first && app.relay.has_seen_ask(target) => {
                        named(ApiError::state_unavailable(), None)
                    }
                    Some(_) => named(ApiError::state_unavailable(), None),
                    None => detached(Reason::StateUnavailable),
                }
            }
            Err(Unplaced::Failed(failure, note)) => {
                let note = note.filter(|_| naming.name.is_some());
                named(self.failed(&failure), note)
            }
        }
    }

    /// What is sent, and where; with how many messages were left out.
    pub(super) async fn order(
        &self,
        placed: Placed,
        prompt: Prompt,
        request: &Request,
    ) -> Result<(Order, usize), ApiError> {
        let Placed { plan, held, lent, .. } = placed;
        let user_id = user_id(self.caller.user_space(), self.user);
        let may_trim = self.model.overflow == Overflow::Trim;
        let question = match &plan {
            Plan::Resume { question, .. } => question.clone(),
            _ => None,
        };
        let already = held.len();
        let (mut sent, conversation, whole) = match plan {
            Plan::Detached | Plan::Fresh | Plan::Lost { .. } => (prompt, None, None),
            Plan::Continue { place, new, .. } | Plan::Resume { place, new, .. } => {
                let replayable = self.model.target.callee.converses();
                let whole = replayable && lent.as_ref().is_some_and(|lent| lent.has_all());
                let sent = prompt.part(new);
                (sent, Some(place.conversation), whole.then_some(prompt))
            }
            Plan::Rebuild { new, .. } => {
                // A system text that is not new is the first that Coze holds,
                // as a rule: then it stays where messages are left out.
                let leads = new.start > 0 && held.first() == prompt.messages.first();
                let mut sent = prompt.part(new);
                sent.lead_with(held);
                sent.pinned = sent.pinned.max(usize::from(leads));
                (sent, None, None)
            }
        };
        let asking = coze::Asking {
            kind: self.model.target.deployment.kind,
            user_id: &user_id,
            conversation: conversation.as_deref(),
            answering: question.as_ref().map(|asked| Answering { kind: asked.kind, form: &asked.form }),
            held: already,
            given: &request.ask.given,
        };
        let started = self.start(&mut sent, asking);
        let (start, trimmed) = match started {
            Ok(started) => started,
            Err(error) => {
                if let Some(lent) = lent {
                    lent.end(Ending::Refused).await;
                }
                return Err(error);
            }
        };
        let replay = whole.map(|prompt| {
            let (user_id, given) = (user_id.clone(), request.ask.given.clone());
            Box::new(Replay { prompt, user_id, may_trim, given })
        });
        let order = Order {
            target: self.model.target.clone(),
            caller_token: self.caller_token.clone(),
            start,
            choices: request.choices,
            stop: request.ask.stop.clone(),
            think_tags: self.model.reasoning == Reasoning::Think,
            aloud: request.ask.aloud,
            wants_usage: !request.stream || request.include_usage,
            upstream_timeout: self.context.snapshot.server.upstream_timeout,
            conversation_wait: self.context.snapshot.server.conversation_wait,
            upload_timeout: self.context.snapshot.server.upload_timeout,
            room: Room::default(),
            meter: None,
            cleanup: self.model.cleanup,
            remembered: lent.map(|lent| Remembered { lent, replay }),
        };
        Ok((order, trimmed))
    }

    /// What starts the chat of what is sent, and how many messages were left out.
    fn start(&self, sent: &mut Prompt, asking: coze::Asking<'_>) -> Result<(Start, usize), ApiError> {
        let before = sent.messages.len();
        let callee = &self.model.target.callee;
        let (start, trimmed) = Start::of(callee, sent, asking).map_err(|error| refused(&error, &[]))?;
        if trimmed > 0 && self.model.overflow == Overflow::Reject {
            return Err(context_length_exceeded(&format!(
                "the {before} messages are more text than Coze can store; {trimmed} of the oldest would have to go"
            )));
        }
        Ok((start, trimmed))
    }

    fn failed(&self, failure: &Failure) -> ApiError {
        let error = ApiError::from_failure(failure, self.caller_token.is_some());
        self.context.journal.failed(failure, &error.code);
        error
    }
}

/// Several runs cannot have the same answer.
fn one_answer() -> ApiError {
    ApiError::bad_request(
        "invalid_value",
        Some("n".to_owned()),
        "'n' must be 1 where a workflow's question is answered: it is answered once.",
    )
}
