//! What Coze can do wrong in a workflow's run.

use http::StatusCode;
use serde_json::json;

use cozeway::simulator::{Head, Script, Step};

use super::start;
use crate::faults::{coded, typed};
use crate::shared::golden;
use crate::support::outcome::{Outcome, assert_answers};

use Outcome::{After, Before, Fine};

fn send(event: &str, data: &str) -> Step {
    Step::Send(format!("id: 0\nevent: {event}\ndata: {data}\n\n").into())
}

fn piece(text: &str) -> Step {
    send(
        "Message",
        &format!(r#"{{"content":"{text}","node_id":"1","node_type":"Message","node_is_finish":false}}"#),
    )
}

fn end(json: &str) -> Step {
    let data = json!({"content": json, "node_id": "9", "node_type": "End", "node_is_finish": true});
    send("Message", &data.to_string())
}

fn done() -> Step {
    send("Done", "{}")
}

fn transcript(file: &str) -> Script {
    Script::transcript(golden::transcript_of("workflow", file))
}

fn body(file: &str) -> Script {
    Script::json(StatusCode::OK, golden::transcript_of("workflow", file))
}

fn streams() -> Vec<(&'static str, Script, Outcome)> {
    let stream = |steps: Vec<Step>| Script::stream(steps);
    vec![
        ("reset in place of a head", Script::reset(), Before(502, "upstream_error")),
        ("reset after the head", stream(vec![Step::Reset]), Before(502, "upstream_error")),
        ("reset after words", stream(vec![piece("hm"), Step::Reset]), After(502, "upstream_error")),
        ("cut after words", stream(vec![piece("hm"), Step::Cut]), After(502, "upstream_error")),
        ("ends without Done", stream(vec![piece("hm")]), After(502, "upstream_error")),
        ("ends after the result", stream(vec![end(r#"{\"a\":\"b\"}"#)]), Before(502, "upstream_error")),
        ("zero bytes", stream(vec![]), Before(502, "upstream_error")),
        ("Done alone", stream(vec![done()]), Before(502, "upstream_error")),
        ("no end after Done", stream(vec![piece("hm"), done(), Step::Hang]), Fine("hm")),
        ("reset after Done", stream(vec![piece("hm"), done(), Step::Reset]), Fine("hm")),
        ("no head", Script::hang(), Before(504, "upstream_timeout")),
        ("silence after words", stream(vec![piece("hm"), Step::Hang]), After(504, "upstream_timeout")),
        (
            "garbage first",
            stream(vec![send("Message", "{nonsense"), Step::Hang]),
            Before(502, "upstream_error"),
        ),
        (
            "garbage after words",
            stream(vec![piece("hm"), send("Message", "[]")]),
            After(502, "upstream_error"),
        ),
        (
            "content that is no text",
            stream(vec![send("Message", r#"{"content":{"a":1}}"#)]),
            Before(502, "upstream_error"),
        ),
        (
            "unknown events",
            stream(vec![send("PING", ""), piece("h"), send("New", "?"), piece("m"), done()]),
            Fine("hm"),
        ),
        ("Done with nonsense", stream(vec![piece("hm"), send("Done", "?")]), Fine("hm")),
        ("a node fails", transcript("workflow_stream_run_error.server.sse"), After(502, "upstream_error")),
        (
            "an error in plain text",
            transcript("workflow_stream_run_raw_error.server.sse"),
            After(502, "upstream_error"),
        ),
        ("bad parameters", transcript("workflow_stream_run_error.docs.sse"), Before(400, "coze_4000")),
        (
            "an error without a name",
            stream(vec![Step::Send("data: {\"code\":4013,\"msg\":\"slow\"}\n\n".into())]),
            Before(429, "upstream_rate_limited"),
        ),
        (
            "an interrupt without a question",
            stream(vec![send("Interrupt", r#"{"interrupt_data":{"event_id":"1/2"}}"#)]),
            Before(502, "upstream_error"),
        ),
        (
            "not published",
            body("workflow_stream_run_not_published.server.json"),
            Before(502, "upstream_model_unavailable"),
        ),
        ("a bad token", coded(700012006), Before(502, "upstream_auth_failed")),
        ("a time limit", coded(720702085), Before(504, "upstream_timeout")),
        ("an HTML page", typed(200, "text/html", "<html>hello</html>"), Before(502, "upstream_error")),
        (
            "an unknown path",
            Script::json(StatusCode::UNAUTHORIZED, r#"{"code":401,"msg":"missing session_key in cookie"}"#),
            Before(502, "upstream_unsupported"),
        ),
    ]
}

fn wholes() -> Vec<(&'static str, Script, Outcome)> {
    let json = |body: &'static str| Script::json(StatusCode::OK, body);
    let kind = "application/json";
    vec![
        ("fine", body("workflow_run.server.json"), Fine("北京的经度为116.4074°E,纬度为39.9042°N。")),
        (
            "fine as documented",
            body("workflow_run.docs.json"),
            Fine("北京的经度为116.4074°E,纬度为39.9042°N。"),
        ),
        (
            "an End node that gives text",
            body("workflow_run_text.server.json"),
            Fine("结束节点直接返回的文本"),
        ),
        ("a failed run", body("workflow_run_failed.server.json"), Before(502, "upstream_error")),
        ("a question", body("workflow_run_interrupt.server.json"), Before(400, "coze_6039")),
        (
            "not published",
            body("workflow_run_not_published.server.json"),
            Before(502, "upstream_model_unavailable"),
        ),
        ("without data", json(r#"{"code":0,"msg":"","data":null}"#), Before(502, "upstream_error")),
        ("JSON that is none", json("{{{"), Before(502, "upstream_error")),
        ("a stream", Script::stream([piece("hm"), done()]), Before(502, "upstream_error")),
        (
            "a cut body",
            Script::new(Head::new(StatusCode::OK, kind), [Step::Send("{\"code\"".into()), Step::Cut]),
            Before(502, "upstream_error"),
        ),
        ("no head", Script::hang(), Before(504, "upstream_timeout")),
        ("a time limit", coded(6023), Before(504, "upstream_timeout")),
        (
            "too much",
            Script::new(
                Head::new(StatusCode::OK, kind),
                [Step::SendRepeated {
                    prefix: "{\"data\":\"".into(),
                    unit: vec![b'x'; 65_536].into(),
                    times: 513,
                    suffix: "\"}".into(),
                }],
            ),
            Before(502, "upstream_error"),
        ),
    ]
}

#[tokio::test]
async fn every_fault_has_its_answer() {
    let (coze, gateway) = start().await;
    let cases = streams().into_iter().map(|case| ("flow", case));
    for (model, (name, script, outcome)) in cases.chain(wholes().into_iter().map(|case| ("flow-whole", case)))
    {
        assert_answers(name, &coze, &gateway, model, script, outcome).await;
    }
}
