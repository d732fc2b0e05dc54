//! The request body: bytes in, a [`Request`] or an error that names the field
//! out.
//!
//! The bytes are read once, in time and memory that grow with them alone;
//! only a refused body is read again, to say what is wrong with it. What a
//! bot cannot honour is named, what it cannot take is refused, and what
//! OpenAI does not name is ignored.

mod attached;
mod body;
mod calls;
mod content;
mod coze;
mod data;
mod fault;
mod json;
mod media;
mod parameters;
mod transcript;

#[cfg(test)]
mod tests;

use body::Body;

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
    /// What the client calls the conversation, by the fields that can say it,
    /// in the order in which they count.
    pub conversation: Vec<(&'static str, String)>,
    /// Everything that concerns the bot.
    pub ask: Ask,
}

impl Request {
    /// Reads a request body.
    ///
    /// # Errors
    /// A 400 with the field at fault in `param`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let body: Body<'_> = json::read(body)?;
        Ok(body.into_request()?)
    }
}
