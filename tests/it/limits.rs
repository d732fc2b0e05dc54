//! Limits: what is let in, what is told of it, and that nothing leaks.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use cozeway::simulator::{DEMO_TOKEN, Options, Script, Step};

use crate::shared::{golden, schema};
use crate::support::gateway::{config, request};
use crate::support::scrape::Scrape;
use crate::support::sse::{Item, Stream, Streamed};
use crate::support::{Coze, Gateway, KEY, SCRIPTED, eventually};

const OTHER: &str = "sk-other-0123456789abcdef";

/// A gateway whose first key has limits; the second one has none.
async fn limited(coze: &Coze, own: &str, everyone: &str) -> Gateway {
    let more = format!("{own}\n[keys.other]\nkey = \"{OTHER}\"\n[limits]\n{everyone}");
    Gateway::with(&config(coze, "", &more)).await
}

async fn ask_as(gateway: &Gateway, key: &str, body: &Value) -> Response {
    let url = gateway.url("/v1/chat/completions");
    gateway.client.post(url).bearer_auth(key).body(body.to_string()).send().await.unwrap()
}

/// A request that is wrong: it tells of the limits and counts for none.
async fn look(gateway: &Gateway, key: &str) -> Response {
    let response = ask_as(gateway, key, &json!({})).await;
    assert_eq!(response.status(), 400);
    response
}

#[track_caller]
fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// `limit`, `remaining` and the seconds until the reset.
#[track_caller]
fn gauge(response: &Response, of: &str) -> Option<(u64, u64, f64)> {
    let value = |name: &str| header(response, &format!("x-ratelimit-{name}-{of}"));
    let (limit, remaining, reset) = (value("limit")?, value("remaining")?, value("reset")?);
    Some((
        limit.parse().unwrap(),
        remaining.parse().unwrap(),
        reset.strip_suffix('s').unwrap().parse().unwrap(),
    ))
}

/// It is a 429 that an SDK waits for; gives how long, and its message.
async fn over(response: Response) -> (Duration, String) {
    assert_eq!(response.status(), 429);
    let seconds: u64 = header(&response, "retry-after").unwrap().parse().unwrap();
    let milliseconds: u64 = header(&response, "retry-after-ms").unwrap().parse().unwrap();
    assert_eq!(seconds, milliseconds.div_ceil(1000).max(1), "rounded up");
    assert!(header(&response, "x-should-retry").is_none());
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    schema::assert_valid(&schema::validator("error"), &body, "a 429");
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    (Duration::from_millis(milliseconds), body["error"]["message"].as_str().unwrap().to_owned())
}

/// A stream that says something and then nothing for ten seconds; comments
/// keep the gateway from taking it for dead.
fn hanging() -> Script {
    let mut text = String::from_utf8(golden::transcript("chat_text.server.sse")).unwrap();
    let at = text.find("event:conversation.message.completed").unwrap();
    text.truncate(at);
    let pulse = [Step::Sleep(Duration::from_millis(50)), Step::Send(":\n".into())];
    let pulses = std::iter::repeat_n(pulse, 200).flatten();
    Script::stream(std::iter::once(Step::Send(text.into())).chain(pulses))
}

/// An answer that is open until it is dropped.
async fn open(gateway: &Gateway, n: u32) -> Result<Stream, Response> {
    let response = gateway.ask("scripted", "hi", json!({"stream": true, "n": n})).await;
    if response.status() != 200 {
        return Err(response);
    }
    let mut stream = Stream::new(response);
    stream.content().await;
    Ok(stream)
}

/// Every slot is free: so many streams are let in, and not one more.
async fn assert_slots_free(coze: &Coze, gateway: &Gateway, slots: usize) {
    coze.idle().await;
    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, hanging());
    let mut streams = Vec::new();
    for number in 0..slots {
        let stream = open(gateway, 1).await;
        streams.push(stream.unwrap_or_else(|_| panic!("slot {number} of {slots} is free")));
    }
    assert!(over(open(gateway, 1).await.unwrap_err()).await.1.contains("concurrent requests"));
    drop(streams);
    coze.idle().await;
}

