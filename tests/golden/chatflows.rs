//! Every transcript of `/v1/workflows/chat`, in the same ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use cozeway::coze::chatflow::{Chatflow, FollowUps};
use cozeway::coze::{Callee, Within};
use cozeway::turn::Kind;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::reading::{self, Read};
use crate::support::{self, golden};

fn chatflow() -> Callee {
    Callee::Chatflow(Arc::new(Chatflow {
        id: "75".to_owned(),
        within: Within::Bot("76".to_owned()),
        parameters: BTreeMap::new(),
        version: None,
        show_debug_url: true,
        follow_ups: FollowUps::Usual,
    }))
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    reading::read(&chatflow(), chunks)
}

fn cases() -> Vec<Value> {
    let cases = golden::cases_of("chatflow");
    assert_eq!(cases.len(), 8);
    cases
}

fn transcript(case: &Value) -> (&str, Vec<u8>) {
    let file = case["file"].as_str().unwrap();
    (file, golden::transcript_of("chatflow", file))
}

/// What a client sees: a form as its fields, and a question that comes under
/// two ids once.
fn expected_text(case: &Value) -> String {
    let mut answers: Vec<&str> =
        case["answers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    match case["file"].as_str().unwrap() {
        "chatflow_interrupt_card.server.sse" => return "city (string)".to_owned(),
        "chatflow_interrupt.docs.sse" => answers.dedup(),
        _ => {}
    }
    answers.join("\n\n")
}

#[test]
fn every_transcript_says_what_is_expected_of_it() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        let read = read([bytes.as_slice()]);
        assert_eq!(read.reply.text().decode(), expected_text(case), "{file}");
        let fails = case["finish"] == "error";
        assert_eq!(
            read.failure.as_ref().map(|failure| failure.kind),
            fails.then_some(Kind::Broken),
            "{file}"
        );
        assert_eq!(read.reply.wants.is_some(), case["finish"] == "requires_action", "{file}");
        if let Some(failure) = read.failure {
            assert_eq!(failure.coze_code, Some(case["error"]["code"].as_i64().unwrap_or(0)), "{file}");
            assert!(failure.message.contains(case["error"]["msg"].as_str().unwrap()), "{file}: {failure}");
            continue;
        }
        assert_eq!(read.reply.conversation.as_deref(), case["conversation_id"].as_str(), "{file}");
        let follow_ups: Vec<&str> =
            case["follow_ups"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(read.reply.suggestions, follow_ups, "{file}");
        let usage = read.reply.usage.map(|usage| (usage.input, usage.output));
        let count = |name: &str| case["usage"][name].as_u64();
        assert_eq!(usage, count("prompt").zip(count("completion")), "{file}");
        assert!(read.reply.debug_url.is_some(), "{file}");
    }
}

#[test]
fn every_transcript_says_the_same_byte_by_byte_and_cut_anywhere() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        reading::assert_same_however_cut(file, &chatflow(), &bytes);
    }
}

proptest! {
    #![proptest_config(support::proptest_config(64))]
    #[test]
    fn every_transcript_says_the_same_in_random_pieces(
        which in 0usize..8,
        sizes in prop::collection::vec(1usize..90, 1..40),
    ) {
        let case = &cases()[which];
        let (file, bytes) = transcript(case);
        reading::assert_same_in_pieces(file, &chatflow(), &bytes, &sizes);
    }
}

#[test]
fn every_transcript_is_encoded_as_valid_chunks_and_completions() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        reading::assert_encoded(file, &read([bytes.as_slice()]));
    }
}

#[test]
fn every_transcript_keeps_its_snapshot() {
    insta::with_settings!({ snapshot_path => "../golden/chatflow", prepend_module_to_snapshot => false, omit_expression => true }, {
        for case in &cases() {
            let (file, bytes) = transcript(case);
            reading::assert_snapshots(file, read([bytes.as_slice()]));
        }
    });
}
