//! The fast mock: Coze's `/v3/chat` and OpenAI's chat completions, answered
//! with what was rendered ahead.
//!
//! A process of its own with one thread. In comes a request, of which only
//! the bot or the model is looked at; out goes the answer in as few writes as
//! its scenario has parts. It judges nothing and remembers nothing.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::scenario::{PAUSE_MS, Scenario};
use crate::wire::{self, Answer};

/// The longest request.
const MAX_REQUEST: usize = 1 << 20;

/// A buffer that is larger is given back.
const KEPT: usize = 1 << 20;

/// A chat that is over (`chat_retrieve.server.json`).
const RETRIEVED: &str = "{\"data\":{\"id\":\"7530602000000000001\",\"conversation_id\":\"7530601000000000001\",\
    \"bot_id\":\"7530512345678901201\",\"created_at\":1754000000,\"completed_at\":1754000004,\"failed_at\":0,\
    \"status\":\"completed\",\"usage\":{\"token_count\":633,\"output_count\":19,\"input_count\":614},\
    \"section_id\":\"7530604000000000001\"},\"code\":0,\"msg\":\"\"}";

/// All answers, in the order of [`Scenario::ALL`].
struct Book {
    coze: Vec<Answer>,
    streams: Vec<Answer>,
    wholes: Vec<Answer>,
    number: Cell<u64>,
    /// Streams that are being held.
    held: Cell<u64>,
    /// Requests that are none of these.
    unknown: Cell<u64>,
}

/// What was asked for.
struct Asked {
    path: Vec<u8>,
    body: Vec<u8>,
}

/// Serves until it is killed. Says on standard output where.
pub(crate) async fn run() -> io::Result<()> {
    let book = Rc::new(Book {
        coze: Scenario::ALL.map(wire::coze).into(),
        streams: Scenario::ALL.map(wire::openai_stream).into(),
        wholes: Scenario::ALL.map(wire::openai_whole).into(),
        number: Cell::new(1),
        held: Cell::new(0),
        unknown: Cell::new(0),
    });
    // Peers that run already have to know where it is.
    let port = std::env::var("BENCH_MOCK_PORT").unwrap_or_default().parse::<u16>().unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", listener.local_addr()?);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                // One that is gone before it is taken is no reason to end.
                let Ok((stream, _)) = listener.accept().await else { continue };
                let book = Rc::clone(&book);
                tokio::task::spawn_local(async move {
                    let _ = serve(stream, &book).await;
                });
            }
        })
        .await
}

async fn serve(mut stream: TcpStream, book: &Book) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut out) = (Vec::with_capacity(4096), Vec::new());
    while let Some(asked) = read_request(&mut stream, &mut input).await? {
        let Some(answer) = book.find(&asked) else {
            stream.write_all(&book.other(&asked)).await?;
            continue;
        };
        answer.fill(book.number.replace(book.number.get() + 1), &mut out);
        let (mut from, mut due) = (0, Instant::now());
        for part in &answer.parts {
            if from > 0 {
                due += Duration::from_millis(PAUSE_MS);
                sleep_until(due).await;
            }
            stream.write_all(&out[from..*part]).await?;
            from = *part;
        }
        if answer.held {
            book.held.set(book.held.get() + 1);
            // There are thousands of them.
            drop((out, input));
            let ended = stream.read_u8().await;
            book.held.set(book.held.get() - 1);
            return ended.map(drop);
        }
        if out.capacity() > KEPT {
            out = Vec::new();
        }
    }
    Ok(())
}

/// The next request; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        if let Some(head) = memmem::find(input, b"\r\n\r\n") {
            let whole = head + 4 + content_length(&input[..head]);
            if input.len() >= whole {
                let path = input.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec();
                let body = input[head + 4..whole].to_vec();
                input.drain(..whole);
                return Ok(Some(Asked { path, body }));
            }
        }
        if input.len() > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let line = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    let digits = line.and_then(|value| std::str::from_utf8(value).ok());
    digits.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}

impl Book {
    fn find(&self, asked: &Asked) -> Option<&Answer> {
        let scenario = |key: &[u8], name: fn(Scenario) -> &'static str| {
            let value = string_of(&asked.body, key)?;
            Scenario::ALL.iter().position(|scenario| name(*scenario).as_bytes() == value)
        };
        if asked.path.starts_with(b"/v3/chat") && !asked.path.starts_with(b"/v3/chat/") {
            return self.coze.get(scenario(b"\"bot_id\"", Scenario::bot)?);
        }
        if asked.path.ends_with(b"/chat/completions") {
            let at = scenario(b"\"model\"", Scenario::model)?;
            let streams = [&b"\"stream\":true"[..], b"\"stream\": true"];
            let is_stream = streams.iter().any(|text| memmem::find(&asked.body, text).is_some());
            return if is_stream { self.streams.get(at) } else { self.wholes.get(at) };
        }
        None
    }

    /// The answer to anything else: a chat's cost, or what was counted here.
    fn other(&self, asked: &Asked) -> Vec<u8> {
        match asked.path.as_slice() {
            b"/mock" => {
                let counts = format!("{{\"held\":{},\"unknown\":{}}}", self.held.get(), self.unknown.get());
                wire::small("200 OK", &counts)
            }
            // What a chat has cost whose client has left.
            path if path.starts_with(b"/v3/chat/retrieve?") => wire::small("200 OK", RETRIEVED),
            _ => {
                self.unknown.set(self.unknown.get() + 1);
                wire::small("404 Not Found", "{\"code\":404,\"msg\":\"the mock does not know this\"}")
            }
        }
    }
}

/// The string behind a key, wherever in the JSON.
fn string_of<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = &body[memmem::find(body, key)? + key.len()..];
    let mut quoted = rest.split(|byte| *byte == b'"');
    quoted.next()?;
    quoted.next()
}
