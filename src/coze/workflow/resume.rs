//! The answer to a question, as the nodes take it: the text itself, or the
//! values of a form's fields (protocol 5.3, 3.9).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Workflow;
use crate::coze::Call;

/// What is answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answering<'a> {
    /// Coze's number for the kind of question.
    pub kind: i64,
    /// The fields of a form: names and types; none if it is no form.
    pub form: &'a [(String, Option<String>)],
}

/// A text is no answer to a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question is a form: answer with lines `name: value`, or with a JSON object, of {0}")]
pub struct NoForm(String);

#[derive(Serialize)]
struct Body<'a> {
    workflow_id: &'a str,
    event_id: &'a str,
    resume_data: String,
    interrupt_type: i64,
    ext: BTreeMap<&'static str, &'a str>,
}

/// The call that brings an answer to a run that waits.
///
/// # Errors
/// If the question is a form, and the text does not fill it in.
pub fn resume(
    workflow: &Workflow,
    event: &str,
    user_id: &str,
    text: &str,
    answering: Answering<'_>,
) -> Result<Call, NoForm> {
    let resume_data = match answering.form {
        [] => text.to_owned(),
        form => Value::Object(values(text, form)?).to_string(),
    };
    let body = Body {
        workflow_id: &workflow.id,
        event_id: event,
        resume_data,
        interrupt_type: answering.kind,
        ext: [("user_id", user_id)].into(),
    };
    Ok(Call {
        method: http::Method::POST,
        path: "/v1/workflow/stream_resume".to_owned(),
        body: Some(serde_json::to_vec(&body).expect("strings and numbers always serialise").into()),
    })
}

/// The answer to a form in a conversation: `name:value` lines. The node breaks
/// on any other.
///
/// # Errors
/// If the text does not fill it in.
pub(in crate::coze) fn lines(text: &str, form: &[(String, Option<String>)]) -> Result<String, NoForm> {
    let lines: Vec<String> = values(text, form)?
        .into_iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // A value of several lines would be several fields.
            let one_line: Vec<&str> =
                value.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
            format!("{name}:{}", one_line.join(" "))
        })
        .collect();
    Ok(lines.join("\n"))
}

/// The values of a form's fields in a text: a JSON object, or lines `name:
/// value`; of a form with one field the text is its value.
fn values(text: &str, form: &[(String, Option<String>)]) -> Result<Map<String, Value>, NoForm> {
    let is_field = |name: &String| form.iter().any(|(known, _)| known == name);
    let refused = || {
        let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
        NoForm(names.join(", "))
    };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) if !map.is_empty() && map.keys().all(is_field) => return Ok(map),
        // A field that nobody asked for would break the node, or be lost. The
        // one field of a form may be an object itself.
        Ok(Value::Object(_)) if form.len() != 1 => return Err(refused()),
        _ => {}
    }
    let mut map = Map::new();
    let mut strange = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parts = line.split_once([':', '\u{ff1a}']).map(|(name, value)| (name.trim(), value.trim()));
        let field =
            parts.and_then(|(name, value)| Some((form.iter().find(|(known, _)| known == name)?, value)));
        match field {
            Some(((name, kind), value)) => {
                map.insert(name.clone(), typed(value, kind.as_deref()));
            }
            None => strange = true,
        }
    }
    match form {
        [(name, kind)] if map.is_empty() => {
            map.insert(name.clone(), typed(text.trim(), kind.as_deref()));
            Ok(map)
        }
        _ if strange || map.is_empty() => Err(refused()),
        _ => Ok(map),
    }
}

/// A value of a type, if the text is one; else the text.
fn typed(text: &str, kind: Option<&str>) -> Value {
    let plain = || Value::String(text.to_owned());
    if kind.is_none_or(|kind| kind.eq_ignore_ascii_case("string")) {
        return plain();
    }
    serde_json::from_str(text).unwrap_or_else(|_| plain())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> Vec<(String, Option<String>)> {
        let field = |name: &str, kind: &str| (name.to_owned(), Some(kind.to_owned()));
        vec![field("days", "integer"), field("name", "string")]
    }

    #[test]
    fn lines_and_json_fill_a_form_in() {
        let expected = json!({"days": 3, "name": "Ann: the first"});
        for text in ["days: 3\n\n name:  Ann: the first ", "name：Ann: the first\r\ndays:3"] {
            assert_eq!(Value::Object(values(text, &form()).unwrap()), expected, "{text}");
        }
        let text = r#"{"days": [3]}"#;
        assert_eq!(Value::Object(values(text, &form()).unwrap()), json!({"days": [3]}));
        assert_eq!(lines("days: 3\nname: Ann", &form()).unwrap(), "days:3\nname:Ann");
        assert_eq!(lines(r#"{"name": "a  z\nb: c"}"#, &form()).unwrap(), "name:a  z b: c");
    }

    #[test]
    fn one_field_takes_the_whole_text() {
        let form = form();
        let one = &form[..1];
        assert_eq!(Value::Object(values(" 7 ", one).unwrap()), json!({"days": 7}));
        assert_eq!(Value::Object(values("many", one).unwrap()), json!({"days": "many"}));
        assert_eq!(Value::Object(values("days: 7", one).unwrap()), json!({"days": 7}));
        assert_eq!(Value::Object(values(r#"{"a": 1}"#, one).unwrap()), json!({"days": {"a": 1}}));
    }

    #[test]
    fn anything_else_is_no_answer() {
        for text in
            ["three days", "days: 3\nplus two", "place: here", "", "[1]", "{}", r#"{"days": 3, "x\ny": 1}"#]
        {
            assert!(values(text, &form()).is_err(), "{text}");
        }
    }
}
