//! Connections that close under a request.

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
        // The connection is given back to the pool behind the answer.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.read(), 10);
}

#[tokio::test]
async fn a_kept_connection_that_breaks_off_late_may_have_taken_the_request() {
    let server = Server::start(Second::ClosesLate).await;
    server.ask().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
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
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.ask().await.unwrap();
    assert_eq!(server.read(), 3, "the third time on a new connection");
}
