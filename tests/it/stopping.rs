//! SIGTERM.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use cozeway::simulator::{Options, Script, Step};

use crate::support::gateway::request;
use crate::support::sse::{Stream, delta, ended};
use crate::support::{Coze, Gateway, KEY, SCRIPTED, eventually};

/// A stream that says something, waits, and comes to its end.
fn two_words(pause: Duration) -> Script {
    Script::stream([delta("a"), Step::Sleep(pause), delta("b"), ended()])
}

/// A stream that says something and no more.
fn endless() -> Script {
    Script::stream([delta("a"), Step::Hang])
}

fn http2() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()
}

/// Begins a stream and waits for its first word.
async fn begun(gateway: &Gateway, client: &reqwest::Client) -> Stream {
    let body = request("scripted", "hi", json!({"stream": true})).to_string();
    let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body);
    let mut stream = Stream::new(request.send().await.unwrap());
    assert_eq!(stream.content().await, "a");
    stream
}

async fn refused(gateway: &Gateway) {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(&gateway.address).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "new connections are still taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn error_code(response: reqwest::Response) -> String {
    json_of(response).await["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stream_in_flight_may_finish() {
    let coze = Coze::start().await;
    coze.simulator.script(SCRIPTED, two_words(Duration::from_millis(600)));
    for client in [reqwest::Client::builder().no_proxy().build().unwrap(), http2()] {
        let mut gateway = Gateway::start(&coze).await;
        let stream = begun(&gateway, &client).await;
        gateway.signal("-TERM");
        tokio::time::timeout(Duration::from_millis(500), refused(&gateway))
            .await
            .expect("no new connection while the stream goes on");
        let rest = stream.collect().await;
        assert!(rest.is_done(), "{rest:?}");
        assert_eq!(rest.content(), "b");
        assert_eq!(gateway.ended().await.code(), Some(0));
        eventually("it says so", || gateway.logged_lines("every request in flight was answered") == 1).await;
    }
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    gateway.assert_well().await;
    assert_eq!(http2().get(gateway.url("/healthz")).send().await.unwrap().status(), 200);
    let _silent = tokio::net::TcpStream::connect(&gateway.address).await.unwrap();
    let told = Instant::now();
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(1), "an idle kept connection holds nobody up");
}

#[tokio::test]
async fn for_the_drain_delay_serving_goes_on_and_clients_are_sent_away() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::with_server(&coze, "drain_delay = \"1500ms\"").await;
    let ready = || gateway.client.get(gateway.url("/readyz")).send();
    let answer = ready().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("connection")), (200, None));
    assert_eq!(json_of(answer).await, json!({"state": "ready"}));
    let told = Instant::now();
    gateway.signal("-TERM");
    let answer = loop {
        let answer = ready().await.unwrap();
        if answer.status() == 503 {
            break answer;
        }
        assert!(told.elapsed() < Duration::from_millis(500), "not ready at once");
    };
    assert_eq!(json_of(answer).await["state"], "draining");
    for stream in [false, true] {
        let answer = gateway.ask("echo", "hi", json!({"stream": stream})).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["connection"], "close");
        let text = answer.text().await.unwrap();
        assert!(text.ends_with(if stream { "[DONE]\n\n" } else { "}" }), "{text}");
    }
    let answer = http2().get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("connection")), (200, None));
    assert_eq!(gateway.ended().await.code(), Some(0));
    let taken = told.elapsed().as_millis();
    assert!((1400..3000).contains(&taken), "{taken} ms");
}

