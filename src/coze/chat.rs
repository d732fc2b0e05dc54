//! `POST /v3/chat`: a prompt as a call, and the events of its answer.

mod ask;
mod reader;
mod wire;

pub use ask::{TooLong, call, fit, fits_at_all, user_id};
pub(super) use ask::{WireMessage, wire_message};
pub use reader::Reader;
pub(super) use reader::is_interrupt;
pub(super) use wire::Counts;
