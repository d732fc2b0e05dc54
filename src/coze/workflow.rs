//! `/v1/workflow/run` and `/v1/workflow/stream_run` (protocol 5.1 to 5.3): a
//! prompt as a call, and the events of its answer.

mod ask;
mod question;
mod reader;
mod result;
mod resume;

use std::collections::BTreeMap;

use serde_json::Value;

use super::Within;
pub(super) use ask::object;
pub use ask::{Unfit, check, run};
pub use reader::Reader;
pub(super) use resume::lines;
pub use resume::{Answering, NoForm, resume};

/// A workflow, and how a transcript becomes a run of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// Its id: decimal digits.
    pub id: String,
    /// Where the user's text goes.
    pub input: Input,
    /// The start parameter that takes the transcript, if one does.
    pub history: Option<String>,
    /// Start parameters that are always the same.
    pub parameters: BTreeMap<String, Value>,
    /// Which variable of the End node's JSON is the answer.
    pub output: Option<String>,
    /// Whether it is asked for as a stream.
    pub stream: bool,
    /// What it is run in the name of.
    pub within: Option<Within>,
    /// Which of its versions is run.
    pub version: Option<String>,
    /// Whether clients are told where Coze's own page of the run is.
    pub show_debug_url: bool,
}

/// Where the user's text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Into this start parameter.
    Parameter(String),
    /// The text is itself a JSON object of start parameters.
    Json,
    /// Nowhere but into the transcript.
    None,
}
