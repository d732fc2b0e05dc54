//! The clocks and limits of connections, with little patience.

mod routed;

use std::path::Path;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;
use crate::config;
use crate::conversation::Conversations;
use crate::http::{App, routes};
use crate::relay::Relay;

const MOMENT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

struct Running {
    app: Arc<App>,
    /// Those that are served.
    connections: TaskTracker,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<bool>,
}

async fn start(server: &str, timeouts: Timeouts) -> Running {
    start_with(server, timeouts, |router| router).await
}

/// A gateway with more routes, which no program has.
async fn start_with(server: &str, timeouts: Timeouts, add: impl FnOnce(Router) -> Router) -> Running {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    serve_on(listener, server, timeouts, add, CancellationToken::new())
}

fn serve_on(
    listener: TcpListener,
    server: &str,
    timeouts: Timeouts,
    add: impl FnOnce(Router) -> Router,
    stop: CancellationToken,
) -> Running {
    let text = format!(
        "server = {{ {server} }}\n[coze.c]\nbase_url = 'http://127.0.0.1:9'\ntoken = 't'\n\
         [models.m]\nbot_id = '1'\n[auth]\nmode = 'none'\n"
    );
    let snapshot = config::parse(&text, Path::new("f"), &|_| None).unwrap();
    let app = Arc::new(App::new(snapshot, Relay::default(), Conversations::in_memory()));
    let service = Service { app: Arc::clone(&app), router: add(routes::router()) };
    let address = listener.local_addr().unwrap();
    let door = Listener::new(service, timeouts);
    let connections = door.connections.clone();
    let serving = tokio::spawn(door.run(listener, stop.clone()));
    Running { app, connections, address, stop, serving }
}

fn patient() -> Timeouts {
    Timeouts { handshake: LONG, head: LONG, idle: LONG, write: LONG }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Sends a request and reads its answer.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    String::from_utf8(answer).unwrap()
}

/// Waits for the end of a connection; says how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("it closes");
    assert_eq!(rest, b"");
    start.elapsed()
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let running = start("", Timeouts { head: MOMENT, ..patient() }).await;
    let mut stream = running.connect().await;
    assert!(closed(&mut stream).await >= MOMENT / 2);
}

#[tokio::test]
async fn a_head_has_to_arrive_in_time_however_it_trickles() {
    let running = start("", Timeouts { head: MOMENT, ..patient() }).await;
    for kept in [false, true] {
        let mut stream = running.connect().await;
        if kept {
            ask(&mut stream).await;
        }
        let start = Instant::now();
        for byte in REQUEST.iter().cycle().take(20) {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(MOMENT / 10).await;
        }
        closed(&mut stream).await;
        assert!(start.elapsed() < 8 * MOMENT, "kept: {kept}");
    }
}

#[tokio::test]
async fn a_preface_of_http2_alone_is_no_request() {
    let running = start("", Timeouts { head: MOMENT, ..patient() }).await;
    let mut stream = running.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_its_own_time() {
    let running = start("", Timeouts { head: MOMENT, idle: 3 * MOMENT, ..patient() }).await;
    let mut stream = running.connect().await;
    ask(&mut stream).await;
    sleep(2 * MOMENT).await;
    ask(&mut stream).await;
    assert!(closed(&mut stream).await >= 2 * MOMENT);
}

#[tokio::test]
async fn who_has_connected_before_a_stop_is_not_cut_off() {
    // More than a task may do before it is told to wait.
    const WAITING: usize = 300;
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        waiting.push(stream);
    }
    let stopped = CancellationToken::new();
    stopped.cancel();
    let serving = serve_on(listener, "", patient(), |router| router, stopped);
    for mut stream in waiting {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
    serving.serving.await.unwrap();
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_the_next_is_served() {
    let running = start("max_connections = 2", patient()).await;
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    for stream in [&mut first, &mut second] {
        assert!(ask(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = running.connect().await;
    let refusal = ask(&mut third).await;
    assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
    for part in ["connection: close\r\n", "retry-after: 1\r\n", "x-request-id: ", "\"code\":\"overloaded\""] {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
    closed(&mut third).await;

    drop(first);
    timeout(LONG, async {
        while !ask(&mut running.connect().await).await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn idle_connections_hold_no_end_up() {
    let running = start("shutdown_grace = '20s'", patient()).await;
    let mut kept = running.connect().await;
    ask(&mut kept).await;
    let mut silent = running.connect().await;
    running.stop.cancel();
    let end = timeout(LONG / 4, running.serving).await.expect("it ends").unwrap();
    assert!(end);
    closed(&mut kept).await;
    closed(&mut silent).await;
}
