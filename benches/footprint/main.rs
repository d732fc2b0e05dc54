//! What the gateway costs as a process: memory, CPU and added time.
//!
//! Starts the real binary in front of a simulated Coze in this process, on
//! 127.0.0.1 only, asks it for scripted answers, checks each answer's text,
//! and prints a table. CPU is what the kernel has counted for the gateway's
//! threads, memory what it says of its pages; what client and simulated Coze
//! cost is in neither. `docs/performance.md` says how to read it.
//!
//! `cargo bench --bench footprint`, and a few words of rows to measure only
//! those: `cargo bench --bench footprint -- held`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measurement that cannot go on says so and ends"
)]

mod answers;
mod process;
mod report;
mod rows;

use std::time::Duration;

use cozeway::simulator::{Options, Simulator};
use tokio::net::TcpListener;

use report::Table;

/// The bot whose answers are scripted.
const BOT: &str = "7530512345678999999";

/// The key of the measured gateways.
const KEY: &str = "sk-bench-0123456789abcdef";

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// A simulated Coze and a client of gateways in front of it.
struct Bench {
    coze: Simulator,
    port: u16,
    table: Table,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As a test target, only that it builds is of interest.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let only: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, measure(&only)).await.expect("the measurement ends in time");
    });
}

async fn measure(only: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let coze = Simulator::new(Options::instant());
    let serving = coze.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    let mut bench = Bench { coze, port, table: Table::default() };
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word));
    if wanted("start") {
        rows::start(&mut bench).await;
    }
    if wanted("held") {
        rows::held(&mut bench).await;
    }
    if wanted("leave") {
        rows::leave(&mut bench).await;
    }
    if wanted("first") {
        rows::first_content(&mut bench).await;
    }
    if wanted("cpu") {
        rows::cpu(&mut bench).await;
    }
    if wanted("large") {
        rows::large(&mut bench).await;
    }
    if wanted("size") {
        rows::size(&mut bench);
    }
    bench.table.print();
}
