//! What a bot ought to see: the rule above all others.
//!
//! In come what clients send and what the simulated Coze shows its model,
//! out comes whether the one holds the other, each message once and in order.
//! What nobody can know (whether a turn counts whose client left before it
//! heard anything) is kept as several possible histories, until a turn shows
//! which of them is true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cozeway::simulator::Seen;
use sha2::{Digest as _, Sha256};

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    User(String),
    /// What an assistant said: the client's words, and the messages that Coze
    /// has stored of them.
    Bot {
        words: String,
        stored: Vec<String>,
    },
    /// What a chat came to that its client did not stay for: Coze's words.
    Unheard(ChatId),
}

/// A chat of one of the Cozes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChatId {
    pub(crate) coze: usize,
    pub(crate) chat: String,
}

/// A named conversation, as it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) said: Vec<Said>,
    /// The system text in force.
    pub(crate) system: Option<String>,
}

impl History {
    /// What a turn with only the new messages has the bot see.
    pub(crate) fn with(&self, system: Option<&str>, new: &[String]) -> Self {
        let mut after = self.clone();
        if let Some(system) = system
            && after.system.as_deref() != Some(system)
        {
            after.said.push(Said::User(system.to_owned()));
            after.system = Some(system.to_owned());
        }
        after.said.extend(new.iter().cloned().map(Said::User));
        after
    }

    pub(crate) fn then(mut self, said: Said) -> Self {
        self.said.push(said);
        self
    }
}

/// Where a context and a transcript part.
#[derive(Debug)]
pub(crate) struct Parting {
    /// Which message of the transcript.
    pub(crate) message: usize,
    /// Which message of the context, or one near it.
    pub(crate) seen: usize,
    pub(crate) why: String,
}

/// Whether a context holds a transcript, and nothing else.
///
/// # Errors
/// If not: where they part.
pub(crate) fn holds(
    context: &[Seen],
    transcript: &[Said],
    unheard: &impl Fn(&ChatId) -> Option<Vec<String>>,
) -> Result<(), Parting> {
    // What a bot did to ask back is nobody's message.
    let seen = |message: &&Seen| message.role != "tool" && !message.text.starts_with("{\"index\":");
    let mut rest: Vec<&Seen> = context.iter().filter(seen).collect();
    for (index, said) in transcript.iter().enumerate() {
        let at = context.len() - rest.len();
        let part = |why: String| Parting { message: index, seen: at, why: format!("message {index}: {why}") };
        let taken = match said {
            Said::User(text) => begins(&rest, "user", std::slice::from_ref(text)),
            Said::Bot { words, stored } => {
                let empty = (words.trim().is_empty()).then_some(0);
                let stored = (!stored.is_empty()).then(|| begins(&rest, "assistant", stored));
                (stored.flatten())
                    .or_else(|| begins(&rest, "assistant", std::slice::from_ref(words)))
                    .or(empty)
            }
            Said::Unheard(chat) => match unheard(chat) {
                Some(stored) => begins(&rest, "assistant", &stored),
                None => return Err(part("nobody knows what was said".to_owned())),
            },
        };
        let Some(taken) = taken else { return Err(part("the bot sees another".to_owned())) };
        rest.drain(..taken);
    }
    match rest.first() {
        None => Ok(()),
        Some(_) => Err(Parting {
            message: transcript.len(),
            seen: context.len() - rest.len(),
            why: format!("the bot sees {} more", rest.len()),
        }),
    }
}

/// The image that a user's message comes with.
pub(crate) enum Image {
    /// By its address.
    At(String),
    /// By its bytes.
    Bytes(Vec<u8>),
}

impl Image {
    /// As the client sends it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::At(url) => url.clone(),
            Self::Bytes(bytes) => format!("data:image/png;base64,{}", STANDARD.encode(bytes)),
        }
    }

    /// Whether an address that a bot sees is this image's. That of an upload
    /// says what was uploaded.
    fn is_at(&self, seen: &str) -> bool {
        match self {
            Self::At(url) => url == seen,
            Self::Bytes(bytes) => {
                let digest: String =
                    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                seen.contains(&format!("/bot_files/{digest}/"))
            }
        }
    }
}

/// What a user's message comes with: some images are of several messages.
pub(crate) fn image(text: &str) -> Option<Image> {
    let what = text.strip_prefix("look ")?;
    let number = what.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Some(match number % 3 {
        0 => Image::At(format!("http://images.test/{number}.png?a=1&b=%20")),
        rest => Image::Bytes([&b"\x89PNG\r\n\x1a\n"[..], &(number / 3 % (rest * 20)).to_le_bytes()].concat()),
    })
}

/// How many messages these texts are, if the context goes on with them.
fn begins(rest: &[&Seen], role: &str, texts: &[String]) -> Option<usize> {
    let fits = rest.len() >= texts.len()
        && rest.iter().zip(texts).all(|(seen, text)| {
            let images = image(text).filter(|_| role == "user");
            seen.role == role
                && seen.text == *text
                && seen.images.len() == usize::from(images.is_some())
                && images.iter().zip(&seen.images).all(|(image, seen)| image.is_at(seen))
        });
    fits.then_some(texts.len())
}
