//! The neutral words of one turn: what is asked, what is told while a bot
//! answers, what the whole answer is, and what went wrong.
//!
//! In comes nothing, out goes nothing: these are values and pure functions,
//! without async, clock or I/O. The dialects (`coze`, `openai`) both speak
//! them and never each other.

mod ask;
mod asked;
mod attachment;
mod event;
mod failure;
mod given;
mod reply;
mod rules;
mod step;
mod stop;
mod text;

pub use ask::{Ask, Message, Role};
pub use asked::{Asked, Field, Resume, Wants};
pub use attachment::{Attachment, Inline, Media, Source};
pub use event::{Event, Finish, Usage};
pub use failure::{Failure, Kind};
pub use given::{Extras, Given, Shortcut};
pub use reply::Reply;
pub use rules::{Prompt, Reasoning, SystemRejected, SystemRule, ThinkTags};
pub use step::{Did, Step};
pub use stop::{Cut, StopWords, StopWordsError};
pub use text::Text;
pub(crate) use text::escape_into;
