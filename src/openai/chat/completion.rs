//! A whole completion: replies in, one JSON body out.

use super::extras::{self, Extras};
use super::{Head, sound, write_string, write_usage};
use crate::turn::{Reasoning, Reply, Text, Usage};

/// The body of a completion with these answers, in their order.
///
/// `usage` stands there only if Coze counted every one of them.
#[must_use]
pub fn body(head: &Head, replies: &[Reply], reasoning: Reasoning) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + replies.iter().map(Reply::size).sum::<usize>());
    out.push(b'{');
    write_string(&mut out, "id", &head.id);
    out.extend_from_slice(b",\"object\":\"chat.completion\",\"created\":");
    out.extend_from_slice(head.created.to_string().as_bytes());
    out.push(b',');
    write_string(&mut out, "model", &head.model);
    out.extend_from_slice(b",\"choices\":[");
    for (index, reply) in replies.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"index\":");
        out.extend_from_slice(index.to_string().as_bytes());
        out.extend_from_slice(b",\"message\":{\"role\":\"assistant\"");
        write_text(&mut out, "content", &reply.text());
        let thinking = reply.thinking();
        if !thinking.is_empty() {
            if matches!(reasoning, Reasoning::Field | Reasoning::Both) {
                write_text(&mut out, "reasoning_content", &thinking);
            }
            if reasoning == Reasoning::Both {
                write_text(&mut out, "reasoning", &thinking);
            }
        }
        sound::write_whole(&mut out, head, index, &reply.sound, &reply.text());
        out.extend_from_slice(
            b",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}",
        );
    }
    out.push(b']');
    if let Some(usage) = usage(replies) {
        out.extend_from_slice(b",\"usage\":");
        write_usage(&mut out, usage);
    }
    let extras: Vec<Extras> = replies.iter().map(Extras::from).collect();
    out.extend_from_slice(b",\"coze\":");
    extras::write(&mut out, extras.iter());
    out.push(b'}');
    out
}

/// What the answers cost together; `None` unless Coze counted each.
#[must_use]
pub fn usage(replies: &[Reply]) -> Option<Usage> {
    replies.iter().try_fold(Usage::default(), |sum, reply| Some(sum.plus(reply.usage?)))
}

fn write_text(out: &mut Vec<u8>, name: &str, text: &Text<'_>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    text.write_escaped(out);
    out.push(b'"');
}
