//! `/v1/workflow/run`, `stream_run` and `stream_resume` (protocol 5.1 to
//! 5.3).
//!
//! In comes the JSON body, out comes the answer in the server's form: JSON, or
//! an event stream with ids and a space after the colon, not HTML-escaped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::bots::Standing;
use super::flows::{Flow, Question, Step, steps};
use super::request::missing;
use super::server::{coded, json_response};
use super::streams::Open;
use super::{Simulator, lock, wire};

/// How many questions wait for their answers.
const MAX_QUESTIONS: usize = 1_000;

/// What each run is said to have cost.
const TOKENS: u64 = 386;

/// What happens when neither the bot nor the app counts.
const BOTH: &str = "Workflow execution failure: project_id and bot_id cannot be set at the same time";

/// In which way a workflow is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `/v1/workflow/run`.
    Whole,
    /// `/v1/workflow/stream_run`.
    Stream,
    /// `/v1/workflow/stream_resume`.
    Resume,
}

/// The questions that wait for their answers, oldest first.
pub(super) type Questions = VecDeque<Waiting>;

/// A run that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    event: String,
    run: Run,
}

/// A run as far as it has come.
#[derive(Clone, Debug)]
struct Run {
    flow: Flow,
    execute: u64,
    parameters: Map<String, Value>,
    answers: Vec<String>,
}

/// Answers a request.
///
/// # Errors
/// The text of a binding error.
pub(super) async fn answer(
    simulator: &Simulator,
    way: Way,
    body: &Value,
    open: Open,
) -> Result<Response<Body>, String> {
    let id = text(body, "workflow_id")?.ok_or_else(|| missing("workflow_id"))?;
    let run = match way {
        Way::Resume => resumed(simulator, id, body)?,
        Way::Whole | Way::Stream => begun(simulator, id, body, way)?,
    };
    let run = match run {
        Ok(run) => run,
        Err(refusal) => return Ok(refusal),
    };
    let steps = steps(run.flow.runs, &run.parameters, &run.answers);
    if way == Way::Whole {
        return Ok(whole(&run, &steps));
    }
    let events = events(simulator, &run, steps);
    Ok(streamed(events, simulator.options().pace, open))
}

type Refused = Response<Body>;

fn begun(simulator: &Simulator, id: &str, body: &Value, way: Way) -> Result<Result<Run, Refused>, String> {
    let parameters = parameters(body)?;
    if text(body, "bot_id")?.is_some() && text(body, "app_id")?.is_some() {
        return Ok(Err(coded(720_701_013, BOTH)));
    }
    let flow = simulator.options().flows.iter().find(|flow| flow.id == id).cloned();
    Ok(match flow {
        Some(flow) if flow.standing == Standing::Published => {
            let execute = simulator.book().next_id().0;
            Ok(Run { flow, execute, parameters, answers: Vec::new() })
        }
        Some(flow) if flow.standing == Standing::Foreign => {
            Err(coded(720_701_013, "Workflow execution failure: user 1 does not have access to space 2"))
        }
        Some(_) => {
            let code = if way == Way::Whole { 6031 } else { 720_702_011 };
            Err(coded(
                code,
                "Workflow not published. The requested operation cannot be performed on an unpublished workflow. Please publish the workflow and try again.",
            ))
        }
        None => Err(coded(720_702_004, "Workflow not found.")),
    })
}

/// The start parameters: an object, or one in a string.
pub(super) fn parameters(body: &Value) -> Result<Map<String, Value>, String> {
    match body.get("parameters") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(Value::String(text)) if text.is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| format!("bind body failed, err={error}"))
        }
        Some(other) => Err(format!("bind body failed, err=mismatched parameters {other}")),
    }
}

fn resumed(simulator: &Simulator, id: &str, body: &Value) -> Result<Result<Run, Refused>, String> {
    let event = text(body, "event_id")?.ok_or_else(|| missing("event_id"))?;
    let data = text(body, "resume_data")?.ok_or_else(|| missing("resume_data"))?;
    let mut questions = lock(&simulator.0.questions);
    let at = questions.iter().position(|waiting| waiting.event == event && waiting.run.flow.id == id);
    let waiting = at.and_then(|at| questions.remove(at));
    Ok(match waiting {
        Some(Waiting { mut run, .. }) => {
            run.answers.push(data.to_owned());
            Ok(run)
        }
        None => Err(coded(720_701_013, "Workflow execution failure: no interrupt event found")),
    })
}

