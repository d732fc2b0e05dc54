//! What the gateway costs beside nginx, which only passes bytes on.
//!
//! `gateway run` starts a mock Coze, nginx and cozeway as processes on
//! 127.0.0.1, asks both by turns, checks every answer to the last byte, and
//! prints a table that says what each row has to reach. `gateway mock` is
//! that mock. `benches/run` builds and calls all this; `docs/performance.md`
//! says how to read it.

#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on says so and ends"
)]

mod answer;
mod exchange;
mod load;
mod mock;
mod peers;
mod process;
mod report;
mod rows;
mod scenario;
mod servers;
mod table;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use answer::Void;
use exchange::{Asked, Target};
use load::Clients;
use process::{Folder, OTHERS, pin};
use report::Report;
use rows::{Bench, cost, held, program, rate, wait};
use scenario::Scenario;
use servers::Programs;
use table::Table;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Measures cozeway beside nginx.
#[derive(Debug, Parser)]
enum Command {
    /// Answer as Coze and as OpenAI do, until killed
    Mock,
    /// Ask a server that runs already, as for a profile of it
    Load(Load),
    /// Measure
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Load {
    /// Its IP address and port
    address: std::net::SocketAddr,
    /// What it is asked for: one, burst, paced, large, huge
    #[arg(long, default_value = "one")]
    model: String,
    #[arg(long, default_value = servers::KEY)]
    key: String,
    /// Ask for whole answers
    #[arg(long)]
    whole: bool,
    /// How many messages come before the last
    #[arg(long, default_value_t = 0)]
    history: usize,
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// How many times each client asks
    #[arg(long, default_value_t = 1000)]
    each: usize,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The release binary
    #[arg(long, value_name = "FILE", default_value = "target/release/cozeway")]
    cozeway: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    nginx: PathBuf,
    /// Where conversations are remembered; {} is a folder that is deleted
    #[arg(long, value_name = "URL", default_value = "sqlite:{}/state.db")]
    state: String,
    /// Fewer rounds: under two minutes
    #[arg(long)]
    quick: bool,
    /// The document that the table is written into, between its markers
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Only these: program, start, held, leave, requests, paced, large, rate,
    /// first, peers
    only: Vec<String>,
}

fn main() -> ExitCode {
    let command = Command::parse();
    let limit = getrlimit(Resource::Nofile);
    // Thousands of connections are held.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    runtime.block_on(async {
        match command {
            Command::Mock => match mock::run().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error.to_string()),
            },
            Command::Load(load) => match ask(load).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => failed(&why.0),
            },
            Command::Run(run) => tokio::select! {
                result = measure(run) => result.unwrap_or_else(|why| failed(&why.0)),
                () = tokio::time::sleep(LIMIT) => failed("it takes too long"),
                why = told_to_stop() => failed(why),
            },
        }
    })
}

fn failed(why: &str) -> ExitCode {
    eprintln!("gateway: {why}");
    ExitCode::FAILURE
}

async fn ask(load: Load) -> Result<(), Void> {
    let Load { address, model, key, whole, history, clients, each } = load;
    let headers = servers::bearer(&key);
    let target = Target { address, prefix: String::new(), is_coze: false, headers };
    let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.model() == model);
    let scenario = scenario.ok_or_else(|| Void::new(format!("there is no {model}")))?;
    let asked = Asked { stream: !whole, history, ..Asked::streamed(scenario) };
    Clients::open(&target, asked, clients).await?.ask(each).await
}

async fn told_to_stop() -> &'static str {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate)] = signals else { return "no signals" };
    tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
    }
}

async fn measure(run: Run) -> Result<ExitCode, Void> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Void::new("it takes two cores: one for the servers, one for everything else"));
    }
    pin(OTHERS);
    let Run { cozeway, nginx, state, quick, write, only } = run;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    let programs = Programs { cozeway, nginx, state, folder: Folder::new()? };
    let mut bench = Bench { mock: servers::mock()?, programs, table: Table::default(), quick };
    let report = Report::begin(&bench.programs);

    let nginx = bench.programs.nginx(&bench.mock).await?;
    let gateway = bench.programs.cozeway(&bench.mock)?;
    if wanted("requests") {
        cost::requests(&mut bench, &nginx, &gateway).await?;
    }
    if wanted("paced") {
        cost::paced(&mut bench, &nginx, &gateway).await?;
    }
    if wanted("large") {
        cost::large(&mut bench, &nginx, &gateway).await?;
    }
    if wanted("rate") {
        rate::rates(&mut bench, &nginx, &gateway).await?;
    }
    if wanted("first") {
        wait::first_words(&mut bench, &nginx, &gateway).await?;
    }
    let traces = bench.programs.traces(&gateway)?;
    drop(gateway);
    let peers = if wanted("peers") { peers::measure(&bench, &nginx).await? } else { String::new() };
    drop(nginx);

    if wanted("program") {
        program::idle(&mut bench).await?;
    }
    if wanted("held") {
        held::memory(&mut bench).await;
    }
    if wanted("leave") {
        wait::leave(&mut bench).await?;
    }
    if wanted("start") {
        wait::start(&mut bench).await?;
    }
    if wanted("program") {
        program::size(&mut bench)?;
    }
    let unknown = bench.mock.counts().await?.unknown;
    if unknown > 0 {
        return Err(Void::new(format!("the mock was asked {unknown} times for what it does not know")));
    }

    let text = report.end(&bench.table, &traces, &peers);
    println!("{text}");
    if let Some(path) = write {
        report::write(&path, &text)?;
    }
    Ok(if bench.table.missed == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