#[tokio::test]
async fn a_burst_is_the_minutes_number_then_one_has_to_wait() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "requests_per_minute = 6", "").await;
    for left in (0..6).rev() {
        let response = gateway.ask("echo", "hi", json!({"stream": left % 2 == 0})).await;
        assert_eq!(response.status(), 200);
        let (limit, remaining, reset) = gauge(&response, "requests").unwrap();
        assert_eq!((limit, remaining), (6, left));
        assert!(reset <= 10.0 * (6 - left) as f64 && reset > 10.0 * (6 - left) as f64 - 9.0, "{reset}");
        assert_eq!(gauge(&response, "tokens"), None);
        response.bytes().await.unwrap();
    }
    let upstream = coze.simulator.requests().len();
    let response = gateway.ask("echo", "hi", json!({})).await;
    assert_eq!(gauge(&response, "requests").unwrap().1, 0);
    let (wait, message) = over(response).await;
    assert!(wait <= Duration::from_secs(10) && wait > Duration::from_secs(1), "{wait:?}");
    assert!(message.contains("requests per minute of this API key: limit 6"), "{message}");
    assert_eq!(coze.simulator.requests().len(), upstream, "what is refused never reaches Coze");
    assert_eq!(ask_as(&gateway, OTHER, &request("echo", "hi", json!({}))).await.status(), 200);
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_let_in() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "requests_per_minute = 300", "").await;
    let asks = (0..400).map(|_| gateway.ask("echo", "hi", json!({})));
    let answers = futures_util::future::join_all(asks).await;
    let served = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!((300..400).contains(&served), "{served}");
    let mut waited = 0;
    for _ in 0..20 {
        let response = gateway.ask("echo", "hi", json!({})).await;
        if response.status() == 200 {
            continue;
        }
        let (wait, _) = over(response).await;
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
        tokio::time::sleep(wait).await;
        assert_eq!(gateway.ask("echo", "hi", json!({})).await.status(), 200);
        waited += 1;
    }
    assert!(waited > 0);
}

#[tokio::test]
async fn what_is_wrong_does_not_count_and_every_answer_tells() {
    let coze = Coze::start().await;
    let more = "models = [\"echo\", \"broken\"]\nrequests_per_minute = 2\ntokens_per_minute = 1000";
    let text = config(&coze, "max_body = \"1KB\"", more);
    let gateway = Gateway::with(&text).await;
    let long = "x".repeat(2000);
    for (body, status) in [
        (json!({}), 400),
        (request("echo", "hi", json!({"logprobs": true})), 400),
        (request("context", "hi", json!({})), 403),
        (request("nothing", "hi", json!({})), 404),
        (request("echo", &long, json!({})), 413),
    ] {
        let response = gateway.post(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(gauge(&response, "requests"), Some((2, 2, 0.0)), "{status}");
        assert_eq!(gauge(&response, "tokens"), Some((1000, 1000, 0.0)), "{status}");
    }
    let wrong = ask_as(&gateway, "wrong", &json!({})).await;
    assert_eq!((wrong.status().as_u16(), gauge(&wrong, "requests")), (401, None));
    let failed = gateway.ask("broken", "hi", json!({})).await;
    assert_eq!((failed.status().as_u16(), gauge(&failed, "requests").unwrap().1), (502, 1));
    let fine = gateway.ask("echo", "hi", json!({})).await;
    assert_eq!((fine.status().as_u16(), gauge(&fine, "requests").unwrap().1), (200, 0));
    let (_, message) = over(gateway.ask("echo", "hi", json!({})).await).await;
    assert!(message.contains("requests per minute"), "{message}");
    let models = gateway.client.get(gateway.url("/v1/models")).bearer_auth(KEY).send().await.unwrap();
    assert_eq!((models.status().as_u16(), gauge(&models, "requests")), (200, None));
}

#[tokio::test]
async fn everyone_together_has_limits_too_and_the_tighter_is_told() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "requests_per_minute = 2", "requests_per_minute = 3").await;
    let body = request("echo", "hi", json!({}));
    let first = ask_as(&gateway, KEY, &body).await;
    assert_eq!(gauge(&first, "requests").map(|told| (told.0, told.1)), Some((2, 1)));
    let other = ask_as(&gateway, OTHER, &body).await;
    assert_eq!(gauge(&other, "requests").map(|told| (told.0, told.1)), Some((3, 1)));
    assert_eq!(ask_as(&gateway, KEY, &body).await.status(), 200);
    let (_, message) = over(ask_as(&gateway, OTHER, &body).await).await;
    assert!(message.contains("of this gateway: limit 3"), "{message}");
}

