//! Cards as text.
//!
//! In comes the JSON of a message with content type `card`, out goes what a
//! client without cards can show.

use serde::Deserialize;

use crate::turn::{Field, Wants};

/// The text that stands for a card: that of one that asks, else its JSON.
#[must_use]
pub fn text(json: &str) -> String {
    read(json).map_or_else(|| json.to_owned(), |(text, _)| text)
}

/// The text of a card that asks something, and what it wants to hear: a
/// question with its options as lines, a form as `name (type)` lines. Any other
/// card is shown as its JSON.
///
/// Forms: `chat_interrupt_card.server.sse` (a question with options), an
/// Input node's `form_schema` (protocol 3.9).
#[must_use]
pub fn read(json: &str) -> Option<(String, Wants)> {
    if let Ok(Card { content_type, content }) = serde_json::from_str::<Card<String>>(json) {
        return match content_type.as_str() {
            "text" => Some((content, Wants::Text)),
            "form_schema" => form(serde_json::from_str(&content).ok()?),
            _ => None,
        };
    }
    if let Ok(card) = serde_json::from_str::<Card<Choice>>(json) {
        return Some(choice(card.content.question, card.content.options));
    }
    let info = serde_json::from_str::<Drawn>(json).ok()?.x_properties.workflow_card_info;
    let info: Info = serde_json::from_str(&info).ok()?;
    match (info.input_card_data, info.question_card_data) {
        (Some(fields), _) => form(fields),
        (None, Some(question)) => Some(choice(question.title, question.options)),
        (None, None) => None,
    }
}

/// A chatflow's card, which holds what it shows once more as data
/// (`chatflow_interrupt_card.server.sse`).
#[derive(Deserialize)]
struct Drawn {
    x_properties: Properties,
}

#[derive(Deserialize)]
struct Properties {
    workflow_card_info: String,
}

#[derive(Deserialize)]
struct Info {
    input_card_data: Option<Vec<FormField>>,
    question_card_data: Option<QuestionData>,
}

#[derive(Deserialize)]
struct QuestionData {
    #[serde(rename = "Title", default)]
    title: String,
    #[serde(rename = "Options", default)]
    options: Vec<Named>,
}

#[derive(Deserialize)]
struct Card<C> {
    content_type: String,
    content: C,
}

#[derive(Deserialize)]
struct Choice {
    question: String,
    #[serde(default)]
    options: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct FormField {
    name: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    required: bool,
}

fn choice(question: String, options: Vec<Named>) -> (String, Wants) {
    let options: Vec<String> = options.into_iter().map(|option| option.name).collect();
    if options.is_empty() {
        return (question, Wants::Text);
    }
    let mut text = question;
    for option in &options {
        text.push('\n');
        text.push_str(option);
    }
    (text, Wants::Choice(options))
}

fn form(fields: Vec<FormField>) -> Option<(String, Wants)> {
    let fields: Vec<Field> =
        fields.into_iter().map(|FormField { name, kind, required }| Field { name, kind, required }).collect();
    let lines: Vec<String> = fields
        .iter()
        .map(|field| match &field.kind {
            Some(kind) => format!("{} ({kind})", field.name),
            None => field.name.clone(),
        })
        .collect();
    (!fields.is_empty()).then(|| (lines.join("\n"), Wants::Form(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_its_options_as_lines() {
        let json = r#"{"type":"question","content_type":"option","content":{"options":[{"name":"北京"},{"name":"杭州"}],"question":"哪个城市？"},"id":"1_0"}"#;
        assert_eq!(text(json), "哪个城市？\n北京\n杭州");
    }

    #[test]
    fn a_form_shows_its_fields_as_lines() {
        let json = r#"{"content_type":"form_schema","content":"[{\"type\":\"string\",\"name\":\"city\",\"required\":true},{\"name\":\"day\"}]"}"#;
        assert_eq!(text(json), "city (string)\nday");
    }

    #[test]
    fn a_chatflows_cards_are_questions_and_forms_too() {
        let drawn = |info: &str| {
            serde_json::json!({"card_type": 3, "data": "{}", "x_properties": {"workflow_card_info": info}})
                .to_string()
        };
        let question = drawn(
            r#"{"card_type":"QUESTION","question_card_data":{"Title":"where?","Options":[{"name":"a"}]}}"#,
        );
        assert_eq!(read(&question), Some(("where?\na".to_owned(), Wants::Choice(vec!["a".to_owned()]))));
        let input = drawn(
            r#"{"card_type":"INPUT","input_card_data":[{"type":"string","name":"city","required":true}]}"#,
        );
        assert_eq!(text(&input), "city (string)");
    }

    #[test]
    fn any_other_card_is_its_json() {
        for json in
            [r#"{"card_type":3,"data":"{}"}"#, "not json", r#"{"content_type":"form_schema","content":"x"}"#]
        {
            assert_eq!(text(json), json);
        }
    }
}
