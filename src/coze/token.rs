//! Where the gateway's own Coze tokens come from.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error;
use super::oauth::{KeyError, OAuth};
use crate::secret::Secret;
use crate::turn::Failure;

/// How often a token file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest token file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A token, or where it comes from.
#[derive(Debug)]
pub enum Source {
    /// From the config itself.
    Fixed(Secret),
    /// From a file that may change while the gateway runs.
    File(File),
    /// From Coze itself, for an OAuth app.
    OAuth(Arc<OAuth>),
}

/// A token file and what was last read from it.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    token: Secret,
    stamp: Stamp,
    looked: Instant,
}

/// What tells one state of a file from the next.
type Stamp = (Option<SystemTime>, u64);

/// A file of a token or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] std::io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no token: too long, or with characters that no header takes.
    #[error("what it holds is not a token")]
    NoToken,
    /// It is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The same token, or the same file, whatever it holds by now.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            (Self::File(one), Self::File(other)) => one.path == other.path,
            (Self::OAuth(one), Self::OAuth(other)) => one == other,
            (Self::Fixed(_) | Self::File(_) | Self::OAuth(_), _) => false,
        }
    }
}

impl File {
    /// Reads a token file for the first time. White space around the token
    /// is not part of it.
    ///
    /// # Errors
    /// If it cannot be read or holds no token.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let (token, stamp) = read(&path)?;
        let looked = Instant::now();
        Ok(Self { path, seen: Mutex::new(Seen { token, stamp, looked }) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn current(&self, force: bool) -> Secret {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if force || now.duration_since(seen.looked) >= LOOK_EVERY {
            seen.looked = now;
            // A read of a small file, at most once a second: not worth a
            // thread's hand-over.
            let changed = std::fs::metadata(&self.path).is_ok_and(|meta| stamp(&meta) != seen.stamp);
            if force || changed {
                match read(&self.path) {
                    Ok((token, stamp)) => (seen.token, seen.stamp) = (token, stamp),
                    Err(error) => {
                        tracing::warn!(path = %self.path.display(), %error, "a token file cannot be read again; the old token stays");
                    }
                }
            }
        }
        seen.token.clone()
    }
}

impl Source {
    /// The token that is at hand, without asking for one.
    pub fn known(&self) -> Option<Secret> {
        match self {
            Self::Fixed(token) => Some(token.clone()),
            Self::File(file) => Some(file.current(false)),
            Self::OAuth(oauth) => oauth.known(),
        }
    }

    /// What stays the same while tokens come and go, where they do.
    pub(super) fn owner(&self) -> Option<Secret> {
        match self {
            Self::Fixed(_) | Self::File(_) => None,
            Self::OAuth(oauth) => Some(oauth.owner()),
        }
    }

    /// The token to use now; a file that has changed is read again, and Coze
    /// is asked for one where there is none.
    ///
    /// # Errors
    /// If Coze gives none.
    pub async fn current(&self) -> Result<Secret, Failure> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::File(file) => Ok(file.current(false)),
            Self::OAuth(oauth) => oauth.current().await,
        }
    }

    /// Whether another token may help where Coze has refused one: an app's
    /// next one has the same rights, a file's may be somebody else's.
    pub(super) fn may_help(&self, failure: &Failure) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::File(_) => true,
            Self::OAuth(_) => !error::is_without_right(failure),
        }
    }

    /// Coze has refused a token: another one to try, if the file holds one
    /// by now, or Coze gives one.
    ///
    /// # Errors
    /// If Coze gives none.
    pub async fn after_refusal(&self, refused: &Secret) -> Result<Option<Secret>, Failure> {
        match self {
            Self::Fixed(_) => Ok(None),
            Self::File(file) => Ok(Some(file.current(true)).filter(|token| token != refused)),
            Self::OAuth(oauth) => oauth.after_refusal(refused).await,
        }
    }
}

/// What a small file holds. One that is too large is cut off one byte late.
pub(super) fn small(path: &Path, most: u64) -> Result<(Vec<u8>, std::fs::Metadata), std::io::Error> {
    // One file, though another may take its place meanwhile. What it says of
    // its length is not believed: a device's is 0.
    let file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes, meta))
}

fn read(path: &Path) -> Result<(Secret, Stamp), Error> {
    let (bytes, meta) = small(path, MAX_FILE_BYTES)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(Error::NoToken);
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::NoToken)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Error::Empty);
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::NoToken);
    }
    Ok((Secret::new(token), stamp(&meta)))
}

fn stamp(meta: &std::fs::Metadata) -> Stamp {
    (meta.modified().ok(), meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_not_read_without_end() {
        for (path, expected) in [
            ("/dev/zero", "what it holds is not a token"),
            ("/dev/null", "it is empty"),
            ("/", "cannot read it"),
            ("/nothing/here", "cannot read it"),
        ] {
            let error = File::open(path.into()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{path}: {error}");
        }
    }

    #[test]
    fn a_file_of_other_bytes_holds_no_token() {
        let path = std::env::temp_dir().join(format!("cozeway-token-{}", std::process::id()));
        for (bytes, good) in [
            (&b"\xFF\xFE"[..], false),
            (b"pat_1\npat_2", false),
            ("pat_\u{e9}".as_bytes(), false),
            (&[b'x'; 70_000], false),
            (b" pat_1\r\n", true),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(File::open(path.clone()).is_ok(), good, "{bytes:?}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
