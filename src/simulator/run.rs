//! One run: what a bot does, told in events and stored as it goes.
//!
//! In comes a [`Play`], out go the bytes of events through a bounded channel.
//! A client that leaves ends nothing: the run goes on to its end and is
//! stored, as in the server (protocol 6(e)).

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Simulator;
use super::book::{Content, Kind, Stored};
use super::bots::{Act, Play};
use super::wire::{self, Chat, Id, Map, Usage};

/// A run that is ready to go.
#[derive(Debug)]
pub(super) struct Performance {
    pub(super) simulator: Simulator,
    pub(super) chat: Chat,
    pub(super) play: Play,
    /// The time between two deltas.
    pub(super) pace: Duration,
    /// The characters of the context, which is what is counted as input.
    pub(super) input: usize,
    /// `extra_params`, which come back in `meta_data` (protocol 3.1).
    pub(super) extra: Map,
    pub(super) events: mpsc::Sender<Bytes>,
}

/// An answer that is being given.
struct Answer {
    id: Id,
    created_at: u64,
    text: String,
    reasoning: String,
    since: Instant,
}

impl Performance {
    /// Performs it to its end.
    pub(super) async fn perform(mut self) {
        let play = std::mem::replace(&mut self.play, Play::NoAnswer);
        self.tell_chat("conversation.chat.created").await;
        self.tell_chat("conversation.chat.in_progress").await;
        let usage = match play {
            Play::NoAnswer => None,
            Play::CannotStart(msg) => {
                self.tell(wire::error_event(103_100_001, msg)).await;
                return;
            }
            Play::Acts(acts) => self.act(acts).await,
        };
        // Stored before it is told: who has seen the end may ask for it.
        if let Some(chat) = self.simulator.book().complete(self.chat.id, usage) {
            self.chat = Chat { usage: None, ..chat };
        }
        self.tell_chat("conversation.chat.completed").await;
        self.tell(wire::event("conversation.stream.done", "")).await;
    }

    /// Does what the bot does; gives the usage if the model got to report it.
    async fn act(&mut self, acts: Vec<Act>) -> Option<Usage> {
        let mut answer: Option<Answer> = None;
        let mut usage = None;
        for act in acts {
            match act {
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::Hold(until) => until.cancelled().await,
                Act::Think(text) => self.delta(&mut answer, "", &text).await,
                Act::Say(text) => self.delta(&mut answer, &text, "").await,
                Act::EndAnswer => {
                    if let Some(answer) = answer.take() {
                        usage = Some(self.end_answer(answer).await);
                    }
                }
                Act::Suggest(question) => {
                    self.message(Kind::FollowUp, question, self.meta()).await;
                }
                Act::Recall(slice) => {
                    self.message(Kind::Knowledge, wire::knowledge(&slice), self.meta()).await;
                }
                Act::Call(arguments, result) => self.call(&arguments, result).await,
                Act::AskBack(question) => usage = Some(self.ask_back(question).await),
                Act::Fail => {
                    // `chat_error_midstream.server.sse`: what was said is not stored.
                    self.tell(wire::error_event(103_200_002, "Internal Server Error")).await;
                    return None;
                }
            }
        }
        self.message(Kind::Finish, wire::finish_verbose(), self.meta()).await;
        usage
    }

    /// A delta of the answer; begins one if there is none.
    async fn delta(&mut self, answer: &mut Option<Answer>, text: &str, reasoning: &str) {
        let answer = answer.get_or_insert_with(|| Answer {
            id: self.simulator.book().next_id(),
            created_at: super::now(),
            text: String::new(),
            reasoning: String::new(),
            since: Instant::now(),
        });
        answer.text.push_str(text);
        answer.reasoning.push_str(reasoning);
        let meta = self.meta();
        let message = wire::Message {
            created_at: answer.created_at,
            ..self.object(answer.id, Kind::Answer, text, &meta, Some(reasoning))
        };
        self.tell(wire::event("conversation.message.delta", &wire::json(&message))).await;
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
    }

    /// Completes an answer. The event repeats the text but not the reasoning;
    /// the stored message has both (`chat_reasoning.server.sse`).
    async fn end_answer(&mut self, answer: Answer) -> Usage {
        let usage = self.usage(answer.text.chars().count() + answer.reasoning.chars().count());
        // An answer with empty content is neither completed nor stored
        // (protocol 3.5).
        if answer.text.is_empty() {
            return usage;
        }
        let meta = self.counted(usage, answer.since);
        let message = wire::Message {
            created_at: answer.created_at,
            ..self.object(answer.id, Kind::Answer, &answer.text, &meta, Some(""))
        };
        let event = wire::event("conversation.message.completed", &wire::json(&message));
        let content = Content { text: answer.text, ..Content::default() };
        self.store(answer.id, Kind::Answer, content, meta, answer.created_at, answer.reasoning);
        self.tell(event).await;
        usage
    }

