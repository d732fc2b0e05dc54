//! One call of a tool, by whatever protocol it came: arguments in, the bot's
//! answer out.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::arguments::{self, in_words_of_a_tool};
use crate::access::{Caller, Permit};
use crate::catalog::Model;
use crate::http::Context;
use crate::http::admit::Admission;
use crate::http::routes::chat::{self, Refusal, Remarks};
use crate::openai::ApiError;
use crate::openai::chat::tool_answer;
use crate::relay::Order;
use crate::turn::{Reply, Wants};

/// A call that has been let in.
#[derive(Debug)]
pub(in crate::http::routes) struct Run<'c> {
    context: &'c Context,
    order: Order,
    permit: Permit,
    remarks: Remarks,
    named: bool,
    /// Whether the conversation goes on without a question too.
    converses: bool,
    name: Option<String>,
}

/// What came of a call.
#[derive(Debug)]
pub(in crate::http::routes) struct Answered {
    reply: Reply,
    /// What names the conversation, if there is one that can go on.
    pub(in crate::http::routes) conversation: Option<String>,
    /// Whether the caller gave that name.
    pub(in crate::http::routes) named: bool,
}

/// Checks a call, lets it in, and finds the conversation that it goes on
/// with.
pub(in crate::http::routes) async fn begin<'c>(
    context: &'c Context,
    caller: &Caller,
    admission: &Admission<'_>,
    headers: &HeaderMap,
    model: &Arc<Model>,
    arguments: Map<String, Value>,
) -> Result<Run<'c>, Refusal> {
    let mut request = arguments::request(model, arguments).map_err(chat::refusal)?;
    let prepared = chat::prepare(context, caller, admission, headers, model, &mut request);
    let prepared = Box::pin(prepared).await.map_err(|refusal| {
        let (error, remarks) = *refusal;
        Box::new((in_words_of_a_tool(error), remarks))
    })?;
    let mut order = prepared.order;
    // An agent wants the answer, not how it was found.
    order.think_tags = false;
    let converses = model.target.callee.converses();
    let chat::Prepared { permit, remarks, named, name, .. } = prepared;
    Ok(Run { context, order, permit, remarks, named, converses, name })
}

impl Run<'_> {
    /// Waits for the whole answer. With it, or with the error, comes what the
    /// head of an answer over HTTP says, and the permit, which is held until
    /// the last byte.
    pub(in crate::http::routes) async fn answer(self) -> (Result<Answered, ApiError>, Remarks, Permit) {
        let Self { context, order, permit, mut remarks, named, converses, name } = self;
        let answered = Box::pin(chat::replies(context, order)).await;
        let answered = answered.map_err(in_words_of_a_tool).and_then(|replies| {
            // There is as many replies as choices: one.
            let reply = replies.into_iter().next().ok_or_else(ApiError::internal)?;
            // A workflow keeps nothing but what it has asked.
            let goes_on = converses || named || reply.wants.is_some();
            Ok(Answered { conversation: name.clone().filter(|_| goes_on), reply, named })
        });
        remarks.name = match &answered {
            Ok(answered) => answered.conversation.clone(),
            Err(_) => name.filter(|_| converses || named),
        };
        remarks.conclude(context, answered.is_err() && !named);
        (answered, remarks, permit)
    }
}

impl Answered {
    /// What it waits for, if it is a question.
    pub(in crate::http::routes) fn wants(&self) -> Option<&Wants> {
        self.reply.wants.as_ref()
    }

    /// It as JSON.
    pub(in crate::http::routes) fn body(&self) -> Vec<u8> {
        tool_answer(&self.reply, self.conversation.as_deref())
    }
}
