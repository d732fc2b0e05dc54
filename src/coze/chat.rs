//! `POST /v3/chat`: a prompt as a call, and the events of its answer.

mod alike;
mod ask;
mod flatten;
mod messages;
mod reader;
mod wire;

pub use ask::{TooLong, call, fit, fits_at_all, user_id};
pub(super) use flatten::flatten;
pub(super) use messages::with_messages;
pub use reader::Reader;
pub(super) use reader::is_interrupt;
pub(super) use wire::Counts;
