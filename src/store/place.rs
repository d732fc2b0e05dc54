//! Which store is meant: what `[state] url` says.
//!
//! In comes a text, out comes a [`Place`] or why it is none. Reads nothing
//! and opens nothing. No reason repeats the text, which may hold a password.

use std::path::{Path, PathBuf};

use url::Url;

use crate::secret::Secret;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this process, and gone with it.
    Memory,
    /// In a file.
    Sqlite(PathBuf),
    /// On a Redis or Valkey server, by its URL.
    Redis(Secret),
}

/// A text names no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// It is of no known kind.
    #[error("use memory:, sqlite:PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB")]
    Unknown,
    /// Something follows `memory:`.
    #[error("nothing follows memory:")]
    Memory,
    /// There is no path.
    #[error("a path has to follow sqlite:, as in sqlite:cozeway.db")]
    NoPath,
    /// The path begins as the host of a URL would.
    #[error("the path follows sqlite: at once, without //, as in sqlite:/var/lib/cozeway/state.db")]
    Slashes,
    /// It has settings of SQLite's, which are not for the operator to choose.
    #[error("a sqlite: path takes no ? settings")]
    Settings,
    /// It cannot be read as a URL with a host.
    #[error(
        "not a URL with a host, as redis://HOST:PORT/DB (is every special character of the password percent-encoded?)"
    )]
    NoUrl,
    /// Its path is not the number of a database.
    #[error("after the host comes nothing but the number of a database, as redis://HOST:PORT/0")]
    Database,
}

impl Place {
    /// Reads the text of a config. The path of a file counts from `folder`.
    ///
    /// # Errors
    /// If it names no store.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, BadPlace> {
        let (kind, rest) = text.split_once(':').ok_or(BadPlace::Unknown)?;
        match kind {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(BadPlace::Memory),
            "sqlite" => file(rest).map(|path| Self::Sqlite(folder.join(path))),
            "redis" | "rediss" => server(text).map(|()| Self::Redis(Secret::new(text))),
            _ => Err(BadPlace::Unknown),
        }
    }
}

fn file(path: &str) -> Result<&str, BadPlace> {
    // SQLite's own names for files that are none begin with a colon.
    if path.is_empty() || path.starts_with(':') || path.ends_with('/') || path.contains('\0') {
        Err(BadPlace::NoPath)
    } else if path.starts_with("//") {
        Err(BadPlace::Slashes)
    } else if path.contains('?') {
        Err(BadPlace::Settings)
    } else {
        Ok(path)
    }
}

fn server(text: &str) -> Result<(), BadPlace> {
    let url = Url::parse(text).map_err(|_| BadPlace::NoUrl)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(BadPlace::NoUrl);
    }
    let database = url.path().trim_start_matches('/');
    let is_number = database.is_empty() || database.parse::<u16>().is_ok();
    if !is_number || url.query().is_some() || url.fragment().is_some() {
        return Err(BadPlace::Database);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place, BadPlace> {
        Place::parse(text, Path::new("/etc/cozeway"))
    }

    #[test]
    fn a_text_names_a_store() {
        assert_eq!(parse("memory:"), Ok(Place::Memory));
        assert_eq!(parse("sqlite:state.db"), Ok(Place::Sqlite("/etc/cozeway/state.db".into())));
        assert_eq!(parse("sqlite:/var/lib/state.db"), Ok(Place::Sqlite("/var/lib/state.db".into())));
        for url in ["redis://h", "redis://h:6379/", "rediss://u:p%40ss@h:1/15", "redis://[::1]:6379/0"] {
            assert_eq!(parse(url), Ok(Place::Redis(Secret::new(url))), "{url}");
        }
    }

    #[test]
    fn what_names_no_store_says_why() {
        for (text, why) in [
            ("", BadPlace::Unknown),
            ("state.db", BadPlace::Unknown),
            ("postgres://h/db", BadPlace::Unknown),
            ("unix:/run/redis.sock", BadPlace::Unknown),
            ("memory:x", BadPlace::Memory),
            ("sqlite:", BadPlace::NoPath),
            ("sqlite::memory:", BadPlace::NoPath),
            ("sqlite:state/", BadPlace::NoPath),
            ("sqlite:///var/lib/state.db", BadPlace::Slashes),
            ("sqlite:state.db?mode=ro", BadPlace::Settings),
            ("redis:", BadPlace::NoUrl),
            ("redis://", BadPlace::NoUrl),
            ("redis://:pass@word/with/slash@h", BadPlace::Database),
            ("redis://h:port", BadPlace::NoUrl),
            ("redis://h/zero", BadPlace::Database),
            ("redis://h/0/1", BadPlace::Database),
            ("redis://h/0?protocol=resp3", BadPlace::Database),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = parse("redis://user:hunter2@h/0").unwrap();
        assert_eq!(format!("{place:?}"), "Redis(***)");
        for text in ["redis://user:hunter2@", "hunter2://h", "redis://:hunter2@h/x"] {
            assert!(!parse(text).unwrap_err().to_string().contains("hunter2"));
        }
    }
}