#[tokio::test]
async fn a_new_request_on_a_kept_connection_is_told() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, two_words(Duration::from_millis(1500)));
    let kept = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(kept.get(gateway.url("/healthz")).send().await.unwrap().status(), 200);
    let both = http2();
    let streams = [begun(&gateway, &gateway.client).await, begun(&gateway, &both).await];
    gateway.signal("-TERM");
    refused(&gateway).await;
    let body = request("echo", "hi", json!({})).to_string();
    let answer =
        kept.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(error_code(answer).await, "overloaded");
    // HTTP/2 has said goodbye: its client does not even ask.
    match both.get(gateway.url("/v1/models")).bearer_auth(KEY).send().await {
        Ok(answer) => assert_eq!(answer.status(), 503),
        Err(error) => assert!(error.is_connect() || error.is_request(), "{error:?}"),
    }
    for stream in streams {
        let rest = stream.collect().await;
        assert!(rest.is_done(), "{rest:?}");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn at_the_end_of_the_grace_streams_end_in_band() {
    let coze = Coze::with(Options { silence: Duration::from_secs(60), ..Options::instant() }).await;
    let mut gateway = Gateway::with_server(&coze, "shutdown_grace = \"300ms\"").await;
    coze.simulator.script(SCRIPTED, endless());
    let streams = [begun(&gateway, &gateway.client).await, begun(&gateway, &http2()).await];
    let waiting = {
        let request = gateway.post(request("scripted", "hi", json!({})).to_string());
        tokio::spawn(async move { request.send().await.unwrap() })
    };
    let silent = {
        let request = gateway.post(request("slow", "hi", json!({"stream": true})).to_string());
        tokio::spawn(async move { request.send().await.unwrap() })
    };
    eventually("all are under way", || coze.simulator.requests().len() >= 4).await;
    let told = Instant::now();
    gateway.signal("-TERM");
    for stream in streams {
        let rest = stream.collect().await;
        let error = rest.error().unwrap_or_else(|| panic!("an error in band: {rest:?}"));
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("overloaded"), &json!("service_unavailable_error"))
        );
    }
    for answer in [waiting.await.unwrap(), silent.await.unwrap()] {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(error_code(answer).await, "overloaded");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    eventually("it says so", || gateway.logged_lines("still in flight at the end of the grace") == 1).await;
    coze.idle().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_no_end_up() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::with_server(&coze, "shutdown_grace = \"300ms\"").await;
    let flood = Step::SendRepeated {
        prefix: "".into(),
        unit: "event:conversation.message.delta\ndata:{\"id\":\"1\",\"conversation_id\":\"2\",\"chat_id\":\"3\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"words and more words\",\"content_type\":\"text\"}\n\n".into(),
        times: 1_000_000,
        suffix: "".into(),
    };
    coze.simulator.script(SCRIPTED, Script::stream([flood, ended()]));
    let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
    assert_eq!(response.status(), 200);
    let told = Instant::now();
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    // On a busy machine the end may come before the client's buffers are full:
    // then there is still room for the error event.
    if let Ok(text) = response.text().await {
        assert!(text.contains("data: {\"error\":") && !text.contains("[DONE]"), "it may not look whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_cuts_no_stream() {
    let coze = Coze::with(Options { pace: Duration::from_millis(1), ..Options::instant() }).await;
    let mut gateway = Gateway::with_server(&coze, "drain_delay = \"500ms\"").await;
    let (whole, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let url = gateway.url("/v1/chat/completions");
    let body = request("storyteller", "hi", json!({"stream": true})).to_string();
    let client = async |number: usize| {
        let client = if number.is_multiple_of(4) {
            http2()
        } else {
            reqwest::Client::builder().no_proxy().build().unwrap()
        };
        loop {
            let sent = client.post(&url).bearer_auth(KEY).body(body.clone()).send().await;
            match sent {
                Ok(answer) if answer.status() == 200 => {
                    let streamed = Stream::new(answer).collect().await;
                    assert!(streamed.is_done(), "a cut stream: {streamed:?}");
                    whole.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    assert_eq!(answer.status(), 503);
                    assert_eq!(error_code(answer).await, "overloaded");
                    told.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // No connection, or one that ended before the answer's head.
                Err(error) => {
                    assert!(error.is_request(), "{error:?}");
                    return;
                }
            }
        }
    };
    let clients = futures_util::future::join_all((0..40).map(client));
    let stop = async {
        eventually("the load is on", || whole.load(Ordering::Relaxed) > 100).await;
        gateway.signal("-TERM");
    };
    futures_util::future::join(clients, stop).await;
    assert_eq!(gateway.ended().await.code(), Some(0));
    eventually("it says so", || gateway.logged_lines("every request in flight was answered") == 1).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, endless());
    let _stream = begun(&gateway, &gateway.client).await;
    gateway.signal("-TERM");
    refused(&gateway).await;
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(1));
}

#[tokio::test]
async fn streams_of_http_2_in_flight_may_finish() {
    let coze = Coze::start().await;
    let mut gateway = Gateway::start(&coze).await;
    let end = Step::Send("event:conversation.chat.completed\ndata:{}\n\nevent:done\ndata:\n\n".into());
    coze.simulator.script(
        SCRIPTED,
        Script::stream([delta("a"), Step::Sleep(Duration::from_millis(600)), delta("b"), end]),
    );
    gateway.client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let response = gateway.ask("scripted", "hi", json!({"stream": true})).await;
        assert_eq!(response.version(), http::Version::HTTP_2);
        let mut stream = Stream::new(response);
        assert_eq!(stream.content().await, "a");
        streams.push(stream);
    }
    gateway.signal("-TERM");
    for stream in streams {
        let rest = stream.collect().await;
        assert!(rest.is_done(), "{rest:?}");
        assert_eq!(rest.content(), "b");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}