#[tokio::test]
async fn a_slot_is_held_until_the_last_byte() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "concurrent_requests = 1", "").await;
    let transcript = golden::transcript("chat_text.server.sse");
    let half = transcript.len() / 2;
    let steps = [(0, half), (half, transcript.len())]
        .map(|(from, to)| Step::Send(transcript[from..to].to_vec().into()));
    let [first, second] = steps;
    let slow = Script::stream([first, Step::Sleep(Duration::from_millis(300)), second]);
    coze.simulator.script(SCRIPTED, slow);
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    over(gateway.ask("echo", "hi", json!({})).await).await;
    let mut last = None;
    while let Some(item) = stream.next().await.unwrap() {
        last = Some(item);
    }
    assert_eq!(last, Some(Item::Done));
    // Who has read the last byte finds the slot free at once.
    for _ in 0..20 {
        gateway.assert_well().await;
        Streamed::of(gateway.ask("echo", "hi", json!({"stream": true})).await).await;
    }
}

#[tokio::test]
async fn each_of_several_answers_takes_a_slot() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "concurrent_requests = 4\nrequests_per_minute = 10", "").await;
    coze.simulator.script(SCRIPTED, hanging());
    let three = open(&gateway, 3).await.unwrap();
    over(open(&gateway, 2).await.unwrap_err()).await;
    let one = open(&gateway, 1).await.unwrap();
    let response = open(&gateway, 1).await.unwrap_err();
    // One request each, and none for what was refused.
    assert_eq!(gauge(&response, "requests").unwrap().1, 8);
    drop((three, one));
    coze.idle().await;
    assert_slots_free(&coze, &gateway, 4).await;
    let (_, message) = over(open(&gateway, 5).await.unwrap_err()).await;
    assert!(message.contains("n = 5"), "{message}");
}

#[tokio::test]
async fn who_is_refused_by_everyones_limit_keeps_its_own() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "requests_per_minute = 5", "concurrent_requests = 1").await;
    coze.simulator.script(SCRIPTED, hanging());
    let held = open(&gateway, 1).await.unwrap();
    for _ in 0..20 {
        let (_, message) = over(gateway.ask("echo", "hi", json!({})).await).await;
        assert!(message.contains("concurrent requests of this gateway"), "{message}");
    }
    assert_eq!(gauge(&look(&gateway, KEY).await, "requests").unwrap().1, 4);
    drop(held);
    coze.idle().await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn tokens_are_charged_from_cozes_count_and_a_debt_is_waited_off() {
    let coze = Coze::start().await;
    // A token comes back in ten seconds.
    let gateway = limited(&coze, "tokens_per_minute = 6", "").await;
    let response = gateway.ask("echo", "hello there", json!({})).await;
    let told = gauge(&response, "tokens").unwrap();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let cost = answer["usage"]["total_tokens"].as_u64().unwrap();
    assert!(cost > 6, "{cost}");
    assert_eq!((told.0, told.1), (6, 0));
    let debt = 10.0 * cost as f64;
    assert!(told.2 <= debt && told.2 > debt - 5.0, "{told:?} of {cost}");
    let (wait, message) = over(gateway.ask("echo", "hi", json!({})).await).await;
    let expected = debt - 50.0;
    assert!(wait.as_secs_f64() <= expected && wait.as_secs_f64() > expected - 9.0, "{wait:?} of {cost}");
    assert!(message.contains("tokens per minute of this API key"), "{message}");
}

#[tokio::test]
async fn streams_and_several_answers_are_charged_too() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "", "tokens_per_minute = 600").await;
    let mut spent = 0;
    for (n, stream) in [(1, false), (1, true), (3, false), (3, true)] {
        let body = json!({"stream": stream, "n": n, "stream_options": {"include_usage": true}});
        let body = if stream { body } else { json!({"n": n}) };
        let response = gateway.ask("echo", "hello there", body).await;
        let usage = if stream {
            let streamed = Streamed::of(response).await;
            streamed.chunks().last().unwrap()["usage"].clone()
        } else {
            serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap()["usage"].clone()
        };
        spent += usage["total_tokens"].as_u64().unwrap();
        let (_, remaining, _) = gauge(&look(&gateway, KEY).await, "tokens").unwrap();
        // Ten come back in a second.
        assert!((600 - spent..600 - spent + 60).contains(&remaining), "{remaining} of 600 - {spent}");
    }
}

