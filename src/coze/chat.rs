//! `POST /v3/chat`: a prompt as a call, and the events of its answer.

mod ask;
mod flatten;
mod reader;
mod wire;

pub use ask::{TooLong, call, fit, fits_at_all, user_id};
pub(super) use ask::{WireMessage, wire_message};
pub(super) use flatten::flatten;
pub use reader::Reader;
pub(super) use reader::is_interrupt;
pub(super) use wire::Counts;
