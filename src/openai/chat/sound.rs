//! An answer aloud: pieces of base64 in, OpenAI's `audio` objects out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Head, write_string};
use crate::turn::Text;

/// What an answer's sound is called.
pub(super) fn id(head_id: &str, index: usize) -> String {
    let number = head_id.strip_prefix("chatcmpl-").unwrap_or(head_id);
    format!("audio_{number}_{index}")
}

/// Appends `,"audio":{…}` of a whole answer, unless it was not said aloud.
/// It cannot be asked for again: it expires as soon as it is made.
pub(super) fn write_whole(out: &mut Vec<u8>, head: &Head, index: usize, sound: &[String], text: &Text<'_>) {
    if sound.is_empty() {
        return;
    }
    // Each piece ends for itself.
    let pcm: Vec<u8> = sound.iter().filter_map(|piece| STANDARD.decode(piece).ok()).flatten().collect();
    out.extend_from_slice(b",\"audio\":{");
    write_string(out, "id", &id(&head.id, index));
    out.extend_from_slice(format!(",\"expires_at\":{},\"data\":\"", head.created).as_bytes());
    out.extend_from_slice(STANDARD.encode(pcm).as_bytes());
    out.extend_from_slice(b"\",\"transcript\":\"");
    text.write_escaped(out);
    out.extend_from_slice(b"\"}");
}

/// One answer aloud while it is streamed.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken {
    begun: bool,
    /// Up to two bytes that make no whole group of base64 yet.
    rest: Vec<u8>,
    /// The same in words, escaped: the client is told at the end.
    transcript: Vec<u8>,
}

impl Spoken {
    /// Takes note of words.
    pub(super) fn words(&mut self, text: &Text<'_>) {
        text.write_escaped(&mut self.transcript);
    }

    /// Takes a piece, and gives what can be told of all that came: clients put
    /// what they are told together, so that only the last may have padding.
    pub(super) fn take(&mut self, piece: &str) -> String {
        self.rest.extend(STANDARD.decode(piece).unwrap_or_default());
        let whole = self.rest.len() - self.rest.len() % 3;
        STANDARD.encode(self.rest.drain(..whole).as_slice())
    }

    /// Appends an `audio` object. The id stands in the first alone.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, id: &str, data: &str) {
        out.extend_from_slice(b"\"audio\":{");
        if !std::mem::replace(&mut self.begun, true) {
            write_string(out, "id", id);
            out.push(b',');
        }
        write_string(out, "data", data);
        out.push(b'}');
    }

    /// Appends the last `audio` object: the rest, all of it in words, and
    /// until when it can be asked for.
    pub(super) fn write_end(&self, out: &mut Vec<u8>, created: u64) {
        out.extend_from_slice(b"\"audio\":{");
        if !self.rest.is_empty() {
            write_string(out, "data", &STANDARD.encode(&self.rest));
            out.push(b',');
        }
        out.extend_from_slice(b"\"transcript\":\"");
        out.extend_from_slice(&self.transcript);
        out.extend_from_slice(format!("\",\"expires_at\":{created}}}").as_bytes());
    }

    /// Whether anything was said aloud.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_so_that_they_can_be_put_together() {
        let pcm: Vec<u8> = (0..100).collect();
        for size in [1, 2, 3, 4, 7, 100] {
            let (mut spoken, mut told) = (Spoken::default(), String::new());
            for piece in pcm.chunks(size) {
                told += &spoken.take(&STANDARD.encode(piece));
            }
            let mut end = Vec::new();
            spoken.write_end(&mut end, 7);
            let end: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", String::from_utf8(end).unwrap())).unwrap();
            told += end["audio"]["data"].as_str().unwrap_or_default();
            assert_eq!(STANDARD.decode(told).unwrap(), pcm, "{size}");
        }
    }

    #[test]
    fn what_is_no_base64_is_left_out() {
        assert_eq!(Spoken::default().take("*"), "");
    }
}
