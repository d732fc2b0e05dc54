//! Who may call, and what.
//!
//! In come a request's headers and a model's name, out comes a [`Caller`]:
//! the proof that a key was checked.

mod keys;

pub use keys::{Caller, Identity, Key, Keys, Mode, Refusal};
