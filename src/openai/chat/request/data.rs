//! Long strings of base64 in a body: in comes the text as it stands there,
//! out come bytes.
//!
//! A string with escapes in it (some clients write `\/` for each slash, some
//! `\u002B` for each plus) is not put together first: that would take its
//! length once more, and more than that while it grows.

use std::borrow::Cow;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use memchr::memchr;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::mismatch;

/// Some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How much is put together at a time: whole groups of four.
const BLOCK: usize = 32 * 1024;

/// A string as it stands in the body, without its quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Data<'a>(pub(super) &'a str);

impl<'a> Data<'a> {
    /// The text that it means; `None` if an escape in it means no character.
    pub(super) fn unescaped(self) -> Option<Cow<'a, str>> {
        unescaped(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        inside.map(Self).ok_or_else(|| mismatch(raw, "a string"))
    }
}

/// The text that the inside of a JSON string means; `None` if an escape in it
/// means no character.
pub(super) fn unescaped(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).ok().map(Cow::Owned)
}

/// The bytes of base64, with or without padding, line breaks and escapes.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(super) fn decode(raw: &str) -> Result<Vec<u8>, Cow<'static, str>> {
    match BASE64.decode(raw) {
        Err(DecodeError::InvalidByte(_, b'\\' | b' ' | b'\n' | b'\r' | b'\t')) => Blocks::decode(raw),
        decoded => decoded.map_err(|error| error.to_string().into()),
    }
}

/// Base64 that is decoded block by block.
#[derive(Debug, Default)]
struct Blocks {
    block: Vec<u8>,
    bytes: Vec<u8>,
    /// There was padding: nothing may follow.
    padded: bool,
}

impl Blocks {
    fn decode(raw: &str) -> Result<Vec<u8>, Cow<'static, str>> {
        let mut blocks = Self {
            block: Vec::with_capacity(BLOCK),
            bytes: Vec::with_capacity(base64::decoded_len_estimate(raw.len())),
            padded: false,
        };
        let mut rest = raw.as_bytes();
        while let Some(at) = memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at(at);
            blocks.push(plain)?;
            let (byte, length) = escaped(escape).ok_or("it holds an escape of no letter of base64")?;
            blocks.push(&[byte])?;
            rest = escape.get(length..).unwrap_or_default();
        }
        blocks.push(rest)?;
        blocks.flush()?;
        Ok(blocks.bytes)
    }

    fn push(&mut self, plain: &[u8]) -> Result<(), Cow<'static, str>> {
        for byte in plain.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if self.block.len() == BLOCK {
                self.flush()?;
            }
            self.block.push(*byte);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Cow<'static, str>> {
        if self.padded && !self.block.is_empty() {
            return Err("it goes on after its padding".into());
        }
        self.padded = self.block.last() == Some(&b'=');
        BASE64.decode_vec(&self.block, &mut self.bytes).map_err(|error| error.to_string())?;
        self.block.clear();
        Ok(())
    }
}

/// The one byte that an escape at the front means, and how long the escape is.
fn escaped(escape: &[u8]) -> Option<(u8, usize)> {
    match escape {
        [b'\\', b'/', ..] => Some((b'/', 2)),
        [b'\\', b'n' | b'r' | b't', ..] => Some((b'\n', 2)),
        [b'\\', b'u', b'0', b'0', high, low, ..] => {
            let digits = [*high, *low];
            let byte = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            byte.is_ascii().then_some((byte, 6))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;

    use super::*;

    #[test]
    fn escapes_and_line_breaks_change_nothing() {
        for length in [0, 1, 2, 3, 100, BLOCK, BLOCK * 3 / 4, BLOCK * 3 / 4 + 1, BLOCK * 2 + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect();
            let plain = general_purpose::STANDARD.encode(&bytes);
            let lines = plain.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap());
            for form in [
                plain.clone(),
                plain.trim_end_matches('=').to_owned(),
                plain.replace('/', "\\/"),
                plain.replace('+', "\\u002B").replace('=', "\\u003d"),
                lines.clone().collect::<Vec<_>>().join("\\r\\n"),
                lines.collect::<Vec<_>>().join("\n"),
            ] {
                assert_eq!(decode(&form).unwrap(), bytes, "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let block = "A".repeat(BLOCK - 2);
        for bad in [
            "*",
            "A",
            "AA\\\"A",
            "AA\\u4f60",
            "AA\\u00e4",
            "AA==\\/AAA",
            "AA\\u00g0",
            "\\",
            &format!("\\n{block}==AAAA"),
        ] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_what_its_escapes_mean() {
        assert_eq!(Data("https:\\/\\/x\\/\\u4f60").unescaped().as_deref(), Some("https://x/你"));
        assert!(matches!(Data("https://x").unescaped(), Some(Cow::Borrowed(_))));
        assert_eq!(Data("\\ud800").unescaped(), None);
    }
}