#[tokio::test]
async fn a_stream_without_usage_asks_for_it_where_a_limit_needs_it() {
    let coze = Coze::start().await;
    let gateway = limited(&coze, "tokens_per_minute = 6", "").await;
    let asked =
        || coze.simulator.requests().iter().filter(|r| r.path.starts_with("/v3/chat/retrieve")).count();
    let text = String::from_utf8(golden::transcript("chat_text.server.sse")).unwrap();
    let text: String = text.replace("\"input_tokens\"", "\"x\"").replace("\\\"input_tokens\\\"", "\\\"x\\\"");
    let text = text.replace("\"output_tokens\"", "\"y\"").replace("\"usage\"", "\"z\"");
    coze.simulator.script(SCRIPTED, Script::transcript(text));
    for (key, questions) in [(OTHER, 0), (KEY, 1)] {
        let body = request("scripted", "hi", json!({"stream": true}));
        Streamed::of(ask_as(&gateway, key, &body).await).await;
        assert!(asked() >= questions, "{key}");
        assert_eq!(asked() > 0, questions > 0, "{key}");
    }
}

#[tokio::test]
async fn what_a_client_left_behind_is_charged_when_coze_has_counted_it() {
    let coze = Coze::with(Options { pace: Duration::from_millis(3), ..Options::instant() }).await;
    let gateway = limited(&coze, "tokens_per_minute = 600\nconcurrent_requests = 1", "").await;
    let spent = async |gateway: &Gateway| gauge(&look(gateway, KEY).await, "tokens").unwrap().2 * 10.0;
    // Left in mid stream, and cut by a stop string: the run goes on to its end.
    for (round, more) in [json!({"stream": true}), json!({"stop": ["lighthouse"]})].into_iter().enumerate() {
        let before = spent(&gateway).await;
        let response = gateway.ask("storyteller", "hi", more).await;
        assert_eq!(response.status(), 200);
        if round == 0 {
            let mut stream = Stream::new(response);
            stream.content().await;
            drop(stream);
        }
        let mut after = before;
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            after = spent(&gateway).await;
            if after > before {
                break;
            }
        }
        // More than what had been streamed by then: the whole story's cost.
        assert!(after > before + 500.0, "round {round}: {before} then {after}");
        let path = coze.simulator.requests().pop().unwrap().path;
        assert!(path.starts_with("/v3/chat/retrieve?"), "{path}");
        if round == 0 {
            // Out of the debt that would keep the second round out.
            tokio::time::sleep(Duration::from_secs_f64(((after - 590.0) / 10.0).clamp(0.0, 60.0))).await;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_stops_waits_for_no_run_to_end() {
    let coze = Coze::with(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    let mut gateway = limited(&coze, "tokens_per_minute = 600", "").await;
    let body = request("slow", "hi", json!({})).to_string();
    let waiting = tokio::spawn(gateway.post(body).send());
    eventually("the bot is asked", || coze.simulator.running() == 1).await;
    waiting.abort();
    coze.idle().await;
    assert_eq!(coze.simulator.running(), 1);
    gateway.signal("-TERM");
    let ended = tokio::time::timeout(Duration::from_secs(4), gateway.ended()).await;
    assert!(ended.expect("it does not wait until the run has ended").success());
}

#[tokio::test]
async fn in_passthrough_mode_each_token_has_the_limits() {
    let coze =
        Coze::with(Options { tokens: vec!["pat_one".into(), DEMO_TOKEN.into()], ..Options::instant() }).await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n\
         [auth]\nmode = \"passthrough\"\n[limits]\nrequests_per_minute = 1\n",
        coze.port
    );
    let gateway = Gateway::with(&text).await;
    let body = request(cozeway::simulator::bots::ECHO, "hi", json!({}));
    for token in ["pat_one", DEMO_TOKEN] {
        assert_eq!(ask_as(&gateway, token, &body).await.status(), 200);
        let (_, message) = over(ask_as(&gateway, token, &body).await).await;
        assert!(message.contains("of this token"), "{message}");
    }
}

#[tokio::test]
async fn wrong_keys_from_one_address_have_to_wait_and_right_ones_never() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let body = request("echo", "hi", json!({}));
    for number in 0..20 {
        let response = ask_as(&gateway, &format!("wrong-{number}"), &body).await;
        assert_eq!(response.status(), 401);
        assert!(header(&response, "retry-after").is_none());
    }
    let (wait, message) = over(ask_as(&gateway, "wrong", &body).await).await;
    assert!(wait <= Duration::from_secs(3), "{wait:?}");
    assert!(message.contains("wrong API key"), "{message}");
    over(gateway.client.get(gateway.url("/v1/models")).bearer_auth("wrong").send().await.unwrap()).await;
    gateway.assert_well().await;
    let none = gateway.client.get(gateway.url("/v1/models")).send().await.unwrap();
    assert_eq!(none.status(), 401, "who sends no key guesses nothing");
    assert!(gateway.log().iter().all(|line| !line.contains("wrong-1")));
}

/// What a flood does to one request.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// The client leaves before anything came.
    LeftWaiting,
    /// The client leaves in mid stream.
    LeftReading,
    /// Coze fails, before any word and after some.
    Failure,
    /// Coze is silent for too long.
    Timeout,
    /// The client sends and closes at once.
    Slammed,
}

