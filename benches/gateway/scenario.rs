//! What is answered: the scenarios, their texts, and how they are asked for.
//!
//! The same scenario has the same text in every form, so that every way to
//! it is checked against one string.

/// How one answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// One delta.
    One,
    /// A hundred deltas at once.
    Burst,
    /// Fifty deltas, 20 ms apart.
    Paced,
    /// One delta of 1 MiB.
    Large,
    /// One delta of 16 MiB.
    Huge,
    /// One delta, and then nothing.
    Held,
}

/// What the deltas of a stream say, in turn: words as models send them, with
/// several bytes a character, quotes, and what JSON and HTML escape.
const WORDS: [&str; 10] = [
    "Guten Tag",
    ", 你好",
    "，「世界」",
    ": \"quoted\"",
    " and a path C:\\dir",
    "\n\n",
    "<b>bold</b> & more",
    " Grüße",
    " 🤖👩‍👩‍👧",
    ". One more word",
];

/// What the answer of one delta says.
const SENTENCE: &str = "Grüße, \"世界\": a path C:\\dir, 100 % <b>& more</b>\nand 🤖.";

/// What the large deltas say, over and over.
const LINE: &str = "Ein Absatz mit Wörtern, 一些汉字, a \"quoted\" word, and the end of the line.\n";

/// How many deltas the streams of several have.
pub(crate) const BURST: usize = 100;
pub(crate) const PACED: usize = 50;

/// How far apart the paced ones are.
pub(crate) const PAUSE_MS: u64 = 20;

const MIB: usize = 1 << 20;

impl Scenario {
    pub(crate) const ALL: [Self; 6] =
        [Self::One, Self::Burst, Self::Paced, Self::Large, Self::Huge, Self::Held];

    /// The model's name, which is what an OpenAI client asks for.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Burst => "burst",
            Self::Paced => "paced",
            Self::Large => "large",
            Self::Huge => "huge",
            Self::Held => "held",
        }
    }

    /// The bot's id, which is what Coze is asked for.
    pub(crate) fn bot(self) -> &'static str {
        match self {
            Self::One => "7530512345678901201",
            Self::Burst => "7530512345678901202",
            Self::Paced => "7530512345678901203",
            Self::Large => "7530512345678901204",
            Self::Huge => "7530512345678901205",
            Self::Held => "7530512345678901206",
        }
    }

    /// What each delta says.
    pub(crate) fn deltas(self) -> Vec<String> {
        let words = |count| WORDS.iter().cycle().take(count).map(|word| (*word).to_owned()).collect();
        let lines = |bytes: usize| vec![LINE.repeat(bytes.div_ceil(LINE.len()))];
        match self {
            Self::One | Self::Held => vec![SENTENCE.to_owned()],
            Self::Burst => words(BURST),
            Self::Paced => words(PACED),
            Self::Large => lines(MIB),
            Self::Huge => vec![LINE.repeat(MIB.div_ceil(LINE.len()) * 16)],
        }
    }

    /// All that the answer says.
    pub(crate) fn text(self) -> String {
        self.deltas().concat()
    }
}
