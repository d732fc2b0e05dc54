//! `/v1/workflows/chat` (protocol 5.4).
//!
//! In comes the JSON body, out comes an event stream in the server's form, or
//! JSON for what is refused. What was said is kept as that of bots.

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::Simulator;
use super::book::{Book, Content, Kind};
use super::bots::{self, Act, Bot, Play, Standing};
use super::chat::{begin, keep};
use super::flows::Runs;
use super::request::{Ask, missing};
use super::server::coded;
use super::streams::Open;
use super::wire::{Chat, Id, Map};
use super::workflow::{parameters, plain, streamed, text};

/// The chat object, which has other fields here than for bots.
#[derive(Serialize)]
struct Detail {
    id: Id,
    conversation_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<Id>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    execute_id: Id,
    section_id: Id,
}

/// Its `token_count` is twice the output, as the server has it.
#[derive(Serialize)]
struct Usage {
    token_count: usize,
    output_count: usize,
    input_count: usize,
}

/// The message object.
#[derive(Serialize)]
struct Message<'a> {
    id: Id,
    chat_id: Id,
    conversation_id: Id,
    bot_id: Id,
    role: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    content: &'a str,
    content_type: &'static str,
    section_id: Id,
}

/// Whether a message has a part that is to be fetched from a URL.
fn names_a_url(message: &Value) -> bool {
    let is_object = message.get("content_type").and_then(Value::as_str) == Some("object_string");
    let parts = message.get("content").and_then(Value::as_str).filter(|_| is_object);
    let parts: Vec<Value> = parts.and_then(|parts| serde_json::from_str(parts).ok()).unwrap_or_default();
    parts.iter().any(|part| part.get("file_url").is_some())
}

/// Answers a request.
///
/// # Errors
/// The text of a binding error.
pub(super) fn answer(
    simulator: &Simulator,
    owner: usize,
    body: &Value,
    open: Open,
) -> Result<Response<Body>, String> {
    let id = text(body, "workflow_id")?.ok_or_else(|| missing("workflow_id"))?;
    let (bot_id, app_id) = (text(body, "bot_id")?, text(body, "app_id")?);
    let parameters = parameters(body)?;
    let suggests = suggests(body)?;
    let failed = |cause: &str| Ok(coded(777_777_775, &format!("Workflow operation failure: {cause}")));
    if bot_id.is_some() && app_id.is_some() {
        return failed("project_id and bot_id cannot be set at the same time");
    }
    let flow = simulator.options().flows.iter().find(|flow| flow.id == id);
    let behaviour = match flow.map(|flow| (flow.runs, flow.standing)) {
        Some((Runs::Chat(behaviour), Standing::Published)) => behaviour,
        Some((_, Standing::Unpublished)) => {
            return Ok(coded(
                720_702_011,
                "Workflow not published. The requested operation cannot be performed on an unpublished workflow. Please publish the workflow and try again.",
            ));
        }
        _ => return Ok(coded(720_702_004, "Workflow not found.")),
    };
    let place = bot_id.or(app_id).and_then(Id::parse).unwrap_or(Id(0));
    let Some(messages) =
        body.get("additional_messages").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return failed("additional_messages is requird");
    };
    if !messages.last().is_some_and(|last| has_role(last, "user")) {
        return failed("the role of the last day message must be user");
    }
    if place == Id(0) {
        return failed("bot_id or app_id is required");
    }
    // Only what was uploaded (protocol 5.4).
    if messages.iter().any(names_a_url) {
        return failed("invalid input type");
    }
    let messages: Vec<Value> = messages.iter().map(typed).collect();
    let ask = json!({"bot_id": place.to_string(), "user_id": "", "additional_messages": messages});
    let messages = match Ask::bind(&ask)?.messages(&simulator.files()) {
        Ok(messages) => messages,
        Err(cause) => return failed(&cause),
    };
    let mut book = simulator.book();
    let conversation = match text(body, "conversation_id")? {
        Some(id) => {
            let known = Id::parse(id).and_then(|id| book.conversation(id));
            // Only an app's are looked up; a bot's is taken as it is.
            match known.map(|known| known.id) {
                Some(id) => id,
                None => return failed("conversation not found"),
            }
        }
        None => match parameters.get("CONVERSATION_NAME").and_then(Value::as_str) {
            Some(name) => named(&mut book, owner, place, name),
            None => return failed("conversation name is requried"),
        },
    };
    let bot = Bot { id: place.to_string(), ..Bot::new(id, "flow", behaviour) };
    let Some(begun) = begin(&mut book, conversation, &bot, messages, &Map::new(), true) else {
        return failed("the run could not be kept");
    };
    let chat = begun.run.chat.clone();
    let silence = simulator.options().silence;
    let play = bots::play(behaviour, &begun.query, &begun.context, begun.waiting, silence, chat.id);
    let input = begun.context.iter().map(|seen| seen.text.chars().count()).sum();
    let execute = book.next_id();
    let mut run = Run { book: &mut book, chat, execute, input, output: 0, suggests, events: Vec::new() };
    run.perform(play, &begun.run);
    let events = std::mem::take(&mut run.events);
    drop(book);
    Ok(streamed(events, simulator.options().pace, open))
}

