//! `POST /v3/chat`: from a bound request to a run (protocol 3).
//!
//! In comes the JSON body, out comes the answer: an event stream, or JSON for
//! `stream: false` and for what cannot be bound.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Simulator;
use super::book::{Book, Content, Kind, Run, Stored};
use super::bots::{self, Behaviour, Bot, Play, Seen, Standing};
use super::request::{Ask, Incoming, Messages};
use super::run::Performance;
use super::script::{BEFORE_RESET, Head};
use super::server::{Connection, bad_request, json_response, uncoded};
use super::streams::Open;
use super::trouble::Trouble;
use super::wire::{self, Id, Map};

/// How many events wait for a client that reads slowly.
const QUEUE: usize = 16;

/// How many runs may go on at a time.
const MAX_RUNNING: usize = 4_096;

/// What a question that cannot be stored is answered with: MySQL's words for
/// a `user_id` over 60 characters (protocol 6(g)).
const USER_ID_TOO_LONG: &str = "Error 1406 (22001): Data too long for column 'user_id' at row 1";

/// Who asks, and over what.
#[derive(Debug)]
pub(super) struct Caller {
    /// Which token.
    pub(super) owner: usize,
    pub(super) connection: Connection,
    pub(super) open: Open,
}

/// What a request comes to.
enum Start {
    /// Failure shape A: this text in an error event.
    Refused(String),
    /// Failure shape D: nothing at all.
    Silent,
    Run(Performance, mpsc::Receiver<Bytes>),
}

/// Answers a chat that no script answers.
pub(super) fn answer(
    simulator: &Simulator,
    caller: Caller,
    conversation: Option<Id>,
    body: &Value,
    trouble: Option<&Trouble>,
) -> Response<Body> {
    let ask = match Ask::bind(body) {
        Ok(ask) => ask,
        Err(text) => return bad_request(&text),
    };
    if simulator.running() >= MAX_RUNNING {
        return uncoded();
    }
    match (start(simulator, caller.owner, conversation, &ask, trouble), ask.stream) {
        (Start::Run(performance, events), true) => {
            spawn(performance, &caller.connection);
            match trouble {
                Some(Trouble::ResetAfter(events_first)) => reset_after(events, *events_first, caller),
                _ => streamed(events, caller.open),
            }
        }
        (Start::Run(performance, _), false) => {
            let chat = performance.chat.clone();
            spawn(performance, &caller.connection);
            json_response(&wire::json(&super::records::Answered::new(chat)))
        }
        (Start::Refused(text), true) => one_event(wire::error_event(103_100_001, &text), caller.open),
        (Start::Silent, true) => streamed(mpsc::channel(1).1, caller.open),
        (Start::Refused(text), false) => bad_request(&text),
        (Start::Silent, false) => {
            bad_request("Error 1406 (22001): Data too long for column 'chat_request' at row 1")
        }
    }
}

/// Lets a run go on by itself, as long as the server does.
fn spawn(performance: Performance, connection: &Connection) {
    let life = connection.life();
    let running = performance.simulator.0.runs.open();
    tokio::spawn(async move {
        let _counted = running;
        life.run_until_cancelled(performance.perform()).await
    });
}

fn one_event(event: Bytes, open: Open) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    // The queue is empty and has room for one.
    let _sent = sender.try_send(event);
    streamed(receiver, open)
}

/// The events as a body, one chunk each.
fn streamed(events: mpsc::Receiver<Bytes>, open: Open) -> Response<Body> {
    let body = stream::unfold((events, open), |(mut events, open)| async move {
        let event = events.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(event), (events, open)))
    });
    let head = Head::event_stream();
    let mut response = Response::new(Body::from_stream(body));
    *response.headers_mut() = head.headers;
    if let Some(value) = head.content_type {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    response
}

/// So many events as a body, then a reset.
fn reset_after(events: mpsc::Receiver<Bytes>, count: usize, caller: Caller) -> Response<Body> {
    let Caller { connection, open, .. } = caller;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut events = events;
        for _ in 0..count {
            let Some(event) = events.recv().await else { break };
            // Whoever has left is reset all the same.
            let _gone = sender.send(event).await;
        }
        tokio::time::sleep(BEFORE_RESET).await;
        let _ended = connection.life().run_until_cancelled(connection.reset::<()>()).await;
    });
    streamed(receiver, open)
}

