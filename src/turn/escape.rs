//! The escapes of JSON strings, found many bytes at a time.
//!
//! In come characters, out go their escapes. Most texts hold few of those or
//! none, so whole blocks are looked at in one go: a byte at a time, as serde_json
//! writes, a history of 6 KB cost 5 µs more.

/// So many bytes are looked at together: wide enough for the registers of
/// every machine that this runs on.
const BLOCK: usize = 32;

/// How long the blocks ahead of the first one are that holds a special byte.
fn clean_blocks(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    // No way out half-way: so it becomes a few instructions for all.
    let is_clean = |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, &byte| any | is_special(byte));
    blocks.iter().take_while(is_clean).count() * BLOCK
}

/// Where the first byte stands that is special; the length if none is.
pub(crate) fn find(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let clean = clean_blocks(bytes, &is_special);
    let rest = bytes.get(clean..).unwrap_or_default();
    clean + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

/// Where the first byte stands that JSON's grammar has escaped; the length if
/// none does. In a block that has one eight bytes are looked at together.
pub(crate) fn next_escape(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte below `limit`, which is at most 0x80. A borrow
    // makes only what is behind the first one untrue.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let is_special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let mut clean = clean_blocks(bytes, is_special);
    let (words, _) = bytes.get(clean..).unwrap_or_default().as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = quotes | backslashes | below(word, b' ');
        if found != 0 {
            return clean + usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
        }
        clean += 8;
    }
    let rest = bytes.get(clean..).unwrap_or_default();
    clean + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

/// Appends `text` to `out`, escaped as JSON's grammar demands and no further.
pub(crate) fn escape_into(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let at = next_escape(rest);
        let (clean, tail) = rest.split_at(at);
        out.extend_from_slice(clean);
        let Some((&byte, tail)) = tail.split_first() else {
            return;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
            }
        }
        rest = tail;
    }
}

/// The lower-case hexadecimal digit of a number below 16.
fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_escaped_is_read_as_it_was(text in r#"([a-z]{0,40}|["\\\n\r\t\x00-\x1f]|\PC){0,12}"#) {
            let mut out = b"\"".to_vec();
            escape_into(&text, &mut out);
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn the_first_special_byte_is_found(bytes in prop::collection::vec(0_u8..40, 0..100)) {
            let is_special = |byte: u8| byte == 7;
            let first = bytes.iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(find(&bytes, is_special), first);
        }

        #[test]
        fn the_next_escape_is_found(
            clean in prop::collection::vec(prop::sample::select(vec![b' ', b'!', b'#', b'[', b']', 0x7f, 0xff]), 0..90),
            special in prop::sample::select(vec![0, 0x1f, b'"', b'\\']),
            behind in any::<Vec<u8>>(),
        ) {
            prop_assert_eq!(next_escape(&clean), clean.len());
            let all = [clean.as_slice(), &[special], &behind].concat();
            prop_assert_eq!(next_escape(&all), clean.len());
        }
    }
}
