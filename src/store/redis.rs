//! A store on a Redis or Valkey server, for several replicas.
//!
//! In come the steps of [`Store`]; each is one script, which the server runs
//! alone and by its own clock, so steps are atomic over all replicas. All keys
//! begin with a prefix. What a step needs is found inside of its script: a
//! cluster, which wants to know the keys ahead, is not supported; a server
//! with replicas of its own is. The server has to speak the third version of
//! the protocol (Redis 6 and all of Valkey), should not evict what it was
//! given, and keeps it over a restart as far as its own settings go.
//!
//! A server that is away is no error at opening: steps are `Unavailable`
//! until it is there. It never waits longer than a second, and never shows the
//! URL, which may hold a password.

mod link;
mod reply;
mod shared;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisError, Script, ScriptInvocation, Value};

use super::{
    By, Claimed, Counts, Entry, Id, Key, Lease, Listed, Outcome, Pending, Settled, Store, Unavailable,
};
use crate::secret::Secret;
use link::{Again, Link};
use reply::{Reply, odd};

/// What all keys begin with.
pub const PREFIX: &str = "cozeway:";

/// So long things are kept at most, in milliseconds: three hundred years. The
/// scripts count in floating point.
const FOREVER: u64 = 10_000_000_000_000;

/// The store.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    prefix: String,
    /// In milliseconds.
    ttl: u64,
    scripts: Scripts,
    limits: shared::Limits,
    /// As the server told it. One that has forgotten everything since takes
    /// it again, so that all who know it still find the same by the same keys.
    secret: Mutex<Option<[u8; 32]>>,
}

#[derive(Debug)]
struct Scripts {
    claim: Script,
    renew: Script,
    settle: Script,
    insert: Script,
    purge: Script,
    list: Script,
    forget: Script,
    counts: Script,
    secret: Script,
    cached: Script,
    cache: Script,
}

impl Scripts {
    fn new() -> Self {
        let script = |step: &str| Script::new(&format!("{}\n{step}", include_str!("redis/common.lua")));
        Self {
            claim: script(include_str!("redis/claim.lua")),
            renew: script(include_str!("redis/renew.lua")),
            settle: script(include_str!("redis/settle.lua")),
            insert: script(include_str!("redis/insert.lua")),
            purge: script(include_str!("redis/purge.lua")),
            list: script(include_str!("redis/list.lua")),
            forget: script(include_str!("redis/forget.lua")),
            counts: script(include_str!("redis/counts.lua")),
            secret: script(include_str!("redis/secret.lua")),
            cached: script(include_str!("redis/cached.lua")),
            cache: script(include_str!("redis/cache.lua")),
        }
    }
}

/// A URL names no server. Does not say which.
#[derive(Debug, thiserror::Error)]
#[error("the URL of the state store cannot be used: {0}")]
pub struct BadUrl(RedisError);

impl Redis {
    /// The store on a server, which is not asked yet. All keys begin with
    /// `prefix`, usually [`PREFIX`].
    ///
    /// # Errors
    /// If the URL names no server.
    pub fn new(url: &Secret, prefix: &str, ttl: Duration) -> Result<Self, BadUrl> {
        let link = Link::new(url).map_err(BadUrl)?;
        let (scripts, secret) = (Scripts::new(), Mutex::new(None));
        Ok(Self {
            link,
            prefix: prefix.to_owned(),
            ttl: millis(ttl),
            scripts,
            limits: shared::Limits::new(),
            secret,
        })
    }

    /// A script with what all of them are given.
    fn begin<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.key(self.prefix.as_str());
        call.arg(self.ttl);
        call
    }

    /// The same for one that is only to be done under the secret that keys
    /// were made with.
    fn begin_known<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = self.begin(script);
        let secret = *self.known_secret();
        call.arg(secret.as_ref().map_or(&[][..], <[u8; 32]>::as_slice));
        call
    }

    fn known_secret(&self) -> MutexGuard<'_, Option<[u8; 32]>> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server goes by another secret.
    fn is_strange(&self) -> Unavailable {
        *self.known_secret() = None;
        Unavailable("the server has forgotten everything, its secret too".to_owned())
    }

    async fn reply(&self, call: &ScriptInvocation<'_>, again: Again) -> Result<Reply, Unavailable> {
        Reply::of(self.link.call::<Value>(call, again).await?)
    }

    async fn ask_secret(&self) -> Result<[u8; 32], Unavailable> {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(|error| Unavailable(error.to_string()))?;
        let mut call = self.begin(&self.scripts.secret);
        call.arg(&secret);
        let known: Vec<u8> = self.link.call(&call, Again::Yes).await?;
        known.try_into().map_err(|_| odd())
    }
}

