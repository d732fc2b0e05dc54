//! Which workflows ask something back, as far as this process has seen.
//!
//! While the state store is away nobody can look up whether a message answers
//! a question. Of a workflow that asks it may, and then no run is begun.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::coze::Target;

/// How many are remembered: more than a config has.
const MAX: usize = 10_000;

/// The workflows that were seen to ask, by deployment and id.
#[derive(Clone, Debug, Default)]
pub(super) struct Askers(Arc<Mutex<HashSet<(String, String)>>>);

impl Askers {
    /// Takes note that a target has asked; of bots and chatflows nothing is
    /// noted, as each message goes to them.
    pub(super) fn note(&self, target: &Target) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !target.callee.converses() && seen.len() < MAX {
            seen.insert(key(target));
        }
    }

    /// Whether a target has been seen to ask.
    pub(super) fn have(&self, target: &Target) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key(target))
    }
}

fn key(target: &Target) -> (String, String) {
    (target.deployment.name.clone(), target.callee.id().to_owned())
}
