//! The JSON of `/v3/chat` events, in every form that occurs: ids as strings
//! or numbers, fields absent or null.

use serde::Deserialize;

use crate::coze::json::{Fault, Plain, Raw, Word, plain_or_parsed};
use crate::coze::scan::{self, Value};
use crate::turn::Usage;

/// Puts a field where it belongs, once.
macro_rules! set {
    ($seen:ident, $bit:literal, $field:expr, $value:expr) => {{
        // A parser would refuse the second one.
        if std::mem::replace(&mut $seen[$bit], true) {
            return None;
        }
        $field = $value;
    }};
}

/// The data of a `conversation.message.*` event.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) id: Word<'a>,
    #[serde(borrow)]
    pub(super) conversation_id: Word<'a>,
    #[serde(borrow)]
    pub(super) chat_id: Word<'a>,
    #[serde(borrow)]
    pub(super) section_id: Word<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Word<'a>,
    #[serde(borrow)]
    pub(super) content_type: Word<'a>,
    #[serde(borrow)]
    pub(super) content: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) meta_data: Option<Raw<'a>>,
}

impl<'a> Plain<'a> for Message<'a> {
    fn plain(text: &'a str) -> Option<Self> {
        let (mut message, mut seen) = (Self::default(), [false; 9]);
        scan::object(text, |name, value| {
            match name {
                "id" => set!(seen, 0, message.id, Word::of(value)?),
                "conversation_id" => set!(seen, 1, message.conversation_id, Word::of(value)?),
                "chat_id" => set!(seen, 2, message.chat_id, Word::of(value)?),
                "section_id" => set!(seen, 3, message.section_id, Word::of(value)?),
                "type" => set!(seen, 4, message.kind, Word::of(value)?),
                "content_type" => set!(seen, 5, message.content_type, Word::of(value)?),
                "content" => set!(seen, 6, message.content, Raw::of(value)),
                "reasoning_content" => set!(seen, 7, message.reasoning_content, Raw::of(value)),
                "meta_data" => set!(seen, 8, message.meta_data, Raw::of(value)),
                _ => {}
            }
            Some(())
        })?;
        Some(message)
    }
}

impl Message<'_> {
    /// The usage in an answer's `meta_data`: decimal strings there.
    pub(super) fn usage(&self) -> Option<Usage> {
        let meta: Meta<'_> = plain_or_parsed(self.meta_data?.0).ok()?;
        counted(&meta.input_tokens, &meta.output_tokens)
    }
}

/// What is read of an answer's `meta_data`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    input_tokens: Word<'a>,
    #[serde(borrow)]
    output_tokens: Word<'a>,
}

impl<'a> Plain<'a> for Meta<'a> {
    fn plain(text: &'a str) -> Option<Self> {
        let (mut meta, mut seen) = (Self::default(), [false; 2]);
        scan::object(text, |name, value| {
            match name {
                "input_tokens" => set!(seen, 0, meta.input_tokens, Word::of(value)?),
                "output_tokens" => set!(seen, 1, meta.output_tokens, Word::of(value)?),
                _ => {}
            }
            Some(())
        })?;
        Some(meta)
    }
}

/// What is read of a `verbose` message.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Verbose<'a> {
    #[serde(borrow)]
    pub(super) msg_type: Word<'a>,
}

impl<'a> Plain<'a> for Verbose<'a> {
    fn plain(text: &'a str) -> Option<Self> {
        let (mut verbose, mut seen) = (Self::default(), [false; 1]);
        scan::object(text, |name, value| {
            if name == "msg_type" {
                set!(seen, 0, verbose.msg_type, Word::of(value)?);
            }
            Some(())
        })?;
        Some(verbose)
    }
}

/// The data of a `conversation.chat.*` event.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Chat<'a> {
    #[serde(borrow)]
    pub(super) id: Word<'a>,
    #[serde(borrow)]
    pub(super) conversation_id: Word<'a>,
    #[serde(borrow)]
    pub(super) section_id: Word<'a>,
    #[serde(borrow)]
    pub(super) usage: Option<Counts<'a>>,
    #[serde(borrow)]
    pub(super) last_error: Option<Fault<'a>>,
    pub(super) required_action: Option<RequiredAction>,
    // `conversation.chat.failed` in the docs' form is the error itself.
    #[serde(borrow)]
    pub(super) code: Word<'a>,
    #[serde(borrow)]
    pub(super) msg: Word<'a>,
}

impl<'a> Plain<'a> for Chat<'a> {
    fn plain(text: &'a str) -> Option<Self> {
        let (mut chat, mut seen) = (Self::default(), [false; 4]);
        scan::object(text, |name, value| {
            match (name, value) {
                ("id", _) => set!(seen, 0, chat.id, Word::of(value)?),
                ("conversation_id", _) => set!(seen, 1, chat.conversation_id, Word::of(value)?),
                ("section_id", _) => set!(seen, 2, chat.section_id, Word::of(value)?),
                ("usage", Value::Nested(counts)) => set!(seen, 3, chat.usage, Some(Counts::plain(counts)?)),
                // Rare, or only of failures.
                ("usage" | "last_error" | "required_action" | "code" | "msg", _) => return None,
                _ => {}
            }
            Some(())
        })?;
        Some(chat)
    }
}

