//! Tests of whole bodies; the tables lie in `tests/golden/openai`: each
//! `<case>.json` beside the snapshot of what it becomes, and in
//! `malformed.jsonl` a line for each refused body: its name, the `body` (or
//! `body_hex`, where it is not UTF-8), and the error's code, param and status.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::turn::{Message, Role};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai")
}

#[track_caller]
fn parse(body: &Value) -> Request {
    Request::parse(body.to_string().as_bytes()).unwrap()
}

/// A request with these messages.
#[track_caller]
fn ask(messages: &Value) -> Ask {
    parse(&json!({"model": "m", "messages": messages})).ask
}

#[track_caller]
fn refusal(body: &Value) -> ApiError {
    Request::parse(body.to_string().as_bytes()).unwrap_err()
}

/// A request with one more field.
fn with(field: &str, value: &Value) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], field: value})
}

fn texts(ask: &Ask) -> Vec<&str> {
    ask.messages.iter().map(|message| message.text.as_str()).collect()
}

#[test]
fn golden_bodies_become_what_their_snapshots_say() {
    let mut cases: Vec<PathBuf> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 20);
    insta::with_settings!({
        snapshot_path => "../../../../tests/golden/openai",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        for case in cases {
            let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
            match Request::parse(&fs::read(&case).unwrap()) {
                Ok(request) => insta::assert_debug_snapshot!(name, request),
                Err(error) => insta::assert_debug_snapshot!(name, error),
            }
        }
    });
}

#[test]
fn malformed_bodies_are_refused_by_name() {
    let table = fs::read_to_string(golden().join("malformed.jsonl")).unwrap();
    let mut faults = String::new();
    for line in table.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let body = match case["body"].as_str() {
            Some(body) => body.as_bytes().to_vec(),
            None => unhex(case["body_hex"].as_str().unwrap()),
        };
        let got = match Request::parse(&body) {
            Ok(_) => json!("taken"),
            Err(error) => {
                assert_eq!(error.kind, "invalid_request_error");
                assert!(error.message.ends_with('.') && error.message.len() < 400, "{}", error.message);
                if let Some(param) = &error.param {
                    assert!(error.message.contains(param), "{} lacks {param}", error.message);
                }
                json!([error.status.as_u16(), error.code, error.param])
            }
        };
        let want = json!([case["status"], case["code"], case["param"]]);
        if got != want {
            writeln!(faults, "{}: {got}, wanted {want}", case["name"]).unwrap();
        }
    }
    assert!(table.lines().count() >= 90);
    assert!(faults.is_empty(), "\n{faults}");
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_user_goes_before_the_safety_identifier_and_an_empty_one_is_none() {
    let user = |user: Value, safety: Value| {
        let mut body = with("user", &user);
        body["safety_identifier"] = safety;
        parse(&body).ask.user
    };
    assert_eq!(user(json!("u"), json!("s")).as_deref(), Some("u"));
    assert_eq!(user(json!(""), json!("s")).as_deref(), Some("s"));
    assert_eq!(user(json!(""), json!("")), None);
}

#[test]
fn usage_is_only_included_in_streams() {
    for (stream, expected) in [(json!(true), true), (json!(false), false), (Value::Null, false)] {
        let mut body = with("stream_options", &json!({"include_usage": true}));
        body["stream"] = stream;
        assert_eq!(parse(&body).include_usage, expected);
    }
}

#[test]
fn one_to_eight_choices_may_be_asked_for() {
    assert_eq!(parse(&with("n", &Value::Null)).choices, 1);
    for n in 1..=8 {
        assert_eq!(parse(&with("n", &json!(n))).choices, n);
    }
}

#[test]
fn a_stop_may_be_one_string_or_four() {
    let stop = |stop: Value| parse(&with("stop", &stop)).ask.stop.search().is_some();
    assert!(stop(json!("a")) && stop(json!(["a"])) && stop(json!(["a", "b", "c", "d"])));
    assert!(!stop(Value::Null));
}

#[test]
fn langchain_finds_its_words_when_a_strict_schema_is_refused() {
    let error = refusal(&with(
        "response_format",
        &json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true}}),
    ));
    assert!(
        error.message.contains("'response_format' of type 'json_schema' is not supported with this model")
    );
}

#[test]
fn the_fields_of_a_message_may_stand_in_any_order() {
    let body = br#"{"messages":[{"content":[{"text":"a","type":"text"}],"role":"user"}],"model":"m"}"#;
    assert_eq!(texts(&Request::parse(body).unwrap().ask), ["a"]);
}

#[test]
fn a_message_is_passed_on_literally() {
    let text = "  <b>\"quoted\" \\ \u{0} \u{feff} 你好 \r\n\t👩‍👩‍👧  ";
    assert_eq!(texts(&ask(&json!([{"role": "user", "content": text}]))), [text]);
}

