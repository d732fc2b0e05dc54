//! The transcripts.

use std::path::PathBuf;

use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bot")
}

/// One object per transcript: what a right reader makes of it.
pub(crate) fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("expected.jsonl")).expect("the list of transcripts");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A transcript's bytes.
pub(crate) fn transcript(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).expect("a transcript")
}
