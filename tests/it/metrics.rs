//! What is counted, and the board that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use cozeway::simulator::{Options, Script, Step};

use crate::shared::golden;
use crate::support::gateway::{config, request};
use crate::support::scrape::Scrape;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, KEY, SCRIPTED, eventually};

const CHAT: &str = "/v1/chat/completions";

/// A stream that says something and then nothing more.
fn hanging() -> Script {
    let mut text = String::from_utf8(golden::transcript("chat_text.server.sse")).unwrap();
    text.truncate(text.find("event:conversation.message.completed").unwrap());
    Script::stream([Step::Send(text.into()), Step::Hang])
}

/// Waits until every request but the scrape itself is over.
async fn settled(gateway: &Gateway) -> Scrape {
    for _ in 0..400 {
        let scrape = Scrape::of(gateway).await;
        if scrape.sum("cozeway_open_requests", &[]) <= 1.0 {
            return scrape;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("requests stay open");
}

/// Traffic of every kind.
async fn traffic(coze: &Coze, gateway: &Gateway) {
    for stream in [false, true] {
        gateway.ask("storyteller", "hi", json!({"stream": stream})).await.text().await.unwrap();
    }
    gateway.ask("nobody", "hi", json!({})).await.text().await.unwrap();
    gateway.ask("broken", "hi", json!({"stream": true})).await.text().await.unwrap();
    gateway.post("{}").send().await.unwrap();
    gateway.client.get(gateway.url("/v1/models")).bearer_auth("sk-wrong").send().await.unwrap();
    gateway.client.get(gateway.url("/v1/models")).send().await.unwrap();
    gateway.client.get(gateway.url("/v1/models/echo")).bearer_auth(KEY).send().await.unwrap();
    gateway.client.get(gateway.url("/somewhere/else")).send().await.unwrap();
    coze.simulator.script(SCRIPTED, hanging());
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    drop(stream);
    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, Script::json(StatusCode::OK, r#"{"code":4101,"msg":"no"}"#));
    gateway.ask("scripted", "hi", json!({})).await.text().await.unwrap();
    coze.idle().await;
}

#[tokio::test]
async fn every_request_is_counted_once_however_it_ends() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    traffic(&coze, &gateway).await;
    let scrape = settled(&gateway).await;
    let requests = |labels: &[(&str, &str)]| scrape.sum("cozeway_requests_total", labels);
    assert_eq!(requests(&[("route", CHAT)]), 7.0);
    assert_eq!(
        requests(&[("route", CHAT), ("model", "storyteller"), ("key", "test"), ("status", "200")]),
        2.0
    );
    assert_eq!(requests(&[("route", CHAT), ("model", "(unknown)"), ("status", "404")]), 1.0);
    assert_eq!(requests(&[("route", CHAT), ("model", "(none)"), ("status", "400")]), 1.0);
    assert_eq!(requests(&[("model", "scripted"), ("outcome", "client_left"), ("status", "200")]), 1.0);
    assert_eq!(requests(&[("model", "scripted"), ("outcome", "failed"), ("status", "502")]), 1.0);
    assert_eq!(requests(&[("model", "broken"), ("outcome", "failed")]), 1.0);
    assert_eq!(requests(&[("route", "/v1/models"), ("key", "(none)"), ("status", "401")]), 2.0);
    assert_eq!(requests(&[("route", "/v1/models/{id}"), ("key", "test"), ("status", "200")]), 1.0);
    assert_eq!(requests(&[("route", "(unknown)"), ("status", "404")]), 1.0);

    let stories = &[("model", "storyteller")];
    assert_eq!(scrape.sum("cozeway_request_duration_seconds_count", stories), 2.0);
    assert_eq!(scrape.sum("cozeway_time_to_first_content_seconds_count", stories), 1.0);
    assert_eq!(scrape.sum("cozeway_stream_duration_seconds_count", stories), 1.0);
    assert_eq!(scrape.sum("cozeway_stream_duration_seconds_count", &[("model", "scripted")]), 1.0);
    assert_eq!(scrape.sum("cozeway_open_streams", &[]), 0.0);
    assert_eq!(scrape.sum("cozeway_open_requests", &[]), 1.0, "the scrape itself");

    let answer = gateway.answer("storyteller", "hi").await;
    let usage = |name: &str| answer["usage"][name].as_f64().unwrap();
    for (direction, each) in [("input", usage("prompt_tokens")), ("output", usage("completion_tokens"))] {
        let labels = &[("model", "storyteller"), ("key", "test"), ("direction", direction)];
        assert_eq!(scrape.sum("cozeway_tokens_total", labels), 2.0 * each);
    }
    assert_eq!(
        scrape.sum("cozeway_usage_unknown_total", &[("model", "scripted")]),
        1.0,
        "the one that was left"
    );
    let refused = &[("deployment", "local"), ("kind", "auth")];
    assert_eq!(scrape.sum("cozeway_upstream_errors_total", refused), 1.0);
    assert_eq!(scrape.sum("cozeway_failed_keys_total", &[("reason", "wrong")]), 1.0);
    assert_eq!(scrape.sum("cozeway_failed_keys_total", &[("reason", "missing")]), 1.0);
}

#[tokio::test]
async fn open_streams_and_connections_are_seen_while_they_are_open() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.script(SCRIPTED, hanging());
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
        stream.content().await;
        streams.push(stream);
    }
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("cozeway_open_streams", &[]), 3.0);
    assert_eq!(scrape.sum("cozeway_upstream_open_streams", &[("deployment", "local")]), 3.0);
    assert_eq!(scrape.sum("cozeway_upstream_connections_total", &[]), 3.0);
    assert_eq!(scrape.sum("cozeway_upstream_open_connections", &[("deployment", "local")]), 3.0);
    assert_eq!(scrape.sum("cozeway_upstream_idle_connections", &[("deployment", "local")]), 0.0);
    drop(streams);
    coze.idle().await;
    for _ in 0..4 {
        gateway.assert_well().await;
    }
    let scrape = settled(&gateway).await;
    assert_eq!(scrape.sum("cozeway_open_streams", &[]), 0.0);
    assert_eq!(scrape.sum("cozeway_upstream_open_streams", &[]), 0.0);
    assert_eq!(scrape.sum("cozeway_upstream_calls_total", &[]), 7.0);
    let opened = scrape.sum("cozeway_upstream_connections_total", &[]);
    assert_eq!(opened, f64::from(u32::try_from(coze.simulator.connections()).unwrap()));
    // Not each time: it may come back to the pool after the next call.
    assert!((4.0..7.0).contains(&opened), "an idle connection serves again: {opened}");
    // Those of the streams that were left are closed, the others are kept.
    for _ in 0..400 {
        let scrape = settled(&gateway).await;
        let [open, idle] =
            ["open", "idle"].map(|which| scrape.sum(&format!("cozeway_upstream_{which}_connections"), &[]));
        assert!(idle <= open && open <= opened - 3.0, "{idle} of {open}, {opened} opened");
        if idle == open && idle > 0.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("connections do not come back");
}

