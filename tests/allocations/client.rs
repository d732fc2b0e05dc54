//! A client that keeps its connection: requests as bytes, answers as far as
//! HTTP/1.1 takes. It judges no more than that the right way was gone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use memchr::memmem;
use serde_json::{Value, json};

use crate::peer::{Peer, QUESTION};
use crate::scenario::Scenario;
use crate::wire::{BLANK, fill};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the text of a piece begins.
const CONTENT: &[u8] = b"\"content\":\"";

/// A request but for its number.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    bytes: Vec<u8>,
    blanks: Vec<usize>,
    /// What the head of its answer has to hold.
    pub(crate) expects: Vec<&'static str>,
    /// How many times Coze has to be told to go on.
    pauses: usize,
}

impl Question {
    /// A chat of these messages with a scenario's bot.
    pub(crate) fn chat(scenario: Scenario, suffix: &str, stream: bool, messages: &Value) -> Self {
        let model = format!("{}{suffix}", scenario.model());
        let body = json!({"model": model, "stream": stream, "messages": messages});
        let note = if suffix.is_empty() { "x-cozeway-conversation: new" } else { "HTTP/1.1 200" };
        let pauses = if scenario == Scenario::Paced { scenario.deltas().len() - 1 } else { 0 };
        let expects = vec!["HTTP/1.1 200", note];
        Self { expects, pauses, ..Self::new("/v1/chat/completions", "", crate::KEY, &body) }
    }

    /// Any request.
    pub(crate) fn new(path: &str, headers: &str, key: &str, body: &Value) -> Self {
        let body = body.to_string();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        let blanks = memmem::find_iter(&bytes, BLANK).collect();
        Self { bytes, blanks, expects: vec!["HTTP/1.1 200"], pauses: 0 }
    }

    pub(crate) fn expecting(self, expects: Vec<&'static str>) -> Self {
        Self { expects, ..self }
    }
}

/// What a client asks.
pub(crate) fn ask() -> Value {
    let question = format!("{}{BLANK}: was heißt \"你好\"?", String::from_utf8_lossy(QUESTION));
    json!({"role": "user", "content": question})
}

/// One message of a long conversation, of 120 bytes, no two alike.
pub(crate) fn past(index: usize) -> Value {
    let role = if index.is_multiple_of(2) { "user" } else { "assistant" };
    let mut text =
        format!("Message {index:02} of {BLANK}: what was said about Wörter, 一些汉字 and \"quotes\", ");
    text.push_str(&"at some length. ".repeat(8)[..120 - text.len()]);
    json!({"role": role, "content": text})
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, answer: Vec::new() }
    }

    /// Asks and reads the whole answer.
    pub(crate) fn ask(&mut self, question: &Question, number: u64, peer: &Peer) {
        let mut request = question.bytes.clone();
        fill(&mut request, &question.blanks, number);
        self.answer.clear();
        self.stream.write_all(&request).unwrap();
        for pause in 0..question.pauses {
            self.read_until(|answer| words(answer) > pause);
            peer.go_on();
        }
        self.read_until(is_whole);
        for expected in &question.expects {
            let is_there = memmem::find(&self.answer, expected.as_bytes()).is_some();
            assert!(is_there, "no {expected:?} in {}", String::from_utf8_lossy(&self.answer));
        }
    }

    fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) {
        let mut some = [0; 64 * 1024];
        while !is_enough(&self.answer) {
            let read = self.stream.read(&mut some).expect("an answer in time");
            assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&self.answer));
            self.answer.extend_from_slice(&some[..read]);
        }
    }
}

/// How many pieces of text have come.
fn words(answer: &[u8]) -> usize {
    let is_word = |at: &usize| answer.get(at + CONTENT.len()).is_some_and(|next| *next != b'"');
    memmem::find_iter(answer, CONTENT).filter(is_word).count()
}

/// Whether a message has all of its body.
pub(crate) fn is_whole(message: &[u8]) -> bool {
    let Some(end) = memmem::find(message, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => message.len() - end - 4 >= length.parse::<usize>().unwrap(),
        None => message.ends_with(b"\r\n0\r\n\r\n"),
    }
}
