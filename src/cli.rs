//! The command line: the only place that reads arguments, prints, and says
//! how the program ends.
//!
//! Every flag can also be given as an environment variable: `--config` is
//! `COZEWAY_CONFIG`, and so on.

mod bots;
mod chat;
mod check;
mod conversations;
mod demo;
mod health;
mod key;
mod reload;
mod serve;
mod watch;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Faults, Source};
use crate::telemetry::{self, Format};

/// An OpenAI-compatible gateway in front of Coze bots.
#[derive(Debug, clap::Parser)]
#[command(name = "cozeway", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Args),
    /// Run a gateway in front of a simulated Coze: no account, no file, no
    /// network
    Demo(demo::Args),
    /// Check the config and show what each model comes to, secrets masked;
    /// with --online ask Coze, too
    Check(check::Args),
    /// List what the tokens can reach, as entries for the config
    Bots(bots::Args),
    /// Make a random client key and the config entry that lets it in
    Key(key::Args),
    /// Talk to a running gateway from the terminal
    Chat(chat::Args),
    /// Look at what is remembered of conversations, and forget some of it
    Conversations(conversations::Args),
    /// Ask a running gateway whether it is ready: exit code 0 or 1
    Health(health::Args),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Stop {
    /// It was used wrongly, or the config is wrong: exit code 2.
    Wrong(String),
    /// It failed: exit code 1.
    Failed(anyhow::Error),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// If that cannot be done, for whatever reason.
    pub fn run(self) -> Result<(), Stop> {
        match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Check(args) => check::run(args),
            Command::Bots(args) => bots::run(args),
            Command::Key(args) => key::run(args),
            Command::Chat(args) => chat::run(args),
            Command::Conversations(args) => conversations::run(args),
            Command::Health(args) => health::run(args),
        }
    }
}

impl Stop {
    /// Says why on standard error, and gives the exit code.
    #[must_use]
    pub fn report(self) -> ExitCode {
        let (text, code) = match self {
            Self::Wrong(text) => (text, 2),
            Self::Failed(error) => (format!("cozeway: {error:#}"), 1),
        };
        explain(&text);
        ExitCode::from(code)
    }
}

impl From<Faults> for Stop {
    fn from(faults: Faults) -> Self {
        Self::Wrong(faults.to_string())
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Which config a command works with.
#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The config file [default: ./cozeway.toml; without one, COZE_BASE_URL,
    /// COZE_TOKEN and COZE_BOT_ID]
    #[arg(long, value_name = "FILE", env = "COZEWAY_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Where the config comes from.
    fn source(self) -> Result<Source, Faults> {
        Source::find(self.config, &env)
    }
}

/// How much is logged, and how it looks.
#[derive(Debug, clap::Args)]
struct LogArgs {
    /// How log lines look, on standard error
    #[arg(long, value_name = "text|json", default_value = "text", value_parser = log_format, env = "COZEWAY_LOG_FORMAT")]
    log_format: Format,
    /// What is logged, in the form of RUST_LOG, which counts where this is
    /// not given: levels, and targets with theirs [default: info]
    #[arg(long, value_name = "FILTER", env = "COZEWAY_LOG")]
    log: Option<String>,
}

fn log_format(text: &str) -> Result<Format, &'static str> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("expected text or json"),
    }
}

impl LogArgs {
    /// Starts the log.
    fn init(&self) -> Result<(), Stop> {
        let filter = self.log.clone().or_else(|| env("RUST_LOG")).filter(|filter| !filter.is_empty());
        let filter = filter.as_deref().unwrap_or("info");
        telemetry::init(self.log_format, filter).map_err(|error| {
            Stop::Wrong(format!("cozeway: the log filter {filter:?} cannot be understood: {error}"))
        })
    }
}

/// A runtime for a command that waits.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("cannot start the runtime").into())
}

/// A variable of the environment, as far as it is text.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Writes text to standard output, all at once. A reader that has left, as
/// `head` does, is no failure.
fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output").into())
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. There is nobody to tell if that fails.
fn explain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_every_flag_has_its_variable() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            for flag in command.get_arguments() {
                let Some(long) = flag.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
                    continue;
                };
                let variable = format!("COZEWAY_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(flag.get_env().unwrap(), variable.as_str(), "{} --{long}", command.get_name());
            }
        }
        cli.debug_assert();
    }
}