#[tokio::test]
async fn a_client_makes_no_series() {
    let coze = Coze::start().await;
    let passthrough = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n\
         [auth]\nmode = \"passthrough\"\n",
        coze.port
    );
    for gateway in [Gateway::start(&coze).await, Gateway::with(&passthrough).await] {
        let series = async |round: u32| {
            for path in [format!("/v1/x{round}"), format!("/v1/models/m{round}"), format!("/{round}%0a")] {
                let method = http::Method::from_bytes(format!("M{round}").as_bytes()).unwrap();
                gateway.client.request(method, gateway.url(&path)).send().await.unwrap();
                gateway.client.get(gateway.url(&path)).bearer_auth(KEY).send().await.unwrap();
            }
            for (model, key) in [
                (format!("m{round}\"\n"), KEY),
                (format!("75305{round}"), KEY),
                ("echo".to_owned(), &format!("k{round}")),
            ] {
                let url = gateway.url(CHAT);
                let body = request(&model, "hi", json!({})).to_string();
                gateway
                    .client
                    .post(url)
                    .bearer_auth(key)
                    .body(body)
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap();
            }
            settled(&gateway).await.samples.len()
        };
        series(0).await;
        let few = series(1).await;
        for round in 2..12 {
            assert_eq!(series(round).await, few);
        }
    }
}

