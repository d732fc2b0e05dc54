use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::coze::workflow::Input;
use crate::turn::Reply;

fn reader(output: Option<&str>) -> Reader {
    Reader::new(&Workflow {
        id: "1".to_owned(),
        input: Input::Parameter("input".to_owned()),
        history: None,
        parameters: BTreeMap::new(),
        output: output.map(str::to_owned),
        stream: true,
        within: None,
        version: None,
        show_debug_url: false,
    })
}

fn read_with(reader: &mut Reader, events: &[(&str, Value)]) -> Result<Reply, Failure> {
    let mut reply = Reply::default();
    for (name, data) in events {
        let data = match data {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let event = sse::Event { name: name.as_bytes(), data: data.as_bytes(), cut_off: false };
        reader.read(event, &mut |event| reply.push(event))?;
    }
    reader.end()?;
    Ok(reply)
}

fn text(events: &[(&str, Value)]) -> String {
    read_with(&mut reader(None), events).unwrap().text().decode().into_owned()
}

/// A piece of a node of this type; the last one has `!` behind its id.
fn piece(kind: &str, id: &str, content: &str) -> (&'static str, Value) {
    let (id, finish) = id.strip_suffix('!').map_or((id, false), |id| (id, true));
    let data = json!({
        "content": content, "content_type": "text", "node_seq_id": "0", "node_id": id,
        "node_is_finish": finish, "node_type": kind, "node_title": id,
    });
    ("Message", data)
}

fn done() -> (&'static str, Value) {
    ("Done", json!({"debug_url": "http://h/work_flow?execute_id=1"}))
}

#[test]
fn nodes_are_joined_by_a_blank_line_and_loops_are_nodes_again() {
    let events = [
        piece("Message", "1", "a"),
        piece("Message", "1!", "b"),
        piece("Message", "1!", "c"),
        piece("Message", "2!", ""),
        piece("Message", "3!", "d"),
        done(),
    ];
    assert_eq!(text(&events), "ab\n\nc\n\nd");
}

#[test]
fn nodes_that_speak_at_the_same_time_are_told_one_after_the_other() {
    let events = [
        piece("Message", "1", "a"),
        piece("Message", "2", "x"),
        piece("Message", "1", "b"),
        piece("Message", "2!", "y"),
        piece("Message", "1!", "c"),
        done(),
    ];
    assert_eq!(text(&events), "abc\n\nxy");
}

#[test]
fn an_end_node_that_streams_text_is_text() {
    let events = [piece("End", "9", "{\"not"), piece("End", "9!", "\": a result}"), done()];
    assert_eq!(text(&events), "{\"not\": a result}");
}

#[test]
fn without_types_only_the_last_json_is_the_result() {
    let untyped = |id: &str, content: &str| {
        let data = json!({"content": content, "node_title": id, "node_seq_id": "0", "node_is_finish": true});
        ("Message", data)
    };
    let events =
        [untyped("Message", r#"{"shown":1}"#), untyped("End", r#"{"output":"x"}"#), ("Done", json!({}))];
    assert_eq!(text(&events), "{\"shown\":1}\n\nx");
}

#[test]
fn the_result_is_the_picked_variable() {
    let events = [piece("End", "9!", r#"{"a":"x","b":"y"}"#), done()];
    let reply = read_with(&mut reader(Some("b")), &events).unwrap();
    assert_eq!(reply.text().decode(), "y");
}

#[test]
fn an_empty_result_is_an_answer_and_none_at_all_is_not() {
    assert_eq!(text(&[piece("End", "9!", r#"{"output":""}"#), done()]), "");
    let failure = read_with(&mut reader(None), &[done()]).unwrap_err();
    assert_eq!(failure.kind, Kind::Broken);
}

#[test]
fn a_stream_without_an_end_has_broken_off() {
    for events in [vec![], vec![piece("Message", "1!", "a")], vec![piece("End", "9!", "{}")]] {
        assert_eq!(read_with(&mut reader(None), &events).unwrap_err().kind, Kind::Broken);
    }
}

#[test]
fn a_question_is_said_once_with_what_it_wants() {
    let data = r#"{"messages":[{"type":"question","content_type":"option","content":{"options":[{"name":"a"}],"question":"which?"}}]}"#;
    let interrupt = json!({"interrupt_data": {"event_id": "1/2", "type": 2, "data": data}});
    let events = [piece("Message", "1", "hm"), piece("Question", "3!", data), ("Interrupt", interrupt)];
    let reply = read_with(&mut reader(None), &events).unwrap();
    assert_eq!(reply.text().decode(), "hm\n\nwhich?\na");
    assert_eq!(reply.wants, Some(Wants::Choice(vec!["a".to_owned()])));
}

#[test]
fn the_sum_of_tokens_counts_and_both_counts_count_more() {
    let mut end = piece("End", "9!", r#"{"output":"x"}"#);
    end.1["token"] = json!(386);
    let usage =
        |end: &(&'static str, Value)| read_with(&mut reader(None), &[end.clone(), done()]).unwrap().usage;
    assert_eq!(usage(&end), Some(Usage { input: 0, output: 386 }));
    end.1["usage"] = json!({"input_count": 300, "output_count": 86, "token_count": 386});
    assert_eq!(usage(&end), Some(Usage { input: 300, output: 86 }));
    end.1 = json!({"content": "{}", "node_type": "End", "node_id": "9", "node_is_finish": true, "token": 0});
    assert_eq!(usage(&end), None);
}

#[test]
fn a_run_that_is_not_streamed_is_read_the_same_way() {
    let read = |body: &str| {
        let (mut reader, mut reply) = (reader(None), Reply::default());
        reader.whole(body.as_bytes(), &mut |event| reply.push(event)).map(|()| reply)
    };
    let reply = read(r#"{"code":0,"msg":null,"data":"{\"output\":\"x\"}","token":98}"#).unwrap();
    assert_eq!((&*reply.text().decode(), reply.usage.unwrap().total()), ("x", 98));
    assert_eq!(reply.finish, Some(Finish::Completed));
    for body in [r#"{"code":0,"data":null}"#, "[]", r#"{"data":{"output":"x"}}"#] {
        assert_eq!(read(body).unwrap_err().kind, Kind::Broken, "{body}");
    }
}

#[test]
fn where_the_page_of_the_run_is_is_told_only_where_that_is_wanted() {
    let events = [piece("End", "9!", "x"), done()];
    assert_eq!(read_with(&mut reader(None), &events).unwrap().debug_url, None);
    let mut shows = reader(None);
    shows.show_debug_url = true;
    let url = read_with(&mut shows, &events).unwrap().debug_url;
    assert_eq!(url.as_deref(), Some("http://h/work_flow?execute_id=1"));
}

#[test]
fn memory_is_bounded() {
    let big = "x".repeat(MAX_WAITING_BYTES / 2 + 1);
    let events = [piece("Message", "1", "a"), piece("Message", "2", &big), piece("Message", "2", &big)];
    assert_eq!(read_with(&mut reader(None), &events).unwrap_err().message, too_much().message);
    let mut many: Vec<_> = (0..=MAX_NODES).map(|id| piece("Message", &id.to_string(), "x")).collect();
    many.push(done());
    assert_eq!(read_with(&mut reader(None), &many).unwrap_err().message, too_much().message);
    // What is shown at once has no bound.
    let large: Vec<_> = (0..40).map(|_| piece("Message", "1", &big)).collect();
    let mut through = reader(None);
    for (name, data) in &large {
        let data = data.to_string();
        let event = sse::Event { name: name.as_bytes(), data: data.as_bytes(), cut_off: false };
        through.read(event, &mut |_| ()).unwrap();
    }
    assert!(through.said.len() <= MAX_SAID_BYTES && through.waiting == 0);
}
