//! Answers as bytes, ahead of time: in comes a scenario, out comes a whole
//! HTTP response in which only ids are still to be filled in.
//!
//! Coze's form is the community server's (`tests/golden/bot/chat_text.server.sse`),
//! with every event as an HTTP chunk of its own. The other form is OpenAI's.

use std::fmt::Write as _;

use memchr::memmem;

use crate::scenario::Scenario;

/// Stands where each answer has a number of its own, in ids and in questions.
pub(crate) const BLANK: &str = "000000000000";

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// Where the blanks are.
    blanks: Vec<usize>,
    /// Where each part of what is sent with pauses ends.
    pub(crate) parts: Vec<usize>,
    /// Whether the stream is held open at its end.
    pub(crate) held: bool,
}

impl Answer {
    fn new(response: Response, held: bool) -> Self {
        let Response { bytes, mut parts } = response;
        parts.push(bytes.len());
        let blanks = memmem::find_iter(&bytes, BLANK).collect();
        Self { bytes, blanks, parts, held }
    }

    /// Writes it with its own number.
    pub(crate) fn fill(&self, number: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.bytes);
        fill(out, &self.blanks, number);
    }
}

/// Puts a number where the blanks are.
pub(crate) fn fill(bytes: &mut [u8], blanks: &[usize], number: u64) {
    let digits = format!("{number:012}");
    for at in blanks {
        bytes[*at..*at + BLANK.len()].copy_from_slice(digits.as_bytes());
    }
}

/// A response that is being written.
struct Response {
    bytes: Vec<u8>,
    parts: Vec<usize>,
}

impl Response {
    fn stream(headers: &str) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: Sat, 01 Aug 2026 00:00:00 GMT\r\n{headers}\
             Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        Self { bytes: head.into_bytes(), parts: Vec::new() }
    }

    /// One event as one chunk.
    fn chunk(&mut self, event: &str) {
        let size = format!("{:x}\r\n", event.len());
        self.bytes.extend_from_slice(size.as_bytes());
        self.bytes.extend_from_slice(event.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// What follows is sent later, if the scenario has pauses.
    fn part(&mut self) {
        self.parts.push(self.bytes.len());
    }

    fn end(&mut self) {
        self.bytes.extend_from_slice(b"0\r\n\r\n");
    }
}

/// A stream of the community server's `/v3/chat`.
pub(crate) fn coze(scenario: Scenario) -> Answer {
    let bot = scenario.bot();
    let head = format!(
        "Server: hertz\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-Log-Id: 20260801{BLANK}0A1B\r\n"
    );
    let mut response = Response::stream(&head);
    let started = format!(
        "{{\"id\":\"7530602{BLANK}\",\"conversation_id\":\"7530601{BLANK}\",\"bot_id\":\"{bot}\",\
         \"created_at\":1754000000,\"completed_at\":0,\"failed_at\":0,\"status\":\"in_progress\",\
         \"section_id\":\"7530604{BLANK}\"}}"
    );
    response.chunk(&event("conversation.chat.created", &started));
    response.chunk(&event("conversation.chat.in_progress", &started));
    let deltas = scenario.deltas();
    for (index, text) in deltas.iter().enumerate() {
        if index > 0 && scenario == Scenario::Paced {
            response.part();
        }
        response.chunk(&event("conversation.message.delta", &message(bot, "answer", text, "")));
    }
    if scenario == Scenario::Held {
        return Answer::new(response, true);
    }
    let counted =
        ",\"input_tokens\":\"614\",\"output_tokens\":\"19\",\"time_cost\":\"2.3\",\"token\":\"633\"";
    let whole = message(bot, "answer", &deltas.concat(), counted);
    response.chunk(&event("conversation.message.completed", &whole));
    let finish = "{\"msg_type\":\"generate_answer_finish\",\"data\":\
        \"{\\\"finish_reason\\\":0,\\\"fin_data\\\":\\\"\\\"}\",\"from_unit\":\"\"}";
    response.chunk(&event("conversation.message.completed", &message(bot, "verbose", finish, "")));
    let completed = started
        .replace("\"completed_at\":0", "\"completed_at\":1754000004")
        .replace("\"in_progress\"", "\"completed\"");
    response.chunk(&event("conversation.chat.completed", &completed));
    response.chunk("event:conversation.stream.done\ndata:\n\n");
    response.end();
    Answer::new(response, false)
}

fn event(name: &str, data: &str) -> String {
    format!("event:{name}\ndata:{data}\n\n")
}

/// A message of the bot's; `counted` is what else its `meta_data` holds.
fn message(bot: &str, kind: &str, text: &str, counted: &str) -> String {
    let text = go_string(text);
    let id = if kind == "verbose" { "7530605" } else { "7530603" };
    format!(
        "{{\"id\":\"{id}{BLANK}\",\"conversation_id\":\"7530601{BLANK}\",\"bot_id\":\"{bot}\",\
         \"role\":\"assistant\",\"type\":\"{kind}\",\"content\":{text},\"content_type\":\"text\",\
         \"meta_data\":{{\"bot_state\":\"{{\\\"bot_id\\\":\\\"{bot}\\\",\\\"agent_name\\\":\\\"\\\",\
         \\\"agent_id\\\":\\\"{bot}\\\",\\\"awaiting\\\":\\\"{bot}\\\"}}\"{counted}}},\
         \"chat_id\":\"7530602{BLANK}\",\"section_id\":\"7530604{BLANK}\",\"created_at\":1754000001,\
         \"reasoning_content\":\"\"}}"
    )
}

/// A JSON string as Go's encoder writes it.
fn go_string(text: &str) -> String {
    let plain = json_string(text);
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// The same answer as a stream of OpenAI's.
pub(crate) fn openai_stream(scenario: Scenario) -> Answer {
    let mut response = Response::stream("Content-Type: text/event-stream; charset=utf-8\r\n");
    response.chunk(&chunk(scenario, "{\"role\":\"assistant\",\"content\":\"\"}", "null"));
    for (index, text) in scenario.deltas().iter().enumerate() {
        if index > 0 && scenario == Scenario::Paced {
            response.part();
        }
        let mut delta = String::from("{\"content\":");
        let _ = write!(delta, "{}}}", json_string(text));
        response.chunk(&chunk(scenario, &delta, "null"));
    }
    if scenario == Scenario::Held {
        return Answer::new(response, true);
    }
    response.chunk(&chunk(scenario, "{}", "\"stop\""));
    response.chunk("data: [DONE]\n\n");
    response.end();
    Answer::new(response, false)
}

fn chunk(scenario: Scenario, delta: &str, finish: &str) -> String {
    let model = scenario.model();
    format!(
        "data: {{\"id\":\"chatcmpl-{BLANK}\",\"object\":\"chat.completion.chunk\",\"created\":1754000000,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
         \"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
    )
}

/// The same answer in one piece.
pub(crate) fn openai_whole(scenario: Scenario) -> Answer {
    let (model, text) = (scenario.model(), json_string(&scenario.text()));
    let body = format!(
        "{{\"id\":\"chatcmpl-{BLANK}\",\"object\":\"chat.completion\",\"created\":1754000000,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":{text},\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":614,\"completion_tokens\":19,\"total_tokens\":633}}}}"
    );
    Answer::new(Response { bytes: small("200 OK", &body), parts: Vec::new() }, false)
}

/// A response of one JSON body.
pub(crate) fn small(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nDate: Sat, 01 Aug 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
