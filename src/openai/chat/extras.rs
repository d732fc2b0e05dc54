//! The `coze` object: what Coze says and OpenAI's format has no place for.

use super::write_string;

/// Coze's extras of one choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) conversation: Option<String>,
    pub(crate) chat: Option<String>,
    pub(crate) log_id: Option<String>,
    pub(super) suggestions: Vec<String>,
}

/// Appends the object: the extras themselves for one choice, a list of them
/// under `chats` for several.
pub(super) fn write<'a>(out: &mut Vec<u8>, mut all: impl ExactSizeIterator<Item = &'a Extras>) {
    if all.len() == 1 {
        if let Some(one) = all.next() {
            write_one(out, one);
        }
        return;
    }
    out.extend_from_slice(b"{\"chats\":[");
    for (at, one) in all.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_one(out, one);
    }
    out.extend_from_slice(b"]}");
}

fn write_one(out: &mut Vec<u8>, extras: &Extras) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in
        [("conversation_id", &extras.conversation), ("chat_id", &extras.chat), ("log_id", &extras.log_id)]
    {
        if let Some(value) = value {
            comma(out, &mut first);
            write_string(out, name, value);
        }
    }
    if !extras.suggestions.is_empty() {
        comma(out, &mut first);
        out.extend_from_slice(b"\"follow_ups\":[");
        for (at, text) in extras.suggestions.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'"');
            crate::turn::escape_into(text, out);
            out.push(b'"');
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}
