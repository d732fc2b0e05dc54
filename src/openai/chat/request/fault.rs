//! What is wrong with one field, told by the code that reads it and placed by
//! the code around it.

use std::borrow::Cow;

use crate::openai::ApiError;

/// A fault of a request, not yet an error: its path grows from the inside out.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    code: &'static str,
    /// The field, seen from where the fault is now.
    param: String,
    /// What there is to say of the field, as the rest of a sentence.
    says: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(
        code: &'static str,
        param: impl Into<String>,
        says: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, param: param.into(), says: says.into() }
    }

    pub(super) fn missing(param: impl Into<String>) -> Self {
        Self::new("missing_required_parameter", param, "is required, but missing or null")
    }

    pub(super) fn invalid(param: impl Into<String>, says: impl Into<Cow<'static, str>>) -> Self {
        Self::new("invalid_value", param, says)
    }

    /// A content part that cannot be taken.
    pub(super) fn content(param: impl Into<String>, says: impl Into<Cow<'static, str>>) -> Self {
        Self::new("unsupported_content", param, says)
    }

    /// A parameter whose silent loss would change what the answer means.
    pub(super) fn parameter(param: impl Into<String>, says: impl Into<Cow<'static, str>>) -> Self {
        Self::new("unsupported_parameter", param, says)
    }

    /// The same fault, seen from outside of `outer`.
    pub(super) fn within(mut self, outer: &str) -> Self {
        let dot = if self.param.is_empty() || self.param.starts_with('[') { "" } else { "." };
        self.param = format!("{outer}{dot}{}", self.param);
        self
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let message = format!("'{}' {}.", fault.param, fault.says);
        Self::bad_request(fault.code, Some(fault.param), message)
    }
}

/// A client's own word in a message, cut where it is long.
pub(super) fn quoted(word: &str) -> String {
    const LONGEST: usize = 64;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("'{}…'", word.get(..end).unwrap_or_default().escape_debug()),
        None => format!("'{}'", word.escape_debug()),
    }
}