/// A field that is a string or not there.
pub(super) fn text<'b>(body: &'b Value, name: &str) -> Result<Option<&'b str>, String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("bind body failed, err=mismatched {name} {other}")),
    }
}

/// The body of `/v1/workflow/run` (`workflow_run.server.json` and its like).
#[derive(Serialize)]
struct Whole<'a> {
    code: u32,
    msg: Option<&'a str>,
    data: Option<String>,
    token: Option<u64>,
    cost: Option<&'a str>,
    debug_url: String,
    execute_id: Option<String>,
    #[serde(rename = "BaseResp")]
    base: (),
}

fn whole(run: &Run, steps: &[Step]) -> Response<Body> {
    let failed = |code, msg| Whole {
        code,
        msg: Some(msg),
        data: None,
        token: None,
        cost: None,
        debug_url: run.debug_url(),
        execute_id: None,
        base: (),
    };
    let body = match steps.last() {
        Some(Step::End(variables)) => Whole {
            code: 0,
            msg: None,
            data: Some(variables.to_string()),
            token: Some(TOKENS),
            cost: Some("0.00000"),
            execute_id: Some(run.execute.to_string()),
            ..failed(0, "")
        },
        Some(Step::Ask(_)) => failed(
            6039,
            "Synchronous requests do not support interruption. Please switch to asynchronous requests for interruptible operations.",
        ),
        _ => failed(720_701_013, FAILED),
    };
    json_response(&wire::json(&body))
}

const FAILED: &str = "Workflow execution failure: context deadline exceeded";

/// The data of `Message` events, in the transcripts' order.
#[derive(Serialize)]
struct Message<'a> {
    content: &'a str,
    content_type: &'static str,
    node_seq_id: String,
    node_id: &'static str,
    node_is_finish: bool,
    node_type: &'static str,
    node_title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
}

impl<'a> Message<'a> {
    fn new(kind: &'static str, id: &'static str, content: &'a str) -> Self {
        Self {
            content,
            content_type: "text",
            node_seq_id: "0".to_owned(),
            node_id: id,
            node_is_finish: true,
            node_type: kind,
            node_title: kind,
            token: None,
        }
    }
}

fn events(simulator: &Simulator, run: &Run, steps: Vec<Step>) -> Vec<Bytes> {
    let mut events: Vec<(&str, String)> = Vec::new();
    let mut said = 0;
    for step in steps {
        match step {
            Step::Say(text, last) => {
                let message = Message {
                    node_seq_id: said.to_string(),
                    node_is_finish: last,
                    ..Message::new("Message", "110001", &text)
                };
                said += 1;
                events.push(("Message", plain(&message)));
            }
            Step::End(variables) => {
                let content = variables.to_string();
                let message = Message { token: Some(TOKENS), ..Message::new("End", "900001", &content) };
                events.push(("Message", plain(&message)));
                events.push(("Done", plain(&json!({ "debug_url": run.debug_url() }))));
            }
            Step::Ask(question) => {
                let (kind, id, number) = match question {
                    Question::Text(_) | Question::Options(..) => ("Question", "130001", 2),
                    Question::Form(_) => ("Input", "140001", 5),
                };
                let data = asked(&question);
                events.push(("Message", plain(&Message::new(kind, id, &data))));
                let event = format!("{}/{}", run.execute, simulator.book().next_id());
                let interrupt = json!({
                    "debug_url": run.debug_url(),
                    "interrupt_data": { "event_id": event, "type": number, "data": data },
                });
                events.push(("Interrupt", plain(&interrupt)));
                let mut questions = lock(&simulator.0.questions);
                questions.push_back(Waiting { event, run: run.clone() });
                if questions.len() > MAX_QUESTIONS {
                    questions.pop_front();
                }
            }
            Step::Fail => {
                let error = json!({
                    "debug_url": run.debug_url(), "error_code": 720_701_013, "error_message": FAILED,
                });
                events.push(("Error", plain(&error)));
            }
        }
    }
    let event = |(id, (name, data)): (usize, (&str, String))| {
        Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
    };
    events.into_iter().enumerate().map(event).collect()
}

