//! What bytes are: in come bytes and what a client says of them, out comes
//! their type, or why Coze would not take them.
//!
//! The bytes are believed, and what is said of them has to agree: a wrong
//! content type is stored with the file, and what fetches it later stumbles.

use std::borrow::Cow;

use super::fault::quoted;

/// A type of file that Coze takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) media_type: &'static str,
    pub(super) extension: &'static str,
    form: Form,
}

/// What can be told from bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Image,
    Audio,
    Pdf,
    /// The office formats since 2007.
    Zip,
    /// The office formats before.
    Ole,
    Text,
}

const fn kind(media_type: &'static str, extension: &'static str, form: Form) -> Kind {
    Kind { media_type, extension, form }
}

const PNG: Kind = kind("image/png", "png", Form::Image);
const JPEG: Kind = kind("image/jpeg", "jpg", Form::Image);
const GIF: Kind = kind("image/gif", "gif", Form::Image);
const WEBP: Kind = kind("image/webp", "webp", Form::Image);
const BMP: Kind = kind("image/bmp", "bmp", Form::Image);
const TIFF: Kind = kind("image/tiff", "tiff", Form::Image);
const HEIC: Kind = kind("image/heic", "heic", Form::Image);
pub(super) const WAV: Kind = kind("audio/wav", "wav", Form::Audio);
pub(super) const MP3: Kind = kind("audio/mpeg", "mp3", Form::Audio);
const PDF: Kind = kind("application/pdf", "pdf", Form::Pdf);
const TEXT: Kind = kind("text/plain", "txt", Form::Text);

/// What a document can say it is: by its type, or by the end of its name.
const DOCUMENTS: [Kind; 14] = [
    PDF,
    kind("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", Form::Zip),
    kind("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", Form::Zip),
    kind("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx", Form::Zip),
    kind("application/msword", "doc", Form::Ole),
    kind("application/vnd.ms-excel", "xls", Form::Ole),
    kind("application/vnd.ms-powerpoint", "ppt", Form::Ole),
    TEXT,
    kind("text/markdown", "md", Form::Text),
    kind("text/csv", "csv", Form::Text),
    kind("text/html", "html", Form::Text),
    kind("text/xml", "xml", Form::Text),
    kind("application/json", "json", Form::Text),
    kind("application/xml", "xml", Form::Text),
];

/// The type of an image.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn image(bytes: &[u8], declared: Option<&str>) -> Result<Kind, Cow<'static, str>> {
    let Some(found) = sniffed_image(bytes) else {
        return Err(
            "its bytes are no image that Coze takes: PNG, JPEG, GIF, WebP, BMP, TIFF and HEIC are".into()
        );
    };
    match declared.map(canonical) {
        Some(declared) if declared != found.media_type => Err(disagree(&declared, found.media_type)),
        _ => Ok(found),
    }
}

/// The type of sound, which is in one of the two formats that OpenAI names.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn audio(bytes: &[u8], declared: Kind) -> Result<Kind, Cow<'static, str>> {
    match sniffed_audio(bytes) {
        Some(found) if found == declared => Ok(found),
        Some(found) => Err(disagree(declared.media_type, found.media_type)),
        None => Err(format!("its bytes are no {}", declared.extension).into()),
    }
}

/// The type of a document, by its bytes and what its type or its name says.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn document(
    bytes: &[u8],
    declared: Option<&str>,
    name: Option<&str>,
) -> Result<Kind, Cow<'static, str>> {
    let declared = declared.map(canonical);
    if let Some(found) = sniffed_image(bytes) {
        return match declared {
            Some(declared) if declared != found.media_type => Err(disagree(&declared, found.media_type)),
            _ => Ok(found),
        };
    }
    let form = form(bytes);
    let extension = name.and_then(|name| Some(name.rsplit_once('.')?.1.to_ascii_lowercase()));
    let by_name = || DOCUMENTS.into_iter().find(|known| extension.as_deref() == Some(known.extension));
    let wanted = match &declared {
        Some(declared) => {
            let known = DOCUMENTS.into_iter().find(|known| known.media_type == declared);
            // Source code and the like.
            let known = known.or_else(|| declared.starts_with("text/").then_some(TEXT));
            Some(known.ok_or_else(|| format!("Coze takes no file of the type {}", quoted(declared)))?)
        }
        None => by_name(),
    };
    match (wanted, form) {
        (Some(wanted), Some(form)) if wanted.form == form => Ok(wanted),
        (Some(wanted), _) => {
            Err(format!("it says that it is {}, and its bytes are not", wanted.media_type).into())
        }
        (None, Some(Form::Pdf)) => Ok(PDF),
        (None, Some(Form::Text)) => Ok(TEXT),
        (None, Some(Form::Zip | Form::Ole)) => {
            Err("what kind of document it is has to be said by the type of its data URL or by its filename"
                .into())
        }
        (None, _) => Err("its bytes are no document that Coze takes".into()),
    }
}

impl Kind {
    pub(super) fn is_image(self) -> bool {
        self.form == Form::Image
    }
}

fn disagree(declared: &str, found: &str) -> Cow<'static, str> {
    format!("it says that it is {}, and its bytes are {found}", quoted(declared)).into()
}

