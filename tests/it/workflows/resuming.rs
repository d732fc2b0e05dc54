//! What Coze can do wrong as an answer is brought to a workflow's question. A
//! question that may have been answered is not answered again.

use serde_json::json;

use cozeway::simulator::flows::TRIP;

use crate::support::between::{Between, Mishap};
use crate::support::gateway::config;
use crate::support::{Coze, Gateway, Talk};

const RESUME: &str = "/v1/workflow/stream_resume";
const WHERE: &str = "Where would you like to go?";
const WHEN: &str = "When?\nsummer\nwinter";

/// What becomes of the question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It still waits.
    Waits,
    /// Nobody knows, or it is over.
    IsLost,
}

use Then::{IsLost, Waits};

fn json(status: u16, code: i64) -> Mishap {
    Mishap::Answer(status, "application/json", json!({"code": code, "msg": "as Coze puts it"}).to_string())
}

fn stream(events: &[(&str, &str)]) -> Mishap {
    let body = events.iter().map(|(name, data)| format!("id: 0\nevent: {name}\ndata: {data}\n\n")).collect();
    Mishap::Answer(200, "text/event-stream", body)
}

fn cases() -> Vec<(&'static str, Mishap, (u16, &'static str), Then)> {
    let piece = ("Message", r#"{"content":"hm","node_id":"1","node_type":"Message","node_is_finish":false}"#);
    let plain = |status, body: &str| Mishap::Answer(status, "text/plain", body.to_owned());
    vec![
        ("a bad token", json(200, 700_012_006), (502, "upstream_auth_failed"), Waits),
        ("no permission", json(401, 4100), (502, "upstream_auth_failed"), Waits),
        ("not published", json(200, 720_702_011), (502, "upstream_model_unavailable"), Waits),
        ("a rate limit", json(200, 4013), (429, "upstream_rate_limited"), Waits),
        ("status 429", plain(429, "slow"), (429, "upstream_rate_limited"), Waits),
        ("a used up quota", json(200, 4028), (429, "insufficient_quota"), Waits),
        ("it waits no more", json(200, 720_701_013), (409, "conversation_lost"), IsLost),
        ("bad parameters", json(200, 4000), (400, "coze_4000"), IsLost),
        ("a time limit", json(200, 720_702_085), (504, "upstream_timeout"), IsLost),
        ("a proxy gives up", plain(504, ""), (504, "upstream_timeout"), IsLost),
        ("a proxy has no server", plain(502, ""), (502, "upstream_error"), IsLost),
        ("an HTML page", Mishap::Answer(200, "text/html", "<html>".into()), (502, "upstream_error"), IsLost),
        ("zero bytes", stream(&[]), (502, "upstream_error"), IsLost),
        ("cut after words", stream(&[piece]), (502, "upstream_error"), IsLost),
        ("garbage", stream(&[("Message", "{nonsense")]), (502, "upstream_error"), IsLost),
        ("Done alone", stream(&[("Done", "{}")]), (502, "upstream_error"), IsLost),
        (
            "a node fails",
            stream(&[piece, ("Error", r#"{"error_code":720701013,"error_message":"no"}"#)]),
            (502, "upstream_error"),
            IsLost,
        ),
        ("an error in plain text", stream(&[piece, ("error", "stack=")]), (502, "upstream_error"), IsLost),
        (
            "an interrupt without a question",
            stream(&[("Interrupt", r#"{"interrupt_data":{"event_id":"1/2"}}"#)]),
            (502, "upstream_error"),
            IsLost,
        ),
        (
            "an interrupt that cannot be resumed",
            stream(&[("Interrupt", r#"{"interrupt_data":{"type":2,"data":"which?"}}"#)]),
            (502, "upstream_error"),
            IsLost,
        ),
    ]
}

#[tokio::test]
async fn after_every_fault_the_question_waits_or_is_lost() {
    let coze = Coze::start().await;
    let between = Between::start(&coze).await;
    let models = format!("[models.trip]\nworkflow_id = '{TRIP}'\ninput = 'q'\n");
    let gateway = Gateway::with(&config(&between.coze, "", &models)).await;
    let cases = cases();
    assert!(cases.len() >= 20);
    for (name, mishap, expected, then) in cases {
        let talk = Talk::new(&gateway, &between.coze, "trip").field("user", name);
        let answer = ["plan a trip", WHERE, "Oslo"];
        assert_eq!(talk.says(&answer[..1]).await.text(), WHERE, "{name}");
        between.next(RESUME, mishap);
        assert_eq!(talk.says(&answer).await.error(), expected, "{name}");
        let again = talk.says(&answer).await;
        match then {
            Waits => assert_eq!((again.text(), again.note()), (WHEN, "resumed"), "{name}"),
            IsLost => assert_eq!(again.error(), (409, "conversation_lost"), "{name}"),
        }
        gateway.assert_well().await;
    }
    let begun =
        coze.simulator.requests().iter().filter(|sent| sent.path == "/v1/workflow/stream_run").count();
    assert_eq!(begun, 20, "no answer has begun a run");
}
