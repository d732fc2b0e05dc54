//! The log: where it goes and in what form. And the metrics.

mod filter;
mod json;
pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

pub use filter::FilterError;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is in the form of `RUST_LOG`;
/// a wrong one is an error.
///
/// # Errors
/// If the filter cannot be understood.
pub fn init(format: Format, filter: &str) -> Result<(), FilterError> {
    init_to(format, filter, std::io::stderr, std::io::stderr().is_terminal())
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
