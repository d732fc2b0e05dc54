//! How many connections the process has file descriptors for.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left for everything but connections: the log, files, lookups of
/// names, [`FEW_REFUSALS`].
const RESERVED: u64 = 192;

/// What a connection may need: its own descriptor and one towards Coze.
const EACH: u64 = 2;

/// How many connections are being refused at a time at the least.
const FEW_REFUSALS: usize = 64;

/// How many are where there are descriptors enough. The more there are, the
/// longer each may take to ask and to hear, in a flood.
const MANY_REFUSALS: usize = 512;

/// How many connections there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Connections that are served.
    pub(super) served: usize,
    /// Connections too many, which are being told so.
    pub(super) refused: usize,
}

/// The places for the limit of the config as it stands.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<(usize, Places)>>);

impl Room {
    /// How many places there are if so many connections are to be served.
    pub(super) fn of(&self, wanted: usize) -> Places {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((for_wanted, places)) if for_wanted == wanted => places,
            _ => {
                let places = places(wanted);
                *known = Some((wanted, places));
                places
            }
        }
    }
}

/// Raises the limit on open files as far as `wanted` connections need and
/// the system allows, and says what it is enough for. Past that, a flood
/// would take the descriptors that the calls to Coze need.
fn places(wanted: usize) -> Places {
    let more_refusals = u64::try_from(MANY_REFUSALS.saturating_sub(FEW_REFUSALS)).unwrap_or(0);
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(EACH).saturating_add(RESERVED);
    let open_files = open_files(needed.saturating_add(more_refusals));
    let places = divide(wanted, needed, open_files);
    if places.served < wanted {
        tracing::warn!(
            max_connections = wanted,
            open_files,
            "max_connections = {wanted} needs {needed} open files, and this process may have {open_files}: no \
             more than {} connections are served at a time",
            places.served
        );
    }
    places
}

fn divide(wanted: usize, needed: u64, open_files: u64) -> Places {
    let few = Places { served: wanted, refused: FEW_REFUSALS };
    match open_files.checked_sub(needed) {
        Some(spare) => {
            let more = usize::try_from(spare).unwrap_or(usize::MAX);
            Places { refused: FEW_REFUSALS.saturating_add(more).min(MANY_REFUSALS), ..few }
        }
        None => {
            let room = open_files.saturating_sub(RESERVED) / EACH;
            Places { served: usize::try_from(room).unwrap_or(usize::MAX).clamp(1, wanted.max(1)), ..few }
        }
    }
}

/// How many files this process may open, after an attempt to have it so many.
fn open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current else {
        return u64::MAX;
    };
    if now >= wanted {
        return now;
    }
    let raised = limit.maximum.map_or(wanted, |most| wanted.min(most)).max(now);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => raised,
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: usize, open_files: u64, served: usize, refused: usize) {
        let needed = u64::try_from(wanted).unwrap() * EACH + RESERVED;
        assert_eq!(divide(wanted, needed, open_files), Places { served, refused });
    }

    #[test]
    fn what_is_left_over_is_for_refusals() {
        check(50, 1024, 50, MANY_REFUSALS);
        check(50, u64::MAX, 50, MANY_REFUSALS);
        check(50, 392, 50, FEW_REFUSALS + 100);
        check(50, 292, 50, FEW_REFUSALS);
    }

    #[test]
    fn with_too_few_files_fewer_are_served() {
        check(10_000, 300, 54, FEW_REFUSALS);
        check(10_000, 20_191, 9999, FEW_REFUSALS);
        check(10_000, 10, 1, FEW_REFUSALS);
    }
}
