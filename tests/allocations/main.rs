//! A guard that does not depend on the machine: how often and how much the
//! gateway allocates for a request and for a chunk, against the committed
//! `figures.toml`. More fails, and so does less, so that what was gained stays.
//!
//! `COZEWAY_BLESS=1 cargo test --test allocations` writes the figures anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod client;
mod figures;
mod gateway;
mod peer;
#[path = "../../benches/gateway/scenario.rs"]
#[expect(dead_code, reason = "the benchmark asks for more")]
mod scenario;
#[path = "../../benches/gateway/wire.rs"]
#[expect(dead_code, reason = "the benchmark answers as OpenAI, too")]
mod wire;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cozeway::telemetry::{self, Format};
use serde_json::{Value, json};

use client::{Client, Question, ask, past};
use figures::{Figure, Row, settle};
use gateway::Gateway;
use peer::Peer;
use scenario::Scenario;

/// The key of the measured gateway.
const KEY: &str = "sk-count-0123456789abcdef0123456789abcdef";

/// What the model without a memory has behind its name.
const FORGETFUL: &str = "-off";

/// How often each thing is done.
const TIMES: u64 = 100;

#[test]
fn allocations_are_as_committed() {
    // The log line is part of what a request costs.
    telemetry::init_to(Format::Json, "info", std::io::sink, false).unwrap();
    let peer = Peer::start();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("allocations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = format!("sqlite:{}/state.db", folder.display());
    let mut rows = Counting::new(&peer, "memory:").all();
    rows.extend(Counting::new(&peer, &file).of_the_file());
    std::fs::remove_dir_all(folder).unwrap();
    settle(&rows);
}

/// Everything that the gateway can do turned on, as in `benches/run`.
fn config(peer: &Peer, state: &str) -> String {
    let limits = "requests_per_minute = 1000000000\ntokens_per_minute = 1000000000\n\
                  concurrent_requests = 100000\n";
    let mut config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [coze.mock]\nbase_url = \"http://{}\"\nkind = \"studio\"\ntoken = \"pat_mock\"\n\
         [state]\nurl = \"{state}\"\n[keys.count]\nkey = \"{KEY}\"\n{limits}[limits]\n{limits}",
        peer.address
    );
    for scenario in [Scenario::One, Scenario::Burst, Scenario::Paced] {
        let (name, bot) = (scenario.model(), scenario.bot());
        let _ = write!(
            config,
            "[models.{name}]\nbot_id = \"{bot}\"\nmemory = \"auto\"\n\
             [models.{name}{FORGETFUL}]\nbot_id = \"{bot}\"\nmemory = \"off\"\n"
        );
    }
    config
}

/// One gateway, and the client's questions to it.
struct Counting<'a> {
    gateway: Gateway,
    peer: &'a Peer,
    number: AtomicU64,
}

impl<'a> Counting<'a> {
    fn new(peer: &'a Peer, state: &str) -> Self {
        Self { gateway: Gateway::start(&config(peer, state)), peer, number: AtomicU64::new(1) }
    }

    /// What each of these questions costs, in turn, all of them with one
    /// number.
    fn each(&self, questions: &[&Question]) -> Figure {
        self.gateway.measure(TIMES, |client: &mut Client| {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            questions.iter().for_each(|question| client.ask(question, number, self.peer));
        })
    }

