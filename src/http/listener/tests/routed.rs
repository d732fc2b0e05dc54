//! Handlers that no program has, behind the real accept loop: they panic, or
//! answer what looks like an answer of hyper's own.

use std::convert::Infallible;
use std::num::NonZeroU32;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;

use super::*;
use crate::access::{Permit, Quota, Quotas, Subject};
use crate::http::Context;

const SLOTS: u32 = 3;

/// A slot of everyone's and of its own.
fn admit(app: &App) -> Option<Permit> {
    let quota = Quota { concurrent_requests: NonZeroU32::new(SLOTS), ..Quota::default() };
    let quotas = Quotas { own: quota, everyone: quota };
    app.limits().admit(Subject::Key("k".into()), quotas, 1, Instant::now().into_std()).ok()
}

fn out_of_luck() -> ! {
    // Without the hook, which would write each of them to stderr.
    std::panic::resume_unwind(Box::new("out of luck"));
}

async fn panics(Extension(context): Extension<Context>) -> Response {
    let _permit = admit(&context.app).expect("there are as many slots as workers");
    tokio::task::yield_now().await;
    out_of_luck()
}

/// Panics once the head of its answer has gone.
async fn panics_later(Extension(context): Extension<Context>) -> Response {
    // Who has seen its connection close may be quicker than the slot.
    let permit = admit(&context.app);
    let pieces = stream::unfold((0, permit), |(sent, permit)| async move {
        tokio::task::yield_now().await;
        if sent == 2 {
            out_of_luck();
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b"piece")), (sent + 1, permit)))
    });
    Response::new(Body::from_stream(pieces))
}

fn request(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}")
}

/// One answer with a length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if body.len() == length.parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}

async fn scraped(running: &Running, metric: &str) -> String {
    let mut stream = running.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {metric} in {text}")).to_owned()
}

/// Everything that a request holds is back; with `left` connections open.
async fn assert_nothing_leaked(running: &Running, left: usize) {
    timeout(LONG, async {
        while running.connections.len() > left {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} connections are open, not {left}", running.connections.len()));
    assert_eq!(running.app.limits().running(), 0);
    let permits: Vec<Permit> = (0..SLOTS).map_while(|_| admit(&running.app)).collect();
    assert_eq!(permits.len(), usize::try_from(SLOTS).unwrap(), "every slot is free");
    assert_eq!(scraped(running, "cozeway_open_requests").await, "1", "the scrape itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_panics_cost_nothing() {
    let add = |router: Router| router.route("/panics", post(panics));
    let running = start_with("max_connections = 64", patient(), add).await;
    let workers = (0..SLOTS).map(|_| async {
        let mut kept = running.connect().await;
        for number in 0..334 {
            // Over one connection and over ever new ones.
            if number % 2 == 0 {
                kept = running.connect().await;
            }
            kept.write_all(request("/panics").as_bytes()).await.unwrap();
            let answer = answer(&mut kept).await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            assert!(answer.contains("\r\nx-request-id: ") && answer.contains("\"code\":\"internal_error\""));
        }
        assert!(ask(&mut kept).await.starts_with("HTTP/1.1 200 "), "the connection goes on");
        kept
    });
    let kept = join_all(workers).await;
    assert_nothing_leaked(&running, kept.len()).await;
    drop(kept);
    assert_nothing_leaked(&running, 0).await;
    running.stop.cancel();
    assert!(timeout(LONG, running.serving).await.unwrap().unwrap(), "no request is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_in_mid_answer_cost_their_connection_alone() {
    let add = |router: Router| router.route("/later", post(panics_later));
    let running = start_with("", patient(), add).await;
    let workers = (0..SLOTS).map(|_| async {
        for _ in 0..100 {
            let mut stream = running.connect().await;
            stream.write_all(request("/later").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it is closed");
            assert!(!answer.ends_with(b"0\r\n\r\n"), "it does not look whole");
        }
    });
    join_all(workers).await;
    assert_nothing_leaked(&running, 0).await;
    running.stop.cancel();
    assert!(timeout(LONG, running.serving).await.unwrap().unwrap(), "no request is waited for");
}

const LOOKALIKE: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// So much that it takes many writes, which begin anywhere.
const TIMES: usize = 40_000;

#[tokio::test]
async fn what_looks_like_a_refusal_passes_untouched() {
    let add = |router: Router| {
        let whole = async || LOOKALIKE.repeat(TIMES);
        let pieces = async || {
            let pieces = (0..TIMES).map(|_| Ok::<_, Infallible>(LOOKALIKE));
            Response::builder()
                .header("content-length", LOOKALIKE.len() * TIMES)
                .body(Body::from_stream(stream::iter(pieces)))
                .unwrap()
        };
        router.route("/whole", post(whole)).route("/pieces", post(pieces))
    };
    let running = start_with("", patient(), add).await;
    let mut stream = running.connect().await;
    for path in ["/whole", "/pieces", "/whole"] {
        stream.write_all(request(path).as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body == LOOKALIKE.repeat(TIMES), "{path}");
    }
    // What is one after all that is known.
    stream.write_all(b"\x00\r\n\r\n").await.unwrap();
    let mut refusal = String::new();
    stream.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 400 ") && refusal.contains("\"code\":\"invalid_request\""));
}
