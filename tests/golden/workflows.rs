//! Every transcript of `/v1/workflow/*`, in the same ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use cozeway::coze::workflow::{Input, Workflow};
use cozeway::coze::{Callee, Reader};
use cozeway::turn::{Finish, Kind, Reply};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::reading::{self, Read};
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
        reading::assert_same_however_cut(file, &workflow(true), &bytes);
    }
}

/// What a body that is no stream says, or why it fails.
fn whole(file: &str) -> Result<(String, Option<String>), (Kind, String)> {
    let mut reply = Reply::default();
    let read = Reader::of(&workflow(false))
        .whole(&golden::transcript_of("workflow", file), &mut |event| reply.push(event));
    match read {
        Ok(()) => Ok((reply.text().decode().into_owned(), reply.debug_url)),
        Err(failure) => Err((failure.kind, failure.message)),
    }
}

#[test]
fn every_whole_answer_says_what_is_expected_of_it() {
    const PLACE: &str = "北京的经度为116.4074°E,纬度为39.9042°N。";
    for (file, text, has_debug_url) in [
        ("workflow_run.server.json", PLACE, true),
        ("workflow_run.docs.json", PLACE, true),
        ("workflow_run_text.server.json", "结束节点直接返回的文本", true),
    ] {
        let (said, debug_url) = whole(file).unwrap();
        assert_eq!((said.as_str(), debug_url.is_some()), (text, has_debug_url), "{file}");
    }
    // A run that has only begun has said nothing, and a list of runs is no
    // answer: neither is an empty one.
    for (file, says) in [
        ("workflow_run_async.server.json", "The workflow completed without an answer."),
        ("workflow_run_history.server.json", "Coze sent"),
    ] {
        let (kind, message) = whole(file).unwrap_err();
        assert_eq!(kind, Kind::Broken, "{file}");
        assert!(message.starts_with(says), "{file}: {message}");
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
        reading::assert_same_in_pieces(file, &workflow(true), &bytes, &sizes);
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