#[test]
fn a_result_names_the_function_of_the_last_call_with_its_id() {
    let call = |name: &str| json!({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": name, "arguments": ""}}]});
    let result = json!({"role": "tool", "tool_call_id": "c", "content": "x"});
    let ask = ask(&json!([result, call("f"), result, call("g"), result]));
    assert_eq!(
        texts(&ask),
        ["[c returned] x", "[called f()]", "[f returned] x", "[called g()]", "[g returned] x"]
    );
}

#[test]
fn a_result_without_an_id_is_named_by_its_message() {
    let ask = ask(&json!([{"role": "tool", "name": "f", "content": "x"}]));
    assert_eq!(texts(&ask), ["[f returned] x"]);
}

#[test]
fn nesting_in_ignored_fields_costs_no_stack() {
    for deep in ["[".repeat(1_000_000) + &"]".repeat(1_000_000), "{\"a\":".repeat(500_000)] {
        for field in ["unknown", "metadata", "tools", "temperature"] {
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"hi","x":{deep}}}],"{field}":{deep}}}"#
            );
            let _ = Request::parse(body.as_bytes());
        }
    }
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let body = format!(r#"{{"tools":[{deep}],"model":"m","messages":[{{"role":"user","content":"hi"}}]}}"#);
    assert_eq!(Request::parse(body.as_bytes()).unwrap().ignored, ["tools"]);
}

#[test]
fn giant_texts_are_taken_whole_and_never_repeated_in_messages() {
    let giant = "x".repeat(5_000_000);
    assert_eq!(ask(&json!([{"role": "user", "content": giant}])).messages[0].text.len(), giant.len());
    for body in [
        json!({"model": "m", "messages": giant}),
        json!({"model": "m", "messages": [{"role": giant}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": [{"type": giant}]}]}),
        with("tool_choice", &json!(giant)),
        with("n", &json!(giant)),
    ] {
        assert!(refusal(&body).message.len() < 400);
    }
}

/// How long it takes to read so many messages, at best of three.
fn cost(count: usize) -> Duration {
    let turns: Vec<Value> = (0..count)
        .map(|i| match i % 4 {
            0 => json!({"role": "user", "content": format!("question {i} with \"escapes\"\n")}),
            1 => json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": format!("c{i}"), "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
            2 => json!({"role": "tool", "tool_call_id": format!("c{}", i - 1), "content": "result"}),
            _ => json!({"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        })
        .collect();
    let body = json!({"model": "m", "messages": turns}).to_string();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let request = Request::parse(body.as_bytes()).unwrap();
        best = best.min(start.elapsed());
        assert_eq!(request.ask.messages.len(), count);
    }
    best
}

#[test]
fn ten_times_the_messages_cost_about_ten_times_as_much() {
    let (few, many) = (cost(5_000), cost(50_000));
    assert!(many < few * 30, "{few:?} for 5,000, {many:?} for 50,000");
}

/// Any message with any text, and that text where the bot has to see it.
fn message() -> impl Strategy<Value = (Value, String)> {
    let role = prop::sample::select(vec!["system", "developer", "user", "assistant", "tool", "function"]);
    (role, "[ \na<\"\\\\你😀]{0,6}", any::<bool>()).prop_map(|(role, text, parts)| {
        let content = if parts { json!([{"type": "text", "text": text}]) } else { json!(text) };
        (json!({"role": role, "content": content, "tool_call_id": "c", "name": "f"}), text)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&body);
    }

    #[test]
    fn a_damaged_body_is_taken_or_refused(
        case in prop::sample::select(vec!["tools_round_trip", "multimodal", "everything_ignored"]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut body = fs::read(golden().join(format!("{case}.json"))).unwrap();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        if let Err(error) = Request::parse(&body) {
            prop_assert_eq!(error.status.as_u16(), 400);
        }
    }

    #[test]
    fn every_text_is_kept_once_and_in_order(messages in prop::collection::vec(message(), 0..12)) {
        let last = (json!({"role": "user", "content": "the end"}), "the end".to_owned());
        // A mark makes each text unlike the others.
        let messages: Vec<(Value, String)> = messages.into_iter().chain([last]).enumerate().map(
            |(i, (mut message, text))| {
                if text.trim().is_empty() {
                    return (message, String::new());
                }
                let text = format!("{text}#{i}#");
                let slot = if message["content"].is_string() {
                    &mut message["content"]
                } else {
                    &mut message["content"][0]["text"]
                };
                *slot = json!(text);
                (message, text)
            }
        ).collect();
        let body: Vec<&Value> = messages.iter().map(|(message, _)| message).collect();
        let ask = ask(&json!(body));

        let mut rest = ask.system.iter().map(String::as_str).chain(texts(&ask)).collect::<Vec<_>>().join("\n\n");
        for (_, text) in messages.iter().filter(|(_, text)| !text.is_empty()) {
            prop_assert_eq!(rest.matches(text.as_str()).count(), 1);
            let at = rest.find(text.as_str()).unwrap();
            rest.drain(..at + text.len());
        }
        prop_assert!(ask.messages.iter().all(|message| !message.text.trim().is_empty()));
        let assistants = messages.iter().filter(|(message, text)| {
            message["role"] == "assistant" && !text.is_empty()
        });
        let is_assistant = |message: &&Message| message.role == Role::Assistant;
        prop_assert_eq!(assistants.count(), ask.messages.iter().filter(is_assistant).count());
    }
}
