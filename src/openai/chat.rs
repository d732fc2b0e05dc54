//! `/v1/chat/completions`.

mod chunk;
mod completion;
mod extras;
pub mod request;
mod sound;
mod tool;

pub use chunk::{Encoder, comment, error_event};
pub use completion::{body, usage};
pub use request::Request;
pub use tool::tool_answer;

/// What every chunk of a stream, and a whole completion, begin with.
#[derive(Clone, Debug)]
pub struct Head {
    /// `chatcmpl-…`, unique.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name as the client wrote it.
    pub model: String,
}

/// Appends `"name":"value"`, escaped.
fn write_string(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    crate::turn::escape_into(value, out);
    out.push(b'"');
}

/// Appends OpenAI's usage object.
fn write_usage(out: &mut Vec<u8>, usage: crate::turn::Usage) {
    let text = format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{}}}"#,
        usage.input,
        usage.output,
        usage.total()
    );
    out.extend_from_slice(text.as_bytes());
}
