//! A bot's steps, as it tells of them between its words (protocol 3.5).
//!
//! In comes the content of a message, out comes a [`Step`], within bounds.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Message, Reader, Sink};
use crate::coze::bot::Steps;
use crate::coze::json::{Word, string};
use crate::turn::{Did, Event, Failure, Step, Text};

/// How much of one step is told, in characters.
const MAX_CHARS: usize = 16 * 1024;

/// How much is told of all steps of a chat, in bytes. Past that, nothing.
const MAX_BYTES: usize = 1024 * 1024;

/// The steps of one chat.
#[derive(Debug, Default)]
pub(super) struct Told {
    steps: Steps,
    /// The tool that was called last: what comes back does not name it.
    called: Option<String>,
    bytes: usize,
}

/// What kind of step a message's type says it is.
fn did(kind: &str) -> Option<Did> {
    match kind {
        "knowledge" => Some(Did::Recall),
        "function_call" => Some(Did::Call),
        // The second one is the documents' name for it.
        "tool_response" | "tool_output" => Some(Did::Return),
        _ => None,
    }
}

impl Told {
    /// Steps that are shown in this way.
    pub(super) fn new(steps: Steps) -> Self {
        Self { steps, ..Self::default() }
    }

    /// The step that a message tells of.
    fn step(&mut self, did: Did, content: &str) -> Option<Step> {
        let (name, text) = match did {
            Did::Recall => (None, recalled(content)),
            Did::Call => {
                let (name, arguments) = called(content);
                self.called.clone_from(&name);
                (name, arguments)
            }
            Did::Return => (self.called.clone(), content.to_owned()),
        };
        let text = cut(text);
        self.bytes = self.bytes.saturating_add(text.len() + name.as_ref().map_or(0, String::len));
        (self.bytes <= MAX_BYTES).then_some(Step { did, name, text })
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What was found: slices in JSON in JSON, or plain text as the documents
/// show it.
fn recalled(content: &str) -> String {
    #[derive(Deserialize)]
    struct Recall {
        data: String,
    }
    #[derive(Deserialize)]
    struct Found {
        chunks: Vec<Chunk>,
    }
    #[derive(Deserialize)]
    struct Chunk {
        #[serde(default)]
        slice: String,
    }
    let found = serde_json::from_str::<Recall>(content)
        .ok()
        .and_then(|recall| serde_json::from_str::<Found>(&recall.data).ok());
    match found {
        Some(found) => {
            let slices: Vec<String> = found.chunks.into_iter().map(|chunk| chunk.slice).collect();
            slices.join("\n\n")
        }
        None => content.to_owned(),
    }
}

/// A tool's name, and what it is called with: as OpenAI writes a call, or as
/// the documents do, where the arguments are no string.
fn called(content: &str) -> (Option<String>, String) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Call<'a> {
        #[serde(borrow)]
        function: Option<Function<'a>>,
        #[serde(borrow)]
        name: Word<'a>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Word<'a>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let Ok(call) = serde_json::from_str::<Call<'_>>(content) else {
        return (None, content.to_owned());
    };
    let (name, arguments) = match call.function {
        Some(inner) => (inner.name, inner.arguments),
        None => (call.name, call.arguments),
    };
    let arguments = arguments.map_or("", RawValue::get);
    let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.to_owned());
    ((!name.0.is_empty()).then(|| name.0.into_owned()), arguments)
}

impl Reader {
    /// Tells of a step, if that is wanted.
    pub(super) fn step(&mut self, kind: &str, message: &Message<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        let (Some(did), false) = (did(kind), self.told.steps == Steps::Hidden) else {
            return Ok(());
        };
        let content = string(message.content)?.unwrap_or(Text::Escaped(""));
        let Some(step) = self.told.step(did, &content.decode()) else {
            return Ok(());
        };
        if self.told.steps == Steps::Listed {
            sink(Event::Step(&step));
            return Ok(());
        }
        let open = if std::mem::take(&mut self.in_line) { "\n" } else { "" };
        let line = format!("{open}{}\n", step.line());
        sink(Event::Thinking(Text::Plain(Cow::Owned(line))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(did: Did, content: &str) -> String {
        Told::new(Steps::Listed).step(did, content).unwrap().line()
    }

    #[test]
    fn a_call_is_read_in_both_of_its_forms() {
        let server = r#"{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}}"#;
        let docs = r#"{"name":"weather","arguments":{"city": "Rome"},"plugin_id":7}"#;
        assert_eq!(line(Did::Call, server), r#"[called weather({"city":"Rome"})]"#);
        assert_eq!(line(Did::Call, docs), r#"[called weather({"city": "Rome"})]"#);
        assert_eq!(line(Did::Call, "what?"), "[called tool(what?)]");
    }

    #[test]
    fn what_comes_back_is_the_called_tools() {
        let mut told = Told::new(Steps::Listed);
        assert_eq!(told.step(Did::Return, "x").unwrap().line(), "[tool returned] x");
        told.step(Did::Call, r#"{"name":"weather"}"#);
        assert_eq!(told.step(Did::Return, "sunny").unwrap().line(), "[weather returned] sunny");
    }

    #[test]
    fn what_was_recalled_is_the_slices() {
        let data =
            r#"{"chunks":[{"slice":"one","score":0.9},{"slice":"two"}],"ori_req":"q","status_code":0}"#;
        let content = serde_json::json!({"msg_type": "knowledge_recall", "data": data}).to_string();
        assert_eq!(line(Did::Recall, &content), "[recalled] one\n\ntwo");
        assert_eq!(line(Did::Recall, "plain"), "[recalled] plain");
    }

    #[test]
    fn steps_without_end_fill_no_memory() {
        let mut told = Told::new(Steps::Listed);
        let long = "好".repeat(MAX_CHARS + 1);
        let step = told.step(Did::Return, &long).unwrap();
        assert_eq!(step.text.chars().count(), MAX_CHARS + 1);
        assert!(step.text.ends_with('…'));
        let count = (0..100).filter_map(|_| told.step(Did::Return, &long)).count();
        assert!(count < 22, "{count}");
    }
}
