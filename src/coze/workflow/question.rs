//! What a workflow asks in the middle of a run (protocol 5.2).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::coze::card;
use crate::coze::json::Word;
use crate::turn::Wants;

/// The data of an `Interrupt` event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Interrupt<'a> {
    #[serde(borrow)]
    pub(super) interrupt_data: Waiting<'a>,
    #[serde(borrow)]
    pub(super) debug_url: Word<'a>,
}

/// A question that waits.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting<'a> {
    #[serde(borrow)]
    pub(super) event_id: Word<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Word<'a>,
    #[serde(borrow)]
    pub(super) data: Word<'a>,
}

/// The text of a question and what it wants to hear. A Question node repeats
/// its earlier rounds: the last one counts.
pub(super) fn read(data: &str) -> (String, Wants) {
    #[derive(Deserialize)]
    struct Rounds<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Round<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Word<'a>,
    }
    let asks = |round: &&RawValue| {
        serde_json::from_str::<Round<'_>>(round.get()).is_ok_and(|round| round.kind.0 == "question")
    };
    let last = serde_json::from_str::<Rounds<'_>>(data)
        .ok()
        .and_then(|rounds| rounds.messages.into_iter().rfind(asks));
    let read = card::read(last.map_or(data, RawValue::get));
    read.unwrap_or_else(|| (data.to_owned(), Wants::Text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Field;

    #[test]
    fn of_several_rounds_the_last_question_counts() {
        let data = r#"{"messages":[
            {"type":"question","content_type":"text","content":"where?","id":"1_0"},
            {"type":"answer","content_type":"text","content":"nowhere","id":"1_1"},
            {"type":"question","content_type":"option","content":{"options":[{"name":"a"},{"name":"b"}],"question":"which?"},"id":"1_2"}
        ]}"#;
        let wants = Wants::Choice(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(data), ("which?\na\nb".to_owned(), wants));
    }

    #[test]
    fn an_input_nodes_fields_are_a_form() {
        let data = r#"{"content":"[{\"type\":\"string\",\"name\":\"city\",\"required\":true}]","content_type":"form_schema"}"#;
        let field = Field { name: "city".to_owned(), kind: Some("string".to_owned()), required: true };
        assert_eq!(read(data), ("city (string)".to_owned(), Wants::Form(vec![field])));
    }

    #[test]
    fn any_other_text_is_the_question_itself() {
        for data in ["where?", r#"{"messages":[]}"#, "{}"] {
            assert_eq!(read(data), (data.to_owned(), Wants::Text));
        }
    }
}
