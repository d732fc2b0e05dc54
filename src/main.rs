//! The `cozeway` program.

use std::process::ExitCode;

use clap::Parser as _;
use cozeway::cli::Cli;
use cozeway::telemetry;

/// However the program ends, its log is whole.
struct WholeLog;

impl Drop for WholeLog {
    fn drop(&mut self) {
        telemetry::flush();
    }
}

fn main() -> ExitCode {
    let _log = WholeLog;
    let ended = Cli::parse().run();
    // What is told now comes behind what was logged.
    telemetry::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}
