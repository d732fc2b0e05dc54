//! The request body: bytes in, a [`Request`] or an error that names the field
//! out.

use crate::openai::ApiError;
use crate::turn::Ask;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The public name of a model, as the client wrote it.
    pub model: String,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether a stream shall end with a chunk of usage.
    pub include_usage: bool,
    /// How many answers: 1 to 8.
    pub choices: usize,
    /// Parameters that were given and cannot be honoured, by name, in the
    /// order of the names.
    pub ignored: Vec<&'static str>,
    /// Everything that concerns the bot.
    pub ask: Ask,
}

impl Request {
    /// Reads a request body.
    ///
    /// # Errors
    /// A 400 with the field at fault in `param`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let _ = body;
        Err(ApiError::internal())
    }
}
