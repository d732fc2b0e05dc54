//! One client's connection: requests as bytes, responses as far as HTTP/1.1
//! takes, no more.
//!
//! In comes a request that is ready but for its number, out comes the body of
//! the answer. It checks the status and the framing; the text is for
//! [`crate::answer`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memchr::memmem;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::answer::{CONTENT, Form, Void, check};
use crate::scenario::Scenario;
use crate::wire::{BLANK, fill};

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// How much is read at once.
const READ: usize = 64 * 1024;

/// A buffer that is larger is given back.
const KEPT: usize = 1 << 20;

/// Every how many answers one is parsed in full.
const DEEPLY: u64 = 64;

/// Each request has a number, and so a text, of its own.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Something that answers.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What the paths begin with.
    pub(crate) prefix: String,
    /// Whether it is asked as Coze is.
    pub(crate) is_coze: bool,
    /// Header lines that it wants, each with its end.
    pub(crate) headers: String,
}

/// What is asked, over and over.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) target: Target,
    request: Vec<u8>,
    blanks: Vec<usize>,
    form: Form,
    expected: Arc<str>,
}

/// How a scenario is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) scenario: Scenario,
    pub(crate) stream: bool,
    /// How many messages come before the last, of 120 bytes each.
    pub(crate) history: usize,
    /// What is put behind the model's name.
    pub(crate) suffix: &'static str,
}

impl Asked {
    pub(crate) fn streamed(scenario: Scenario) -> Self {
        Self { scenario, stream: true, history: 0, suffix: "" }
    }

    pub(crate) fn whole(scenario: Scenario) -> Self {
        Self { stream: false, ..Self::streamed(scenario) }
    }
}

impl Question {
    pub(crate) fn new(target: &Target, asked: Asked) -> Self {
        let Asked { scenario, stream, history, suffix } = asked;
        let last = format!("Question {BLANK}: was heißt \"你好\"?");
        let (path, body) = if target.is_coze {
            let messages =
                json!([{"role": "user", "type": "question", "content": last, "content_type": "text"}]);
            (
                "v3/chat",
                json!({"bot_id": scenario.bot(), "user_id": "bench", "stream": true, "additional_messages": messages}),
            )
        } else {
            let mut messages: Vec<_> = (0..history).map(past).collect();
            messages.push(json!({"role": "user", "content": last}));
            let model = format!("{}{suffix}", scenario.model());
            ("v1/chat/completions", json!({"model": model, "stream": stream, "messages": messages}))
        };
        let body = body.to_string();
        let (Target { address, prefix, headers, .. }, length) = (target, body.len());
        let request = format!(
            "POST {prefix}/{path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Type: application/json\r\n\
             Accept: text/event-stream, application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes();
        let blanks = memmem::find_iter(&request, BLANK).collect();
        let form = match (target.is_coze, stream) {
            (true, _) => Form::Coze,
            (_, true) => Form::Stream,
            (_, false) => Form::Whole,
        };
        Self { target: target.clone(), request, blanks, form, expected: scenario.text().into() }
    }
}

/// One message of a long conversation, of 120 bytes, no two alike.
fn past(index: usize) -> serde_json::Value {
    let role = if index.is_multiple_of(2) { "user" } else { "assistant" };
    let mut text =
        format!("Message {index:02} of {BLANK}: what was said about Wörter, 一些汉字 and \"quotes\", ");
    text.push_str(&"at some length. ".repeat(8)[..120 - text.len()]);
    json!({"role": role, "content": text})
}

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    question: Question,
    buffer: Vec<u8>,
    body: Vec<u8>,
    asked: u64,
}

