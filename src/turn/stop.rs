//! Stop strings: where the client wants an answer to be cut.

/// Up to four stop strings of a request; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopWords(Vec<String>);

/// A list of stop strings that cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopWordsError {
    /// There are more than four.
    #[error("at most 4 stop sequences are allowed")]
    TooMany,
    /// One has no character, so it would match everywhere.
    #[error("a stop sequence must not be empty")]
    Empty,
    /// One is longer than [`StopWords::MAX_BYTES`].
    #[error("a stop sequence must not be longer than 4096 bytes")]
    TooLong,
}

impl StopWords {
    /// How long one stop string may be, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 4096;

    /// Checks a request's stop strings.
    ///
    /// # Errors
    /// If there are too many, or one cannot be searched for.
    pub fn new(words: Vec<String>) -> Result<Self, StopWordsError> {
        if words.len() > 4 {
            return Err(StopWordsError::TooMany);
        }
        if words.iter().any(String::is_empty) {
            return Err(StopWordsError::Empty);
        }
        if words.iter().any(|word| word.len() > Self::MAX_BYTES) {
            return Err(StopWordsError::TooLong);
        }
        Ok(Self(words))
    }

    /// A search for them through one answer; `None` if there are none.
    #[must_use]
    pub fn search(&self) -> Option<Cut> {
        (!self.0.is_empty())
            .then(|| Cut { words: self.0.iter().map(|word| Word::new(word)).collect(), held: String::new() })
    }
}

/// Cuts a text that comes in pieces at the first stop string.
///
/// Text that may be the beginning of a stop string is held back until what
/// follows decides; everything else passes at once. The cut does not depend
/// on where the pieces are split. Time is linear in the text, memory in the
/// longest stop string.
#[derive(Clone, Debug)]
pub struct Cut {
    words: Vec<Word>,
    /// The end of the text so far that is the beginning of a stop string.
    held: String,
}

/// What a piece of text came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What may be shown now.
    pub text: String,
    /// Whether a stop string came right behind it: nothing may follow.
    pub stopped: bool,
}

impl Cut {
    /// Takes the next piece, which is whole characters.
    pub fn push(&mut self, piece: &str) -> Passed {
        for (at, &byte) in piece.as_bytes().iter().enumerate() {
            let found =
                self.words.iter_mut().filter_map(|word| word.step(byte).then_some(word.bytes.len())).max();
            if let Some(length) = found {
                let mut text = std::mem::take(&mut self.held);
                let start = (text.len() + at + 1).saturating_sub(length);
                text.push_str(piece);
                // A stop string is whole characters, so it starts at one.
                text.truncate(start);
                return Passed { text, stopped: true };
            }
        }
        let longest = self.words.iter().map(|word| word.matched).max().unwrap_or(0);
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        self.held = text.split_off(text.len() - longest);
        Passed { text, stopped: false }
    }

    /// The text is over: what was held back after all belongs to it.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// One stop string with how much of it the text so far ends in
/// (Knuth, Morris and Pratt's search, so that no byte is looked at twice).
#[derive(Clone, Debug)]
struct Word {
    bytes: Box<[u8]>,
    /// For each length of a match, the next shorter one to fall back to.
    fallback: Box<[usize]>,
    matched: usize,
}

impl Word {
    fn new(word: &str) -> Self {
        let bytes: Box<[u8]> = word.as_bytes().into();
        let mut fallback = vec![0; bytes.len() + 1];
        let mut length = 0;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            while length > 0 && bytes.get(length) != Some(byte) {
                length = fallback.get(length).copied().unwrap_or(0);
            }
            if bytes.get(length) == Some(byte) {
                length += 1;
            }
            if let Some(slot) = fallback.get_mut(at + 1) {
                *slot = length;
            }
        }
        Self { bytes, fallback: fallback.into(), matched: 0 }
    }

    /// Takes the next byte; says whether the word is complete with it.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallback.get(self.matched).copied().unwrap_or(0);
        }
        if self.bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> StopWords {
        StopWords::new(words.iter().map(|&word| word.to_owned()).collect()).unwrap()
    }

    /// Feeds the pieces and gives what was shown in all, and whether it stopped.
    fn run(stop: &StopWords, pieces: &[&str]) -> (String, bool) {
        let mut cut = stop.search().unwrap();
        let mut shown = String::new();
        for piece in pieces {
            let passed = cut.push(piece);
            shown.push_str(&passed.text);
            if passed.stopped {
                return (shown, true);
            }
        }
        shown.push_str(&cut.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_across_pieces_is_swallowed() {
        let stop = words(&["STOP"]);
        assert_eq!(run(&stop, &["abcS", "T", "OPdef"]), ("abc".into(), true));
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown_in_the_end() {
        let stop = words(&["STOP"]);
        assert_eq!(run(&stop, &["abST", "Ax", "STO"]), ("abSTAxSTO".into(), false));
    }

    #[test]
    fn a_repeated_beginning_does_not_hide_a_stop_string() {
        assert_eq!(run(&words(&["aab"]), &["aa", "a", "b!"]), ("a".into(), true));
    }

    #[test]
    fn the_longer_of_two_that_end_together_is_swallowed() {
        assert_eq!(run(&words(&["cd", "bcd"]), &["abcde"]), ("a".into(), true));
    }

    #[test]
    fn characters_of_several_bytes_stay_whole() {
        assert_eq!(run(&words(&["你好"]), &["说你", "你", "好吗"]), ("说你".into(), true));
        assert_eq!(run(&words(&["你好"]), &["说你", "们"]), ("说你们".into(), false));
    }

    #[test]
    fn a_long_repetitive_text_takes_linear_time() {
        let stop = words(&[&("a".repeat(4000) + "b")]);
        let text = "a".repeat(200_000);
        let pieces: Vec<&str> = text.as_bytes().chunks(7).map(|c| std::str::from_utf8(c).unwrap()).collect();
        assert_eq!(run(&stop, &pieces), (text.clone(), false));
    }

    #[test]
    fn bad_lists_are_refused() {
        let list = |words: &[&str]| StopWords::new(words.iter().map(|&w| w.to_owned()).collect());
        assert_eq!(list(&["a", "b", "c", "d", "e"]), Err(StopWordsError::TooMany));
        assert_eq!(list(&["a", ""]), Err(StopWordsError::Empty));
        assert_eq!(list(&[&"x".repeat(4097)]), Err(StopWordsError::TooLong));
        assert!(list(&[]).unwrap().search().is_none());
    }

    /// The plain definition: cut before the match that ends first; of those
    /// that end together, the longest.
    fn plainly(words: &[String], text: &str) -> (String, bool) {
        let mut best: Option<(usize, usize)> = None;
        for word in words {
            if let Some(start) = text.find(word.as_str()) {
                let end = start + word.len();
                let better = best.is_none_or(|(s, e)| end < e || (end == e && start < s));
                if better {
                    best = Some((start, end));
                }
            }
        }
        match best {
            Some((start, _)) => (text[..start].to_owned(), true),
            None => (text.to_owned(), false),
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_plain_cut(
            words in prop::collection::vec("[ab你]{1,4}", 1..4),
            text in "[ab你]{0,40}",
            cuts in prop::collection::vec(0usize..41, 0..6),
        ) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(chars.len())).collect();
            cuts.push(0);
            cuts.push(chars.len());
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stop = StopWords::new(words.clone()).unwrap();
            prop_assert_eq!(run(&stop, &pieces), plainly(&words, &text));
        }
    }
}
