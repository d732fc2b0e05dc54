//! Calls over real sockets: connections that close under a request, answers
//! in pieces, and what the pool comes to hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does with the second request of a connection.
#[derive(Clone, Copy)]
enum Second {
    /// It has closed long before.
    ClosedWhileIdle,
    /// It closes without having read it.
    ClosesUnread,
    /// It reads it and closes.
    ClosesRead,
    /// It reads it and closes after a while.
    ClosesLate,
}

struct Server {
    client: Client,
    /// How many requests were read.
    read: Arc<AtomicUsize>,
}

async fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return false,
        }
    }
    true
}

impl Server {
    async fn start(second: Second) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    if !read_request(&mut stream).await {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{\"code\":0}";
                    stream.write_all(answer).await.unwrap();
                    match second {
                        Second::ClosedWhileIdle => return,
                        Second::ClosesUnread => stream.readable().await.unwrap(),
                        Second::ClosesRead | Second::ClosesLate => {
                            if !read_request(&mut stream).await {
                                return;
                            }
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    if let Second::ClosesLate = second {
                        tokio::time::sleep(PROMPT + Duration::from_millis(200)).await;
                    }
                });
            }
        });
        Self { client, read }
    }

    async fn ask(&self) -> Result<(), Failure> {
        let call = Call { method: http::Method::POST, path: "/x".into(), body: Some("{}".into()) };
        self.client.fetch(&call, &Secret::new("t")).await.map(|_| ())
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_fails_no_request() {
    let server = Server::start(Second::ClosedWhileIdle).await;
    for pause in [0, 0, 0, 1, 5, 0, 0, 20, 0, 0] {
        server.ask().await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    assert_eq!(server.read(), 10);
}

#[tokio::test]
async fn a_request_that_met_a_closed_door_is_sent_again() {
    let server = Server::start(Second::ClosesUnread).await;
    for _ in 0..10 {
        server.ask().await.unwrap();
    }
    assert_eq!(server.read(), 10);
}

#[tokio::test]
async fn a_kept_connection_that_breaks_off_late_may_have_taken_the_request() {
    let server = Server::start(Second::ClosesLate).await;
    server.ask().await.unwrap();
    assert_eq!(server.client.figures().idle_connections, 1);
    assert!(server.ask().await.unwrap_err().may_be_running);
    assert_eq!(server.read(), 2);
}

#[tokio::test]
async fn a_new_connection_that_breaks_off_may_have_taken_the_request() {
    // Its first request is the second one for this server.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
    let server = Server { client, read: Arc::new(AtomicUsize::new(0)) };
    let count = Arc::clone(&server.read);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!(server.ask().await.unwrap_err().may_be_running);
    assert_eq!(server.read(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_closes_at_once_counts_as_closed() {
    let server = Server::start(Second::ClosesRead).await;
    server.ask().await.unwrap();
    assert_eq!(server.client.figures().idle_connections, 1);
    server.ask().await.unwrap();
    assert_eq!(server.read(), 3, "the third time on a new connection");
}

/// A server that plays the same bytes for each request of a connection, and
/// then waits for the next, or closes.
async fn playing(pieces: &[&'static str], closes: bool) -> Client {
    let pieces = pieces.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let pieces = pieces.clone();
            tokio::spawn(async move {
                while read_request(&mut stream).await {
                    for piece in &pieces {
                        stream.write_all(piece.as_bytes()).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    Client::new(Settings { base_url, ..Settings::default() }).unwrap()
}

fn call() -> Call {
    Call { method: http::Method::POST, path: "/x".into(), body: Some("{}".into()) }
}

async fn fetch(client: &Client) -> Result<Bytes, Failure> {
    client.fetch(&call(), &Secret::new("t")).await
}

async fn open(client: &Client) -> Opened {
    client.open(&call(), &Secret::new("t")).await.unwrap()
}

async fn next(stream: &mut ByteStream) -> Option<Result<Bytes, Failure>> {
    poll_fn(|cx| stream.poll_bytes(cx)).await
}

fn connections(client: &Client) -> (u64, u64, u64) {
    let figures = client.figures();
    (figures.connections, figures.open_connections, figures.idle_connections)
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Log-ID: 42\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_stream_that_was_read_to_its_end_gives_its_connection_back() {
    let client = playing(
        &["HTTP/1.1 100 Continue\r\n\r\n", STREAM, "2\r", "\nhi\r\n3\r\n yo", "\r\n0\r\n\r\n"],
        false,
    );
    let client = client.await;
    for _ in 0..3 {
        let mut opened = open(&client).await;
        assert_eq!(opened.log_id.as_deref(), Some("42"));
        assert_eq!(client.figures().open_streams, 1);
        let mut read = Vec::new();
        while let Some(bytes) = next(&mut opened.bytes).await {
            assert_eq!(connections(&client).1, 1);
            read.extend_from_slice(&bytes.unwrap());
        }
        assert_eq!(read, b"hi yo");
        assert_eq!(connections(&client), (1, 1, 1), "before it is dropped");
        assert!(next(&mut opened.bytes).await.is_none(), "the end stays");
    }
    drop(client);
}

#[tokio::test]
async fn a_stream_that_is_dropped_closes_its_connection() {
    let client = playing(&[STREAM, "2\r\nhi\r\n"], false).await;
    for round in 1..4 {
        let mut opened = open(&client).await;
        assert_eq!(next(&mut opened.bytes).await.unwrap().unwrap(), "hi");
        assert_eq!(connections(&client), (round, 1, 0));
        drop(opened);
        assert_eq!(connections(&client), (round, 0, 0));
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_may_be_running() {
    for cut in ["2\r\nh", "2\r\nhi\r\n", "2\r\nhi\r\n0\r\n", "2\r\nhi\r\nx"] {
        let client = playing(&[STREAM, cut], true).await;
        let mut opened = open(&client).await;
        let failure = loop {
            if let Err(failure) = next(&mut opened.bytes).await.expect("not the proper end") {
                break failure;
            }
        };
        assert!(failure.may_be_running && failure.kind == Kind::Broken, "{failure:?}");
        assert!(next(&mut opened.bytes).await.is_none());
        assert_eq!(connections(&client), (1, 0, 0));
    }
}

#[tokio::test]
async fn a_kept_connection_that_has_begun_to_answer_is_not_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
    let (both, ()) = tokio::join!(async { (fetch(&client).await, fetch(&client).await) }, async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut stream).await);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await.unwrap();
        assert!(read_request(&mut stream).await);
        stream.write_all(b"HTTP/1.1 20").await.unwrap();
    });
    assert!(both.0.is_ok());
    assert!(both.1.unwrap_err().may_be_running);
    assert_eq!(connections(&client), (1, 0, 0));
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let client = playing(&["HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", "hi"], true).await;
    for round in 1..3 {
        let mut opened = open(&client).await;
        let mut read = Vec::new();
        while let Some(bytes) = next(&mut opened.bytes).await {
            read.extend_from_slice(&bytes.unwrap());
        }
        assert_eq!(read, b"hi");
        assert_eq!(connections(&client), (round, 0, 0));
    }
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let json = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let client = playing(&[json], false).await;
    for round in 1..4 {
        assert_eq!(fetch(&client).await.unwrap(), r#"{"code":0}"#);
        assert_eq!(connections(&client), (round, 0, 0));
    }
}

#[tokio::test]
async fn a_refusal_may_come_before_the_request_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
    let token = Secret::new("t");
    let large = Call { body: Some(vec![b'x'; 32 << 20].into()), ..call() };
    for closes in [false, true] {
        let refuse = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(answer).await.unwrap();
            if closes {
                // The answer has to arrive before the reset that follows.
                stream.read_exact(&mut [0; 1024]).await.unwrap();
            }
            (!closes).then_some(stream)
        };
        let (failure, _stream) = tokio::join!(client.fetch(&large, &token), refuse);
        let failure = failure.unwrap_err();
        assert!(failure.detail.as_ref().unwrap().contains("status 413"), "{failure:?}");
        assert_eq!(client.figures().idle_connections, 0);
    }
}

#[tokio::test]
async fn a_request_is_sent_again_once_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(Settings { base_url, ..Settings::default() }).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}";
    let both = tokio::join!(fetch(&client), fetch(&client), async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(read_request(&mut stream).await);
            stream.write_all(answer).await.unwrap();
            // Reads the next request, and closes.
            tokio::spawn(async move { read_request(&mut stream).await });
        }
    });
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(connections(&client), (2, 2, 2));
    // One kept connection closes, and then not the other one is tried but a
    // new one, and nothing after that.
    let (failure, ()) = tokio::join!(fetch(&client), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut stream).await);
    });
    assert!(failure.unwrap_err().may_be_running);
    assert_eq!(connections(&client), (3, 1, 1));
}

#[test]
fn an_idle_stream_is_small() {
    assert!(std::mem::size_of::<ByteStream>() <= 192);
}
