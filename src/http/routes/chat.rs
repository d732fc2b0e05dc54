//! `POST /v1/chat/completions`.

mod naming;
mod turn;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Answer;
use crate::access::{Caller, Identity, Permit};
use crate::catalog::{Memory, Model};
use crate::conversation::{Mode, Note};
use crate::coze::workflow::Unfit;
use crate::coze::{Callee, Refused, Target};
use crate::http::admit::{Admission, Held};
use crate::http::journal::Memorised;
use crate::http::stream::ChatBody;
use crate::http::{Context, body, respond};
use crate::openai::ApiError;
use crate::openai::chat::{self, Encoder, Head, Request};
use crate::openai::error::attached;
use crate::relay::Order;
use crate::turn::{Prompt, Reasoning};
use naming::Naming;
use turn::Turn;

/// What the answer's head says beside the answer.
#[derive(Debug, Default)]
struct Remarks {
    ignored: Vec<&'static str>,
    trimmed: usize,
    /// What the conversation is called.
    name: Option<String>,
    /// What became of it.
    note: Option<Note>,
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
    admission.tell(response.headers_mut()).await;
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
    if request.ask.given.extras.is_some() && !caller.may_set_coze_fields() {
        return Err(ApiError::bad_request(
            "unsupported_parameter",
            Some("coze".to_owned()),
            "This key may not set Coze's fields: that takes allow_coze_fields in its entry.",
        ));
    }
    if request.ask.aloud && !model.target.speaks() {
        let message = "'modalities' with 'audio' is not for this model, which answers in text: \
                       leave it out or send [\"text\"].";
        return Err(ApiError::bad_request("unsupported_parameter", Some("modalities".to_owned()), message));
    }
    let naming = Naming::of(&headers, &request)?;
    let prompt = prompt(&model, &request)?;
    if naming.name.is_some() && request.choices > 1 && model.memory != Memory::Off {
        return Err(ApiError::bad_request(
            "invalid_value",
            Some("n".to_owned()),
            "'n' must be 1 in a conversation with a name: only one answer can go on.",
        ));
    }
    let room = context.app.relay.room(&prompt).ok_or_else(|| {
        ApiError::overloaded("The gateway holds as many images and files as it takes; try again in a moment.")
    })?;
    let permit = admission.admit(request.choices).await?;
    let user = request.ask.user.clone().or_else(|| caller.user_in(&headers));
    let caller_token = match caller.identity() {
        Identity::CozeToken(token) => Some(token.clone()),
        Identity::Key(_) | Identity::Anonymous => None,
    };
    let turn = Turn { context, caller, model: &model, user: user.as_deref(), caller_token };
    let placed = turn.place(&headers, &naming, &prompt, request.choices).await?;
    context.journal.note(|facts| facts.memory = Some(Memorised::of(placed.note)));
    // Of a workflow nothing may be kept, so that only the client's own name
    // holds.
    let has_name = model.target.callee.converses() || naming.name.is_some();
    let name = placed.lent.as_ref().filter(|_| has_name).map(|lent| lent.name());
    // What answers a question starts nothing.
    let starts = !matches!(model.target.callee, Callee::Bot(_)) && placed.note.mode != Mode::Resumed;
    let ignores_parameters = request.ask.given.parameters.is_some() && !starts;
    let (mut order, trimmed) = turn.order(placed, prompt, &request).await?;
    (order.meter, order.room) = (permit.meter(), room);
    // There may be megabytes in it, and the answer may take long.
    drop(request.ask);
    let mut remarks = Remarks { ignored: request.ignored, trimmed, name, note: None };
    if model.memory == Memory::Off && naming.name.is_some() {
        remarks.ignored.push("conversation_id");
    }
    if ignores_parameters {
        remarks.ignored.push("parameters");
    }
    let head = Head {
        id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
        created: respond::unix_seconds(),
        model: request.model,
    };
    let answered = if request.stream {
        let encoder = Encoder::new(&head, order.choices, request.include_usage, model.reasoning);
        let encoder = if order.aloud { encoder.aloud(&head) } else { encoder };
        stream(context, order, encoder, permit).await
    } else {
        whole(context, order, &head, model.reasoning, permit).await
    };
    let failed = answered.is_err();
    // An error, too, says which conversation it is about.
    let mut response = answered.unwrap_or_else(ApiError::into_response);
    context.journal.note(|facts| {
        if let Some(memory) = &facts.memory {
            remarks.note = Some(memory.note);
            remarks.trimmed = remarks.trimmed.max(memory.trimmed);
        }
    });
    let goes_on = |note: Note| matches!(note.mode, Mode::Continued | Mode::Resumed);
    if failed && naming.name.is_none() && !remarks.note.is_some_and(goes_on) {
        // A beginning came to nothing, and nobody will know it.
        remarks.name = None;
    }
    remarks.apply(response.headers_mut());
    Ok(response)
}