#[tokio::test]
async fn no_page_may_read_along() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for (path, may) in [("/metrics", false), ("//v1/metrics", false), ("/v1/models", true)] {
        for method in [http::Method::GET, http::Method::OPTIONS] {
            let request = gateway.client.request(method.clone(), gateway.url(path)).bearer_auth(KEY);
            let response = request.header("origin", "https://app.example").send().await.unwrap();
            let granted = response.headers().contains_key("access-control-allow-origin");
            assert_eq!(granted, may, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn readiness_needs_no_key() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let response = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"state":"ready"}"#);
}

/// The names in a query, each with the labels that it is asked for.
fn used(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = &rest[at..];
        let (word, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        rest = after;
        if !word.starts_with("cozeway_") && !word.starts_with("process_") {
            continue;
        }
        let mut labels = BTreeSet::new();
        if let Some((selector, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            for matcher in selector.split(',') {
                labels.insert(matcher.split(|c| !is_part(c)).next().unwrap().to_owned());
            }
            rest = after;
        }
        found.push((word.to_owned(), labels));
    }
    // `sum by (status) (…)` and `label_values(…, model)` ask all of them.
    let grouped = query.split("by (").skip(1).filter_map(|part| part.split(')').next());
    let listed = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')?.rsplit(", ").next());
    for label in grouped.flat_map(|labels| labels.split(", ")).chain(listed) {
        for (name, labels) in &mut found {
            if label != "le" || name.ends_with("_bucket") {
                labels.insert(label.to_owned());
            }
        }
    }
    found
}

#[test]
fn names_are_found_in_queries() {
    let set = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        used("sum by (le, a) (rate(cozeway_x_bucket{b=~\"$b\",c!=\"d\"}[$__rate_interval])) / process_y"),
        [("cozeway_x_bucket".into(), set(&["a", "b", "c", "le"])), ("process_y".into(), set(&["a"]))]
    );
    assert_eq!(used("label_values(cozeway_x_total, model)"), [("cozeway_x_total".into(), set(&["model"]))]);
}

#[tokio::test]
async fn the_board_shows_what_there_is() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana.json");
    let board: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    traffic(&coze, &gateway).await;
    let scrape = settled(&gateway).await;
    let mut served: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in &scrape.samples {
        served.entry(&sample.name).or_default().extend(sample.labels.keys().map(String::as_str));
    }

    let targets = board["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| target["expr"].as_str().unwrap());
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| variable["query"]["query"].as_str());
    let mut shown = BTreeSet::new();
    for query in expressions.chain(variables) {
        let used = used(query);
        assert!(!used.is_empty(), "{query}");
        for (name, labels) in used {
            let has = served.get(name.as_str()).unwrap_or_else(|| panic!("{name} of {query} is not served"));
            for label in &labels {
                assert!(has.contains(label.as_str()), "{name} of {query} has no {label}: {has:?}");
            }
            shown.insert(name);
        }
    }
    for name in served.keys() {
        let sums = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        let name = sums.map_or((*name).to_owned(), |name| format!("{name}_bucket"));
        assert!(shown.contains(&name), "{name} is on no panel");
    }
    let manual = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for (name, labels) in &served {
        let sums = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        let name = sums.or_else(|| name.strip_suffix("_bucket")).unwrap_or(name);
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the manual"));
        for label in labels.iter().filter(|label| **label != "le") {
            assert!(row.contains(&format!("`{label}`")), "{row} says nothing about {label}");
        }
    }
    let ids: BTreeSet<u64> =
        board["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), board["panels"].as_array().unwrap().len());
}

#[tokio::test]
async fn limits_are_counted_by_what_and_whose() {
    let coze = Coze::start().await;
    let text = config(&coze, "", "requests_per_minute = 2\n[limits]\nconcurrent_requests = 2\n");
    let gateway = Gateway::with(&text).await;
    let hits = |scrape: &Scrape, limit: &str, scope: &str| {
        scrape.sum("cozeway_limit_hits_total", &[("limit", limit), ("scope", scope)])
    };
    assert_eq!(gateway.ask("echo", "hi", json!({"n": 3})).await.status(), 429);
    coze.simulator.script(SCRIPTED, hanging());
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    stream.content().await;
    assert_eq!(Scrape::of(&gateway).await.sum("cozeway_slots_in_use", &[]), 1.0);
    drop(stream);
    coze.idle().await;
    assert_eq!(gateway.ask("echo", "hi", json!({})).await.status(), 200);
    assert_eq!(gateway.ask("echo", "hi", json!({})).await.status(), 429);
    let mut failures = 0;
    for _ in 0..21 {
        let request = gateway.client.get(gateway.url("/v1/models")).bearer_auth("sk-wrong");
        failures += usize::from(request.send().await.unwrap().status() == 429);
    }
    assert_eq!(failures, 1);
    let scrape = settled(&gateway).await;
    assert_eq!(hits(&scrape, "concurrency", "everyone"), 1.0);
    assert_eq!(hits(&scrape, "requests", "key"), 1.0);
    assert_eq!(hits(&scrape, "failed_keys", "address"), 1.0);
    assert_eq!(scrape.sum("cozeway_limit_hits_total", &[]), 3.0);
    assert_eq!(scrape.sum("cozeway_failed_keys_total", &[]), 20.0);
    assert_eq!(scrape.sum("cozeway_requests_total", &[("status", "429"), ("model", "echo")]), 2.0);
    assert_eq!(scrape.sum("cozeway_slots_in_use", &[]), 0.0);
    assert_eq!(scrape.sum("cozeway_usage_unknown_total", &[]), 1.0, "only what a bot was asked for");
}

/// A gateway whose Coze is at this port.
async fn in_front_of(coze: &Coze, port: u16) -> Gateway {
    let text =
        config(coze, "", "").replace(&format!("127.0.0.1:{}", coze.port), &format!("127.0.0.1:{port}"));
    Gateway::with(&text).await
}

#[tokio::test]
async fn a_coze_that_cannot_be_reached_is_left_alone_until_it_can() {
    let coze = Coze::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gateway = in_front_of(&coze, closed).await;
    let state = async |state: &str| {
        Scrape::of(&gateway).await.sum("cozeway_circuit_state", &[("deployment", "local"), ("state", state)])
    };
    for _ in 0..5 {
        let response = gateway.ask("echo", "hi", json!({})).await;
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key("retry-after"));
    }
    assert_eq!(state("open").await, 1.0);
    let response = gateway.ask("echo", "hi", json!({"stream": true})).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(!response.headers().contains_key("x-should-retry"));
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "upstream_unreachable");
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.sum("cozeway_deployment_up", &[]), 0.0);
    assert_eq!(scrape.sum("cozeway_upstream_connection_failures_total", &[]), 5.0);
    assert_eq!(scrape.sum("cozeway_circuit_refused_total", &[]), 1.0);
    assert_eq!(scrape.sum("cozeway_upstream_errors_total", &[("kind", "unreachable")]), 6.0);

    // It is there again, but nobody looks before the pause is over.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", closed)).await.unwrap();
    let simulator = coze.simulator.clone();
    tokio::spawn(async move { simulator.serve(listener).await });
    let mut refused = 0;
    for _ in 0..100 {
        if gateway.ask("echo", "hi", json!({})).await.status() == 200 {
            break;
        }
        refused += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((1..40).contains(&refused), "{refused}");
    assert_eq!(state("closed").await, 1.0);
    gateway.assert_well().await;
    let told = |words: &str| gateway.log().iter().filter(|line| line.contains(words)).count();
    eventually("the log tells the end", || told("\"local can be reached again") == 1).await;
    assert_eq!(told("requests for local fail at once"), 1);
    assert_eq!(told("one request tries whether local"), 1);
}

#[tokio::test]
async fn a_probe_whose_answer_takes_long_holds_nobody_up() {
    let coze = Coze::with(Options { silence: Duration::from_secs(600), ..Options::instant() }).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gateway = in_front_of(&coze, closed).await;
    for _ in 0..5 {
        gateway.ask("echo", "hi", json!({})).await;
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", closed)).await.unwrap();
    let simulator = coze.simulator.clone();
    tokio::spawn(async move { simulator.serve(listener).await });
    coze.simulator.script(SCRIPTED, Script::hang());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // The connection alone is good news.
    let probe =
        gateway.post(request("scripted", "hi", json!({})).to_string()).timeout(Duration::from_secs(2));
    let probe = tokio::spawn(probe.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.assert_well().await;
    assert!(probe.await.unwrap().unwrap_err().is_timeout());
    gateway.assert_well().await;
}
