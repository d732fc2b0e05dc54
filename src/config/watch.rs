//! Tells when the files of a config have changed.
//!
//! Looks at what they hold, every two seconds: that sees an editor's rename,
//! a swapped link of a mounted ConfigMap and a file on a network share alike,
//! and no time of a file has to be believed.

use std::time::Duration;

use tokio::time::sleep;

use super::Files;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How long they have to stay the same: a file may be written in several
/// steps, and half of one may be a config, too.
const SETTLED: Duration = Duration::from_millis(200);

/// Watches the files that a config was made of.
#[derive(Debug)]
pub struct Watch {
    files: Files,
}

impl Watch {
    /// Watches these files.
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self { files }
    }

    /// Waits until the files hold something else than was last seen. May be
    /// dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            sleep(EVERY).await;
            let mut now = look(&self.files).await;
            while now != self.files {
                sleep(SETTLED).await;
                let later = look(&self.files).await;
                if later == now {
                    self.files = now;
                    return;
                }
                now = later;
            }
        }
    }
}

async fn look(files: &Files) -> Files {
    let before = files.clone();
    let looked = tokio::task::spawn_blocking(move || before.now());
    // It only fails when the runtime ends.
    looked.await.unwrap_or_else(|_| files.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Directory;

    #[tokio::test]
    async fn a_change_is_seen_once_whatever_way_it_comes() {
        let directory = Directory::new("watch");
        let path = directory.write("data", "one");
        let link = directory.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut files = Files::default();
        files.read(&link, 10).unwrap();
        let mut watch = Watch::new(files);
        let other = directory.write("other", "two");
        let swap = directory.0.join("swap");
        std::os::unix::fs::symlink(&other, &swap).unwrap();
        std::fs::rename(&swap, &link).unwrap();
        watch.changed().await;
        assert!(tokio::time::timeout(2 * EVERY, watch.changed()).await.is_err());
    }
}
