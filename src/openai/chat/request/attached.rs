//! Content parts that are no text: in comes a part on the wire, out comes an
//! [`Attachment`], or why it cannot be taken.
//!
//! Nothing is fetched. Bytes that stand in the request are decoded once.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::data::{self, Data};
use super::fault::{Fault, quoted};
use super::json::{Given, Object, Str, Text, TextOr};
use super::media::{self, Kind};
use crate::turn::{Attachment, Inline, Media, Source};

/// How long the URL of an image or a file may be, in bytes.
const MAX_URL: usize = 8192;

/// How long the name of a file may be, in characters.
const MAX_NAME: usize = 100;

/// `image_url` of a part.
#[derive(Debug, Deserialize)]
pub(super) struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Option<Data<'a>>,
    #[serde(default, rename = "detail")]
    _detail: Given<Str>,
}

/// `file` of a part. `file_url` is not OpenAI's here, but of its other API.
#[derive(Debug, Deserialize)]
pub(super) struct File<'a> {
    #[serde(borrow)]
    file_data: Option<Data<'a>>,
    #[serde(borrow)]
    filename: Option<Text<'a>>,
    #[serde(borrow)]
    file_url: Option<Text<'a>>,
    #[serde(borrow)]
    file_id: Option<Text<'a>>,
}

/// `input_audio` of a part.
#[derive(Debug, Deserialize)]
pub(super) struct InputAudio<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow)]
    format: Option<Text<'a>>,
}

/// An image, by its URL or its bytes.
pub(super) fn image(part: Option<TextOr<'_, ImageUrl<'_>>>) -> Result<Attachment, Fault> {
    let url = match part {
        None => return Err(Fault::missing("image_url")),
        Some(TextOr::Text(Text(url))) => url,
        Some(TextOr::Object(image)) => {
            let url = image.url.ok_or_else(|| Fault::missing("image_url.url"))?;
            // What is uploaded is read as it stands there.
            if is_data(url.0.trim()) { url.0.into() } else { meant(url)? }
        }
    };
    let url = url.trim();
    let source = match data_url(url) {
        Some(data) => {
            let (declared, data) = data?;
            let bytes = decode(data)?;
            let kind = media::image(&bytes, declared.as_deref()).map_err(refused)?;
            inline(bytes, kind, "image", None)
        }
        None => Source::Url(at_url(url, "an image")?),
    };
    Ok(Attachment { media: Media::Image, source })
}

/// A file, by its URL or its bytes. One that is an image a bot can look at.
pub(super) fn file(part: Option<Object<File<'_>>>) -> Result<Attachment, Fault> {
    let Some(Object(file)) = part else { return Err(Fault::missing("file")) };
    let (data, url) = match file {
        File { file_data: Some(Data(data)), .. } => (data, None),
        File { file_url: Some(Text(url)), .. } => ("", Some(url)),
        File { file_id: Some(_), .. } => {
            return Err(refused(
                "this gateway keeps no files, so that it knows no 'file_id': send the file itself as 'file_data'",
            ));
        }
        _ => return Err(Fault::missing("file.file_data")),
    };
    if let Some(url) = url {
        let source = Source::Url(at_url(url.trim(), "a file")?);
        return Ok(Attachment { media: Media::File, source });
    }
    let data = data.trim();
    let (declared, data) = data_url(data).transpose()?.unwrap_or((None, data));
    let bytes = decode(data)?;
    let name = file.filename.as_ref().map(|Text(name)| &**name);
    let kind = media::document(&bytes, declared.as_deref(), name).map_err(refused)?;
    let media = if kind.is_image() { Media::Image } else { Media::File };
    Ok(Attachment { media, source: inline(bytes, kind, "file", name) })
}

/// Sound, by its bytes.
pub(super) fn audio(part: Option<Object<InputAudio<'_>>>) -> Result<Attachment, Fault> {
    let Some(Object(audio)) = part else { return Err(Fault::missing("input_audio")) };
    let Data(data) = audio.data.ok_or_else(|| Fault::missing("input_audio.data"))?;
    let Text(format) = audio.format.ok_or_else(|| Fault::missing("input_audio.format"))?;
    let declared = match &*format {
        "wav" => media::WAV,
        "mp3" => media::MP3,
        other => return Err(refused(format!("the format must be 'wav' or 'mp3', not {}", quoted(other)))),
    };
    let bytes = decode(data.trim())?;
    let kind = media::audio(&bytes, declared).map_err(refused)?;
    Ok(Attachment { media: Media::Audio, source: inline(bytes, kind, "audio", None) })
}

fn refused(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::content("", format!("cannot be taken: {}", why.into()))
}