/// What the bot is shown of a request.
fn prompt(model: &Model, request: &Request) -> Result<Prompt, ApiError> {
    let prompt = model.system.apply(&request.ask).map_err(|rejected| {
        ApiError::bad_request(
            "invalid_value",
            Some("messages[0].role".to_owned()),
            format!("In this gateway {rejected}."),
        )
    })?;
    let Target { deployment, callee, .. } = &model.target;
    callee
        .check(&prompt, deployment.kind, &request.ask.given)
        .map_err(|error| refused(&error, &request.ask.attached_at))?;
    Ok(prompt)
}

async fn stream(context: &Context, order: Order, encoder: Encoder, permit: Permit) -> Answer {
    let caller_owns_token = order.caller_token.is_some();
    let mut body = ChatBody::new(
        context.app.relay.start(order),
        encoder,
        context.snapshot.server.keepalive,
        Arc::clone(&context.journal),
        caller_owns_token,
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

async fn whole(context: &Context, order: Order, head: &Head, reasoning: Reasoning, permit: Permit) -> Answer {
    let caller_owns_token = order.caller_token.is_some();
    let mut turn = context.app.relay.start(order);
    let replies = turn.replies().await;
    context.journal.remember(turn.memory());
    let replies = replies.map_err(|failure| {
        let error = ApiError::from_failure(&failure, caller_owns_token);
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

/// What a client is told of a prompt that cannot be sent; `attached_at` says
/// where its attachments stood.
fn refused(error: &Refused, attached_at: &[(usize, usize)]) -> ApiError {
    let (code, param) = match error {
        Refused::Unfit(Unfit::Attachment(number, why)) => {
            let place = attached_at.get(*number);
            let param =
                place.map_or_else(|| "messages".to_owned(), |(message, part)| attached(*message, *part));
            let message = format!("'{param}' cannot be taken by this model: {why}.");
            return ApiError::bad_request("unsupported_content", Some(param), message);
        }
        Refused::TooLong(error) => {
            let why = format!("the system text and the last message alone are too long: {error}");
            return context_length_exceeded(&why);
        }
        // Never: files are uploaded first.
        Refused::NotUploaded => return ApiError::internal(),
        Refused::NoForm(_) => ("invalid_value", "messages"),
        Refused::ForBots => ("unsupported_parameter", "coze"),
        Refused::Taken(_) => ("invalid_value", "coze.custom_variables"),
        Refused::TooMany(_) => return context_length_exceeded(&error.to_string()),
        Refused::Unfit(Unfit::NoObject(_)) => ("invalid_value", "messages"),
        Refused::Unfit(Unfit::Taken(_)) => ("invalid_value", "parameters"),
    };
    ApiError::bad_request(code, Some(param.to_owned()), format!("Not for this model: {error}."))
}

fn context_length_exceeded(why: &str) -> ApiError {
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
        if let Some(name) = self.name.as_deref().and_then(naming::encoded) {
            headers.insert(naming::NAME, name);
        }
        if let Some(Ok(note)) = self.note.map(|note| HeaderValue::try_from(note.to_string())) {
            headers.insert("x-cozeway-conversation", note);
        }
    }
}