impl<'a> Plain<'a> for Counts<'a> {
    fn plain(text: &'a str) -> Option<Self> {
        let (mut counts, mut seen) = (Self::default(), [false; 4]);
        scan::object(text, |name, value| {
            match name {
                "input_count" => set!(seen, 0, counts.input_count, Word::of(value)?),
                "output_count" => set!(seen, 1, counts.output_count, Word::of(value)?),
                "input_tokens" => set!(seen, 2, counts.input_tokens, Word::of(value)?),
                "output_tokens" => set!(seen, 3, counts.output_tokens, Word::of(value)?),
                _ => {}
            }
            Some(())
        })?;
        Some(counts)
    }
}

/// Token counts under both of the names that they go by.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::coze) struct Counts<'a> {
    #[serde(borrow)]
    input_count: Word<'a>,
    #[serde(borrow)]
    output_count: Word<'a>,
    #[serde(borrow)]
    input_tokens: Word<'a>,
    #[serde(borrow)]
    output_tokens: Word<'a>,
}

impl Counts<'_> {
    /// The counts, unless both are zero: then Coze has not counted.
    pub(in crate::coze) fn usage(&self) -> Option<Usage> {
        counted(&self.input_count, &self.output_count)
            .or_else(|| counted(&self.input_tokens, &self.output_tokens))
    }
}

fn counted(input: &Word<'_>, output: &Word<'_>) -> Option<Usage> {
    let number = |word: &Word<'_>| word.0.parse::<u64>().unwrap_or(0);
    let usage = Usage { input: number(input), output: number(output) };
    (usage.total() > 0).then_some(usage)
}

/// What a local plugin is asked to do; empty in ordinary events.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct RequiredAction {
    submit_tool_outputs: Option<ToolOutputs>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ToolOutputs {
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ToolCall {
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl RequiredAction {
    pub(super) fn has_tool_calls(&self) -> bool {
        self.submit_tool_outputs
            .as_ref()
            .and_then(|outputs| outputs.tool_calls.as_ref())
            // A chatflow's question is one too, which a message answers.
            .is_some_and(|calls| calls.iter().any(|call| call.kind.as_deref() != Some("reply_message")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found without a parser is what one finds.
    fn agree<'a, T: Plain<'a> + Deserialize<'a> + PartialEq + std::fmt::Debug>(text: &'a str) -> bool {
        let plain = T::plain(text);
        if let Some(plain) = &plain {
            assert_eq!(Some(plain), serde_json::from_str(text).ok().as_ref(), "{text}");
        }
        plain.is_some()
    }

    #[test]
    fn the_servers_events_are_plain() {
        let delta = r#"{"id":"1","conversation_id":"2","bot_id":"3","role":"assistant","type":"answer","content":"a\"b\nc","content_type":"text","meta_data":{"bot_state":"{\"a\":1}"},"chat_id":"4","section_id":5,"created_at":1754000001,"reasoning_content":""}"#;
        assert!(agree::<Message<'_>>(delta));
        assert_eq!(Message::plain(delta).unwrap().section_id.0, "5");
        let chat = r#"{"id":"1","conversation_id":null,"usage":{"token_count":"3","input_tokens":1,"output_count":"2"},"status":"completed"}"#;
        assert!(agree::<Chat<'_>>(chat));
    }

    #[test]
    fn what_a_parser_has_to_say_is_left_to_it() {
        for text in [
            r#"{"id":"1","id":"2"}"#,
            r#"{"id":"\u0031"}"#,
            r#"{"id":1.0}"#,
            r#"{"id":12345678901234567890}"#,
            r#"{"id":[]}"#,
        ] {
            assert!(!agree::<Message<'_>>(text) && !agree::<Chat<'_>>(text), "{text}");
        }
        assert!(!agree::<Chat<'_>>(r#"{"last_error":{"code":1,"msg":"m"}}"#));
        assert!(!agree::<Chat<'_>>(r#"{"usage":"many"}"#));
    }

    proptest! {
        #[test]
        fn plain_or_not_the_same_is_said(
            fields in proptest::collection::vec((
                proptest::sample::select(vec![
                    "id", "conversation_id", "chat_id", "section_id", "type", "content_type", "content",
                    "reasoning_content", "meta_data", "usage", "input_count", "output_tokens", "msg_type", "other",
                ]),
                proptest::sample::select(vec![
                    "\"\"", "\"text\"", "\"a\\nb\"", "1", "007", "-3", "1.5", "true", "null", "[1]", "{}",
                    "{\"input_count\":\"3\"}", "\"\\ud800\"", "12345678901234567890", "nul",
                ]),
            ), 0..8),
        ) {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", fields.join(","));
            agree::<Message<'_>>(&text);
            agree::<Chat<'_>>(&text);
            agree::<Counts<'_>>(&text);
            agree::<Meta<'_>>(&text);
            agree::<Verbose<'_>>(&text);
        }
    }
}
