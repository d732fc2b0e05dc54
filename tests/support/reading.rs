//! A transcript read as the relay reads it, and what has to hold of any.

use std::fmt::Write as _;

use cozeway::coze::{Callee, Reader, sse};
use cozeway::openai::ApiError;
use cozeway::openai::chat::{Encoder, Head, body, error_event};
use cozeway::turn::{Event, Failure, Reasoning, Reply};
use serde_json::Value;

use super::schema;

/// What reading a transcript came to.
pub(crate) struct Read {
    pub(crate) events: String,
    pub(crate) reply: Reply,
    pub(crate) stream: Vec<u8>,
    pub(crate) failure: Option<Failure>,
}

fn head() -> Head {
    Head { id: "chatcmpl-1".into(), created: 1_700_000_000, model: "support".into() }
}

/// Reads chunks as the relay does.
pub(crate) fn read<'a>(callee: &Callee, chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = sse::Decoder::default();
    let mut reader = Reader::of(callee);
    let mut events = String::new();
    let mut reply = Reply::default();
    let mut stream = Vec::new();
    let mut encoder = Encoder::new(&head(), 1, true, Reasoning::Field).aloud(&head());
    let mut result = Ok(());
    let mut sink = |event: Event<'_>| {
        describe(&event, &mut events);
        encoder.push(0, event.clone(), &mut stream);
        reply.push(event);
    };
    let mut take = |event: sse::Event<'_>| {
        if result.is_ok() && !reader.is_over() {
            result = reader.read(event, &mut sink);
        }
    };
    for chunk in chunks {
        decoder.push(chunk, &mut take).expect("no event is too long");
    }
    decoder.finish(&mut take);
    let result = result.and_then(|()| reader.end(&mut sink));
    match &result {
        Ok(()) => encoder.finish(&mut stream),
        Err(failure) => error_event(&ApiError::from_failure(failure, false), &mut stream),
    }
    Read { events, reply, stream, failure: result.err() }
}

fn describe(event: &Event<'_>, out: &mut String) {
    match event {
        Event::Logged(id) => writeln!(out, "logged {id}"),
        Event::Started { conversation, chat, section } => {
            let section = section.as_deref().unwrap_or("-");
            writeln!(out, "started {conversation} {chat} {section}")
        }
        Event::Asked(asked) => writeln!(out, "asked {:?} {:?}", asked.wants, asked.resume),
        Event::Step(step) => writeln!(out, "step {}", step.line()),
        Event::Debug(url) => writeln!(out, "debug {url}"),
        Event::Text(text) => writeln!(out, "text {:?}", text.decode()),
        Event::Thinking(text) => writeln!(out, "thinking {:?}", text.decode()),
        Event::Suggestion(text) => writeln!(out, "suggestion {text:?}"),
        Event::Sound(piece) => writeln!(out, "sound {piece}"),
        Event::Usage(usage) => writeln!(out, "usage {} + {}", usage.input, usage.output),
        Event::Finished(finish) => writeln!(out, "finished {finish:?}"),
    }
    .expect("a string takes everything");
}

#[track_caller]
pub(crate) fn assert_same(file: &str, one: &Read, other: &Read) {
    assert_eq!(one.events, other.events, "{file}");
    assert_eq!(one.stream, other.stream, "{file}");
    assert_eq!(
        one.failure.as_ref().map(|f| (f.kind, &f.message)),
        other.failure.as_ref().map(|f| (f.kind, &f.message)),
        "{file}"
    );
}

/// What it says is valid for a client, and both forms agree.
#[track_caller]
pub(crate) fn assert_encoded(file: &str, read: &Read) {
    let chunks = schema::validator("chat_completion_chunk");
    let completions = schema::validator("chat_completion");
    let errors = schema::validator("error");
    let stream = String::from_utf8(read.stream.clone()).expect("UTF-8");
    let mut content = String::new();
    let mut done = false;
    for event in stream.split_terminator("\n\n") {
        let data = event.strip_prefix("data: ").expect("nothing but data");
        assert!(!done, "{file}: something follows [DONE]");
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let value: Value = serde_json::from_str(data).expect("JSON");
        if value.get("error").is_some() {
            schema::assert_valid(&errors, &value, file);
            continue;
        }
        schema::assert_valid(&chunks, &value, file);
        content.push_str(value["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    assert_eq!(done, read.failure.is_none(), "{file}");
    assert_eq!(content, read.reply.text().decode(), "{file}: the chunks fold to the whole");
    if read.failure.is_none() {
        let whole: Value =
            serde_json::from_slice(&body(&head(), std::slice::from_ref(&read.reply), Reasoning::Field))
                .expect("JSON");
        schema::assert_valid(&completions, &whole, file);
        assert_eq!(whole["choices"][0]["message"]["content"], content.as_str(), "{file}");
    }
}

/// What it says is what it said before.
pub(crate) fn assert_snapshots(file: &str, read: Read) {
    let name = file.trim_end_matches(".sse");
    let mut events = read.events;
    if let Some(failure) = &read.failure {
        writeln!(events, "failed {:?}: {failure}", failure.kind).unwrap();
    }
    insta::assert_snapshot!(format!("{name}.events"), events);
    insta::assert_snapshot!(format!("{name}.chat-stream"), String::from_utf8(read.stream).unwrap());
    if read.failure.is_none() {
        let whole = body(&head(), std::slice::from_ref(&read.reply), Reasoning::Field);
        insta::assert_snapshot!(format!("{name}.chat-whole"), String::from_utf8(whole).unwrap());
    }
}
