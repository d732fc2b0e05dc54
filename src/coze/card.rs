//! Cards as text.
//!
//! In comes the JSON of a message with content type `card`, out goes what a
//! client without cards can show.

use serde::Deserialize;

/// The text that stands for a card: a question with its options as lines, a
/// form as `name (type)` lines, any other card as its JSON.
///
/// Forms: `chat_interrupt_card.server.sse` (a question with options), an
/// Input node's `form_schema` (protocol 3.9).
#[must_use]
pub fn text(json: &str) -> String {
    form(json).or_else(|| question(json)).unwrap_or_else(|| json.to_owned())
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
struct Field {
    name: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

fn question(json: &str) -> Option<String> {
    if let Ok(card) = serde_json::from_str::<Card<String>>(json) {
        return (card.content_type == "text").then_some(card.content);
    }
    let card: Card<Choice> = serde_json::from_str(json).ok()?;
    let mut text = card.content.question;
    for option in card.content.options {
        text.push('\n');
        text.push_str(&option.name);
    }
    Some(text)
}

fn form(json: &str) -> Option<String> {
    let card: Card<String> = serde_json::from_str(json).ok()?;
    if card.content_type != "form_schema" {
        return None;
    }
    let fields: Vec<Field> = serde_json::from_str(&card.content).ok()?;
    let lines: Vec<String> = fields
        .into_iter()
        .map(|field| match field.kind {
            Some(kind) => format!("{} ({kind})", field.name),
            None => field.name,
        })
        .collect();
    Some(lines.join("\n"))
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
    fn any_other_card_is_its_json() {
        for json in
            [r#"{"card_type":3,"data":"{}"}"#, "not json", r#"{"content_type":"form_schema","content":"x"}"#]
        {
            assert_eq!(text(json), json);
        }
    }
}
