//! The files that a config was made of, and what they held.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh64::xxh64;

/// Every file that was read for a config, with a hash of what was found; a
/// file that could not be read counts, too: it may come to be. (Not those of
/// Coze tokens, which look after themselves.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<u64>)>);

impl Files {
    /// Reads a small file and remembers it.
    pub(super) fn read(&mut self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        let read = read(path, most);
        self.0.push((path.to_owned(), hash(read.as_deref())));
        read
    }

    /// The same files as they are now, by whatever links lead there.
    #[must_use]
    pub fn now(&self) -> Self {
        let look = |(path, _): &(PathBuf, _)| (path.clone(), hash(read(path, MOST).as_deref()));
        Self(self.0.iter().map(look).collect())
    }
}

/// More than any of the limits that files are read within.
const MOST: u64 = 16 << 20;

fn hash(read: Result<&[u8], &String>) -> Option<u64> {
    read.ok().map(|bytes| xxh64(bytes, 0))
}

/// What a small file holds.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("cannot read it: {error}")),
        Ok(_) if u64::try_from(bytes.len()).is_ok_and(|length| length > most) => {
            Err("the file is too large".to_owned())
        }
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Directory;

    #[test]
    fn what_a_path_leads_to_counts() {
        let directory = Directory::new("files");
        let (one, two) = (directory.write("one", "1"), directory.write("two", "2"));
        let (link, swap, later) =
            (directory.0.join("link"), directory.0.join("swap"), directory.0.join("later"));
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut files = Files::default();
        files.read(&link, 10).unwrap();
        files.read(&later, 10).unwrap_err();
        assert_eq!(files.now(), files);

        std::os::unix::fs::symlink(&two, &swap).unwrap();
        std::fs::rename(&swap, &link).unwrap();
        let swapped = files.now();
        assert_ne!(swapped, files);
        directory.write("later", "3");
        assert_ne!(swapped.now(), swapped);
        assert_eq!(swapped.now().now(), swapped.now());
    }
}