    fn all(&self) -> Vec<Row> {
        let one = json!([ask()]);
        let plain = Question::chat(Scenario::One, "", false, &one);
        let plain_off = Question::chat(Scenario::One, FORGETFUL, false, &one);
        let streamed = Question::chat(Scenario::One, "", true, &one);
        let streamed_off = Question::chat(Scenario::One, FORGETFUL, true, &one);
        let burst = Question::chat(Scenario::Burst, "", true, &one);
        let paced = Question::chat(Scenario::Paced, "", true, &one);
        let history: Value = (0..50).map(past).chain([ask()]).collect();
        let replayed = vec!["HTTP/1.1 200", "x-cozeway-conversation: replayed"];
        let long = Question::chat(Scenario::One, "", false, &history).expecting(replayed);
        let long_off = Question::chat(Scenario::One, FORGETFUL, false, &history);
        let [plain, plain_off, streamed, streamed_off, burst, paced, long, long_off] =
            [&plain, &plain_off, &streamed, &streamed_off, &burst, &paced, &long, &long_off]
                .map(|question| self.each(&[question]));
        let chunks = |scenario: Scenario| scenario.deltas().len() as u64 - 1;
        let further = burst.beyond(streamed).over(chunks(Scenario::Burst));
        let paced = paced.beyond(streamed).over(chunks(Scenario::Paced));
        vec![
            row("plain request, memory off", plain_off, OF_A_REQUEST),
            row("plain request", plain, OF_A_REQUEST),
            row("streamed request, memory off", streamed_off, OF_A_REQUEST),
            row("streamed request", streamed, OF_A_REQUEST),
            row("each further chunk of a burst of 100", further, OF_A_CHUNK),
            row("each paced chunk", paced, OF_A_CHUNK),
            row("50 messages of history, memory off", long_off.beyond(plain_off), OF_A_REQUEST),
            row("50 messages of history", long.beyond(plain), OF_A_REQUEST),
            row("a turn that goes on", self.going_on().beyond(plain), OF_A_REQUEST),
            row("tools/call by MCP", self.each(&[&tool()]), OF_A_CALL_BY_MCP),
            row("a request without a key", self.each(&[&without_key()]), OF_A_REQUEST),
        ]
    }

    /// What differs where conversations are kept in a file.
    fn of_the_file(&self) -> Vec<Row> {
        let plain = self.each(&[&Question::chat(Scenario::One, "", false, &json!([ask()]))]);
        vec![
            row("plain request, state in SQLite", plain, OF_A_FILE),
            row("a turn that goes on, state in SQLite", self.going_on().beyond(plain), OF_A_FILE),
        ]
    }

    /// Two turns of one conversation.
    fn going_on(&self) -> Figure {
        let first = Question::chat(Scenario::One, "", false, &json!([ask()]));
        let answer = json!({"role": "assistant", "content": Scenario::One.text()});
        let second = Question::chat(Scenario::One, "", false, &json!([ask(), answer, ask()]));
        let goes_on = vec!["HTTP/1.1 200", "x-cozeway-conversation: continued"];
        self.each(&[&first, &second.expecting(goes_on)])
    }
}

fn tool() -> Question {
    let arguments = json!({"message": ask()["content"]});
    let params = json!({"name": Scenario::One.model(), "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let headers = "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n";
    Question::new("/mcp", headers, KEY, &body).expecting(vec!["HTTP/1.1 200", "structuredContent"])
}

/// A wrong one would be slowed down.
fn without_key() -> Question {
    let body = json!({"model": Scenario::One.model(), "messages": [ask()]});
    Question::new("/v1/chat/completions", "", "", &body).expecting(vec!["HTTP/1.1 401"])
}

/// How far apart two runs may be: some five times what was seen, on a machine
/// with nothing else to do and on one with too much. How much one read brings,
/// and when a table grows, is chance.
const OF_A_REQUEST: Figure = Figure { allocations: 0.75, bytes: 500.0 };
/// New conversations go to the file's thread in pieces: the slower the
/// machine, the fewer of them share one.
const OF_A_FILE: Figure = Figure { allocations: 1.75, bytes: 2000.0 };
const OF_A_CALL_BY_MCP: Figure = Figure { allocations: 3.0, bytes: 3000.0 };
const OF_A_CHUNK: Figure = Figure { allocations: 0.1, bytes: 30.0 };

fn row(name: &'static str, figure: Figure, slack: Figure) -> Row {
    Row { name, figure, slack }
}
