//! The `cozeway` program.

use std::process::ExitCode;

use clap::Parser as _;
use cozeway::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}
