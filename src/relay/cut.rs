//! How a chat ended that nobody heard to its end, a client that leaves or a
//! stop string having cut it: Coze's own words count in its conversation.
//!
//! In comes what Coze calls it, out comes an [`Ended`]. Asks Coze, for a while
//! at most, and sends nothing to a bot.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::place::{Asking, busy, lost, no_list};
use super::run::question;
use crate::conversation::{Cut, Question};
use crate::coze::trace::{self, Asks, Trace};
use crate::coze::{error, messages, retrieve};
use crate::turn::{Asked, Failure, Kind};

/// How often Coze is asked whether a chat has ended.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// How often Coze may fail to say how a chat ended. The community server
/// fails in the same way where it knows nothing of it (protocol 3.11).
const UNSURE: u32 = 3;

/// How long nothing has to be added to the answers of a chatflow: nothing else
/// says that it has ended.
const QUIET: Duration = Duration::from_secs(1);

/// How a chat ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an answer.
    Well,
    /// With a question.
    Asked(Question),
    /// It failed.
    Badly,
    /// Nobody knows, but what was said in it is kept.
    Open,
    /// Nobody knows.
    Unknown,
}

/// Waits for the end of a chat.
pub(super) async fn ended(
    asking: Asking<'_>,
    conversation: &str,
    cut: &Cut,
    deadline: Instant,
) -> Result<Ended, Failure> {
    if !asking.target.callee.is_recorded() {
        return flow_ended(asking, conversation, cut, deadline).await;
    }
    let call = retrieve::retrieve(conversation, &cut.chat);
    let mut unsure = UNSURE;
    loop {
        let state = match asking.fetch(&call).await {
            Ok(body) => {
                let state = retrieve::state(&body);
                unsure -= u32::from(state.is_none());
                state
            }
            // A server that cannot say, or does not know the chat.
            Err(failure) if failure.kind == Kind::Unsupported => return Ok(Ended::Unknown),
            Err(failure) if error::is_forgotten(&failure) => return Err(lost()),
            Err(failure) if matches!(failure.kind, Kind::Broken | Kind::Rejected) => {
                unsure -= 1;
                None
            }
            Err(failure) => return Err(failure),
        };
        match state {
            None if unsure == 0 || Instant::now() >= deadline => return Ok(Ended::Unknown),
            Some(state) if state.failed => return Ok(Ended::Badly),
            Some(state) if !state.running => return said(asking, conversation, cut).await,
            Some(_) if Instant::now() >= deadline => return Err(busy()),
            None | Some(_) => sleep(ASK_PAUSE.min(deadline - Instant::now())).await,
        }
    }
}

/// Whether what a bot said last is a question.
async fn said(asking: Asking<'_>, conversation: &str, cut: &Cut) -> Result<Ended, Failure> {
    let trace = match asking.fetch(&trace::call(conversation, &cut.chat)).await {
        Ok(body) => trace::of_chat(&body).unwrap_or_default(),
        Err(failure) if error::is_forgotten(&failure) => return Err(lost()),
        // A server that cannot say.
        Err(failure) if matches!(failure.kind, Kind::Unsupported | Kind::Broken | Kind::Rejected) => {
            Trace::default()
        }
        Err(failure) => return Err(failure),
    };
    Ok(trace.asks.map_or(Ended::Well, asked))
}

/// Waits until the answers of a chatflow are kept, which is all that Coze says
/// of its end.
async fn flow_ended(
    asking: Asking<'_>,
    conversation: &str,
    cut: &Cut,
    deadline: Instant,
) -> Result<Ended, Failure> {
    let call = messages::list(asking.target.deployment.kind, conversation, None);
    let (mut known, mut since) = (0, Instant::now());
    loop {
        let body = match asking.fetch(&call).await {
            Ok(body) => body,
            Err(failure) if error::is_forgotten(&failure) => return Err(lost()),
            Err(failure) => return Err(failure),
        };
        let Trace { messages, answers, asks } =
            trace::in_conversation(&body, &cut.chat).ok_or_else(no_list)?;
        if answers != known {
            (known, since) = (answers, Instant::now());
        }
        let now = Instant::now();
        match asks {
            // What waits for an answer says nothing more.
            Some(asks) => return Ok(asked(asks)),
            None if answers > 0 && now - since >= QUIET => {
                // It may be a question all the same. What just answers it may
                // go there, and is what it is if there is none.
                return Ok(if cut.answers { Ended::Well } else { Ended::Open });
            }
            None if now >= deadline => {
                return Ok(if messages > 0 { Ended::Open } else { Ended::Unknown });
            }
            None => sleep(ASK_PAUSE.min(deadline - now)).await,
        }
    }
}

fn asked(Asks { wants, at }: Asks) -> Ended {
    let asked = question(&Asked { wants, resume: None });
    Ended::Asked(Question { asked_at: at.unwrap_or(asked.asked_at), ..asked })
}
