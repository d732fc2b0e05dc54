use serde_json::json;

use super::*;
use crate::coze::NoPlace;
use crate::turn::Attachment;

fn workflow() -> Workflow {
    Workflow {
        id: "75".to_owned(),
        input: Input::Parameter("input".to_owned()),
        history: None,
        parameters: BTreeMap::from([("city".to_owned(), json!("杭州")), ("n".to_owned(), json!(1))]),
        output: None,
        stream: true,
        within: None,
        version: None,
        show_debug_url: false,
    }
}

fn texts(texts: &[&str]) -> Prompt {
    let role = |index| if index % 2 == 0 { Role::User } else { Role::Assistant };
    let messages = texts.iter().enumerate().map(|(index, &text)| Message::text(role(index), text)).collect();
    Prompt { messages, ..Prompt::default() }
}

#[track_caller]
fn body(workflow: &Workflow, prompt: &Prompt, parameters: Option<&str>) -> (Value, usize) {
    let (call, left_out) = run(workflow, Kind::Studio, "team:ann", prompt, parameters).unwrap();
    (serde_json::from_slice(&call.body.unwrap()).unwrap(), left_out)
}

#[test]
fn the_last_text_joins_the_fixed_parameters() {
    let (body, left_out) = body(&workflow(), &texts(&["old", "answer", "new"]), None);
    let parameters = json!({"city": "杭州", "n": 1, "input": "new"});
    assert_eq!(body, json!({"workflow_id": "75", "parameters": parameters, "ext": {"user_id": "team:ann"}}));
    assert_eq!(left_out, 2);
}

#[test]
fn the_clients_parameters_go_over_the_configs() {
    let given = r#"{"n": 12345678901234567890123, "m": [null]}"#;
    let (call, _) = run(&workflow(), Kind::Studio, "u", &texts(&["hi"]), Some(given)).unwrap();
    let body = String::from_utf8(call.body.unwrap().to_vec()).unwrap();
    assert!(
        body.contains(r#""parameters":{"city":"杭州","input":"hi","m":[null],"n":12345678901234567890123}"#)
    );
}

#[test]
fn a_text_can_be_the_parameters() {
    let workflow = Workflow { input: Input::Json, ..workflow() };
    let prompt = texts(&[r#" {"city": "北京", "deep": {"a": [1]}}"#]);
    let (sent, _) = body(&workflow, &prompt, Some(r#"{"city": "x", "m": 2}"#));
    assert_eq!(sent["parameters"], json!({"city": "北京", "deep": {"a": [1]}, "n": 1, "m": 2}));
    for text in ["北京", "[1]", "{", r#"{"a":}"#] {
        let refused = run(&workflow, Kind::Studio, "u", &texts(&[text]), None).unwrap_err();
        assert!(matches!(refused, Unfit::NoObject(_)), "{text}: {refused}");
    }
}

#[test]
fn the_transcript_goes_into_a_parameter_each_message_once() {
    let with = |input| Workflow { input, history: Some("log".to_owned()), ..workflow() };
    let prompt = texts(&["a", "b", "c"]);
    let [a, b, c] = [("user", "a"), ("assistant", "b"), ("user", "c")]
        .map(|(role, text)| json!({"role": role, "content": text}));
    let (sent, left_out) = body(&with(Input::Parameter("input".to_owned())), &prompt, None);
    assert_eq!((&sent["parameters"]["log"], &sent["parameters"]["input"]), (&json!([a, b]), &json!("c")));
    assert_eq!(left_out, 0);
    let (sent, left_out) = body(&with(Input::None), &prompt, None);
    assert_eq!((&sent["parameters"]["log"], left_out), (&json!([a, b, c]), 0));
}

#[test]
fn a_system_text_stands_ahead_or_has_a_parameter_of_its_own() {
    let mut prompt = texts(&["be brief"]);
    prompt.messages.push(Message::text(Role::User, "hi"));
    prompt.pinned = 1;
    let (sent, left_out) = body(&workflow(), &prompt, None);
    assert_eq!((&sent["parameters"]["input"], left_out), (&json!("be brief\n\nhi"), 0));
    let prompt = Prompt { variable: Some(("persona".to_owned(), "be brief".to_owned())), ..texts(&["hi"]) };
    let (sent, _) = body(&workflow(), &prompt, None);
    assert_eq!(
        (&sent["parameters"]["input"], &sent["parameters"]["persona"]),
        (&json!("hi"), &json!("be brief"))
    );
}

#[test]
fn what_the_endpoint_takes_beside_is_named_as_it_names_it() {
    let app = Workflow {
        within: Some(Within::App("8".to_owned())),
        version: Some("v0.0.3".to_owned()),
        stream: false,
        ..workflow()
    };
    let (call, _) = run(&app, Kind::Cloud, "u", &texts(&["hi"]), None).unwrap();
    assert_eq!(call.path, "/v1/workflow/run");
    let sent: Value = serde_json::from_slice(&call.body.unwrap()).unwrap();
    assert_eq!((&sent["app_id"], &sent["workflow_version"]), (&json!("8"), &json!("v0.0.3")));
    assert!(sent.get("bot_id").is_none() && sent.get("version").is_none());
    let bot = Workflow { within: Some(Within::Bot("9".to_owned())), ..app };
    let (sent, _) = body(&bot, &texts(&["hi"]), None);
    assert_eq!((&sent["bot_id"], &sent["version"]), (&json!("9"), &json!("v0.0.3")));
    assert!(sent.get("app_id").is_none());
}

#[test]
fn what_has_no_place_is_refused() {
    let mut prompt = texts(&["look"]);
    prompt.messages[0].attachments.push(Attachment::image("https://x/1"));
    assert_eq!(check(&workflow(), &prompt, None), Err(Unfit::Attachment(0, NoPlace::Workflow)));
    let taken = check(&workflow(), &texts(&["hi"]), Some(r#"{"input": "x"}"#));
    assert_eq!(taken, Err(Unfit::Taken("input".to_owned())));
    let json = Workflow { input: Input::Json, history: Some("log".to_owned()), ..workflow() };
    assert_eq!(check(&json, &texts(&[r#"{"log": 1}"#]), None), Err(Unfit::Taken("log".to_owned())));
}
