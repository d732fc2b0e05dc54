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

/// Why a caller does not get a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is none of that name.
    #[error("there is no such model")]
    NotFound,
    /// The caller's key is not good for it.
    #[error("the key may not use this model")]
    NotAllowed,
}

impl Snapshot {
    /// The model that a caller means by a name.
    ///
    /// # Errors
    /// If there is none, or the caller may not use it.
    pub fn resolve(&self, caller: &crate::access::Caller, name: &str) -> Result<Arc<crate::catalog::Model>, ResolveError> {
        let model = self.catalog.find(name).ok_or(ResolveError::NotFound)?;
        if !caller.may_use(&model.name) { return Err(ResolveError::NotAllowed); }
        Ok(Arc::clone(model))
    }
}
