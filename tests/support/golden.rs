//! The transcripts.

use std::path::PathBuf;

use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// One object per transcript: what a right reader makes of it.
pub(crate) fn cases() -> Vec<Value> {
    cases_of("bot")
}

/// The same of a folder.
pub(crate) fn cases_of(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder(name).join("expected.jsonl")).expect("the list of transcripts");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A transcript's bytes.
pub(crate) fn transcript(file: &str) -> Vec<u8> {
    transcript_of("bot", file)
}

/// The same of a folder.
pub(crate) fn transcript_of(name: &str, file: &str) -> Vec<u8> {
    std::fs::read(folder(name).join(file)).expect("a transcript")
}
