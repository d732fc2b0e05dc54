//! Whose conversations are meant, for all who come again and again.
//!
//! In come spaces, out come their keys and owners, computed once for each of
//! those without a user. Bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh64::xxh64;

use super::fingerprint::{Fingerprints, Space};
use super::record::Owner;
use crate::store::Key;

/// So many are kept. With more, all are computed anew now and then.
const MOST: usize = 1024;

/// How much of a user's name is remembered for the operator, in characters.
const MAX_USER_CHARS: usize = 128;

/// Spaces that have come.
#[derive(Debug, Default)]
pub(super) struct Spaces(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What their keys were made with.
    prints: Option<Arc<Fingerprints>>,
    /// By a hash of what they are. Of two with the same one, the last.
    known: HashMap<u64, Known>,
}

/// A space that has come.
#[derive(Clone, Debug)]
struct Known {
    kind: &'static str,
    owner: Arc<Owner>,
    key: Key,
}

impl Spaces {
    /// The key of a space, and its owner.
    pub(super) fn find(&self, prints: &Arc<Fingerprints>, space: &Space<'_>) -> (Key, Arc<Owner>) {
        if space.user.is_some() || space.hint.is_some() {
            return (prints.space(space), Arc::new(owner(space)));
        }
        let hash = hash(space);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.prints.as_ref().is_some_and(|known| Arc::ptr_eq(known, prints)) {
            *kept = Kept { prints: Some(Arc::clone(prints)), known: HashMap::new() };
        }
        if let Some(known) = kept.known.get(&hash).filter(|known| known.is(space)) {
            return (known.key, Arc::clone(&known.owner));
        }
        if kept.known.len() >= MOST {
            kept.known.clear();
        }
        let (key, owner) = (prints.space(space), Arc::new(owner(space)));
        kept.known.insert(hash, Known { kind: space.kind, owner: Arc::clone(&owner), key });
        (key, owner)
    }
}

impl Known {
    fn is(&self, space: &Space<'_>) -> bool {
        let Owner { key, deployment, target, user: _ } = &*self.owner;
        (key.as_str(), deployment.as_str(), self.kind, target.as_str())
            == (space.caller, space.deployment, space.kind, space.target)
    }
}

/// Only finds them: what is found is compared.
fn hash(space: &Space<'_>) -> u64 {
    let texts = [space.caller, space.deployment, space.kind, space.target];
    texts.iter().fold(0, |hash, text| xxh64(text.as_bytes(), hash))
}

fn owner(space: &Space<'_>) -> Owner {
    Owner {
        key: space.caller.to_owned(),
        deployment: space.deployment.to_owned(),
        target: space.target.to_owned(),
        user: space.user.map(|user| match user.char_indices().nth(MAX_USER_CHARS) {
            // Only shown: the space has all of it.
            Some((end, _)) => format!("{}…", user.get(..end).unwrap_or_default()),
            None => user.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space<'_> =
        Space { caller: "k", deployment: "d", kind: "bot", target: "t", user: None, hint: None };

    fn prints(secret: u8) -> Arc<Fingerprints> {
        Arc::new(Fingerprints::new(&[secret; 32]))
    }

    #[test]
    fn a_space_that_comes_again_is_what_it_was() {
        let (spaces, prints) = (Spaces::default(), prints(1));
        let all = [
            SPACE,
            Space { caller: "kd", deployment: "", ..SPACE },
            Space { kind: "chatflow", ..SPACE },
            Space { target: "u", ..SPACE },
            Space { user: Some("ann"), ..SPACE },
            Space { hint: Some(b"h"), ..SPACE },
        ];
        for space in all.iter().chain(&all) {
            let (key, found) = spaces.find(&prints, space);
            assert_eq!((key, &*found), (prints.space(space), &owner(space)), "{space:?}");
        }
        let (first, again) = (spaces.find(&prints, &SPACE), spaces.find(&prints, &SPACE));
        assert!(Arc::ptr_eq(&first.1, &again.1));
    }

    #[test]
    fn another_secret_makes_all_anew() {
        let spaces = Spaces::default();
        for secret in [1, 2, 1] {
            let prints = prints(secret);
            assert_eq!(spaces.find(&prints, &SPACE).0, prints.space(&SPACE));
        }
    }

    #[test]
    fn what_has_the_same_hash_is_told_apart() {
        let (spaces, prints) = (Spaces::default(), prints(1));
        let other = Space { target: "other", ..SPACE };
        let known = Known { kind: "bot", owner: Arc::new(owner(&other)), key: [0; 16] };
        spaces.find(&prints, &SPACE);
        spaces.0.lock().unwrap().known.insert(hash(&SPACE), known);
        assert_eq!(spaces.find(&prints, &SPACE).0, prints.space(&SPACE));
    }

    #[test]
    fn only_so_many_are_kept() {
        let (spaces, prints) = (Spaces::default(), prints(1));
        for number in 0..2 * MOST {
            spaces.find(&prints, &Space { target: &number.to_string(), ..SPACE });
            assert!(spaces.0.lock().unwrap().known.len() <= MOST);
        }
    }
}
