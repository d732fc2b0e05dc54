//! A gateway in this process, on one thread, and what that thread allocates.
//!
//! It is put together as `cozeway serve` does it, but for what is done by the
//! clock and for no request: following the config, renewing leases. What
//! other threads allocate is not counted: those of the client and of Coze,
//! and the one that writes SQLite's file, whose work depends on how many rows
//! come together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use cozeway::conversation::Conversations;
use cozeway::http::{App, Service, listener};
use cozeway::relay::Relay;
use cozeway::{config, store};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::figures::Figure;

/// Tasks that are ready when the last answer is there have this many turns.
const LAST_TURNS: usize = 100;

#[derive(Debug)]
pub(crate) struct Gateway {
    runtime: Runtime,
    address: SocketAddr,
}

impl Gateway {
    pub(crate) fn start(config: &str) -> Self {
        let snapshot = config::parse(config, Path::new("test"), &|_| None).expect("a good config");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = runtime.block_on(async {
            let listener = listener::bind(snapshot.server.listen).unwrap();
            let address = listener.local_addr().unwrap();
            let store = store::open(&snapshot.state.place, snapshot.state.ttl).unwrap();
            let conversations = Conversations::new(Arc::clone(&store));
            let relay = Relay::new(TaskTracker::new(), store);
            let service = Service::new(Arc::new(App::new(snapshot, relay, conversations)));
            // It ends with the runtime.
            tokio::spawn(listener::serve(listener, service, CancellationToken::new()));
            address
        });
        Self { runtime, address }
    }

    /// What the gateway allocates while a client does this so many times, by
    /// once. Before that it is done a few times to warm up.
    pub(crate) fn measure(&self, times: u64, once: impl Fn(&mut Client) + Sync) -> Figure {
        std::thread::scope(|scope| {
            let (warm, is_warm) = oneshot::channel();
            let (begin, may_begin) = channel();
            let (end, has_ended) = oneshot::channel();
            let (address, once) = (self.address, &once);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                (0..times.div_ceil(4)).for_each(|_| once(&mut client));
                warm.send(()).unwrap();
                may_begin.recv().unwrap();
                (0..times).for_each(|_| once(&mut client));
                end.send(()).unwrap();
            });
            self.serve_until(is_warm);
            let counted = allocation_counter::measure(|| {
                begin.send(()).unwrap();
                self.serve_until(has_ended);
            });
            Figure::each(counted.count_total, counted.bytes_total, times)
        })
    }

    fn serve_until(&self, told: oneshot::Receiver<()>) {
        self.runtime.block_on(async {
            told.await.expect("the client has what it asked for");
            // A request is written down when its answer has gone.
            for _ in 0..LAST_TURNS {
                tokio::task::yield_now().await;
            }
        });
    }
}