/// Whether `suggest_reply_info` asks for suggestions: modes 1 and 2.
fn suggests(body: &Value) -> Result<bool, String> {
    let info = match body.get("suggest_reply_info") {
        None | Some(Value::Null) => return Ok(false),
        Some(Value::Object(info)) => info,
        Some(other) => return Err(format!("bind body failed, err=mismatched suggest_reply_info {other}")),
    };
    match info.get("suggest_reply_mode") {
        None | Some(Value::Null) => Ok(false),
        Some(mode) => mode
            .as_i64()
            .map(|mode| mode == 1 || mode == 2)
            .ok_or_else(|| format!("bind body failed, err=mismatched suggest_reply_mode {mode}")),
    }
}

/// A message with the type that goes with its role: here the role decides.
fn typed(message: &Value) -> Value {
    let mut message = message.clone();
    let kind = if has_role(&message, "assistant") { "answer" } else { "question" };
    if let Some(fields) = message.as_object_mut() {
        fields.insert("type".to_owned(), json!(kind));
    }
    message
}

fn has_role(message: &Value, role: &str) -> bool {
    message.get("role").and_then(Value::as_str) == Some(role)
}

/// The conversation of a name, made if there is none.
fn named(book: &mut Book, owner: usize, place: Id, name: &str) -> Id {
    let is_it = |known: &&super::book::Conversation| {
        known.owner == owner && known.bot == Some(place) && known.name == name
    };
    if let Some(known) = book.conversations().find(is_it) {
        return known.id;
    }
    let id = book.create(owner, Some(place), String::new(), None);
    if let Some(made) = book.conversation_mut(id) {
        name.clone_into(&mut made.name);
    }
    id
}

/// A run that tells what it does at once.
struct Run<'b> {
    book: &'b mut Book,
    chat: Chat,
    execute: Id,
    input: usize,
    output: usize,
    /// Whether it was asked for suggestions.
    suggests: bool,
    events: Vec<Bytes>,
}

