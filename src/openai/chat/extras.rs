//! The `coze` object: what Coze says and OpenAI's format has no place for.

use super::write_string;
use crate::turn::{Did, Field, Reply, Step, Wants, escape_into};

/// Coze's extras of one choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) conversation: Option<String>,
    pub(crate) chat: Option<String>,
    pub(crate) log_id: Option<String>,
    pub(super) suggestions: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) wants: Option<Wants>,
    pub(super) debug_url: Option<String>,
}

impl From<&Reply> for Extras {
    fn from(reply: &Reply) -> Self {
        Self {
            conversation: reply.conversation.clone(),
            chat: reply.chat.clone(),
            log_id: reply.log_id.clone(),
            suggestions: reply.suggestions.clone(),
            steps: reply.steps.clone(),
            wants: reply.wants.clone(),
            debug_url: reply.debug_url.clone(),
        }
    }
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
    for (name, value) in [
        ("conversation_id", &extras.conversation),
        ("chat_id", &extras.chat),
        ("log_id", &extras.log_id),
        ("debug_url", &extras.debug_url),
    ] {
        if let Some(value) = value {
            comma(out, &mut first);
            write_string(out, name, value);
        }
    }
    if !extras.suggestions.is_empty() {
        comma(out, &mut first);
        out.extend_from_slice(b"\"follow_ups\":");
        write_strings(out, &extras.suggestions);
    }
    if !extras.steps.is_empty() {
        comma(out, &mut first);
        write_steps(out, &extras.steps);
    }
    if let Some(wants) = &extras.wants {
        comma(out, &mut first);
        write_wants(out, wants);
    }
    out.push(b'}');
}

/// `"steps":[…]`: what the bot did on its way.
fn write_steps(out: &mut Vec<u8>, steps: &[Step]) {
    out.extend_from_slice(b"\"steps\":[");
    for (at, Step { did, name, text }) in steps.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{".as_slice() } else { b"{" });
        let (kind, content) = match did {
            Did::Recall => ("knowledge", "content"),
            Did::Call => ("tool_call", "arguments"),
            Did::Return => ("tool_result", "content"),
        };
        write_string(out, "type", kind);
        for (field, value) in [("name", name.as_deref()), (content, Some(text.as_str()))] {
            if let Some(value) = value {
                out.push(b',');
                write_string(out, field, value);
            }
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// `"interrupt":{…}`: what the answer waits for.
fn write_wants(out: &mut Vec<u8>, wants: &Wants) {
    out.extend_from_slice(b"\"interrupt\":{");
    write_string(out, "kind", wants.name());
    match wants {
        Wants::Text => {}
        Wants::Choice(options) => {
            out.extend_from_slice(b",\"options\":");
            write_strings(out, options);
        }
        Wants::Form(fields) => {
            out.extend_from_slice(b",\"fields\":[");
            for (at, Field { name, kind, required }) in fields.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b",{".as_slice() } else { b"{" });
                write_string(out, "name", name);
                if let Some(kind) = kind {
                    out.push(b',');
                    write_string(out, "type", kind);
                }
                out.extend_from_slice(b",\"required\":");
                out.extend_from_slice(if *required { b"true}".as_slice() } else { b"false}" });
            }
            out.push(b']');
        }
    }
    out.push(b'}');
}

fn write_strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'"');
        escape_into(text, out);
        out.push(b'"');
    }
    out.push(b']');
}

fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}