fn start(
    simulator: &Simulator,
    owner: usize,
    conversation: Option<Id>,
    ask: &Ask,
    trouble: Option<&Trouble>,
) -> Start {
    let bot = match usable(simulator, ask.bot) {
        Ok(bot) => bot,
        Err(text) => return Start::Refused(text),
    };
    let messages = match ask.messages(&simulator.files()) {
        Ok(messages) => messages,
        Err(text) => return Start::Refused(text),
    };
    let mut book = simulator.book();
    let known = conversation.and_then(|id| book.conversation(id));
    let conversation = match known {
        Some(known) if known.owner != owner => {
            return Start::Refused("code=103000001 message=unauthorized access : user not match\nstack=/app/application/conversation/openapi_agent_run.go:118 (*OpenapiAgentRunApplication).checkConversation\n".to_owned());
        }
        Some(known) => known.id,
        // Unknown: silently a new one (protocol 6(b)).
        None => book.create(owner, Some(ask.bot), ask.user_id.clone(), None),
    };
    if ask.is_too_long() || matches!(trouble, Some(Trouble::Silent)) {
        return Start::Silent;
    }
    let storable = !ask.is_user_too_long();
    let Some(begun) = begin(&mut book, conversation, &bot, messages, &ask.extra, storable) else {
        return Start::Silent;
    };
    drop(book);

    let input = begun.context.iter().map(|seen| seen.text.chars().count()).sum();
    let play = if !storable {
        Play::CannotStart(USER_ID_TOO_LONG)
    } else if begun.query.is_empty() {
        Play::NoAnswer
    } else {
        let (silence, chat) = (simulator.options().silence, begun.run.chat.id);
        let play = bots::play(bot.behaviour, &begun.query, &begun.context, begun.waiting, silence, chat);
        match trouble {
            Some(trouble) => trouble.disturb(play),
            None => play,
        }
    };
    let (events, receiver) = mpsc::channel(QUEUE);
    let performance = Performance {
        simulator: simulator.clone(),
        chat: begun.run.chat,
        play,
        pace: bot.pace.unwrap_or(simulator.options().pace),
        input,
        extra: ask.extra.clone(),
        events,
    };
    Start::Run(performance, receiver)
}

/// The bot of an id, if the caller may use it.
fn usable(simulator: &Simulator, id: Id) -> Result<Bot, String> {
    let bot = simulator.bot(&id.to_string());
    match bot.as_ref().map(|bot| bot.standing) {
        // `chat_error_prestream.server.sse`.
        Some(Standing::Foreign) => Err("code=103000001 message=unauthorized access : agent not match\nstack=/app/application/conversation/openapi_agent_run.go:63 (*OpenapiAgentRunApplication).OpenapiAgentRun\n/app/api/handler/coze/agent_run_service.go:128 ChatV3\n".to_owned()),
        Some(Standing::Published) => bot.ok_or_else(String::new),
        // `chat_error_not_published.server.sse`.
        Some(Standing::Unpublished) | None => Err(format!("code=100000000 message=invalid parameter : agent not published, agentID={id} connectorID=1024\nstack=/app/domain/agent/singleagent/service/single_agent_impl.go:190 (*singleAgentImpl).ObtainAgentByIdentity\n")),
    }
}

/// A run as it begins.
pub(super) struct Begun {
    pub(super) run: Run,
    pub(super) query: Content,
    pub(super) context: Vec<Seen>,
    /// Whether the query answers a question of the bot's.
    pub(super) waiting: bool,
}

/// Stores what came and begins the run (protocol 3.2).
pub(super) fn begin(
    book: &mut Book,
    conversation: Id,
    bot: &Bot,
    messages: Messages,
    extra: &Map,
    storable: bool,
) -> Option<Begun> {
    let bot_id = Id::parse(&bot.id)?;
    let query = messages.query.unwrap_or_default();
    if storable && !messages.additional.is_empty() {
        let run = book.begin(conversation, bot_id, Vec::new())?;
        for Incoming { kind, content } in messages.additional {
            keep(book, &run, kind, content, Map::new());
        }
        book.complete(run.chat.id, None);
    }
    let waiting = bot.behaviour == Behaviour::Ask && book.is_waiting(conversation);
    let mut context = book.history(conversation, bot.rounds);
    let run = book.begin(conversation, bot_id, Vec::new())?;
    if storable {
        let question = keep(book, &run, Kind::Question, query.clone(), extra.clone());
        context.extend(question);
    }
    let seen = context.iter().map(|message| seen(message)).collect();
    book.run_mut(run.chat.id)?.context = context;
    Some(Begun { run, query, context: seen, waiting })
}

pub(super) fn keep(
    book: &mut Book,
    run: &Run,
    kind: Kind,
    content: Content,
    meta: Map,
) -> Option<Arc<Stored>> {
    let id = book.next_id();
    let (bot, created_at, reasoning) = (run.chat.bot_id, super::now(), String::new());
    book.store(run.chat.id, Stored { id, bot, kind, content, meta, created_at, reasoning });
    book.run(run.chat.id)?.messages.last().map(Arc::clone)
}

/// A stored message as the model is given it.
pub(super) fn seen(message: &Stored) -> Seen {
    let role = match message.kind {
        Kind::Question => "user",
        Kind::ToolResponse => "tool",
        Kind::Answer
        | Kind::FunctionCall
        | Kind::Knowledge
        | Kind::FollowUp
        | Kind::Finish
        | Kind::Interrupt => "assistant",
    };
    Seen { role, text: message.content.text.clone(), images: message.content.images.clone() }
}
