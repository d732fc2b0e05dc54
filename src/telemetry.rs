//! The log: where it goes and in what form. And the metrics.

mod filter;
mod json;
mod lines;
pub mod metrics;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

pub use filter::FilterError;
use lines::Lines;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The lines of the process's log.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging to standard error. `filter` is in the form of `RUST_LOG`;
/// a wrong one is an error. What is below a warning is written some
/// milliseconds later: the program ends with [`flush`].
///
/// # Errors
/// If the filter cannot be understood.
pub fn init(format: Format, filter: &str) -> Result<(), FilterError> {
    let colours = std::io::stderr().is_terminal();
    let lines = LINES.get_or_init(|| Lines::to(std::io::stderr()));
    match lines.start() {
        Ok(()) => init_to(format, filter, lines.clone(), colours),
        // Then each line is written by itself.
        Err(_) => init_to(format, filter, std::io::stderr, colours),
    }
}

/// Writes the log lines that still wait.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Starts logging to this writer, in colours or not.
///
/// # Errors
/// If the filter cannot be understood.
pub fn init_to<W>(format: Format, filter: &str, writer: W, colours: bool) -> Result<(), FilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // What the MCP library says of each message is in the access log, and its
    // words would be the client's.
    let targets = filter::targets(&format!("rmcp=off,{filter}"))?;
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    // A second call changes nothing: the first one's log goes on.
    let _ = match format {
        Format::Text => registry().with(lines).with(targets).try_init(),
        Format::Json => registry().with(lines.event_format(json::Json)).with(targets).try_init(),
    };
    Ok(())
}
