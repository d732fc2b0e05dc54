//! Coze: where its bots are reached, what is sent there, and what its answers
//! mean.
//!
//! In comes a [`crate::turn::Prompt`], out go [`crate::turn::Event`]s. Only
//! [`client`] calls out; everything else is values and pure functions. Never
//! names the client's dialect.

pub mod about;
mod attached;
mod bearer;
pub mod bot;
mod call;
pub mod card;
pub mod chat;
pub mod chatflow;
pub mod circuit;
pub mod client;
pub mod conversation;
pub mod error;
pub mod files;
mod flow;
pub mod inventory;
mod json;
pub mod messages;
pub mod oauth;
mod reader;
pub mod retrieve;
mod scan;
pub mod sse;
pub mod token;
pub mod trace;
pub mod workflow;

pub use attached::NoPlace;
pub use bearer::Bearer;
pub use call::{Asking, Refused};
pub use reader::Reader;

use std::sync::Arc;

/// Which family a deployment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The open-source Coze Studio server.
    Studio,
    /// coze.cn or coze.com.
    Cloud,
}

/// A Coze that the gateway may call.
#[derive(Debug)]
pub struct Deployment {
    /// Its name in the config.
    pub name: String,
    /// Which family.
    pub kind: Kind,
    /// The way there.
    pub client: client::Client,
}

/// Equal settings are an equal way there.
impl PartialEq for Deployment {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, kind, client } = self;
        *name == other.name && *kind == other.kind && client.settings() == other.client.settings()
    }
}

/// What answers, as the config says once and for all.
#[derive(Clone, Debug, PartialEq)]
pub enum Callee {
    /// A bot, with the way it is run.
    Bot(Arc<bot::Bot>),
    /// A workflow, with the way it is run.
    Workflow(Arc<workflow::Workflow>),
    /// A chatflow, with the way it is run.
    Chatflow(Arc<chatflow::Chatflow>),
}

/// What a flow is run in the name of: Coze takes one of the two only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// A bot's id.
    Bot(String),
    /// An app's id.
    App(String),
}

impl Within {
    /// The bot's id, if it is one.
    #[must_use]
    pub fn bot(&self) -> Option<&str> {
        match self {
            Self::Bot(id) => Some(id),
            Self::App(_) => None,
        }
    }

    /// The app's id, if it is one.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::App(id) => Some(id),
            Self::Bot(_) => None,
        }
    }
}

impl Callee {
    /// What kind of thing it is, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bot(_) => "bot",
            Self::Workflow(_) => "workflow",
            Self::Chatflow(_) => "chatflow",
        }
    }

    /// Whether it is asked for a stream, or for its answer in one piece.
    #[must_use]
    pub fn streams(&self) -> bool {
        match self {
            Self::Bot(_) | Self::Chatflow(_) => true,
            Self::Workflow(workflow) => workflow.stream,
        }
    }

    /// Whether Coze answers as soon as the work begins, and not only with the
    /// first words.
    #[must_use]
    pub fn begins_early(&self) -> bool {
        !matches!(self, Self::Workflow(_))
    }

    /// Whether Coze keeps a conversation.
    #[must_use]
    pub fn converses(&self) -> bool {
        !matches!(self, Self::Workflow(_))
    }

    /// Whether Coze can be asked what became of a chat.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Bot(_))
    }

    /// Its id: decimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Bot(bot) => &bot.id,
            Self::Workflow(workflow) => &workflow.id,
            Self::Chatflow(chatflow) => &chatflow.id,
        }
    }
}

/// A bot or a flow, and what it takes to call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where it lives.
    pub deployment: Arc<Deployment>,
    /// What it is.
    pub callee: Callee,
    /// What it is called with; `None` is the caller's own token, which it
    /// sent as its key.
    pub token: Option<Arc<token::Source>>,
}

impl Target {
    /// Whether it can answer aloud: bots of the cloud alone do.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.deployment.kind == Kind::Cloud && matches!(self.callee, Callee::Bot(_))
    }
}

/// Whether a text can be an id of Coze: a positive 64-bit integer in decimal
/// digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok_and(|id| id > 0)
}

/// A request to Coze as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `POST` or `DELETE`.
    pub method: http::Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The JSON body of a `POST`.
    pub body: Option<bytes::Bytes>,
}
