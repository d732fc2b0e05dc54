//! A gateway process, a simulated Coze, and what a client sees.

pub(crate) mod between;
pub(crate) mod cloud;
pub(crate) mod gateway;
pub(crate) mod outcome;
pub(crate) mod scrape;
pub(crate) mod sse;
pub(crate) mod talk;

use std::future::Future;
use std::time::Duration;

use cozeway::simulator::{Options, Simulator};
use tokio::net::TcpListener;

pub(crate) use between::{Between, Mishap};
pub(crate) use gateway::Gateway;
pub(crate) use talk::{Talk, turns};

/// The bot whose answers tests script.
pub(crate) const SCRIPTED: &str = "7530512345678999999";

/// The key that test gateways let in.
pub(crate) const KEY: &str = "sk-test-0123456789abcdef";

/// A simulated Coze that listens until the test ends.
pub(crate) struct Coze {
    pub(crate) simulator: Simulator,
    pub(crate) port: u16,
}

impl Coze {
    pub(crate) async fn start() -> Self {
        Self::with(Options::instant()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let simulator = Simulator::new(options);
        let serving = simulator.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        Self { simulator, port }
    }

    /// Waits until nobody reads an answer any more.
    #[track_caller]
    pub(crate) fn idle(&self) -> impl Future<Output = ()> + '_ {
        eventually("every stream of Coze is closed", || self.simulator.open_streams() == 0)
    }
}

/// Waits for a condition, 10 s at most.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{place}: it never came to be that {what}");
    }
}
