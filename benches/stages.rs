//! What a request passes beside the codecs (`benches/codec.rs`), one by one
//! and by the names of the stages: accept, authenticate, limit, plan,
//! upstream, account.
//!
//! `cargo bench --bench stages`. Nothing listens but the other end of
//! `upstream`, on 127.0.0.1.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark that cannot go on says so and ends"
)]

use std::future::poll_fn;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use cozeway::access::{Key, Keys, Limits, Mode, Quota, Quotas, Subject};
use cozeway::config;
use cozeway::conversation::{Begun, Chat, Conversations, Ending, Space, Wanted};
use cozeway::coze::chat;
use cozeway::coze::client::{Begun as Opened, Client, Settings};
use cozeway::http::{App, Service};
use cozeway::relay::Relay;
use cozeway::secret::{Digest, Secret};
use cozeway::store::memory::Memory;
use cozeway::telemetry::metrics::{Metrics, Request, Tokens};
use cozeway::telemetry::{self, Format};
use cozeway::turn::{Extras, Message, Prompt, Role, Text, Usage};

const KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(Duration::from_secs(3600)).unwrap())
}

/// What every request passes, whatever it asks for: its id, its journal, the
/// rules of other sites, the router, its log line. Without hyper.
fn accept(criterion: &mut Criterion) {
    telemetry::init_to(Format::Json, "info", std::io::sink, false).unwrap();
    let text = format!(
        "[coze.local]\nbase_url = \"http://127.0.0.1:9\"\ntoken = \"pat\"\n[keys.bench]\nkey = \"{KEY}\"\n[models.a]\nbot_id = \"1\"\n"
    );
    let snapshot = config::parse(&text, Path::new("bench"), &|_| None).unwrap();
    let relay = Relay::new(TaskTracker::new(), memory());
    let service = Service::new(Arc::new(App::new(snapshot, relay, Conversations::new(memory()))));
    let runtime = runtime();
    let mut group = criterion.benchmark_group("accept");
    for (name, key, status) in
        [("a request without a key", None, 401), ("the list of models", Some(KEY), 200)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut request = http::Request::get("/v1/models");
                if let Some(key) = key {
                    request = request.header("authorization", format!("Bearer {key}"));
                }
                let responding = service.clone().respond(request.body(Body::empty()).unwrap());
                let response = runtime.block_on(responding);
                assert_eq!(response.status(), status);
                runtime.block_on(response.into_body().collect()).unwrap().to_bytes().len()
            });
        });
    }
    group.finish();
}

fn authenticate(criterion: &mut Criterion) {
    let key = |index: usize| Key {
        name: format!("team-{index}"),
        digest: Digest::of(&format!("{KEY}{index}")),
        models: None,
        user_headers: vec![],
        allow_coze_fields: false,
        quota: Quota::default(),
    };
    let mut group = criterion.benchmark_group("authenticate");
    for count in [1, 10, 100] {
        let keys = Keys::new(Mode::Keys, (0..count).map(key).collect());
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {KEY}{}", count - 1).parse().unwrap());
        group.bench_function(format!("by {count} keys"), |bencher| {
            bencher.iter(|| keys.authenticate(black_box(&headers)).unwrap());
        });
    }
    group.finish();
}

/// Taken and given back, by the key and by everyone.
fn limit(criterion: &mut Criterion) {
    let many = NonZeroU32::new(1_000_000_000);
    let all = Quota { requests_per_minute: many, tokens_per_minute: many, concurrent_requests: many };
    let mut group = criterion.benchmark_group("limit");
    for (name, quota) in [("none", Quota::default()), ("all of them", all)] {
        let limits = Arc::new(Limits::new(Instant::now().into_std()));
        let (subject, quotas) = (Subject::Key("bench".into()), Quotas { own: quota, everyone: quota });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let now = Instant::now().into_std();
                let permit = limits.admit(subject.clone(), black_box(quotas), 1, now).unwrap();
                if let Some(meter) = permit.meter() {
                    meter.charge(1, now);
                }
                limits.standing(&subject, &quotas, now)
            });
        });
    }
    group.finish();
}

fn message(number: usize, text: String) -> Message {
    Message::text(if number.is_multiple_of(2) { Role::User } else { Role::Assistant }, text)
}

fn wanted(prompt: &Prompt) -> Wanted<'_> {
    let space = Space {
        caller: "team",
        deployment: "local",
        kind: "bot",
        target: "7530512345678901248",
        user: None,
        hint: None,
    };
    Wanted { space, name: None, whole: false, prompt, history_rounds: 100, now: 0 }
}

const CHAT: Chat<'_> = Chat {
    conversation: "7530601000000000001",
    section: Some("7530604000000000001"),
    id: "7530602000000000001",
};

