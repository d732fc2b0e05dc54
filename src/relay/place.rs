//! Finding a turn's place: waits for the conversation that it belongs to, and
//! fetches what Coze holds where that has to be sent again.
//!
//! In comes what a client sent and what Coze is asked with, out comes a
//! [`Placed`]. Nothing has been sent to a bot by then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Relay;
use super::cut::{self, Ended};
use super::lent::Lent;
use crate::conversation::{Begun, Conversations, Ending, Mode, Note, Place, Plan, Reason, Wanted};
use crate::coze::messages::{self, Listing, Page, Until};
use crate::coze::{Target, error};
use crate::secret::Secret;
use crate::turn::{Failure, Kind, Message};

/// How often a conversation is asked for that another turn is in.
const PAUSE: Duration = Duration::from_millis(25);

/// How long Coze may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The most messages that are fetched of a conversation; Coze shows a bot no
/// more rounds than it is told to, by default 100.
const MAX_MESSAGES: usize = 1000;

/// A turn that knows where it belongs.
#[derive(Debug)]
pub struct Placed {
    /// What is sent where.
    pub plan: Plan,
    /// What a client is told of it.
    pub note: Note,
    /// What goes ahead of the new messages, where a conversation is rebuilt.
    pub held: Vec<Message>,
    /// The turn's part in its conversation, if that is remembered.
    pub lent: Option<Lent>,
}

/// A turn has no place.
#[derive(Debug)]
pub enum Unplaced {
    /// There is no such conversation.
    NotFound,
    /// What it is remembered in is away.
    Away(String),
    /// Another turn is still in the conversation, or Coze cannot say what it
    /// holds; with what was to be done with it, if that is known.
    Failed(Failure, Option<Note>),
}

/// Who asks Coze for what, while a place is found.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The bot.
    pub target: &'a Target,
    /// The caller's own Coze token, where that is used.
    pub caller_token: Option<&'a Secret>,
    /// How long another turn in the conversation is waited for.
    pub wait: Duration,
}

impl Placed {
    /// A turn that nobody will remember.
    #[must_use]
    pub fn detached(note: Note) -> Self {
        Self { plan: Plan::Detached, note, held: Vec::new(), lent: None }
    }
}

impl Relay {
    /// Finds the place of a turn in what is remembered.
    ///
    /// # Errors
    /// If a conversation was named that is not there, is busy, or is lost.
    pub async fn place(
        &self,
        memory: &Conversations,
        wanted: &Wanted<'_>,
        asking: Asking<'_>,
    ) -> Result<Placed, Unplaced> {
        let deadline = Instant::now() + asking.wait;
        let (plan, thread) = loop {
            match memory.begin(wanted).await.map_err(|away| Unplaced::Away(away.to_string()))? {
                Begun::Planned { plan, thread } => break (plan, thread),
                Begun::NotFound => return Err(Unplaced::NotFound),
                Begun::Lost => {
                    self.shared.askers.note(asking.target);
                    return Err(Unplaced::Failed(unanswerable(), None));
                }
                Begun::Busy(_) if Instant::now() >= deadline => {
                    return Err(Unplaced::Failed(busy(), None));
                }
                Begun::Busy(_) => sleep(PAUSE.min(deadline - Instant::now())).await,
            }
        };
        let mut lent = Lent::new(thread, self.clone());
        let mut plan = plan;
        if matches!(plan, Plan::Resume { .. } | Plan::Lost { .. }) {
            self.shared.askers.note(asking.target);
        }
        if let Plan::Lost { frees } = plan {
            let note = lent.note();
            // Without a name, that it was asked stays known.
            let frees = frees && wanted.name.is_some();
            Box::pin(lent.end(if frees { Ending::Forgotten } else { Ending::Refused })).await;
            return Err(Unplaced::Failed(unanswerable(), Some(note)));
        }
        // On the heap, where there is anything to fetch: rare, and large.
        let held = match plan {
            Plan::Rebuild { .. } | Plan::Continue { after: Some(_), .. } => {
                Box::pin(hold(asking, &mut lent, &mut plan, deadline)).await
            }
            _ => Ok(Vec::new()),
        };
        match held {
            Ok(held) => Ok(Placed { note: lent.note(), plan, held, lent: Some(lent) }),
            Err(failure) => {
                let forgotten = failure.kind == Kind::Forgotten;
                let note = lent.note();
                Box::pin(lent.end(if forgotten { Ending::Forgotten } else { Ending::Refused })).await;
                Err(Unplaced::Failed(failure, Some(note)))
            }
        }
    }
}

