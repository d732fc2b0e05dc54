//! Every transcript of `/v1/workflow/*`, in the same ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use cozeway::coze::Callee;
use cozeway::coze::workflow::{Input, Workflow};
use cozeway::turn::{Finish, Kind};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::reading::{self, Read, assert_same};
use crate::support::{self, golden};

fn workflow(stream: bool) -> Callee {
    Callee::Workflow(Arc::new(Workflow {
        id: "75".to_owned(),
        input: Input::Parameter("input".to_owned()),
        history: None,
        parameters: BTreeMap::new(),
        output: None,
        stream,
        within: None,
        version: None,
        show_debug_url: true,
    }))
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    reading::read(&workflow(true), chunks)
}

fn cases() -> Vec<Value> {
    let cases = golden::cases_of("workflow");
    assert_eq!(cases.len(), 11);
    cases
}

fn transcript(case: &Value) -> (&str, Vec<u8>) {
    let file = case["file"].as_str().unwrap();
    (file, golden::transcript_of("workflow", file))
}

/// What a client sees of the nodes' texts: a result that repeats them, and a
/// question's JSON, are not what the list of nodes has.
fn expected_text(case: &Value) -> String {
    let file = case["file"].as_str().unwrap();
    let node = case["nodes"][0]["text"].as_str().unwrap_or_default();
    if file.contains("_resume") {
        // No lone string: the JSON itself.
        return node.to_owned();
    }
    match file {
        "workflow_stream_run_interrupt.server.sse" => "请问你想查看哪个城市、哪一天的天气呢".to_owned(),
        "workflow_stream_run_interrupt_input.server.sse" => "city (string)".to_owned(),
        _ => node.to_owned(),
    }
}

#[test]
fn every_transcript_says_what_is_expected_of_it() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        let read = read([bytes.as_slice()]);
        assert_eq!(read.reply.text().decode(), expected_text(case), "{file}");
        let failure = read.failure.as_ref().map(|failure| failure.kind);
        let rejected = case["error"]["code"] == 4000;
        let expected = match case["finish"].as_str().unwrap() {
            "done" | "interrupt" => None,
            "error" if rejected => Some(Kind::Rejected),
            "error" => Some(Kind::Broken),
            other => panic!("{file}: what is {other}?"),
        };
        assert_eq!(failure, expected, "{file}");
        assert_eq!(read.reply.wants.is_some(), case["interrupt"].is_object(), "{file}");
        if failure.is_none() {
            assert_eq!(read.reply.finish, Some(Finish::Completed), "{file}");
            assert_eq!(read.reply.usage.map(|usage| usage.total()), case["token"].as_u64(), "{file}");
        }
        if let Some(id) = case["interrupt"]["event_id"].as_str() {
            let kind = case["interrupt"]["type"].as_i64().unwrap();
            assert!(read.events.contains(&format!("event: {id:?}, kind: {kind}")), "{file}: {}", read.events);
        }
        if let Some(failure) = read.failure {
            assert_eq!(failure.coze_code, Some(case["error"]["code"].as_i64().unwrap_or(0)), "{file}");
            assert!(failure.message.contains(case["error"]["msg"].as_str().unwrap()), "{file}: {failure}");
        }
    }
}

#[test]
fn every_transcript_says_the_same_byte_by_byte_and_cut_anywhere() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        let whole = read([bytes.as_slice()]);
        assert_same(file, &whole, &read(bytes.chunks(1)));
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_same(file, &whole, &read([head, tail]));
        }
    }
}

#[test]
fn every_transcript_that_breaks_off_is_a_failure() {
    for case in &cases() {
        let (file, bytes) = transcript(case);
        let whole = read([bytes.as_slice()]);
        // From its name on, the last event may tell the end.
        let name = b"event: ";
        let end = bytes.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
        for at in 0..end {
            let read = read([bytes.split_at(at).0]);
            let failure = read.failure.unwrap_or_else(|| panic!("{file}: fine at {at} of {end}"));
            assert!(matches!(failure.kind, Kind::Broken | Kind::Rejected), "{file}: {failure}");
            let (text, all) =
                (read.reply.text().decode().into_owned(), whole.reply.text().decode().into_owned());
            assert!(all.starts_with(&text), "{file}: {text}");
        }
    }
}

proptest! {
    #![proptest_config(support::proptest_config(64))]
    #[test]
    fn every_transcript_says_the_same_in_random_pieces(
        which in 0usize..11,
        sizes in prop::collection::vec(1usize..90, 1..40),
    ) {
        let case = &cases()[which];
        let (file, bytes) = transcript(case);
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
    for case in &cases() {
        let (file, bytes) = transcript(case);
        reading::assert_encoded(file, &read([bytes.as_slice()]));
    }
}

#[test]
fn every_transcript_keeps_its_snapshot() {
    insta::with_settings!({ snapshot_path => "../golden/workflow", prepend_module_to_snapshot => false, omit_expression => true }, {
        for case in &cases() {
            let (file, bytes) = transcript(case);
            reading::assert_snapshots(file, read([bytes.as_slice()]));
        }
    });
}
