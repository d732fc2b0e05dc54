//! Everything that Coze and the way to it can do wrong.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;

use cozeway::simulator::{Head, Script, Step};

use crate::shared::golden;
use crate::support::gateway::{config, request};
use crate::support::outcome::{
    Outcome::{self, After, Before, Fine},
    assert_answers, assert_fails,
};
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED};

pub(crate) fn created() -> Step {
    send("conversation.chat.created", r#"{"id":"3","conversation_id":"2","status":"created"}"#)
}

fn delta(text: &str) -> Step {
    let data = format!(
        r#"{{"id":"1","conversation_id":"2","chat_id":"3","role":"assistant","type":"answer","content":"{text}","content_type":"text"}}"#
    );
    send("conversation.message.delta", &data)
}

fn whole(text: &str) -> Step {
    let data = format!(
        r#"{{"id":"1","conversation_id":"2","chat_id":"3","role":"assistant","type":"answer","content":"{text}","content_type":"text"}}"#
    );
    send("conversation.message.completed", &data)
}

fn completed() -> Step {
    send("conversation.chat.completed", r#"{"id":"3","conversation_id":"2","status":"completed"}"#)
}

fn done() -> Step {
    send("conversation.stream.done", "")
}

pub(crate) fn send(event: &str, data: &str) -> Step {
    Step::Send(format!("event:{event}\ndata:{data}\n\n").into())
}

fn transcript(file: &str) -> Script {
    Script::transcript(golden::transcript(file))
}

pub(crate) fn coded(code: i64) -> Script {
    Script::json(StatusCode::OK, format!(r#"{{"code":{code},"msg":"as Coze puts it"}}"#))
}

pub(crate) fn typed(status: u16, kind: &'static str, body: &'static str) -> Script {
    Script::new(
        Head::new(StatusCode::from_u16(status).unwrap(), kind),
        [Step::Send(Bytes::from_static(body.as_bytes()))],
    )
}

pub(crate) fn cases() -> Vec<(&'static str, Script, Outcome)> {
    let stream = |steps: Vec<Step>| Script::stream(steps);
    let json = Script::json;
    let seven = HeaderValue::from_static("7");
    vec![
        // The connection
        ("reset in place of a head", Script::reset(), Before(502, "upstream_error")),
        ("reset after the head", stream(vec![Step::Reset]), Before(502, "upstream_error")),
        ("reset after created", stream(vec![created(), Step::Reset]), Before(502, "upstream_error")),
        (
            "reset after words",
            stream(vec![created(), delta("hm"), Step::Reset]),
            After(502, "upstream_error"),
        ),
        ("cut after words", stream(vec![created(), delta("hm"), Step::Cut]), After(502, "upstream_error")),
        (
            "cut inside an event",
            stream(vec![delta("hm"), Step::Send("event:conversation.mess".into()), Step::Cut]),
            After(502, "upstream_error"),
        ),
        ("ends without completion", stream(vec![created(), delta("hm")]), After(502, "upstream_error")),
        ("truncated in a character", transcript("chat_truncated.server.sse"), After(502, "upstream_error")),
        ("reset after completion", stream(vec![delta("hm"), completed(), Step::Reset]), Fine("hm")),
        ("no end after completion", stream(vec![delta("hm"), completed(), Step::Hang]), Fine("hm")),
        ("no terminal event", stream(vec![delta("hm"), completed()]), Fine("hm")),
        // Silence
        ("no head", Script::hang(), Before(504, "upstream_timeout")),
        ("silence after the head", stream(vec![Step::Hang]), Before(504, "upstream_timeout")),
        (
            "silence after words",
            stream(vec![created(), delta("hm"), Step::Hang]),
            After(504, "upstream_timeout"),
        ),
        // What is no stream
        ("zero bytes", transcript("chat_empty_stream.server.sse"), Before(502, "upstream_error")),
        ("an HTML page", typed(200, "text/html", "<html>hello</html>"), Before(502, "upstream_error")),
        (
            "a proxy's error page",
            typed(502, "text/html", "<html>bad gateway</html>"),
            Before(502, "upstream_error"),
        ),
        (
            "a proxy's time-out",
            typed(504, "text/html", "<html>gateway time-out</html>"),
            Before(504, "upstream_timeout"),
        ),
        ("a redirect", typed(302, "text/html", ""), Before(502, "upstream_error")),
        (
            "a stream called text",
            typed(200, "text/plain", "event:done\ndata:\n\n"),
            Before(502, "upstream_error"),
        ),
        (
            "JSON without an error",
            json(StatusCode::OK, r#"{"code":0,"msg":"","data":{}}"#),
            Before(502, "upstream_error"),
        ),
        ("JSON that is none", json(StatusCode::OK, "{{{"), Before(502, "upstream_error")),
        (
            "an internal error",
            json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"code":500,"msg":"internal server error"}"#),
            Before(502, "upstream_error"),
        ),
        ("a panic", typed(500, "text/plain", ""), Before(502, "upstream_error")),
        // Events that make no sense
        (
            "garbage first",
            stream(vec![send("conversation.message.delta", "{nonsense"), Step::Hang]),
            Before(502, "upstream_error"),
        ),
        (
            "garbage after words",
            stream(vec![delta("hm"), send("conversation.message.delta", "[]"), Step::Hang]),
            After(502, "upstream_error"),
        ),
        (
            "content that is no text",
            stream(vec![send("conversation.message.delta", r#"{"id":"1","type":"answer","content":12}"#)]),
            Before(502, "upstream_error"),
        ),
        (
            "invalid UTF-8",
            stream(vec![Step::Send(Bytes::from_static(
                b"event:conversation.message.delta\ndata:{\"content\":\"\xFF\"}\n\n",
            ))]),
            Before(502, "upstream_error"),
        ),
        (
            "an event without end",
            stream(vec![Step::SendRepeated {
                prefix: "event:x\ndata:".into(),
                unit: Bytes::from(vec![b'x'; 1024]),
                times: 33 * 1024,
                suffix: Bytes::new(),
            }]),
            Before(502, "upstream_error"),
        ),
        (
            "a line without end",
            stream(vec![Step::SendRepeated {
                prefix: ":".into(),
                unit: Bytes::from(vec![b'x'; 1024]),
                times: 33 * 1024,
                suffix: Bytes::new(),
            }]),
            Before(502, "upstream_error"),
        ),
        (
            "unknown events",
            stream(vec![
                created(),
                send("conversation.new", "?"),
                delta("h"),
                send("PING", ""),
                delta("m"),
                completed(),
                done(),
            ]),
            Fine("hm"),
        ),
        (
            "a second completed",
            stream(vec![delta("hm"), whole("hm"), whole("hm"), whole("other"), completed(), done()]),
            Fine("hm"),
        ),
        ("a completed with more", stream(vec![delta("h"), whole("hm"), completed(), done()]), Fine("hm")),
        ("a completed alone", stream(vec![whole("hm"), completed(), done()]), Fine("hm")),
        (
            "a completed with other words",
            stream(vec![delta("hm"), whole("ahem"), completed(), done()]),
            Fine("hm"),
        ),
        // Failures that Coze tells of
        (
            "error, then completed",
            transcript("chat_error_midstream.server.sse"),
            After(502, "upstream_error"),
        ),
        ("cannot start", transcript("chat_error_start.server.sse"), Before(502, "upstream_error")),
        ("refused role", transcript("chat_error_role.server.sse"), Before(502, "upstream_error")),
        ("chat failed", transcript("chat_failed.docs.sse"), After(502, "upstream_error")),
        ("no answer", transcript("chat_no_answer.server.sse"), Before(502, "upstream_error")),
        (
            "not published",
            transcript("chat_error_not_published.server.sse"),
            Before(502, "upstream_model_unavailable"),
        ),
        (
            "somebody else's bot",
            transcript("chat_error_prestream.server.sse"),
            Before(502, "upstream_auth_failed"),
        ),
        (
            "a local plugin",
            transcript("chat_requires_action.cloud.sse"),
            Before(502, "upstream_requires_action"),
        ),
        ("a busy conversation", transcript("chat_error_event.cloud.sse"), Before(409, "conversation_locked")),
        ("a plain text error", stream(vec![send("error", "boom")]), Before(502, "upstream_error")),
        ("an empty error", stream(vec![send("error", "{}")]), Before(502, "upstream_error")),
        (
            "an unknown path",
            json(StatusCode::UNAUTHORIZED, r#"{"code":401,"msg":"missing session_key in cookie"}"#),
            Before(502, "upstream_unsupported"),
        ),
        (
            "an error with its type in capitals",
            typed(200, "Application/JSON", r#"{"code":4015,"msg":"not published"}"#),
            Before(502, "upstream_model_unavailable"),
        ),
        (
            "a stream with its type in capitals",
            typed(
                200,
                "Text/Event-Stream; charset=UTF-8",
                "event:conversation.message.completed\ndata:{\"id\":\"1\",\"type\":\"answer\",\"content\":\"hm\"}\n\n\
                 event:conversation.chat.completed\ndata:{}\n\nevent:done\ndata:\n\n",
            ),
            Fine("hm"),
        ),
        ("a bad token", coded(700012006), Before(502, "upstream_auth_failed")),
        ("a bad token of the cloud", coded(4100), Before(502, "upstream_auth_failed")),
        ("no rights", coded(4101), Before(502, "upstream_auth_failed")),
        ("not published in the cloud", coded(4015), Before(502, "upstream_model_unavailable")),
        ("not found in the cloud", coded(4200), Before(502, "upstream_model_unavailable")),
        (
            "a missing field",
            json(StatusCode::BAD_REQUEST, r#"{"code":400,"msg":"'user_id' field is required"}"#),
            Before(400, "coze_400"),
        ),
        ("a bad parameter", coded(4000), Before(400, "coze_4000")),
        ("too long for the model", coded(4010), Before(400, "context_length_exceeded")),
        ("a rate limit", coded(4013), Before(429, "upstream_rate_limited")),
        (
            "status 429",
            Script::new(
                Head::new(StatusCode::TOO_MANY_REQUESTS, "application/json").with(RETRY_AFTER, seven),
                [Step::Send("{}".into())],
            ),
            Before(429, "upstream_rate_limited"),
        ),
        ("a used up quota", coded(4028), Before(429, "insufficient_quota")),
        ("a code that nobody knows", coded(987_654), Before(502, "upstream_error")),
    ]
}

#[tokio::test]
async fn every_fault_has_its_answer_and_leaves_nothing_behind() {
    let coze = Coze::start().await;
    let gateway =
        Gateway::with_server(&coze, "upstream_timeout = \"300ms\"\nconversation_wait = \"200ms\"").await;
    gateway.assert_well().await;
    coze.idle().await;
    let files = gateway.open_files();
    let cases = cases();
    assert!(cases.len() >= 50);
    for (name, script, outcome) in cases {
        assert_answers(name, &coze, &gateway, "scripted", script, outcome).await;
    }
    // Idle connections to Coze may stay; nothing else may.
    crate::support::eventually("sockets are given back", || gateway.open_files() <= files + 4).await;
}

#[tokio::test]
async fn a_refused_connection_is_a_503() {
    let coze = Coze::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text =
        config(&coze, "", "").replace(&format!("127.0.0.1:{}", coze.port), &format!("127.0.0.1:{closed}"));
    let gateway = Gateway::with(&text).await;
    for stream in [false, true] {
        let response = gateway.ask("echo", "hi", json!({"stream": stream})).await;
        assert_fails("refused", response, 503, "upstream_unreachable").await;
    }
}

#[tokio::test]
async fn coze_may_die_in_the_middle_and_come_back() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, Script::stream([delta("hm"), Step::Hang]));
    let mut stream =
        crate::support::sse::Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    assert_eq!(stream.content().await, "hm");
    coze.simulator.unscript(SCRIPTED);
    coze.simulator
        .script(SCRIPTED, Script::stream([delta("hm"), Step::Sleep(Duration::from_millis(50)), Step::Reset]));
    let broken = Streamed::of(gateway.ask("scripted", "hi", json!({"stream": true})).await).await;
    assert_eq!(broken.error().unwrap()["code"], "upstream_error");
    gateway.assert_well().await;
}

#[tokio::test]
async fn the_log_tells_the_operator_what_the_client_is_not_told() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, transcript("chat_error_prestream.server.sse"));
    let body = request("scripted", "a secret question", json!({})).to_string();
    let response = gateway.post(body).header("x-request-id", "fault-1").send().await.unwrap();
    assert_eq!(response.status(), 502);
    let line = gateway.logged("fault-1").await;
    assert_eq!(line["error.code"], "upstream_auth_failed");
    assert!(line["error.detail"].as_str().unwrap().contains("agent not match"), "{line}");
    assert!(!line.to_string().contains("a secret question"));
}