    /// A workflow tool asks back: the sequence of
    /// `chat_interrupt_text.server.sse`.
    async fn ask_back(&mut self, question: String) -> Usage {
        let since = Instant::now();
        self.call(r#"{"input":"weather"}"#, "directly streaming reply".to_owned()).await;

        let id = self.simulator.book().next_id();
        let usage = self.usage(question.chars().count());
        let (bare, meta) = (self.meta(), self.counted(usage, since));
        for (event, meta) in
            [("conversation.message.delta", &bare), ("conversation.message.completed", &meta)]
        {
            let message =
                wire::Message { created_at: 0, ..self.object(id, Kind::Answer, &question, meta, None) };
            let event = wire::event(event, &wire::json(&message));
            self.tell(event).await;
        }
        let content = Content { text: question, ..Content::default() };
        self.store(id, Kind::Answer, content, meta, super::now(), String::new());

        let mut meta = self.meta();
        meta.insert(
            "requires_action".to_owned(),
            r#"{"type":"submit_tool_outputs","submit_tool_outputs":{"tool_calls":null}}"#.to_owned(),
        );
        meta.insert("resume_info".to_owned(), resume_info(CALL));
        meta.insert("tool_calls_ids".to_owned(), CALL.to_owned());
        self.message(Kind::Interrupt, wire::interrupt_verbose(), meta).await;
        usage
    }

    /// A tool is called, and answers.
    async fn call(&self, arguments: &str, result: String) {
        let since = Instant::now();
        let mut meta = self.timed(since);
        meta.insert("plugin".to_owned(), TOOL.to_owned());
        meta.insert("tool_name".to_owned(), TOOL.to_owned());
        self.message(Kind::FunctionCall, tool_call(arguments), meta).await;
        self.message(Kind::ToolResponse, result, self.timed(since)).await;
    }

    /// A message that comes whole, stored and told.
    async fn message(&self, kind: Kind, text: String, meta: Map) {
        let id = self.simulator.book().next_id();
        let message = self.object(id, kind, &text, &meta, Some(""));
        let event = wire::event("conversation.message.completed", &wire::json(&message));
        let content = Content { text, ..Content::default() };
        self.store(id, kind, content, meta, super::now(), String::new());
        self.tell(event).await;
    }

    fn object<'a>(
        &self,
        id: Id,
        kind: Kind,
        content: &'a str,
        meta_data: &'a Map,
        reasoning_content: Option<&'a str>,
    ) -> wire::Message<'a> {
        wire::Message {
            id,
            conversation_id: self.chat.conversation_id,
            bot_id: self.chat.bot_id,
            role: kind.role(),
            kind: kind.name(),
            content,
            content_type: "text",
            meta_data,
            chat_id: self.chat.id,
            section_id: self.chat.section_id,
            created_at: super::now(),
            reasoning_content,
        }
    }

    fn store(&self, id: Id, kind: Kind, content: Content, meta: Map, created_at: u64, reasoning: String) {
        let bot = self.chat.bot_id;
        let stored = Stored { id, bot, kind, content, meta, created_at, reasoning };
        self.simulator.book().store(self.chat.id, stored);
    }

    fn usage(&self, output: usize) -> Usage {
        Usage { token_count: self.input + output, output_count: output, input_count: self.input }
    }

    /// The `meta_data` that every message has.
    fn meta(&self) -> Map {
        let mut meta = self.extra.clone();
        meta.insert("bot_state".to_owned(), wire::bot_state(self.chat.bot_id));
        meta
    }

    fn timed(&self, since: Instant) -> Map {
        let mut meta = self.meta();
        meta.insert("time_cost".to_owned(), format!("{:.1}", since.elapsed().as_secs_f64()));
        meta
    }

    /// The `meta_data` of a completed answer.
    fn counted(&self, usage: Usage, since: Instant) -> Map {
        let mut meta = self.timed(since);
        meta.insert("input_tokens".to_owned(), usage.input_count.to_string());
        meta.insert("output_tokens".to_owned(), usage.output_count.to_string());
        meta.insert("token".to_owned(), usage.token_count.to_string());
        meta
    }

    async fn tell_chat(&self, name: &str) {
        self.tell(wire::event(name, &wire::json(&self.chat))).await;
    }

    /// Sends an event to the client, if it is still there.
    async fn tell(&self, event: Bytes) {
        // A client that has left changes nothing (protocol 6(e)).
        let _gone = self.events.send(event).await;
    }
}

/// The name of the bots' tool.
const TOOL: &str = "ts-weather";

/// The id of its calls.
const CALL: &str = "call_wf_1";

fn tool_call(arguments: &str) -> String {
    #[derive(Serialize)]
    struct Call<'a> {
        index: u32,
        id: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        function: Function<'a>,
    }
    #[derive(Serialize)]
    struct Function<'a> {
        name: &'a str,
        arguments: &'a str,
    }
    let function = Function { name: TOOL, arguments };
    wire::json(&Call { index: 0, id: CALL, kind: "function", function })
}

fn resume_info(call_id: &str) -> String {
    format!(
        r#"{{"AllToolInterruptData":{{}},"AllWfInterruptData":{{}},"ToolCallID":"{call_id}","InterruptType":2,"InterruptID":"{}","ChatflowInterrupt":null}}"#,
        uuid::Uuid::now_v7()
    )
}