/// How far a response has been read.
#[derive(Default)]
struct Reading {
    at: usize,
    /// Known once the head is there: how long the body is, or that it comes
    /// in chunks.
    framing: Option<Framing>,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    pub(crate) async fn open(question: &Question) -> Result<Self, Void> {
        let stream = TcpStream::connect(question.target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, question: question.clone(), buffer: Vec::new(), body: Vec::new(), asked: 0 })
    }

    /// Asks, reads the whole answer, and checks it.
    pub(crate) async fn ask(&mut self) -> Result<(), Void> {
        self.send().await?;
        let mut reading = Reading::default();
        let whole = async {
            while !self.read(&mut reading).await? {}
            Ok(())
        };
        timeout(LIMIT, whole).await.unwrap_or_else(|_| Err(Void::new("an answer that does not end")))?;
        self.check()
    }

    /// The same, and how long it was to the first word.
    pub(crate) async fn ask_timed(&mut self) -> Result<Duration, Void> {
        let began = Instant::now();
        self.send().await?;
        let (mut reading, mut first) = (Reading::default(), None);
        loop {
            let is_whole = self.read(&mut reading).await?;
            if first.is_none() && self.has_words() {
                first = Some(began.elapsed());
            }
            if is_whole {
                break;
            }
        }
        self.check()?;
        first.ok_or_else(|| Void::new("an answer without a word"))
    }

    /// Asks for a stream that is held, and reads its first words.
    pub(crate) async fn hold(&mut self) -> Result<(), Void> {
        self.send().await?;
        let mut reading = Reading::default();
        let words = async {
            while !self.has_words() {
                if self.read(&mut reading).await? {
                    return Err(Void::new("a held stream that has ended"));
                }
            }
            Ok(())
        };
        timeout(LIMIT, words).await.unwrap_or_else(|_| Err(Void::new("a held stream without words")))?;
        // There are thousands of them.
        (self.buffer, self.body) = (Vec::new(), Vec::new());
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Void> {
        let Self { stream, question, buffer, body, asked } = self;
        for kept in [buffer, body] {
            kept.clear();
            kept.shrink_to(KEPT);
        }
        fill(&mut question.request, &question.blanks, NUMBER.fetch_add(1, Ordering::Relaxed));
        *asked += 1;
        Ok(stream.write_all(&question.request).await?)
    }

    fn check(&self) -> Result<(), Void> {
        let Question { form, expected, .. } = &self.question;
        check(*form, &self.body, expected, self.asked % DEEPLY == 1)
    }

    fn has_words(&self) -> bool {
        memmem::find_iter(&self.body, CONTENT)
            .any(|at| self.body.get(at + CONTENT.len()).is_some_and(|next| *next != b'"'))
    }

    /// Reads once; says whether the response is whole.
    async fn read(&mut self, reading: &mut Reading) -> Result<bool, Void> {
        self.buffer.reserve(READ);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(Void::new("the connection ended inside an answer"));
        }
        reading.advance(&self.buffer, &mut self.body)
    }
}

impl Reading {
    fn advance(&mut self, buffer: &[u8], body: &mut Vec<u8>) -> Result<bool, Void> {
        if self.framing.is_none() {
            let Some(end) = memmem::find(buffer, b"\r\n\r\n") else { return Ok(false) };
            self.framing = Some(framing(&buffer[..end], buffer)?);
            self.at = end + 4;
        }
        if let Some(Framing::Length(length)) = self.framing {
            body.extend_from_slice(&buffer[self.at..]);
            self.at = buffer.len();
            return Ok(body.len() >= length);
        }
        loop {
            let rest = &buffer[self.at..];
            let Some(line) = memmem::find(rest, b"\r\n") else { return Ok(false) };
            let size = std::str::from_utf8(&rest[..line]).ok();
            let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or_else(|| Void::new("a chunk without a size"))?;
            let (from, to) = (line + 2, line + 2 + size);
            if rest.len() < to + 2 {
                return Ok(false);
            }
            body.extend_from_slice(&rest[from..to]);
            self.at += to + 2;
            if size == 0 {
                return Ok(true);
            }
        }
    }
}

fn framing(head: &[u8], all: &[u8]) -> Result<Framing, Void> {
    if !head.starts_with(b"HTTP/1.1 200") {
        let seen = &all[..all.len().min(600)];
        return Err(Void::new(format!("not an answer: {}", String::from_utf8_lossy(seen))));
    }
    let head = head.to_ascii_lowercase();
    if memmem::find(&head, b"\r\ntransfer-encoding: chunked").is_some() {
        return Ok(Framing::Chunked);
    }
    let name = b"\r\ncontent-length: ";
    let at = memmem::find(&head, name).ok_or_else(|| Void::new("an answer without a length"))?;
    let digits = head[at + name.len()..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    length.map(Framing::Length).ok_or_else(|| Void::new("a length that is no number"))
}

/// The body of a response that is whole.
#[cfg(test)]
pub(crate) fn body_of(response: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let is_whole = Reading::default().advance(response, &mut body);
    assert!(is_whole.is_ok_and(|whole| whole), "the response ends");
    body
}