/// Waits for a chat that was left alone, and gives what goes ahead of the new
/// messages where the conversation cannot go on.
async fn hold(
    asking: Asking<'_>,
    lent: &mut Lent,
    plan: &mut Plan,
    deadline: Instant,
) -> Result<Vec<Message>, Failure> {
    match plan.clone() {
        Plan::Rebuild { place, .. } => {
            let until = Until::With(place.chat.clone());
            held(asking, &place, until).await
        }
        Plan::Continue { place, new, after: Some(cut) } => {
            let (reason, until) = match cut::ended(asking, &place.conversation, &cut, deadline).await? {
                Ended::Well => return Ok(Vec::new()),
                Ended::Asked(question) if cut.answers && !question.has_expired(unix_seconds()) => {
                    lent.resume();
                    *plan = Plan::Resume { place, new, question: Some(question) };
                    return Ok(Vec::new());
                }
                Ended::Asked(_) => (Reason::Question, Until::With(cut.chat)),
                Ended::Open => (Reason::Cut, Until::With(cut.chat)),
                // Of a first chat that failed only what came before it counts.
                Ended::Badly if place.chat == cut.chat => (Reason::Failed, Until::Without(cut.chat)),
                Ended::Badly => (Reason::Failed, Until::With(place.chat.clone())),
                Ended::Unknown => (Reason::Cut, Until::With(place.chat.clone())),
            };
            lent.rebuild(reason);
            *plan = Plan::Rebuild { place: place.clone(), new };
            held(asking, &place, until).await
        }
        _ => Ok(Vec::new()),
    }
}

impl Asking<'_> {
    pub(super) async fn fetch(&self, call: &crate::coze::Call) -> Result<bytes::Bytes, Failure> {
        let bearer = self.target.bearer(self.caller_token)?;
        let asked = bearer.fetch(&self.target.deployment.client, call);
        tokio::time::timeout(ANSWER, asked)
            .await
            .unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "Coze did not answer in time.")))
    }
}

/// What Coze holds of a conversation up to a chat.
async fn held(asking: Asking<'_>, place: &Place, until: Until) -> Result<Vec<Message>, Failure> {
    // An operator has cleared it, and nothing has gone well there since.
    if until == Until::With(String::new()) {
        return Ok(Vec::new());
    }
    let kind = asking.target.deployment.kind;
    let mut listing = Listing::new(until, place.section.clone());
    let mut before: Option<String> = None;
    let mut pages = 0;
    loop {
        let call = messages::list(kind, &place.conversation, before.as_deref());
        let body = match asking.fetch(&call).await {
            Ok(body) => body,
            Err(failure) if error::is_forgotten(&failure) => return Err(lost()),
            Err(failure) => return Err(failure),
        };
        pages += 1;
        match listing.push(&body) {
            None => {
                return Err(no_list());
            }
            Some(Page::More(last)) if listing.len() < MAX_MESSAGES && pages < MAX_MESSAGES => {
                before = Some(last);
            }
            Some(_) if listing.has_found() => {
                let mut messages = listing.into_messages();
                asking.target.callee.take_out_what_has_no_place(&mut messages, kind);
                return Ok(messages);
            }
            Some(_) => return Err(lost()),
        }
    }
}

pub(super) fn no_list() -> Failure {
    Failure::new(Kind::Broken, "Coze's list of the conversation makes no sense.")
}

/// Another turn is in the conversation.
pub(super) fn busy() -> Failure {
    Failure::new(Kind::Busy, "Another request is still running in this conversation; send it again later.")
}

/// Coze knows a conversation no more, and the client has not sent it.
pub(super) fn lost() -> Failure {
    Failure::new(
        Kind::Forgotten,
        "Coze has forgotten this conversation: start again, or send the whole transcript.",
    )
}

/// Seconds since 1970: what is remembered outlives the process.
pub(super) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A workflow's question waits no more, or this is not just its answer.
pub(super) fn unanswerable() -> Failure {
    Failure::new(
        Kind::Forgotten,
        "The workflow's question cannot be answered any more, or not by this: it takes exactly one message, \
         once, within a day. Start again.",
    )
}

/// What a turn in a fresh conversation is told as, where memory plays no
/// part.
#[must_use]
pub fn unremembered(first: bool, reason: Reason) -> Note {
    Note::new(if first { Mode::New } else { Mode::Replayed }, Some(reason))
}
