//! Messages in the body of a call, as both families of endpoints take them
//! (protocol 3.2, 5.4).
//!
//! In come a body without messages and the messages, out comes the body with
//! them. They are most of it, so they are written directly: by serde_json, a
//! history of 6 KB took 5 µs more.

use bytes::Bytes;
use serde::Serialize;

use crate::turn::{Attachment, Media, Message, Role, Source, escape_into};

/// How much room is made for a message beside its text.
const BESIDE: usize = 96;

/// As long as an id gets.
const LONGEST_ID: &str = "9223372036854775807";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part<'a> {
    Text { text: &'a str },
    Image(At<'a>),
    File(At<'a>),
    Audio(At<'a>),
}

/// Where an attachment is.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum At<'a> {
    FileUrl(&'a str),
    FileId(&'a str),
}

/// The JSON of a body, an object with some field, with these messages as its
/// `additional_messages`.
pub(in crate::coze) fn with_messages(body: &impl Serialize, messages: &[Message]) -> Bytes {
    let texts = messages.iter().map(|message| message.text.len() + BESIDE).sum::<usize>();
    let mut out = Vec::with_capacity(texts + texts / 8 + 512);
    serde_json::to_writer(&mut out, body).expect("strings and valid JSON always serialise");
    // Its end comes after the messages.
    out.pop();
    out.extend_from_slice(b",\"additional_messages\":[");
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(message, &mut out);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

/// Without a type an assistant's message would be stored as the user's, and
/// without a content type the server would drop the content.
fn push(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(match message.role {
        Role::User => br#"{"role":"user","type":"question","content":""#,
        Role::Assistant => br#"{"role":"assistant","type":"answer","content":""#,
    });
    if message.attachments.is_empty() {
        escape_into(&message.text, out);
        out.extend_from_slice(br#"","content_type":"text"}"#);
    } else {
        escape_into(&object_string(message), out);
        out.extend_from_slice(br#"","content_type":"object_string"}"#);
    }
}

/// What goes with a text. Of what is still to be uploaded only the room is
/// taken: [`crate::coze::Callee::call`] sends none of that.
fn part(attachment: &Attachment) -> Part<'_> {
    let at = match &attachment.source {
        Source::Url(url) => At::FileUrl(url),
        Source::Kept(id) => At::FileId(id),
        Source::Inline(_) => At::FileId(LONGEST_ID),
    };
    match attachment.media {
        Media::Image => Part::Image(at),
        Media::File => Part::File(at),
        Media::Audio => Part::Audio(at),
    }
}

/// Text and attachments as Coze's JSON in a string. One text part at most: the
/// server would drop a second (protocol 3.2).
pub(super) fn object_string(message: &Message) -> String {
    let text = (!message.text.is_empty()).then_some(Part::Text { text: &message.text });
    let parts: Vec<Part<'_>> = text.into_iter().chain(message.attachments.iter().map(part)).collect();
    serde_json::to_string(&parts).expect("strings always serialise")
}
