//! The JSON of `/v3/chat` events, in every form that occurs: ids as strings
//! or numbers, fields absent or null.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::coze::json::{Fault, Word};
use crate::turn::Usage;

/// The data of a `conversation.message.*` event.
#[derive(Debug, Default, Deserialize)]
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
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) meta_data: Option<&'a RawValue>,
}

impl Message<'_> {
    /// The usage in an answer's `meta_data`: decimal strings there.
    pub(super) fn usage(&self) -> Option<Usage> {
        #[derive(Deserialize)]
        struct Meta<'a> {
            #[serde(borrow, default)]
            input_tokens: Word<'a>,
            #[serde(borrow, default)]
            output_tokens: Word<'a>,
        }
        let meta: Meta<'_> = serde_json::from_str(self.meta_data?.get()).ok()?;
        counted(&meta.input_tokens, &meta.output_tokens)
    }
}

/// The data of a `conversation.chat.*` event.
#[derive(Debug, Default, Deserialize)]
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

/// Token counts under both of the names that they go by.
#[derive(Debug, Default, Deserialize)]
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
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RequiredAction {
    submit_tool_outputs: Option<ToolOutputs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolOutputs {
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Debug, Default, Deserialize)]
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
