//! Files that have to be at Coze before a chat that names them begins.
//!
//! In comes a prompt with bytes in it, out comes one with the ids that Coze
//! has given them. What was uploaded before is remembered in the state store;
//! who wants the same at the same time waits for one upload. A store that is
//! away costs an upload more, and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::coze::{Target, files};
use crate::secret::Secret;
use crate::store::{Key, Store};
use crate::turn::{Failure, Inline, Kind, Media, Prompt, Source};

/// How many files of one request are uploaded at once.
const AT_ONCE: usize = 4;

/// How many times as long as one file all files of a request may take.
const ALL: u32 = 5;

/// Uploads files, each once. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Remembers what was uploaded, if there is one.
    store: Option<Arc<dyn Store>>,
    /// What is being uploaded, by those who wait for it.
    running: Mutex<HashMap<(Key, Way), Weak<Upload>>>,
}

/// One upload: whoever comes first makes it, and if that fails or is left
/// alone, the next.
type Upload = OnceCell<Used>;

/// Whether what is remembered will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Once,
    Again,
}

/// A file of a prompt, and its id at Coze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    key: Key,
    id: String,
    /// Whether it was uploaded before: then it may be gone by now.
    pub(super) remembered: bool,
}

/// One who waits for an upload.
struct Waiting<'u> {
    uploads: &'u Uploads,
    key: (Key, Way),
    upload: Arc<Upload>,
}

/// Where uploads are remembered.
struct Shelf<'u> {
    store: &'u dyn Store,
    /// What makes the keys in the store say nothing to others.
    secret: [u8; 32],
}

/// What an upload takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    pub(super) target: &'a Target,
    pub(super) token: &'a Secret,
    /// Whose the files are, whatever token they were uploaded with.
    pub(super) owner: &'a Secret,
    /// How long one may take.
    pub(super) limit: Duration,
    /// Ids that Coze has refused.
    pub(super) refused: &'a [Used],
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Uploads {
    /// Remembers in this store.
    pub(super) fn remembered_in(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Shared { store: Some(store), running: Mutex::default() }))
    }

    /// Puts ids in the place of the bytes of a prompt, and gives them.
    ///
    /// # Errors
    /// If one of the files cannot be uploaded.
    pub(super) async fn bring(&self, prompt: &mut Prompt, means: Means<'_>) -> Result<Vec<Used>, Failure> {
        let shelf = self.shelf().await;
        let secret = shelf.as_ref().map(|shelf| shelf.secret).unwrap_or_default();
        let mut wanted: HashMap<Key, Arc<Inline>> = HashMap::new();
        let mut places = Vec::new();
        for attachment in prompt.messages.iter_mut().flat_map(|message| &mut message.attachments) {
            if let Source::Inline(inline) = &attachment.source {
                let key = key(&secret, means, inline, attachment.media);
                wanted.entry(key).or_insert_with(|| Arc::clone(inline));
                places.push((key, &mut attachment.source));
            }
        }
        let files = wanted.into_iter().map(|(key, inline)| self.one(key, inline, means, shelf.as_ref()));
        let all = stream::iter(files).buffer_unordered(AT_ONCE).try_collect();
        let used: Vec<Used> = tokio::time::timeout(means.limit * ALL, all).await.unwrap_or_else(|_| {
            Err(Failure::new(Kind::Timeout, "Coze did not take the files of this request in time."))
        })?;
        for (key, source) in places {
            if let Some(used) = used.iter().find(|used| used.key == key) {
                *source = Source::Kept(used.id.clone());
            }
        }
        Ok(used)
    }

    async fn one(
        &self,
        key: Key,
        inline: Arc<Inline>,
        means: Means<'_>,
        shelf: Option<&Shelf<'_>>,
    ) -> Result<Used, Failure> {
        let brought = async {
            let refused = means.refused.iter().find(|used| used.key == key);
            let way = if refused.is_some() { Way::Again } else { Way::Once };
            let waiting = self.wait_for((key, way));
            let find_or_upload = async || {
                // Whoever was first has remembered it by the time that nobody
                // can join him any more.
                let known = match shelf {
                    Some(shelf) => shelf.known(key).await,
                    None => None,
                };
                match known.filter(|id| refused.is_none_or(|used| used.id != *id)) {
                    Some(id) => Ok(Used { key, id, remembered: true }),
                    None => upload(key, &inline, means, shelf).await,
                }
            };
            waiting.upload.get_or_try_init(find_or_upload).await.cloned()
        };
        let brought = tokio::time::timeout(means.limit, brought)
            .await
            .unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "Coze did not take it in time.")));
        // Its name is the client's own word, and this is logged.
        let unnamed =
            |failure: Failure| failure.without(inline.name()).without(&files::escaped(inline.name()));
        brought.map_err(unnamed).map_err(|failure| Failure {
            message: format!(
                "The upload of a file ({}, {} bytes) to Coze failed. {}",
                inline.media_type(),
                inline.content().len(),
                failure.message
            ),
            attached_at: inline.attached_at(),
            // No chat has begun.
            may_be_running: false,
            ..failure
        })
    }

    /// Where uploads are remembered; nowhere without the secret of the store,
    /// since keys without it would say what was uploaded.
    async fn shelf(&self) -> Option<Shelf<'_>> {
        let store = self.0.store.as_deref()?;
        match store.secret().await {
            Ok(secret) => Some(Shelf { store, secret }),
            Err(away) => {
                tracing::debug!(%away, "whether files were uploaded before is not known");
                None
            }
        }
    }

    fn wait_for(&self, key: (Key, Way)) -> Waiting<'_> {
        let mut running = self.running();
        let upload = running.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let upload = Arc::new(Upload::new());
            running.insert(key, Arc::downgrade(&upload));
            upload
        });
        Waiting { uploads: self, key, upload }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(Key, Way), Weak<Upload>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut running = self.uploads.running();
        // Nobody joins or leaves while this is locked: of two that go at once
        // the second is the last.
        if Arc::strong_count(&self.upload) == 1 {
            running.remove(&self.key);
        }
        drop(std::mem::take(&mut self.upload));
        drop(running);
    }
}

