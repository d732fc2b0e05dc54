//! The pure parts of the hot path, one by one: Coze's bytes to events, events
//! to chunks, a client's body to a request, a history to what Coze can store.
//!
//! `cargo bench --bench codec`

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on says so and ends")]

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

use cozeway::coze::chat::{Reader, call, fit};
use cozeway::coze::{Kind, sse};
use cozeway::openai::chat::{Encoder, Head, Request};
use cozeway::turn::{Event, Extras, Message, Prompt, Reasoning, Role, Text};

/// Reads a transcript as the relay does; how many events it came to.
fn decode(bytes: &[u8]) -> usize {
    let mut decoder = sse::Decoder::default();
    let mut reader = Reader::default();
    let mut events = 0;
    let mut failed = false;
    let pushed = decoder.push(bytes, |event| {
        if !failed && !reader.is_over() {
            failed = reader.read(event, &mut |_| events += 1).is_err();
        }
    });
    assert!(pushed.is_ok());
    events
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bot");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sse"));
    files.sort();
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        // Of those that fail at once there is nothing to learn.
        if decode(&bytes) < 3 {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        group.throughput(Throughput::Bytes(bytes.len().try_into().unwrap()));
        group.bench_with_input(BenchmarkId::from_parameter(name), &bytes, |bencher, bytes| {
            bencher.iter(|| decode(black_box(bytes)));
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let head =
        Head { id: "chatcmpl-0123456789abcdef".into(), created: 1_700_000_000, model: "support".into() };
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    for (name, text) in
        [("delta", Text::Escaped(" word")), ("delta, decoded", Text::Plain(Cow::Borrowed(" \"word\"\n")))]
    {
        let mut encoder = Encoder::new(&head, 1, false, Reasoning::Field);
        let mut out = Vec::new();
        encoder.push(0, Event::Text(text.clone()), &mut out);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.push(0, Event::Text(black_box(text.clone())), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn message(number: usize) -> Message {
    let role = if number.is_multiple_of(2) { Role::User } else { Role::Assistant };
    Message::text(role, format!("message {number} of a conversation that has gone on for quite a while"))
}

fn requests(criterion: &mut Criterion) {
    let messages: Vec<_> = (0..51)
        .map(|number| {
            let message = message(number);
            let role = if message.role == Role::User { "user" } else { "assistant" };
            json!({"role": role, "content": message.text})
        })
        .collect();
    let body =
        json!({"model": "support", "stream": true, "temperature": 0.7, "messages": messages}).to_string();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(body.len().try_into().unwrap()));
    group.bench_function("51 messages", |bencher| {
        bencher.iter(|| Request::parse(black_box(body.as_bytes())).unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("write");
    for count in [500, 5000] {
        let prompt = Prompt {
            pinned: 0,
            messages: (0..=count).map(message).collect(),
            variable: None,
            answered: true,
            question: None,
        };
        group.bench_with_input(BenchmarkId::new("fit", count), &prompt, |bencher, prompt| {
            bencher.iter_batched_ref(
                || prompt.clone(),
                |prompt| fit(prompt, &Extras::default(), Kind::Studio).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
    let prompt = Prompt {
        pinned: 0,
        messages: (0..51).map(message).collect(),
        variable: None,
        question: None,
        answered: true,
    };
    group.bench_function("call, 51 messages", |bencher| {
        let extras = Extras::default();
        bencher.iter(|| call("7530512345678999999", "user", black_box(&prompt), &extras, None, None));
    });
    group.finish();
}

criterion_group!(benches, decoding, encoding, requests);
criterion_main!(benches);
