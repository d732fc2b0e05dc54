//! Idle connections: which are given out, and when they close.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::line::Line;
use super::*;

struct Peers {
    listener: TcpListener,
    line: Arc<Line>,
    pool: Arc<Pool>,
}

impl Peers {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, line: Arc::new(Line::new(String::new())), pool: Arc::default() }
    }

    /// A connection, and the server's end of it.
    async fn connect(&self) -> (Connection, TcpStream) {
        let near = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = self.listener.accept().await.unwrap();
        (Connection::new(Socket::Plain(near), self.line.connected()), far)
    }

    /// A connection that is kept.
    async fn kept(&self) -> TcpStream {
        let (near, far) = self.connect().await;
        self.pool.keep(near);
        far
    }

    fn open(&self) -> u64 {
        self.line.figures(0).open_connections
    }

    async fn until_kept(&self, count: usize) {
        let wait = async {
            while self.pool.count() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes to be");
    }
}

fn port(connection: &Connection) -> u16 {
    connection.socket.tcp().local_addr().unwrap().port()
}

async fn assert_closed(mut far: TcpStream) {
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_last_one_used_is_the_next() {
    let peers = Peers::new().await;
    let (first, _first) = peers.connect().await;
    let (second, _second) = peers.connect().await;
    let last = port(&second);
    peers.pool.keep(first);
    peers.pool.keep(second);
    assert_eq!(port(&peers.pool.take().unwrap()), last);
    assert_eq!((peers.pool.count(), peers.open()), (1, 1), "the second was dropped above");
    assert!(peers.pool.take().is_some());
    assert!(peers.pool.take().is_none());
    assert_eq!(peers.open(), 0);
}

#[tokio::test]
async fn what_the_server_closes_is_let_go_of_at_once() {
    let peers = Peers::new().await;
    let (one, _other, another) = (peers.kept().await, peers.kept().await, peers.kept().await);
    drop(one);
    peers.until_kept(2).await;
    // With a reset, too.
    another.set_zero_linger().unwrap();
    drop(another);
    peers.until_kept(1).await;
    assert_eq!(peers.open(), 1);
    assert!(peers.pool.take().is_some());
}

#[tokio::test]
async fn who_speaks_unasked_is_not_asked() {
    let peers = Peers::new().await;
    let (mut early, mut late) = (peers.connect().await, peers.connect().await);
    early.1.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    late.1.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    // One is known to have spoken, the other has.
    early.0.socket.tcp().readable().await.unwrap();
    peers.pool.keep(early.0);
    peers.pool.keep(late.0);
    peers.until_kept(0).await;
    assert_eq!(peers.open(), 0);
}

#[tokio::test]
async fn an_idle_connection_closes_in_time_by_itself() {
    let peers = Peers::new().await;
    let start = Instant::now();
    tokio::time::pause();
    let first = peers.kept().await;
    tokio::time::advance(POOL_IDLE / 2).await;
    let second = peers.kept().await;
    assert_closed(first).await;
    assert_eq!(start.elapsed().as_secs(), POOL_IDLE.as_secs());
    assert_eq!(peers.pool.count(), 1);
    assert_closed(second).await;
    assert_eq!(start.elapsed().as_secs(), POOL_IDLE.as_secs() * 3 / 2);
    // The task has ended, and another one watches what comes now.
    peers.until_kept(0).await;
    assert_closed(peers.kept().await).await;
    assert_eq!(peers.open(), 0);
}

#[tokio::test]
async fn what_was_idle_for_too_long_is_not_given_out() {
    let peers = Peers::new().await;
    let _far = (peers.kept().await, peers.kept().await);
    assert!(peers.pool.take().is_some());
    // Nothing is awaited behind this: the task has no turn to close it.
    peers.pool.idle().kept[0].until = Instant::now();
    assert!(peers.pool.take().is_none());
    assert_eq!(peers.open(), 0);
}

#[tokio::test]
async fn what_has_closed_is_not_given_out_though_nobody_watched() {
    let peers = Peers::new().await;
    let (far, _other) = (peers.kept().await, peers.kept().await);
    peers.pool.idle().watch = None;
    drop(far);
    let known = async {
        while peers.pool.idle().kept[0].connection.is_quiet(&mut Context::from_waker(Waker::noop())) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.expect("the runtime learns of it");
    assert_eq!(peers.pool.count(), 2);
    assert!(peers.pool.take().is_some());
    assert!(peers.pool.take().is_none());
    assert_eq!(peers.open(), 0);
}

#[tokio::test]
async fn a_pool_that_goes_closes_its_connections_at_once() {
    let peers = Peers::new().await;
    let (one, other) = (peers.kept().await, peers.kept().await);
    tokio::task::yield_now().await;
    let pool = Arc::downgrade(&peers.pool);
    let Peers { line, pool: last, .. } = peers;
    drop(last);
    assert!(pool.upgrade().is_none(), "the watcher does not hold it");
    assert_eq!(line.figures(0).open_connections, 0);
    assert_closed(one).await;
    assert_closed(other).await;
}

#[tokio::test]
async fn no_more_are_kept_than_may_be() {
    let peers = Peers::new().await;
    let oldest = peers.kept().await;
    let mut others = Vec::new();
    for _ in 0..MAX_IDLE {
        others.push(peers.kept().await);
    }
    assert_eq!(peers.pool.count(), MAX_IDLE);
    assert_closed(oldest).await;
}
