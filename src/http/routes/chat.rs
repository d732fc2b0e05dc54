//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Answer;
use crate::access::{Caller, Identity, Permit};
use crate::catalog::{Model, Overflow};
use crate::coze::chat::{TooLong, call, fit, user_id};
use crate::http::admit::{Admission, Held};
use crate::http::stream::ChatBody;
use crate::http::{Context, body, respond};
use crate::openai::ApiError;
use crate::openai::chat::{self, Encoder, Head, Request};
use crate::relay::Order;
use crate::turn::Reasoning;

/// What the answer's head says beside the answer.
#[derive(Debug, Default)]
struct Remarks {
    ignored: Vec<&'static str>,
    trimmed: usize,
}

/// Runs a bot and answers as OpenAI does.
pub(super) async fn complete(
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let caller = context.authenticate(&headers)?;
    let admission = context.admission(&caller);
    let mut response = answer(&context, &caller, &admission, headers, body).await.into_response();
    // Errors tell of the limits too.
    admission.tell(response.headers_mut());
    Ok(response)
}

async fn answer(
    context: &Context,
    caller: &Caller,
    admission: &Admission<'_>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let bytes = body::read(&headers, body, context.snapshot.server.max_body).await?;
    let request = Request::parse(&bytes)?;
    drop(bytes);
    let model = context
        .snapshot
        .resolve(caller, &request.model)
        .map_err(|error| respond::unresolved(error, &request.model))?;
    context.journal.note(|facts| {
        facts.model = Some(Arc::clone(&model));
        facts.stream = Some(request.stream);
        facts.choices = Some(request.choices);
    });
    let (mut order, remarks) = order(context, caller, &headers, &model, &request)?;
    let permit = admission.admit(order.choices)?;
    order.meter = permit.meter();
    let head = Head {
        id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
        created: respond::unix_seconds(),
        model: request.model,
    };
    let mut response = if request.stream {
        let encoder = Encoder::new(&head, order.choices, request.include_usage, model.reasoning);
        stream(context, &order, encoder, permit).await?
    } else {
        whole(context, &order, &head, model.reasoning, permit).await?
    };
    remarks.apply(response.headers_mut());
    Ok(response)
}

/// Turns a request into what the relay runs. Every chat here starts a
/// conversation of its own; which conversation a request belongs to will be
/// decided between the prompt and the call.
fn order(
    context: &Context,
    caller: &Caller,
    headers: &HeaderMap,
    model: &Model,
    request: &Request,
) -> Result<(Order, Remarks), ApiError> {
    let mut prompt = model.system.apply(&request.ask).map_err(|rejected| {
        ApiError::bad_request(
            "invalid_value",
            Some("messages[0].role".to_owned()),
            format!("In this gateway {rejected}."),
        )
    })?;
    let before = prompt.messages.len();
    let trimmed = fit(&mut prompt, model.target.deployment.kind).map_err(too_long)?;
    if trimmed > 0 && model.overflow == Overflow::Reject {
        return Err(context_length_exceeded(format!(
            "the {before} messages are more text than Coze can store; {trimmed} of the oldest would have to go"
        )));
    }
    let named = request.ask.user.clone().or_else(|| caller.user_in(headers));
    let user_id = user_id(caller.user_space(), named.as_deref());
    let caller_token = match caller.identity() {
        Identity::CozeToken(token) => Some(token.clone()),
        Identity::Key(_) | Identity::Anonymous => None,
    };
    let order = Order {
        target: model.target.clone(),
        caller_token,
        call: call(&model.target.bot_id, &user_id, &prompt),
        choices: request.choices,
        stop: request.ask.stop.clone(),
        think_tags: model.reasoning == Reasoning::Think,
        wants_usage: !request.stream || request.include_usage,
        upstream_timeout: context.snapshot.server.upstream_timeout,
        meter: None,
    };
    let remarks = Remarks { ignored: request.ignored.clone(), trimmed };
    Ok((order, remarks))
}

async fn stream(context: &Context, order: &Order, encoder: Encoder, permit: Permit) -> Answer {
    let turn = context.app.relay.start(order);
    let mut body = ChatBody::new(
        turn,
        encoder,
        context.snapshot.server.keepalive,
        Arc::clone(&context.journal),
        order.caller_token.is_some(),
        permit,
    );
    body.begin().await?;
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

async fn whole(
    context: &Context,
    order: &Order,
    head: &Head,
    reasoning: Reasoning,
    permit: Permit,
) -> Answer {
    let replies = context.app.relay.start(order).replies().await.map_err(|failure| {
        let error = ApiError::from_failure(&failure, order.caller_token.is_some());
        context.journal.failed(&failure, &error.code);
        error
    })?;
    context.journal.note(|facts| {
        if let Some(reply) = replies.first() {
            facts.conversation.clone_from(&reply.conversation);
            facts.chat.clone_from(&reply.chat);
            facts.log_id.clone_from(&reply.log_id);
        }
        facts.usage = chat::usage(&replies);
    });
    let response = respond::json(chat::body(head, &replies, reasoning));
    Ok(response.map(|body| Body::new(Held::new(body, permit))))
}

fn too_long(error: TooLong) -> ApiError {
    context_length_exceeded(format!("the system text and the last message alone are too long: {error}"))
}

fn context_length_exceeded(why: String) -> ApiError {
    // The code stands in the message too: one client looks for it there.
    ApiError::bad_request(
        "context_length_exceeded",
        Some("messages".to_owned()),
        format!("context_length_exceeded: {why}."),
    )
}

impl Remarks {
    fn apply(self, headers: &mut HeaderMap) {
        if !self.ignored.is_empty()
            && let Ok(value) = HeaderValue::try_from(self.ignored.join(", "))
        {
            headers.insert("x-cozeway-ignored", value);
        }
        if self.trimmed > 0 {
            headers.insert("x-cozeway-trimmed", HeaderValue::from(self.trimmed));
        }
    }
}