/// Gives an entry to a script.
fn add_entry(call: &mut ScriptInvocation<'_>, entry: &Entry) {
    let Entry { id, space, head, name, root, value } = entry;
    call.arg(&id.0).arg(space).arg(some(head.as_ref())).arg(some(name.as_ref())).arg(some(root.as_ref()));
    call.arg(value.as_slice());
}

/// A key that may be missing.
fn some(key: Option<&Key>) -> &[u8] {
    key.map_or(&[], Key::as_slice)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(FOREVER).min(FOREVER)
}

impl Store for Redis {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        Box::pin(async {
            let known = *self.known_secret();
            match known {
                Some(secret) => Ok(secret),
                None => {
                    let secret = self.ask_secret().await?;
                    *self.known_secret() = Some(secret);
                    Ok(secret)
                }
            }
        })
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        Box::pin(async move {
            let mut call = self.begin_known(&self.scripts.claim);
            call.arg(millis(lease));
            match &by {
                By::Head { head, root } => call.arg("h").arg(head).arg(root),
                By::Name { name, space, id } => call.arg("n").arg(name).arg(space).arg(&id.0),
                By::Id { id, space } => call.arg("i").arg(&id.0).arg(space),
            };
            // Lent twice would be lent to nobody.
            self.reply(&call, Again::No).await?.claimed()?.ok_or_else(|| self.is_strange())
        })
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.renew);
            call.arg(millis(lease));
            for Lease { id, fence } in &leases {
                call.arg(&id.0).arg(*fence);
            }
            self.reply(&call, Again::Yes).await?.lost(leases)
        })
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.settle);
            call.arg(&lease.id.0).arg(lease.fence);
            let again = match outcome {
                Outcome::Keep(entry) => {
                    call.arg("keep");
                    add_entry(&mut call, &Entry { id: lease.id, ..entry });
                    Again::Yes
                }
                Outcome::Drop => {
                    call.arg("drop");
                    Again::No
                }
                Outcome::Abandon => {
                    call.arg("abandon");
                    Again::No
                }
            };
            let done: u64 = self.link.call(&call, again).await?;
            Ok(if done > 0 { Settled::Done } else { Settled::Lost })
        })
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut call = self.begin_known(&self.scripts.insert);
            add_entry(&mut call, &entry);
            let done: u64 = self.link.call(&call, Again::Yes).await?;
            if done > 0 { Ok(()) } else { Err(self.is_strange()) }
        })
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.purge);
            call.arg(limit);
            let purged = self.reply(&call, Again::No).await?.list()?;
            Ok(purged.into_iter().map(|listed| listed.entry).collect())
        })
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.list);
            call.arg(limit).arg(some(after.as_ref().map(|id| &id.0)));
            self.reply(&call, Again::Yes).await?.list()
        })
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.forget);
            call.arg(&id.0);
            let forgotten = self.reply(&call, Again::No).await?.list()?;
            Ok(forgotten.into_iter().next().map(|listed| listed.entry))
        })
    }

    fn counts(&self) -> Pending<'_, Counts> {
        Box::pin(async move {
            let call = self.begin_known(&self.scripts.counts);
            let (counts, is_ours) = self.reply(&call, Again::Yes).await?.counts()?;
            if !is_ours {
                self.is_strange();
            }
            Ok(counts)
        })
    }

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.cached);
            call.arg(&key);
            self.link.call(&call, Again::Yes).await
        })
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut call = self.begin(&self.scripts.cache);
            // The server refuses a life of nothing.
            call.arg(&key).arg(value).arg(millis(life).max(1));
            self.link.call::<u64>(&call, Again::Yes).await.map(drop)
        })
    }

    fn shared(&self) -> Option<&dyn super::shared::Shared> {
        Some(self)
    }
}