/// A media type under the name that it has here; others as they are.
fn canonical(declared: &str) -> String {
    let declared = declared.trim().to_ascii_lowercase();
    let known = match declared.as_str() {
        "image/jpg" | "image/pjpeg" => JPEG.media_type,
        "image/x-png" => PNG.media_type,
        "image/x-ms-bmp" | "image/x-bmp" => BMP.media_type,
        "image/tif" => TIFF.media_type,
        "image/heif" => HEIC.media_type,
        "application/x-pdf" => PDF.media_type,
        _ => return declared,
    };
    known.to_owned()
}

fn sniffed_image(bytes: &[u8]) -> Option<Kind> {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let kind = match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => PNG,
        () if at(0, b"\xff\xd8\xff") => JPEG,
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => GIF,
        () if at(0, b"RIFF") && at(8, b"WEBP") => WEBP,
        // Two letters prove little: how long the next header is, too.
        () if at(0, b"BM")
            && bytes.get(14).is_some_and(|length| [12, 40, 52, 56, 64, 108, 124].contains(length)) =>
        {
            BMP
        }
        () if at(0, b"II*\0") || at(0, b"MM\0*") => TIFF,
        () if at(4, b"ftyp") => {
            let brand = bytes.get(8..12)?;
            let brands: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
            brands.contains(&brand).then_some(HEIC)?
        }
        () => return None,
    };
    Some(kind)
}

fn sniffed_audio(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(WAV),
        [b'I', b'D', b'3', ..] => Some(MP3),
        // A frame's first bits are set, and no layer is reserved.
        [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0 => Some(MP3),
        _ => None,
    }
}

/// What a document's bytes are.
fn form(bytes: &[u8]) -> Option<Form> {
    if bytes.starts_with(b"%PDF-") {
        Some(Form::Pdf)
    } else if bytes.starts_with(b"PK\x03\x04") {
        Some(Form::Zip)
    } else if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        Some(Form::Ole)
    } else if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) {
        Some(Form::Text)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_bytes() {
        for (bytes, media_type) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x01\0\0\0WEBPVP8 ", "image/webp"),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image/bmp"),
            (b"II*\0", "image/tiff"),
            (b"\0\0\0\x18ftypheic", "image/heic"),
        ] {
            for declared in [None, Some(media_type)] {
                assert_eq!(image(bytes, declared).map(|kind| kind.media_type), Ok(media_type));
                assert_eq!(
                    document(bytes, declared, Some("a.bin")).map(|kind| kind.media_type),
                    Ok(media_type)
                );
            }
            let error = image(bytes, Some("image/x-other")).unwrap_err();
            assert!(error.contains("image/x-other") && error.contains(media_type), "{error}");
            let endless = format!("image/{}", "x".repeat(300_000));
            for error in [image(bytes, Some(&endless)), document(bytes, Some(&endless), None)] {
                assert!(error.as_ref().is_err_and(|error| error.len() < 200), "it is cut");
            }
        }
        assert_eq!(image(b"\xff\xd8\xff", Some("image/JPG ")), Ok(JPEG));
        for none in [&b""[..], b"<svg/>", b"BMW is a car and no picture", b"\0\0\0\x18ftypmp42", b"%PDF-1.7"]
        {
            assert!(image(none, Some("image/png")).is_err());
        }
    }

    #[test]
    fn a_document_is_what_it_says_if_its_bytes_agree() {
        const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        for (bytes, declared, name, expected) in [
            (&b"%PDF-1.7"[..], None, None, "application/pdf"),
            (b"%PDF-1.7", Some("application/pdf"), Some("x.docx"), "application/pdf"),
            (b"PK\x03\x04", Some(DOCX), None, DOCX),
            (b"PK\x03\x04", None, Some("Report.DOCX"), DOCX),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, Some("old.doc"), "application/msword"),
            ("你好".as_bytes(), None, None, "text/plain"),
            (b"a,b", Some("text/csv"), None, "text/csv"),
            (b"a,b", None, Some("t.csv"), "text/csv"),
            (b"print()", Some("text/x-python"), None, "text/plain"),
            (b"print()", None, Some("x.py"), "text/plain"),
        ] {
            assert_eq!(document(bytes, declared, name).map(|kind| kind.media_type), Ok(expected));
        }
        for (bytes, declared, name) in [
            (&b"MZ\x90\0"[..], None, None),
            (b"MZ\x90\0", None, Some("x.pdf")),
            (b"PK\x03\x04\xff", None, None),
            (b"hello", Some("application/pdf"), None),
            (b"hello", Some("application/x-sh"), None),
            (b"\0", Some("text/plain"), None),
        ] {
            assert!(document(bytes, declared, name).is_err(), "{bytes:?} {declared:?}");
        }
        let error = document(b"hello", Some(&"\u{1}".repeat(300_000)), None).unwrap_err();
        assert!(error.len() < 600, "{} bytes", error.len());
    }

    #[test]
    fn sound_is_in_the_format_that_is_named() {
        let wav = b"RIFF\x24\0\0\0WAVEfmt ";
        assert_eq!(audio(wav, WAV), Ok(WAV));
        assert_eq!(audio(b"ID3\x04", MP3), Ok(MP3));
        assert_eq!(audio(b"\xff\xfb\x90", MP3), Ok(MP3));
        assert!(audio(wav, MP3).is_err());
        assert!(audio(b"OggS", WAV).is_err());
    }
}