/// The conversation that a request belongs to, found and written back.
fn plan(criterion: &mut Criterion) {
    let runtime = runtime();
    let conversations = Conversations::new(memory());
    let begin = |prompt: &Prompt| match runtime.block_on(conversations.begin(&wanted(prompt))).unwrap() {
        Begun::Planned { thread, .. } => *thread,
        other => panic!("{other:?}"),
    };
    let answered = |prompt: &Prompt| {
        let mut thread = begin(prompt);
        thread.hear(&Text::Escaped("An answer of some words."));
        let settlement = thread.end(Ending::Answered { chat: CHAT, asked: false });
        runtime.block_on(settlement.store()).unwrap()
    };
    let mut group = criterion.benchmark_group("plan");
    let first = Prompt { messages: vec![message(0, "What is it?".into())], ..Prompt::default() };
    group.bench_function("a new conversation, in memory", |bencher| {
        bencher.iter(|| answered(black_box(&first)))
    });

    let unique = Prompt { messages: vec![message(0, "And what is this?".into())], ..Prompt::default() };
    answered(&unique);
    let texts = ["And what is this?", "An answer of some words.", "Go on."];
    let messages = texts.iter().enumerate().map(|(number, text)| message(number, (*text).into())).collect();
    let second = Prompt { messages, ..Prompt::default() };
    group.bench_function("one that goes on, claimed and put back, in memory", |bencher| {
        bencher.iter(|| {
            let thread = begin(black_box(&second));
            assert!(thread.goes_on());
            runtime.block_on(thread.end(Ending::Refused).store()).unwrap()
        });
    });

    // 50 messages of 2 KB, by a store that knows of none.
    let text = "Was kostet der Versand? 运费是多少? ".repeat(50);
    let long = |number| format!("{number} {text}").chars().take(1850).collect();
    let messages = (0..50).map(|number| message(number, long(number)));
    let prompt =
        Prompt { messages: messages.chain([message(50, "And now?".into())]).collect(), ..Prompt::default() };
    let bytes: usize = prompt.messages.iter().map(|message| message.text.len()).sum();
    group.throughput(Throughput::Bytes(bytes.try_into().unwrap()));
    group.bench_function(format!("recognise 50 messages, {} KB", bytes / 1000), |bencher| {
        bencher.iter(|| runtime.block_on(conversations.begin(black_box(&wanted(&prompt)))).unwrap());
    });
    group.finish();
}

/// Answers every request with one transcript, until the process ends.
fn coze(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 64 * 1024];
        // A request of this size comes in one piece.
        while stream.read(&mut request).unwrap_or(0) > 0 {
            stream.write_all(&answer).unwrap();
        }
    });
    address
}

/// A call over a kept connection, to the head of its answer and to its end.
/// Nearly all of it is the kernel's, and the waiting for the other end.
fn upstream(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bot");
    let body = std::fs::read(folder.join("chat_text.server.sse")).unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    let base_url = format!("http://{}", coze(answer));
    let runtime = runtime();
    let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
    let prompt = Prompt { messages: vec![message(0, "What is it?".into())], ..Prompt::default() };
    let call = chat::call("7530512345678999999", "user", &prompt, &Extras::default(), None, None);
    let token = Secret::new("pat_bench");
    let mut group = criterion.benchmark_group("upstream");
    group.bench_function(BenchmarkId::new("call and read", "over the loopback"), |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let Opened::Stream { mut bytes, .. } = client.begin(&call, &token, true).await.unwrap()
                else {
                    panic!("no stream");
                };
                let mut read = 0;
                while let Some(some) = poll_fn(|cx| bytes.poll_bytes(cx)).await {
                    read += some.unwrap().len();
                }
                assert_eq!(read, body.len());
            });
        });
    });
    group.finish();
}

/// What is written down of a request: the metrics, and a log line with as
/// many fields as that of a chat.
fn account(criterion: &mut Criterion) {
    let metrics = Metrics::new();
    let usage = Usage { input: 614, output: 19 };
    let request = Request {
        route: "/v1/chat/completions",
        model: "support",
        key: "bench",
        status: 200,
        outcome: "done",
        duration: Duration::from_millis(900),
        first_content: Some(Duration::from_millis(300)),
        streamed: Some(Duration::from_millis(600)),
        tokens: Tokens::Known(usage),
        upstream_error: None,
        refusal: None,
        over: None,
        conversation: Some(("new", None)),
        unremembered: false,
    };
    let mut group = criterion.benchmark_group("account");
    group.bench_function("count a streamed request", |bencher| {
        bencher.iter(|| {
            metrics.began();
            metrics.stream_began();
            metrics.ended(black_box(&request));
        });
    });
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    group.bench_function("write its log line", |bencher| {
        bencher.iter(|| {
            tracing::info!(
                target: "cozeway::access",
                request_id = "req_0190a5f3a2b04c6d8e7f001122334455",
                method = tracing::field::display("POST"),
                path = request.route,
                client.address = tracing::field::display(black_box(client)),
                status = request.status,
                outcome = request.outcome,
                duration_ms = 900_u64,
                first_content_ms = 300_u64,
                stream_ms = 600_u64,
                key.name = request.key,
                model.name = request.model,
                stream = true,
                coze.deployment = "local",
                coze.conversation_id = CHAT.conversation,
                coze.chat_id = CHAT.id,
                coze.log_id = "20260801000000000000000000000A1B",
                conversation.mode = "new",
                usage.input = usage.input,
                usage.output = usage.output,
                "request {}", request.outcome,
            );
        });
    });
    group.finish();
}

criterion_group!(benches, accept, authenticate, limit, plan, upstream, account);
criterion_main!(benches);
