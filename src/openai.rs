//! The client's dialect: OpenAI's requests, answers, streams and errors.
//!
//! In come request bodies, out come [`crate::turn::Ask`]s; in come
//! [`crate::turn::Event`]s, out go chunks and completions. Pure: no sockets,
//! no clock. Never names Coze's dialect.

pub mod chat;
pub mod error;
pub mod models;

pub use error::ApiError;
