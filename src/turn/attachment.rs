//! What goes with the text of a message: images, files, sound.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Something that a message brings beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What a bot takes it for.
    pub media: Media,
    /// Where it is.
    pub source: Source,
}

/// What an attachment is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// Something to look at.
    Image,
    /// Something to read.
    File,
    /// Something to listen to.
    Audio,
}

/// Where an attachment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an absolute `http` or `https` URL.
    Url(String),
    /// In the request itself.
    Inline(Arc<Inline>),
    /// At Coze, under this id.
    Kept(String),
}

/// The bytes of an attachment that came with the request. Its clones share
/// them.
#[derive(Clone, PartialEq, Eq)]
pub struct Inline {
    /// The SHA-256 of the bytes.
    digest: [u8; 32],
    /// What they are, as a media type.
    media_type: &'static str,
    /// What the file is called: no path, no control characters.
    name: String,
    content: Bytes,
    /// Where in the request it stood: the index of its message and of its
    /// part.
    attached_at: Option<(u16, u16)>,
}

impl Inline {
    /// Bytes that are known to be of this type.
    #[must_use]
    pub fn new(content: Bytes, media_type: &'static str, name: impl Into<String>) -> Self {
        let digest = Sha256::digest(&content).into();
        Self { digest, media_type, name: name.into(), content, attached_at: None }
    }

    /// Notes where in the request it stood: the index of its message and of
    /// its part.
    pub fn place(&mut self, message: usize, part: usize) {
        self.attached_at = u16::try_from(message).ok().zip(u16::try_from(part).ok());
    }

    /// Where in the request it stood, if that is known, and no number is
    /// large.
    #[must_use]
    pub fn attached_at(&self) -> Option<(u16, u16)> {
        self.attached_at
    }

    /// The SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What the bytes are, as a media type.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// What the file is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes.
    #[must_use]
    pub fn content(&self) -> &Bytes {
        &self.content
    }
}

/// The bytes are not shown: there may be millions.
impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media_type, name, content, .. } = self;
        write!(f, "Inline({name:?}, {media_type}, {} bytes)", content.len())
    }
}

impl Attachment {
    /// An image at a URL.
    pub fn image(url: impl Into<String>) -> Self {
        Self { media: Media::Image, source: Source::Url(url.into()) }
    }
}
