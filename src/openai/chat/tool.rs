//! A whole answer as a tool gives it: a reply in, one small JSON object out.

use super::extras::{self, Extras};
use super::write_string;
use crate::turn::Reply;

/// `{"answer":"…","conversation":"…","coze":{…}}`: the words alone, without
/// thinking; what names the conversation, if it can go on.
#[must_use]
pub fn tool_answer(reply: &Reply, conversation: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + reply.size());
    out.extend_from_slice(b"{\"answer\":\"");
    reply.text().write_escaped(&mut out);
    out.push(b'"');
    if let Some(conversation) = conversation {
        out.push(b',');
        write_string(&mut out, "conversation", conversation);
    }
    out.extend_from_slice(b",\"coze\":");
    extras::write(&mut out, std::iter::once(&Extras::from(reply)));
    out.push(b'}');
    out
}