async fn flood(gateway: &Gateway, kind: Flood, number: usize) {
    let stream = number.is_multiple_of(2);
    let ask = |model: &str| {
        gateway.post(request(model, "hi", json!({"stream": stream, "n": 1 + number % 2})).to_string())
    };
    match kind {
        Flood::LeftWaiting => {
            let wait = Duration::from_millis(5 + number as u64 % 20);
            let _ = ask("slow").timeout(wait).send().await;
        }
        Flood::LeftReading => {
            if let Ok(stream) = open(gateway, 1).await {
                drop(stream);
            }
        }
        Flood::Failure => {
            let response = ask("broken").send().await.unwrap();
            // 504 on a machine that is busy with this flood.
            assert!(matches!(response.status().as_u16(), 200 | 429 | 502 | 504), "{}", response.status());
            let _ = response.bytes().await;
        }
        Flood::Timeout => {
            let response = ask("slow").send().await.unwrap();
            assert!(matches!(response.status().as_u16(), 429 | 504), "{}", response.status());
        }
        Flood::Slammed => {
            use tokio::io::AsyncWriteExt as _;
            let body = request("echo", "hi", json!({"stream": stream})).to_string();
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut socket = tokio::net::TcpStream::connect(&gateway.address).await.unwrap();
            socket.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_slot_leaks_in_a_flood() {
    const SLOTS: usize = 8;
    let coze = Coze::with(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    // Of every kind of limit, so that every way to account for one is gone.
    let limits = format!(
        "concurrent_requests = {SLOTS}\nrequests_per_minute = 1000000\ntokens_per_minute = 1000000000\n\
         [limits]\nconcurrent_requests = 9\ntokens_per_minute = 1000000000\n"
    );
    let gateway = Gateway::with(&config(&coze, "upstream_timeout = \"300ms\"", &limits)).await;
    gateway.assert_well().await;
    for kind in [Flood::LeftWaiting, Flood::LeftReading, Flood::Failure, Flood::Timeout, Flood::Slammed] {
        coze.simulator.unscript(SCRIPTED);
        coze.simulator.script(SCRIPTED, hanging());
        let workers = (0..10).map(|worker| {
            let gateway = &gateway;
            async move {
                let rounds = if matches!(kind, Flood::Timeout) { 20 } else { 80 };
                for number in 0..rounds {
                    flood(gateway, kind, worker + number).await;
                }
            }
        });
        futures_util::future::join_all(workers).await;
    }
    coze.idle().await;
    // What was slammed may still be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_slots_free(&coze, &gateway, SLOTS).await;
}

#[tokio::test]
async fn ten_thousand_hang_ups_leave_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SLOTS: usize = 64;
    let coze = Coze::start().await;
    let limits = format!("concurrent_requests = {SLOTS}\n");
    let gateway = Gateway::with(&config(&coze, "", &limits)).await;
    gateway.assert_well().await;
    coze.idle().await;
    let files = gateway.open_files();
    coze.simulator.script(SCRIPTED, hanging());
    let body = request("scripted", "hi", json!({"stream": true})).to_string();
    let text = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let workers = (0..20).map(|_| async {
        for number in 0..500 {
            let mut socket = tokio::net::TcpStream::connect(&gateway.address).await.unwrap();
            socket.write_all(text.as_bytes()).await.unwrap();
            if number % 2 == 0 {
                let mut status = [0; 12];
                socket.read_exact(&mut status).await.unwrap();
                assert_eq!(status, *b"HTTP/1.1 200", "there are slots enough for those who have left to go");
            }
        }
    });
    futures_util::future::join_all(workers).await;
    coze.idle().await;
    eventually("every request is over", || gateway.open_files() <= files + 8).await;
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("cozeway_open_requests", &[]), 1.0, "the scrape itself");
    for gauge in ["cozeway_open_streams", "cozeway_slots_in_use", "cozeway_upstream_open_streams"] {
        assert_eq!(scrape.sum(gauge, &[]), 0.0, "{gauge}");
    }
    let left = scrape.sum("cozeway_requests_total", &[("outcome", "client_left")]);
    assert!(left >= 5_000.0, "{left} clients were seen to leave");
    assert_slots_free(&coze, &gateway, SLOTS).await;
}