/// The JSON of a question (protocol 5.2).
fn asked(question: &Question) -> String {
    let round = |kind: &str, content: Value| json!({"messages": [{"type": "question", "content_type": kind, "content": content, "id": "130001_0"}]});
    let json = match question {
        Question::Text(text) => round("text", json!(text)),
        Question::Options(text, options) => {
            let options: Vec<Value> = options.iter().map(|name| json!({ "name": name })).collect();
            round("option", json!({ "options": options, "question": text }))
        }
        Question::Form(fields) => {
            let field = |(name, kind): &(&str, &str)| json!({"type": kind, "name": name, "required": true});
            let fields: Vec<Value> = fields.iter().map(field).collect();
            json!({ "content": Value::Array(fields).to_string(), "content_type": "form_schema" })
        }
    };
    json.to_string()
}

impl Run {
    fn debug_url(&self) -> String {
        format!(
            "http://localhost:8888/work_flow?execute_id={}&execute_mode=2&space_id=7530400000000000001&workflow_id={}",
            self.execute, self.flow.id
        )
    }
}

/// Compact JSON without HTML escapes.
pub(super) fn plain(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("values of strings, numbers and maps serialise")
}

/// Events as a body, one chunk each.
pub(super) fn streamed(events: Vec<Bytes>, pace: Duration, open: Open) -> Response<Body> {
    let body =
        stream::unfold((events.into_iter(), true, open), move |(mut events, first, open)| async move {
            let event = events.next()?;
            if !first && !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
            Some((Ok::<_, Infallible>(event), (events, false, open)))
        });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Options;
    use crate::simulator::flows::Runs;

    fn written(runs: Runs, parameters: &Value, answers: &[&str]) -> String {
        let simulator = Simulator::new(Options::instant());
        let run = Run {
            flow: Flow::new("7530900000000000001", runs),
            execute: 7_530_800_000_000_000_001,
            parameters: parameters.as_object().unwrap().clone(),
            answers: answers.iter().map(|&answer| answer.to_owned()).collect(),
        };
        let steps = steps(runs, &run.parameters, &run.answers);
        events(&simulator, &run, steps)
            .iter()
            .map(|event| String::from_utf8_lossy(event).into_owned())
            .collect()
    }

    /// What stands before the first word of its own, and behind its last.
    fn frame(transcript: &str) -> (&str, &str) {
        let done = transcript.find("event: Done").unwrap();
        (transcript.split("\"content\":\"").next().unwrap(), transcript.split_at(done).1)
    }

    #[test]
    fn events_have_the_transcripts_form() {
        let real = include_str!("../../tests/golden/workflow/workflow_stream_run.server.sse");
        let ours = written(Runs::Poem, &json!({"topic": "tea"}), &[]);
        let (ours, real) = (frame(&ours), frame(real));
        assert_eq!(ours, real);
        let real = include_str!("../../tests/golden/workflow/workflow_stream_run_error.server.sse");
        let ours = written(Runs::Broken, &json!({}), &[]);
        assert_eq!(ours.split("event: Error").nth(1), real.split("event: Error").nth(1));
    }

    #[test]
    fn questions_have_the_transcripts_form() {
        let real = include_str!("../../tests/golden/workflow/workflow_stream_run_interrupt_input.server.sse");
        let ours = written(Runs::Trip, &json!({}), &["there", "winter"]);
        let interrupt = |text: &str| {
            let data = text.split("event: Interrupt\ndata: ").nth(1).unwrap().trim_end().to_owned();
            serde_json::from_str::<Value>(&data).unwrap()
        };
        let (ours, real) = (interrupt(&ours), interrupt(real));
        let shape = |value: &Value| {
            let data = &value["interrupt_data"];
            let content: Value = serde_json::from_str(data["data"].as_str().unwrap()).unwrap();
            (
                data["type"].clone(),
                content["content_type"].clone(),
                data["event_id"].as_str().unwrap().matches('/').count(),
            )
        };
        assert_eq!(shape(&ours), shape(&real));
    }
}
