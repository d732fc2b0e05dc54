//! Whether an answer says what it should, to the last byte: in come a body
//! and the text that it has to hold, out comes a verdict.
//!
//! Each answer is scanned for its text without building anything; every so
//! often one is also parsed in full. What is wrong voids the row.

use memchr::{memchr, memchr2, memmem};
use serde::Deserialize;

/// Why a row does not count.
#[derive(Debug)]
pub(crate) struct Void(pub(crate) String);

impl Void {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<std::io::Error> for Void {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A stream of OpenAI's.
    Stream,
    /// One JSON object of OpenAI's.
    Whole,
    /// A stream of Coze's.
    Coze,
}

/// Where the text of a piece begins.
pub(crate) const CONTENT: &[u8] = b"\"content\":\"";

/// Checks one answer; `deeply` if all of its JSON is to be parsed, too.
pub(crate) fn check(form: Form, body: &[u8], expected: &str, deeply: bool) -> Result<(), Void> {
    match form {
        Form::Whole => whole(body, expected),
        Form::Stream => {
            stream(body, expected)?;
            if deeply { parsed(body, expected) } else { Ok(()) }
        }
        Form::Coze => coze(body, expected),
    }
}

fn whole(body: &[u8], expected: &str) -> Result<(), Void> {
    #[derive(Deserialize)]
    struct Completion {
        choices: [Choice; 1],
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Message,
        finish_reason: String,
    }
    #[derive(Deserialize)]
    struct Message {
        content: String,
    }
    let Completion { choices: [choice] } =
        serde_json::from_slice(body).map_err(|error| Void::new(format!("no completion: {error}")))?;
    if choice.message.content != expected || choice.finish_reason != "stop" {
        return Err(Void::new("a whole answer with another text"));
    }
    Ok(())
}

fn stream(body: &[u8], expected: &str) -> Result<(), Void> {
    let body = body.strip_suffix(b"data: [DONE]\n\n").ok_or_else(|| Void::new("no [DONE] at the end"))?;
    let mut rest = expected.as_bytes();
    let mut stops = 0;
    for line in lines(body).filter(|line| line.starts_with(b"data: ")) {
        text(line, &mut rest)?;
        stops += usize::from(memmem::find(line, b"\"finish_reason\":\"stop\"").is_some());
    }
    ended(rest)?;
    if stops == 1 { Ok(()) } else { Err(Void::new(format!("{stops} chunks that stop"))) }
}

fn coze(body: &[u8], expected: &str) -> Result<(), Void> {
    let mut rest = expected.as_bytes();
    let (mut is_delta, mut is_done) = (false, false);
    for line in lines(body) {
        if let Some(name) = line.strip_prefix(b"event:") {
            is_delta = name == b"conversation.message.delta";
            is_done = name == b"conversation.stream.done";
        } else if is_delta {
            text(line, &mut rest)?;
        }
    }
    ended(rest)?;
    if is_done { Ok(()) } else { Err(Void::new("no end of Coze's stream")) }
}

fn ended(rest: &[u8]) -> Result<(), Void> {
    if rest.is_empty() { Ok(()) } else { Err(Void::new(format!("{} bytes of text are missing", rest.len()))) }
}

/// All chunks as JSON, and their text once more.
fn parsed(body: &[u8], expected: &str) -> Result<(), Void> {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Delta,
    }
    #[derive(Deserialize)]
    struct Delta {
        content: Option<String>,
    }
    let mut said = String::new();
    for line in lines(body) {
        match line.strip_prefix(b"data: ") {
            Some(b"[DONE]") => {}
            Some(data) => {
                let chunk: Chunk = serde_json::from_slice(data)
                    .map_err(|error| Void::new(format!("a chunk that is no JSON: {error}")))?;
                said.extend(chunk.choices.into_iter().filter_map(|choice| choice.delta.content));
            }
            None if line.is_empty() || line.starts_with(b":") => {}
            None => return Err(Void::new("a line that is no event")),
        }
    }
    if said == expected { Ok(()) } else { Err(Void::new("chunks with another text")) }
}