impl Shelf<'_> {
    /// The id under which a file was uploaded before.
    async fn known(&self, key: Key) -> Option<String> {
        match self.store.cached(key).await {
            Ok(id) => String::from_utf8(id?).ok(),
            Err(away) => {
                tracing::debug!(%away, "whether a file was uploaded before is not known");
                None
            }
        }
    }
}

/// Uploads a file, and remembers it.
async fn upload(
    key: Key,
    inline: &Inline,
    means: Means<'_>,
    shelf: Option<&Shelf<'_>>,
) -> Result<Used, Failure> {
    let form = files::form(inline);
    let client = &means.target.deployment.client;
    let files::Uploaded { id, life } = Box::pin(client.upload(&form, means.token)).await?;
    if let Some(shelf) = shelf
        && let Err(away) = shelf.store.cache(key, id.clone().into_bytes(), life).await
    {
        tracing::debug!(%away, "an upload could not be remembered");
    }
    Ok(Used { key, id, remembered: false })
}

/// What an upload is found by: where it lies, whose it is, and what it is. The
/// name of an image nobody sees.
fn key(secret: &[u8; 32], means: Means<'_>, inline: &Inline, media: Media) -> Key {
    let deployment = &means.target.deployment;
    let name = if media == Media::Image { "" } else { inline.name() };
    let mut hash = Sha256::new_with_prefix(secret);
    for text in [
        "file",
        deployment.name.as_str(),
        deployment.client.base_url(),
        means.owner.expose(),
        inline.media_type(),
        name,
    ] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(inline.digest());
    let mut key = Key::default();
    key.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    key
}

#[cfg(test)]
mod tests;
