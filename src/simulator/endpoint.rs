//! Which endpoint a path is.
//!
//! In comes a path, out comes what is simulated there, if anything is.

use super::wire::Id;
use super::workflow;

/// A path that the server knows as open API and that is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Cancel,
    Retrieve,
    ChatMessages,
    Create,
    ConversationInfo,
    Messages,
    Conversations,
    Conversation(Id),
    Clear(Id),
    Bot(Id),
    BotOnline,
    Upload,
    Token,
    Me,
    Spaces,
    Bots,
    Workflow(Id),
    Run(workflow::Way),
    Chatflow,
}

impl Endpoint {
    /// What is at a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.splitn(6, '/').collect();
        Some(match *segments {
            ["v3", "chat"] => Self::Chat,
            ["v3", "chat", "cancel"] => Self::Cancel,
            ["v3", "chat", "retrieve"] => Self::Retrieve,
            ["v3", "chat", "message", "list"] => Self::ChatMessages,
            ["v1", "conversation", "create"] => Self::Create,
            ["v1", "conversation", "retrieve"] => Self::ConversationInfo,
            ["v1", "conversation", "message", "list"] => Self::Messages,
            ["v1", "conversations"] => Self::Conversations,
            // The matcher wants digits (protocol 1.3).
            ["v1", "conversations", id] => Self::Conversation(Id::parse(id)?),
            ["v1", "conversations", id, "clear"] => Self::Clear(Id::parse(id)?),
            ["v1", "bots", id] => Self::Bot(Id::parse(id)?),
            ["v1", "bot", "get_online_info"] => Self::BotOnline,
            ["v1", "files", "upload"] => Self::Upload,
            ["v1", "workflows", "chat"] => Self::Chatflow,
            ["api", "permission", "oauth2", "token"] => Self::Token,
            ["v1", "users", "me"] => Self::Me,
            ["v1", "workspaces"] => Self::Spaces,
            ["v1", "bots"] => Self::Bots,
            ["v1", "workflows", id] => Self::Workflow(Id::parse(id)?),
            ["v1", "workflow", "run"] => Self::Run(workflow::Way::Whole),
            ["v1", "workflow", "stream_run"] => Self::Run(workflow::Way::Stream),
            ["v1", "workflow", "stream_resume"] => Self::Run(workflow::Way::Resume),
            _ => return None,
        })
    }

    /// Whether only a cloud has it.
    pub(super) fn is_clouds(self) -> bool {
        matches!(self, Self::Token | Self::Me | Self::Spaces | Self::Bots)
    }
}
