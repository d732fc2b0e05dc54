//! `POST /v1/chat/completions`.

mod naming;
mod turn;

use std::sync::Arc;

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
use crate::turn::{Prompt, Reasoning, Reply};
use naming::Naming;
use turn::Turn;

/// What the answer's head says beside the answer.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    ignored: Vec<&'static str>,
    trimmed: usize,
    /// What the conversation is called.
    pub(super) name: Option<String>,
    /// What became of it.
    note: Option<Note>,
}

/// Runs a bot and answers as OpenAI does.
pub(in crate::http) async fn complete(context: Context, headers: HeaderMap, body: Body) -> Answer {
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
    let mut request = Request::parse(&bytes)?;
    drop(bytes);
    let model = context
        .snapshot
        .resolve(caller, &request.model)
        .map_err(|error| respond::unresolved(error, &request.model))?;
    let prepared = prepare(context, caller, admission, &headers, &model, &mut request).await;
    let Prepared { order, permit, mut remarks, named, name } = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => {
            let (error, remarks) = *refusal;
            return Ok(remarks.on(error.into_response()));
        }
    };
    // There may be megabytes in it, and the answer may take long.
    drop(request.ask);
    // Of a workflow nothing may be kept, so that only the client's own name
    // holds.
    remarks.name = name.filter(|_| named || model.target.callee.converses());
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
    let response = answered.unwrap_or_else(ApiError::into_response);
    remarks.conclude(context, failed && !named);
    Ok(remarks.on(response))
}

/// Why a request is not run, and what the head of that answer says.
pub(super) type Refusal = Box<(ApiError, Remarks)>;

pub(super) fn refusal(error: ApiError) -> Refusal {
    Box::new((error, Remarks::default()))
}

/// What is to be run for a request, by whatever route it came.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) order: Order,
    pub(super) permit: Permit,
    /// All but what becomes of the conversation.
    pub(super) remarks: Remarks,
    /// Whether the request names its conversation.
    pub(super) named: bool,
    /// What the conversation is called, if it is one that is remembered.
    pub(super) name: Option<String>,
}

/// Checks a request, lets it in, and finds the conversation that it belongs
/// to. Takes the messages out of it.
pub(super) async fn prepare(
    context: &Context,
    caller: &Caller,
    admission: &Admission<'_>,
    headers: &HeaderMap,
    model: &Arc<Model>,
    request: &mut Request,
) -> Result<Prepared, Refusal> {
    context.journal.note(|facts| {
        facts.model = Some(Arc::clone(model));
        facts.stream = Some(request.stream);
        facts.choices = Some(request.choices);
    });
    if request.ask.given.extras.is_some() && !caller.may_set_coze_fields() {
        return Err(refusal(ApiError::bad_request(
            "unsupported_parameter",
            Some("coze".to_owned()),
            "This key may not set Coze's fields: that takes allow_coze_fields in its entry.",
        )));
    }
    if request.ask.aloud && !model.target.speaks() {
        let message = "'modalities' with 'audio' is not for this model, which answers in text: \
                       leave it out or send [\"text\"].";
        let param = Some("modalities".to_owned());
        return Err(refusal(ApiError::bad_request("unsupported_parameter", param, message)));
    }
    let naming = Naming::of(headers, request).map_err(refusal)?;
    let prompt = prompt(model, request).map_err(refusal)?;
    if naming.name.is_some() && request.choices > 1 && model.memory != Memory::Off {
        return Err(refusal(ApiError::bad_request(
            "invalid_value",
            Some("n".to_owned()),
            "'n' must be 1 in a conversation with a name: only one answer can go on.",
        )));
    }
    let room = context.app.relay.room(&prompt).ok_or_else(|| {
        let full = "The gateway holds as many images and files as it takes; try again in a moment.";
        refusal(ApiError::overloaded(full))
    })?;
    let permit = admission.admit(request.choices).await.map_err(refusal)?;
    let user = request.ask.user.clone().or_else(|| caller.user_in(headers));
    let caller_token = match caller.identity() {
        Identity::CozeToken(token) => Some(token.clone()),
        Identity::Key(_) | Identity::Anonymous => None,
    };
    let turn = Turn { context, caller, model, user: user.as_deref(), caller_token };
    let placed = turn.place(headers, &naming, &prompt, request.choices).await?;
    context.journal.note(|facts| facts.memory = Some(Memorised::of(placed.note)));
    let name = placed.lent.as_ref().map(|lent| lent.name());
    // What answers a question starts nothing.
    let starts = !matches!(model.target.callee, Callee::Bot(_)) && placed.note.mode != Mode::Resumed;
    let ignores_parameters = request.ask.given.parameters.is_some() && !starts;
    let placed_mode = placed.note.mode;
    let mut remarks = Remarks { note: Some(placed.note), ..Remarks::default() };
    let (mut order, trimmed) = match turn.order(placed, prompt, request).await {
        Ok(order) => order,
        Err(error) => {
            // Of a workflow nothing may be kept; a beginning came to nothing.
            let goes_on = matches!(placed_mode, Mode::Continued | Mode::Resumed);
            let is_named = naming.name.is_some();
            remarks.name = name.filter(|_| is_named || (goes_on && model.target.callee.converses()));
            return Err(Box::new((error, remarks)));
        }
    };
    (order.meter, order.room) = (permit.meter(), room);
    (remarks.ignored, remarks.trimmed) = (request.ignored.clone(), trimmed);
    if model.memory == Memory::Off && naming.name.is_some() {
        remarks.ignored.push("conversation_id");
    }
    if ignores_parameters {
        remarks.ignored.push("parameters");
    }
    Ok(Prepared { order, permit, remarks, named: naming.name.is_some(), name })
}

/// What the bot is shown of a request.
fn prompt(model: &Model, request: &mut Request) -> Result<Prompt, ApiError> {
    let prompt = model.system.apply(&mut request.ask).map_err(|rejected| {
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
        context.app.lifecycle.in_flight(),
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
    let replies = replies(context, order).await?;
    let response = respond::json(chat::body(head, &replies, reasoning));
    Ok(response.map(|body| Body::new(Held::new(body, permit))))
}

/// The whole answers to an order, noted in the journal.
pub(super) async fn replies(context: &Context, order: Order) -> Result<Vec<Reply>, ApiError> {
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
    Ok(replies)
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
    /// Adds what the turn has made of its conversation. One that came to
    /// nothing has no name, unless it went on.
    pub(super) fn conclude(&mut self, context: &Context, came_to_nothing: bool) {
        context.journal.note(|facts| {
            if let Some(memory) = &facts.memory {
                self.note = Some(memory.note);
                self.trimmed = self.trimmed.max(memory.trimmed);
            }
        });
        let goes_on = |note: Note| matches!(note.mode, Mode::Continued | Mode::Resumed);
        if came_to_nothing && !self.note.is_some_and(goes_on) {
            self.name = None;
        }
    }

    pub(super) fn on(self, mut response: Response) -> Response {
        self.apply(response.headers_mut());
        response
    }

    pub(super) fn apply(self, headers: &mut HeaderMap) {
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
