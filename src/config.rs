//! The config file: from TOML to a [`Snapshot`], or to every fault at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access::Keys;
use crate::catalog::Catalog;
use crate::coze::Deployment;

/// Everything that a running gateway was told, immutable. A request takes
/// one `Arc` of it and keeps it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How to serve.
    pub server: Server,
    /// Who may call.
    pub keys: Keys,
    /// What can be called.
    pub catalog: Catalog,
    /// The Coze deployments, in the order of the config.
    pub deployments: Vec<Arc<Deployment>>,
}

/// The `[server]` table.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Silence towards the client before something is sent to fill it.
    pub keepalive: Duration,
    /// The longest silence of Coze inside a turn.
    pub upstream_timeout: Duration,
    /// How long streams in flight may go on when the gateway stops.
    pub shutdown_grace: Duration,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// The web origins that may call; `None` is every one.
    pub cors_origins: Option<Vec<String>>,
    /// Mode `none` is wanted on purpose, for everybody who can connect.
    pub allow_anonymous: bool,
}
