//! The content of a message: in comes a string or an array of parts, out
//! comes one text with its images.
//!
//! Parts are folded while they are read: an array of a million empty ones
//! takes no memory.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::fault::{Fault, quoted};
use super::json::{Given, Map, Object, Str, Text, TextOr};
use crate::turn::Image;

/// How long the URL of an image may be, in bytes.
const MAX_URL: usize = 8192;

/// What a message says.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    text: Cow<'a, str>,
    images: Vec<Image>,
    /// Which part is the first image.
    first_image: usize,
    /// The first part that cannot be taken; what follows it was not looked at.
    fault: Option<Fault>,
}

impl<'a> Content<'a> {
    /// The text and the images.
    pub(super) fn into_parts(self) -> Result<(Cow<'a, str>, Vec<Image>), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok((self.text, self.images)),
        }
    }

    /// The text, where `whose` messages can have no images.
    pub(super) fn into_text(self, whose: &str) -> Result<Cow<'a, str>, Fault> {
        let first_image = self.first_image;
        let (text, images) = self.into_parts()?;
        if images.is_empty() {
            return Ok(text);
        }
        let says = format!("cannot be taken: images are accepted in user messages only, not in {whose} ones");
        Err(Fault::content(format!("[{first_image}]"), says))
    }

    fn take(&mut self, index: usize, part: Part<'a>) -> Result<(), Fault> {
        let Some(Text(kind)) = part.kind else { return Err(Fault::missing("type")) };
        match &*kind {
            "text" => self.add(part.text.ok_or_else(|| Fault::missing("text"))?),
            "refusal" => self.add(part.refusal.ok_or_else(|| Fault::missing("refusal"))?),
            "image_url" => {
                let Text(url) = match part.image_url {
                    None => return Err(Fault::missing("image_url")),
                    Some(TextOr::Text(url)) => url,
                    Some(TextOr::Object(image)) => {
                        image.url.ok_or_else(|| Fault::missing("image_url.url"))?
                    }
                };
                if self.images.is_empty() {
                    self.first_image = index;
                }
                self.images.push(image(&url)?);
            }
            "input_audio" => {
                return Err(Fault::content(
                    "",
                    "cannot be taken: audio is not supported; 'text' and 'image_url' parts are",
                ));
            }
            "file" => {
                let says = "cannot be taken: files are not supported; 'text' parts and 'image_url' parts with \
                            an http(s) URL are";
                return Err(Fault::content("", says));
            }
            other => {
                let says = format!(
                    "cannot be taken: {} is no known type of content part; 'text' and 'image_url' are accepted",
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

/// Checks that Coze can fetch an image, without fetching it.
fn image(url: &str) -> Result<Image, Fault> {
    let refuse = |says: String| Err(Fault::content("", format!("cannot be taken: {says}")));
    let url = url.trim();
    if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return refuse(
            "uploads of data: URLs are not built yet; give the image as an http(s) URL that Coze can fetch"
                .to_owned(),
        );
    }
    if url.len() > MAX_URL {
        return refuse(format!(
            "the URL of an image may have at most {MAX_URL} bytes, and this one has {}",
            url.len()
        ));
    }
    // The parser skips tabs and line ends, Coze would not.
    let parsed = if url.contains(char::is_control) { None } else { Url::parse(url).ok() };
    match parsed {
        Some(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(Image { url: url.to_owned() }),
        Some(_) => refuse(format!("an image must be an http(s) URL, and {} is another", quoted(url))),
        None => refuse(format!("an image must be an absolute http(s) URL, and {} is none", quoted(url))),
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
    #[serde(default, rename = "input_audio")]
    _input_audio: Given<Map>,
    #[serde(default, rename = "file")]
    _file: Given<Map>,
}

#[derive(Debug, Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Option<Text<'a>>,
    #[serde(default, rename = "detail")]
    _detail: Given<Str>,
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
