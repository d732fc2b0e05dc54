//! The content of a message: in comes a string or an array of parts, out
//! comes one text with what goes with it.
//!
//! Parts are folded while they are read: an array of a million empty ones
//! takes no memory.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::attached::{self, File, ImageUrl, InputAudio};
use super::fault::{Fault, quoted};
use super::json::{Object, Text, TextOr};
use crate::turn::{Attachment, Source};

/// How many parts of a request may be bytes: each becomes an upload.
pub(super) const MAX_INLINE: usize = 100;

/// What goes with a message, and which parts of it that is.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) attachments: Vec<Attachment>,
    pub(super) parts: Vec<usize>,
}

/// There are more parts to upload than [`MAX_INLINE`].
pub(super) fn too_many() -> Fault {
    let says = format!(
        "cannot be taken: a request may bring at most {MAX_INLINE} images and files by their bytes; give the others by URL"
    );
    Fault::content("", says)
}

/// What a message says.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    text: Cow<'a, str>,
    attachments: Vec<Attachment>,
    /// Which parts they are.
    parts: Vec<usize>,
    /// How many of them are bytes.
    inline: usize,
    /// The first part that cannot be taken; what follows it was not looked at.
    fault: Option<Fault>,
}

impl<'a> Content<'a> {
    /// The text, and what goes with it.
    pub(super) fn into_parts(self) -> Result<(Cow<'a, str>, Attached), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok((self.text, Attached { attachments: self.attachments, parts: self.parts })),
        }
    }

    /// The text, where nothing can go with `whose` messages.
    pub(super) fn into_text(self, whose: &str) -> Result<Cow<'a, str>, Fault> {
        let (text, attached) = self.into_parts()?;
        let Some(first) = attached.parts.first() else { return Ok(text) };
        let says = format!("cannot be taken: only text is accepted in {whose} messages, images in user ones");
        Err(Fault::content(format!("[{first}]"), says))
    }

    fn attach(&mut self, index: usize, attachment: Attachment) -> Result<(), Fault> {
        self.inline += usize::from(matches!(attachment.source, Source::Inline(_)));
        if self.inline > MAX_INLINE {
            return Err(too_many());
        }
        self.attachments.push(attachment);
        self.parts.push(index);
        Ok(())
    }

    fn take(&mut self, index: usize, part: Part<'a>) -> Result<(), Fault> {
        let Some(Text(kind)) = part.kind else { return Err(Fault::missing("type")) };
        match &*kind {
            "text" => self.add(part.text.ok_or_else(|| Fault::missing("text"))?),
            "refusal" => self.add(part.refusal.ok_or_else(|| Fault::missing("refusal"))?),
            "image_url" => self.attach(index, attached::image(part.image_url)?)?,
            "input_audio" => self.attach(index, attached::audio(part.input_audio)?)?,
            "file" => self.attach(index, attached::file(part.file)?)?,
            other => {
                let says = format!(
                    "cannot be taken: {} is no known type of content part; 'text', 'image_url', 'input_audio' and 'file' are accepted",
                    quoted(other)
                );
                return Err(Fault::content("", says));
            }
        }
        Ok(())
    }

    fn add(&mut self, Text(text): Text<'a>) {
        if self.text.is_empty() {
            self.text = text;
        } else if !text.is_empty() {
            let all = self.text.to_mut();
            all.push('\n');
            all.push_str(&text);
        }
    }
}

/// One part on the wire.
#[derive(Debug, Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    image_url: Option<TextOr<'a, ImageUrl<'a>>>,
    #[serde(borrow)]
    input_audio: Option<Object<InputAudio<'a>>>,
    #[serde(borrow)]
    file: Option<Object<File<'a>>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for Parts<'a> {
            type Value = Content<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content parts")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content { text: Cow::Borrowed(text), ..Content::default() })
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content { text: Cow::Owned(text.to_owned()), ..Content::default() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'a>, A::Error> {
                let mut content = Content::default();
                let mut index = 0;
                while let Some(Object(part)) = parts.next_element()? {
                    if let Err(fault) = content.take(index, part) {
                        content.fault = Some(fault.within(&format!("[{index}]")));
                        while parts.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                    index += 1;
                }
                Ok(content)
            }
        }

        deserializer.deserialize_any(Parts(PhantomData))
    }
}
