//! How many connections the process has file descriptors for.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left for everything but connections: the log, files, lookups of
/// names, refusals.
const RESERVED: u64 = 192;

/// What a connection may need: its own descriptor and one towards Coze.
const EACH: u64 = 2;

/// How many connections can be served, for the limit of the config as it
/// stands.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<(usize, usize)>>);

impl Room {
    /// How many connections of so many that are wanted.
    pub(super) fn of(&self, wanted: usize) -> usize {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((for_wanted, room)) if for_wanted == wanted => room,
            _ => {
                let room = room(wanted).min(wanted);
                *known = Some((wanted, room));
                room
            }
        }
    }
}

/// Raises the limit on open files as far as `wanted` connections need and
/// the system allows, and says how many connections it is enough for. Past
/// that, a flood would take the descriptors that the calls to Coze need.
fn room(wanted: usize) -> usize {
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(EACH).saturating_add(RESERVED);
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current.filter(|now| *now < needed) else {
        return usize::MAX;
    };
    let raised = limit.maximum.map_or(needed, |most| needed.min(most)).max(now);
    let now = match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => raised,
        Err(_) => now,
    };
    if now >= needed {
        return usize::MAX;
    }
    let room = now.saturating_sub(RESERVED) / EACH;
    tracing::warn!(
        max_connections = wanted,
        open_files = now,
        "max_connections = {wanted} needs {needed} open files, and this process may have {now}: no more than \
         {room} connections are served at a time"
    );
    usize::try_from(room).unwrap_or(usize::MAX).max(1)
}