impl Run<'_> {
    fn perform(&mut self, play: Play, run: &super::book::Run) {
        self.tell_chat("created", None);
        self.tell_chat("in_progress", None);
        let acts = match play {
            Play::Acts(acts) => acts,
            Play::NoAnswer => Vec::new(),
            Play::CannotStart(_) => vec![Act::Fail],
        };
        let mut answer: Option<(Id, String)> = None;
        for act in acts {
            match act {
                Act::Say(piece) => {
                    let (id, said) = answer.get_or_insert_with(|| (self.book.next_id(), String::new()));
                    said.push_str(&piece);
                    let id = *id;
                    self.tell("conversation.message.delta", id, "answer", &piece, "text");
                }
                Act::EndAnswer => {
                    if let Some((id, said)) = answer.take() {
                        self.output += said.chars().count();
                        self.tell("conversation.message.completed", id, "answer", &said, "text");
                        keep(self.book, run, Kind::Answer, text_of(said), Map::new());
                    }
                }
                // Only where they are asked for.
                Act::Suggest(_) if !self.suggests => {}
                Act::Suggest(question) => {
                    let id = self.book.next_id();
                    self.tell("conversation.message.completed", id, "follow_up", &question, "text");
                }
                Act::AskBack(question) => {
                    let id = self.book.next_id();
                    self.tell("conversation.message.delta", id, "answer", &question, "text");
                    self.tell("conversation.message.completed", id, "answer", &question, "text");
                    keep(self.book, run, Kind::Answer, text_of(question), Map::new());
                    keep(self.book, run, Kind::Interrupt, Content::default(), Map::new());
                    self.book.complete(self.chat.id, None);
                    self.tell_chat("requires_action", None);
                    self.done();
                    return;
                }
                Act::Fail => {
                    let error = json!({
                        "code": "720701013", "msg": "Workflow execution failure: plugin api error",
                        "debug_url": self.debug_url(),
                    });
                    self.event("error", &plain(&error));
                    return;
                }
                // No thinking and no steps are shown, and nothing waits.
                Act::Think(_) | Act::Recall(_) | Act::Call(..) | Act::Wait(_) | Act::Hold(_) => {}
            }
        }
        self.book.complete(self.chat.id, None);
        let usage =
            Usage { token_count: 2 * self.output, output_count: self.output, input_count: self.input };
        self.tell_chat("completed", Some(usage));
        self.done();
    }

    fn tell_chat(&mut self, status: &'static str, usage: Option<Usage>) {
        let detail = Detail {
            id: self.chat.id,
            conversation_id: self.chat.conversation_id,
            bot_id: usage.is_some().then_some(self.chat.bot_id),
            status,
            usage,
            execute_id: self.execute,
            section_id: self.chat.section_id,
        };
        self.event(&format!("conversation.chat.{status}"), &plain(&detail));
    }

    fn tell(&mut self, event: &str, id: Id, kind: &'static str, content: &str, content_type: &'static str) {
        let message = Message {
            id,
            chat_id: self.chat.id,
            conversation_id: self.chat.conversation_id,
            bot_id: self.chat.bot_id,
            role: "assistant",
            kind,
            content,
            content_type,
            section_id: self.chat.section_id,
        };
        self.event(event, &plain(&message));
    }

    fn done(&mut self) {
        let data = plain(&json!({ "debug_url": self.debug_url() }));
        self.event("done", &data);
    }

    fn debug_url(&self) -> String {
        format!("http://localhost:8888/work_flow?execute_id={}", self.execute)
    }

    /// An event: ids from 1.
    fn event(&mut self, name: &str, data: &str) {
        let id = self.events.len() + 1;
        self.events.push(Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n")));
    }
}

fn text_of(text: String) -> Content {
    Content { text, ..Content::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Behaviour, Options};

    #[test]
    fn events_have_the_transcripts_form() {
        let simulator = Simulator::new(Options::instant());
        let mut book = simulator.book();
        let conversation = named(&mut book, 0, Id(7), "a");
        assert_eq!(named(&mut book, 0, Id(7), "a"), conversation);
        let bot = Bot::new("7", "flow", Behaviour::Echo);
        let begun = begin(
            &mut book,
            conversation,
            &bot,
            super::super::request::Messages::default(),
            &Map::new(),
            true,
        );
        let run = begun.unwrap().run;
        let chat = run.chat.clone();
        let mut performance = Run {
            book: &mut book,
            chat,
            execute: Id(1),
            input: 21,
            output: 0,
            suggests: false,
            events: Vec::new(),
        };
        performance.perform(Play::Acts(vec![Act::Say("中午".to_owned()), Act::EndAnswer]), &run);
        let ours: String =
            performance.events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        let real = include_str!("../../tests/golden/chatflow/chatflow_text.server.sse");
        // The same names in the same order, and the same keys in each.
        let shape = |text: &str| -> Vec<(String, Vec<String>)> {
            let blocks = text.split("\n\n").filter(|block| !block.is_empty());
            let mut shapes: Vec<_> = blocks
                .map(|block| {
                    let mut lines = block.lines().skip(1);
                    let (name, data) = (lines.next().unwrap(), lines.next().unwrap());
                    let keys = data
                        .split('"')
                        .skip(1)
                        .step_by(2)
                        .filter(|word| data.contains(&format!("\"{word}\":")));
                    (name.to_owned(), keys.map(str::to_owned).collect())
                })
                .collect();
            shapes.dedup();
            shapes
        };
        assert_eq!(shape(&ours), shape(real));
    }
}