/// Bytes under a name that ends as their type wants it.
fn inline(bytes: Vec<u8>, kind: Kind, usual: &str, name: Option<&str>) -> Source {
    // What stands before a slash is somebody's folder.
    let base = name.and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default();
    let stem = match base.rsplit_once('.') {
        Some((stem, _)) => stem,
        None => base,
    };
    let stem: String = stem.trim().chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let stem = if stem.is_empty() { usual } else { &stem };
    // A text may be code of any language.
    let ending = base.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| {
        kind.media_type == "text/plain"
            && (1..=10).contains(&ending.len())
            && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let name = format!("{stem}.{}", ending.unwrap_or(kind.extension));
    Source::Inline(Arc::new(Inline::new(bytes.into(), kind.media_type, name)))
}

/// The text of a string; a URL, as a rule.
fn meant(text: Data<'_>) -> Result<Cow<'_, str>, Fault> {
    text.unescaped().ok_or_else(|| refused("an escape in it means no character"))
}

fn is_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// The type that a data URL declares, and its base64.
type Declared<'u> = (Option<Cow<'u, str>>, &'u str);

/// Takes a data URL apart, which may have escapes in it; `None` if it is
/// another URL.
fn data_url(url: &str) -> Option<Result<Declared<'_>, Fault>> {
    let rest = url.get(5..).filter(|_| is_data(url))?;
    let Some((head, data)) = rest.split_once(',') else {
        return Some(Err(refused("a data: URL has a comma before its data, and this one has none")));
    };
    let mut words = head.split(';');
    let declared = words.next().map(|kind| meant(Data(kind.trim()))).transpose();
    // These say nothing.
    let says =
        |kind: &Cow<'_, str>| !kind.is_empty() && !kind.eq_ignore_ascii_case("application/octet-stream");
    let is_base64 = words.next_back().is_some_and(|word| word.trim().eq_ignore_ascii_case("base64"));
    Some(match declared {
        Ok(declared) if is_base64 => Ok((declared.filter(says), data)),
        Ok(_) => Err(refused("a data: URL has to be in base64")),
        Err(fault) => Err(fault),
    })
}

fn decode(raw: &str) -> Result<Vec<u8>, Fault> {
    match data::decode(raw) {
        Ok(bytes) if bytes.is_empty() => Err(refused("it is empty")),
        Ok(bytes) => Ok(bytes),
        Err(why) => Err(refused(format!("its data is no base64 ({why})"))),
    }
}

/// Checks that Coze can fetch something, without fetching it.
fn at_url(url: &str, what: &str) -> Result<String, Fault> {
    if url.len() > MAX_URL {
        return Err(refused(format!(
            "the URL of {what} may have at most {MAX_URL} bytes, and this one has {}",
            url.len()
        )));
    }
    // The parser skips tabs and line ends, Coze would not.
    let parsed = if url.contains(char::is_control) { None } else { Url::parse(url).ok() };
    match parsed {
        Some(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(url.to_owned()),
        Some(_) => Err(refused(format!(
            "{what} must be an http(s) URL or a data: URL, and {} is neither",
            quoted(url)
        ))),
        None => Err(refused(format!(
            "{what} must be an absolute http(s) URL or a data: URL, and {} is neither",
            quoted(url)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgo=";

    #[track_caller]
    fn taken(url: &str) -> Arc<Inline> {
        match image(Some(TextOr::Text(Text(url.into())))).unwrap().source {
            Source::Inline(inline) => inline,
            other => panic!("{other:?}"),
        }
    }

    fn named(name: Option<&str>, data: &str) -> Attachment {
        file(Some(Object(File {
            file_data: Some(Data(data)),
            filename: name.map(|name| Text(name.into())),
            file_url: None,
            file_id: None,
        })))
        .unwrap()
    }

    #[test]
    fn the_forms_of_a_data_url_are_one() {
        for url in [
            "data:image/png;base64,iVBORw0KGgo=",
            "DATA:image/PNG;base64,iVBORw0KGgo",
            " data:image/png;name=a.png;base64,iVBORw0KGgo=\n",
            "data:;base64,iVBO\nRw0K\r\nGgo=",
            "data:application/octet-stream;base64,iVBORw0KGgo=",
            "data:image\\/png;base64,iVBORw0KGgo\\u003d",
        ] {
            let inline = taken(url);
            assert_eq!(inline.content(), &b"\x89PNG\r\n\x1a\n"[..], "{url}");
            assert_eq!((inline.media_type(), inline.name()), ("image/png", "image.png"));
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        for (url, why) in [
            ("data:image/png;base64", "comma"),
            ("data:image/png,abc", "base64"),
            ("data:image/png;base64,", "empty"),
            ("data:image/png;base64,iVBOR*==", "no base64"),
            ("data:image/jpeg;base64,iVBORw0KGgo=", "image/png"),
            ("data:text/plain;base64,aGVsbG8=", "no image"),
        ] {
            let fault = image(Some(TextOr::Text(Text(url.into())))).unwrap_err();
            let says = crate::openai::ApiError::from(fault).message;
            assert!(says.contains(why), "{url}: {says}");
        }
    }

    #[test]
    fn a_file_has_the_ending_of_its_type_and_no_path() {
        let name = |given, data| match named(given, data).source {
            Source::Inline(inline) => inline.name().to_owned(),
            other => panic!("{other:?}"),
        };
        let pdf = "JVBERi0xLjc=";
        assert_eq!(name(None, pdf), "file.pdf");
        assert_eq!(name(Some("C:\\secret\\报告.pdf"), pdf), "报告.pdf");
        assert_eq!(name(Some("../a\"\r\n.pdf"), pdf), "a\".pdf");
        assert_eq!(name(Some("main.rs"), "Zm4="), "main.rs");
        assert_eq!(name(Some("x.<b>"), "Zm4="), "x.txt");
        assert_eq!(name(Some(&"n".repeat(500)), pdf).len(), MAX_NAME + 4);
        assert_eq!(named(Some("a.png"), PNG).media, Media::Image);
    }
}
