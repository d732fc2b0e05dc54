use serde_json::{Value, json};

use super::*;
use crate::turn::Reply;

/// What a chat with these messages and this end comes to.
fn read(messages: &[(&str, Value)], ends: &[Value]) -> Result<Reply, Failure> {
    let mut reader = Reader::default();
    let mut reply = Reply::default();
    let mut read = |name: &str, data: &Value| {
        let data = data.to_string();
        let event = sse::Event { name: name.as_bytes(), data: data.as_bytes(), cut_off: false };
        reader.read(event, &mut |event| reply.push(event))
    };
    for (name, data) in messages {
        read(&format!("conversation.message.{name}"), data)?;
    }
    for end in ends {
        read("conversation.chat.completed", end)?;
    }
    reader.end(&mut |event| reply.push(event))?;
    Ok(reply)
}

fn answer(id: &str, text: &str) -> Value {
    json!({ "id": id, "type": "answer", "content_type": "text", "content": text })
}

fn card(id: &str, text: &str) -> Value {
    json!({ "id": id, "type": "answer", "content_type": "card", "content": text })
}

#[track_caller]
fn text(messages: &[(&str, Value)]) -> String {
    read(messages, &[json!({})]).unwrap().text().decode().into_owned()
}

#[test]
fn a_completed_adds_only_what_was_not_shown_however_often_it_comes() {
    for (messages, shown) in [
        (vec![("completed", answer("1", "hello")), ("completed", answer("1", "hello"))], "hello"),
        (vec![("completed", answer("1", "")), ("completed", answer("1", "hello"))], "hello"),
        (vec![("completed", answer("1", "hell")), ("completed", answer("1", "hello"))], "hello"),
        (
            vec![
                ("delta", answer("1", "he")),
                ("completed", answer("1", "hell")),
                ("completed", answer("1", "hello")),
            ],
            "hello",
        ),
        (
            vec![
                ("delta", answer("1", "he")),
                ("completed", answer("1", "other")),
                ("completed", answer("1", "he")),
            ],
            "he",
        ),
    ] {
        assert_eq!(text(&messages), shown, "{messages:?}");
    }
}

#[test]
fn a_card_without_its_end_is_not_lost_to_the_next() {
    let messages = [
        ("delta", card("1", "{\"a\"")),
        ("delta", card("1", ":1}")),
        ("delta", card("2", "{\"b\":1}")),
        ("completed", card("1", "{\"a\":1}")),
        ("completed", card("2", "{\"b\":1}")),
        ("completed", card("2", "{\"b\":1}")),
    ];
    assert_eq!(text(&messages), "{\"a\":1}\n\n{\"b\":1}");
    assert_eq!(text(&messages[..3]), "{\"a\":1}\n\n{\"b\":1}");
}

#[test]
fn a_second_end_does_not_take_the_usage_away() {
    let counted = json!({ "usage": { "input_count": 3, "output_count": 4 } });
    let reply = read(&[("delta", answer("1", "hello"))], &[counted, json!({})]).unwrap();
    assert_eq!(reply.usage, Some(Usage { input: 3, output: 4 }));
}

#[test]
fn suggestions_without_end_fill_no_memory() {
    let suggestion = json!({ "id": "9", "type": "follow_up", "content": "q".repeat(100_000) });
    let mut messages = vec![("delta", answer("1", "hello"))];
    messages.extend((0..20).map(|_| ("completed", suggestion.clone())));
    let reply = read(&messages, &[json!({})]).unwrap();
    assert_eq!(reply.suggestions.len(), 2);
    assert_eq!(reply.text().decode(), "hello");
}

#[test]
fn an_id_of_megabytes_is_no_answers() {
    assert!(read(&[("delta", answer(&"1".repeat(1 << 20), "hello"))], &[json!({})]).is_err());
}
