//! The log: where it goes and in what form. And the metrics.

mod json;
pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

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
pub fn init(format: Format, filter: &str) -> Result<(), ParseError> {
    init_to(format, filter, std::io::stderr, std::io::stderr().is_terminal())
}

/// Starts logging to this writer, in colours or not.
///
/// # Errors
/// If the filter cannot be understood.
pub fn init_to<W>(format: Format, filter: &str, writer: W, colours: bool) -> Result<(), ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        // What the MCP library says of each message is in the access log, and
        // its words would be the client's.
        .with_env_filter(EnvFilter::try_new(format!("rmcp=off,{filter}"))?)
        .with_writer(writer)
        .with_ansi(colours);
    // A second call changes nothing: the first one's log goes on.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.event_format(json::Json).try_init(),
    };
    Ok(())
}
