//! Tells when the files of a config have changed.
//!
//! Looks at what they hold, every two seconds: that sees an editor's rename,
//! a swapped link of a mounted ConfigMap and a file on a network share alike,
//! and no time of a file has to be believed.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::Files;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How long they have to stay the same: a file may be written in several
/// steps, and half of one may be a config, too.
const SETTLED: Duration = Duration::from_millis(200);

/// Watches the files that a config was made of.
#[derive(Debug)]
pub(super) struct Watch {
    files: Files,
}

impl Watch {
    /// Watches these files.
    pub(super) fn new(files: Files) -> Self {
        Self { files }
    }

    /// Waits until the files hold something else than was last seen. May be
    /// dropped and called again.
    pub(super) async fn changed(&mut self) {
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
