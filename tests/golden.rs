//! Every transcript of `/v3/chat`: read in one piece, byte by byte and cut
//! anywhere it says the same; what it says is what `expected.jsonl` demands;
//! and it is encoded as valid chunks and a valid completion.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

#[path = "golden/chatflows.rs"]
mod chatflows;
#[path = "golden/workflows.rs"]
mod workflows;

use std::sync::Arc;

use cozeway::coze::Callee;
use cozeway::coze::bot::{Bot, Steps};
use cozeway::turn::{Did, Finish, Kind};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::golden;
use support::reading::{self, Read, assert_same};

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    reading::read(&Callee::Bot(Arc::new(Bot::new("75"))), chunks)
}

/// The text that a client shall see. Where there are cards the contract goes
/// beyond the reader's rules: a card counts as an answer, so these are listed
/// by hand.
fn expected_text(case: &Value) -> String {
    let card = case["cards"][0].as_str().unwrap_or_default();
    match case["file"].as_str().unwrap() {
        "chat_interrupt_card.server.sse" => "你想看哪个城市？\n北京\n杭州".to_owned(),
        "chat_card.docs.sse" => card.to_owned(),
        "chat_full.docs.sse" => format!("{card}\n\n以下是今天的体育新闻\n\n你好你好"),
        _ => {
            let answers: Vec<&str> =
                case["answers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            answers.join("\n\n")
        }
    }
}

#[test]
fn every_transcript_tells_its_steps_where_they_are_wanted() {
    for case in &golden::cases() {
        let file = case["file"].as_str().unwrap();
        let bytes = golden::transcript(file);
        let with = |steps| {
            let bot = Callee::Bot(Arc::new(Bot { steps, ..Bot::new("75") }));
            let whole = reading::read(&bot, [bytes.as_slice()]);
            assert_same(file, &whole, &reading::read(&bot, bytes.chunks(7)));
            whole
        };
        let (hidden, listed) = (with(Steps::Hidden).reply, with(Steps::Listed).reply);
        let count = |did| listed.steps.iter().filter(|step| step.did == did).count();
        let len = |name: &str| case[name].as_array().unwrap().len();
        assert_eq!(
            (count(Did::Call), count(Did::Return)),
            (len("tool_calls"), len("tool_results")),
            "{file}"
        );
        assert_eq!(count(Did::Recall) as u64, case["knowledge"].as_u64().unwrap(), "{file}");
        assert!(listed.steps.iter().all(|step| !step.text.is_empty()), "{file}: {:?}", listed.steps);
        assert!(listed.steps.iter().all(|step| step.did != Did::Call || step.name.is_some()), "{file}");
        assert!(hidden.steps.is_empty(), "{file}");
        let thinks = with(Steps::Reasoning).reply;
        for reply in [&listed, &thinks] {
            assert_eq!(reply.text().decode(), hidden.text().decode(), "{file}");
        }
        assert_eq!(listed.thinking().decode(), hidden.thinking().decode(), "{file}");
        for step in &listed.steps {
            assert!(thinks.thinking().decode().contains(&format!("{}\n", step.line())), "{file}: {step:?}");
        }
    }
}

fn expected_failure(case: &Value) -> Option<Kind> {
    match (case["file"].as_str().unwrap(), case["finish"].as_str().unwrap()) {
        ("chat_error_event.cloud.sse", _) => Some(Kind::Busy),
        ("chat_error_not_published.server.sse", _) => Some(Kind::ModelUnavailable),
        ("chat_error_prestream.server.sse", _) => Some(Kind::Auth),
        ("chat_requires_action.cloud.sse", _) => Some(Kind::RequiresAction),
        (_, "completed" | "requires_action") => None,
        (_, "error" | "truncated" | "empty-stream" | "completed-without-answer") => Some(Kind::Broken),
        (file, finish) => panic!("{file}: what is {finish}?"),
    }
}

#[test]
fn every_transcript_says_what_is_expected_of_it() {
    let cases = golden::cases();
    assert_eq!(cases.len(), 27);
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let bytes = golden::transcript(file);
        let read = read([bytes.as_slice()]);
        assert_eq!(read.failure.as_ref().map(|failure| failure.kind), expected_failure(case), "{file}");

        let text = read.reply.text().decode().into_owned();
        match &case["answers"][0] {
            Value::Object(digest) => {
                assert_eq!(text.len() as u64, digest["utf8_bytes"].as_u64().unwrap(), "{file}");
                let hash: String =
                    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(hash, digest["sha256"].as_str().unwrap(), "{file}");
            }
            _ => assert_eq!(text, expected_text(case), "{file}"),
        }
        let aloud: &[&str] = if file == "chat_audio.cloud.sse" { &["KgAxAC8ALgAvAC0A"] } else { &[] };
        assert_eq!(read.reply.sound, aloud, "{file}");
        assert_eq!(read.reply.thinking().decode(), case["reasoning"].as_str().unwrap(), "{file}");
        if read.failure.is_none() {
            assert_eq!(read.reply.conversation.as_deref(), case["conversation_id"].as_str(), "{file}");
            assert_eq!(read.reply.chat.as_deref(), case["chat_id"].as_str(), "{file}");
            let follow_ups: Vec<&str> =
                case["follow_ups"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(read.reply.suggestions, follow_ups, "{file}");
            assert_eq!(read.reply.finish, Some(Finish::Completed), "{file}");
            let usage = read.reply.usage.map(|u| (u.input, u.output, u.total()));
            let expected = case["usage"].as_object().map(|u| {
                let count = |name: &str| u[name].as_u64().unwrap();
                (count("prompt"), count("completion"), count("total"))
            });
            assert_eq!(usage, expected, "{file}");
        }
        if let Some(code) = case["error"]["code"].as_i64() {
            let failure = read.failure.expect("a failure");
            let message = case["error"]["msg"].as_str().unwrap_or_default();
            let inner = message.strip_prefix("code=").and_then(|m| m.split(' ').next()?.parse().ok());
            assert_eq!(failure.coze_code, Some(inner.unwrap_or(code)), "{file}");
            assert!(!failure.message.contains("stack"), "{file}: {}", failure.message);
        }
    }
}

#[test]
fn every_transcript_says_the_same_byte_by_byte() {
    for case in golden::cases() {
        let file = case["file"].as_str().unwrap();
        let bytes = golden::transcript(file);
        assert_same(file, &read([bytes.as_slice()]), &read(bytes.chunks(1)));
    }
}

#[test]
fn every_transcript_says_the_same_cut_anywhere() {
    for case in golden::cases() {
        let file = case["file"].as_str().unwrap();
        let bytes = golden::transcript(file);
        let whole = read([bytes.as_slice()]);
        // The large one is cut where it is most likely to hurt.
        let step = if bytes.len() > 100_000 { 4099 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let (head, tail) = bytes.split_at(at);
            assert_same(file, &whole, &read([head, tail]));
        }
    }
}

proptest! {
    #![proptest_config(support::proptest_config(64))]
    #[test]
    fn every_transcript_says_the_same_in_random_pieces(
        which in 0usize..27,
        sizes in prop::collection::vec(1usize..300, 1..40),
    ) {
        let case = &golden::cases()[which];
        let file = case["file"].as_str().unwrap();
        let bytes = golden::transcript(file);
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            chunks.push(head);
            rest = tail;
        }
        assert_same(file, &read([bytes.as_slice()]), &read(chunks));
    }
}

#[test]
fn every_transcript_is_encoded_as_valid_chunks_and_completions() {
    for case in golden::cases() {
        let file = case["file"].as_str().unwrap();
        reading::assert_encoded(file, &read([golden::transcript(file).as_slice()]));
    }
}

#[test]
fn every_transcript_keeps_its_snapshot() {
    insta::with_settings!({ snapshot_path => "../golden/bot", prepend_module_to_snapshot => false, omit_expression => true }, {
        for case in golden::cases() {
            let file = case["file"].as_str().unwrap();
            if file == "chat_unicode_big.server.sse" {
                continue;
            }
            reading::assert_snapshots(file, read([golden::transcript(file).as_slice()]));
        }
    });
}
