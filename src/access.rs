//! Who may call, what, and how much.
//!
//! In come a request's headers and a model's name, out comes a [`Caller`]:
//! the proof that a key was checked; then a [`Permit`]: the proof that there
//! is room for the request.

pub mod gcra;
mod guard;
mod keys;
mod limits;

pub use guard::Guard;
pub use keys::{Caller, Identity, Key, Keys, Mode, Refusal};
pub use limits::{
    Gauge, Limits, Measure, Meter, Over, Permit, Quota, Quotas, SLOT_LEASE, Scope, Standing, Subject,
};
