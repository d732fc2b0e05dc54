//! The log: where it goes and in what form. And the metrics.

mod json;
pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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
pub fn init(format: Format, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let builder = tracing_subscriber::fmt()
        // What the MCP library says of each message is in the access log, and
        // its words would be the client's.
        .with_env_filter(EnvFilter::try_new(format!("rmcp=off,{filter}"))?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call changes nothing: the first one's log goes on.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.event_format(json::Json).try_init(),
    };
    Ok(())
}