fn lines(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr(b'\n', body)?;
        let line = &body[..end];
        body = &body[end + 1..];
        Some(line)
    })
}

/// Takes what this line says off what is still expected.
fn text(line: &[u8], rest: &mut &[u8]) -> Result<(), Void> {
    let Some(at) = memmem::find(line, CONTENT) else { return Ok(()) };
    let mut raw = &line[at + CONTENT.len()..];
    loop {
        let Some(end) = memchr2(b'"', b'\\', raw) else {
            return Err(Void::new("a string without an end"));
        };
        take(&raw[..end], rest)?;
        if raw[end] == b'"' {
            return Ok(());
        }
        raw = escape(&raw[end + 1..], rest)?;
    }
}

fn take(said: &[u8], rest: &mut &[u8]) -> Result<(), Void> {
    *rest = rest.strip_prefix(said).ok_or_else(|| Void::new("another text than Coze's"))?;
    Ok(())
}

/// Takes one escape; gives what comes behind it.
fn escape<'a>(raw: &'a [u8], rest: &mut &[u8]) -> Result<&'a [u8], Void> {
    let (kind, mut raw) = raw.split_first().ok_or_else(|| Void::new("half an escape"))?;
    let mut buffer = [0; 4];
    let plain = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => {
            let mut unit;
            (unit, raw) = hex(raw)?;
            if (0xD800..0xDC00).contains(&unit) {
                let low;
                (low, raw) = hex(raw.strip_prefix(b"\\u").unwrap_or_default())?;
                unit = 0x10000 + ((unit - 0xD800) << 10) + (low & 0x3FF);
            }
            char::from_u32(unit).ok_or_else(|| Void::new("an escape that is no character"))?
        }
        _ => return Err(Void::new("an unknown escape")),
    };
    take(plain.encode_utf8(&mut buffer).as_bytes(), rest)?;
    Ok(raw)
}

fn hex(raw: &[u8]) -> Result<(u32, &[u8]), Void> {
    let wrong = || Void::new("an escape without four digits");
    let (digits, raw) = raw.split_at_checked(4).ok_or_else(wrong)?;
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    Ok((u32::from_str_radix(digits, 16).map_err(|_| wrong())?, raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::body_of;
    use crate::scenario::Scenario;
    use crate::wire;

    #[test]
    fn a_right_answer_passes_and_any_other_does_not() {
        for scenario in [Scenario::One, Scenario::Burst, Scenario::Paced] {
            let text = scenario.text();
            for (form, answer) in [
                (Form::Coze, wire::coze(scenario)),
                (Form::Stream, wire::openai_stream(scenario)),
                (Form::Whole, wire::openai_whole(scenario)),
            ] {
                let mut bytes = Vec::new();
                answer.fill(7, &mut bytes);
                let body = body_of(&bytes);
                assert!(check(form, &body, &text, true).is_ok(), "{scenario:?} {form:?}");
                let (less, more) = (&text[..text.len() - 1], format!("{text}."));
                let other = text.replacen("Gr", "gr", 1);
                for wrong in [less, &more, &other, ""] {
                    assert!(check(form, &body, wrong, false).is_err(), "{scenario:?} {form:?} {wrong}");
                }
                let cut = &body[..body.len() - 10];
                assert!(check(form, cut, &text, false).is_err(), "{scenario:?} {form:?}");
            }
        }
    }

    #[test]
    fn every_escape_is_read() {
        let line = br#"{"content":"\u4f60\ud83e\udd16\n\"\\\/\u003c"}"#;
        let mut rest = "你🤖\n\"\\/<!".as_bytes();
        assert!(text(line, &mut rest).is_ok());
        assert_eq!(rest, b"!");
    }
}
