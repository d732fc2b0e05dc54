//! From the name in a request to the model that is meant.

use std::sync::Arc;

use super::Snapshot;
use crate::access::{Caller, Identity, Mode, Quota, Quotas};
use crate::catalog::{DEFAULT_HISTORY_ROUNDS, Memory, Model, Overflow};
use crate::coze::bot::Bot;
use crate::coze::{Callee, Target, is_id};
use crate::turn::{Reasoning, SystemRule};

/// A name stands for no model that this caller may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoModel {
    /// There is no such model.
    #[error("there is no such model")]
    NotFound,
    /// There is, but this caller's key does not allow it.
    #[error("this key may not use the model")]
    NotAllowed,
}

/// The longest name that can mean a model, in bytes. A beginning (`gpt-*`)
/// would match any length, and every chunk of an answer repeats the name.
const MAX_NAME_BYTES: usize = 512;

impl Snapshot {
    /// The model that a caller means by a name.
    ///
    /// In passthrough mode, a name that is not in the config and all digits
    /// is the id of a bot in the only deployment.
    ///
    /// # Errors
    /// If there is none, or none that the caller may use.
    pub fn resolve(&self, caller: &Caller, name: &str) -> Result<Arc<Model>, NoModel> {
        if name.len() > MAX_NAME_BYTES {
            return Err(NoModel::NotFound);
        }
        let Some(model) = self.catalog.find(name) else {
            return self.bot(name).map(Arc::new).ok_or(NoModel::NotFound);
        };
        if !caller.may_use(&model.name) {
            return Err(NoModel::NotAllowed);
        }
        Ok(Arc::clone(model))
    }

    /// The limits that a caller meets. In passthrough mode there are no keys
    /// to have some of their own, and `[limits]` is for each token.
    #[must_use]
    pub fn quotas(&self, caller: &Caller) -> Quotas {
        match caller.identity() {
            Identity::Key(key) => Quotas { own: key.quota, everyone: self.limits },
            Identity::CozeToken(_) => Quotas { own: self.limits, everyone: Quota::default() },
            Identity::Anonymous => Quotas { own: Quota::default(), everyone: self.limits },
        }
    }

    fn bot(&self, name: &str) -> Option<Model> {
        let [deployment] = self.deployments.as_slice() else {
            return None;
        };
        if self.keys.mode() != Mode::Passthrough || !is_id(name) {
            return None;
        }
        Some(Model {
            name: name.to_owned(),
            aliases: Vec::new(),
            description: None,
            target: Target {
                deployment: Arc::clone(deployment),
                callee: Callee::Bot(Arc::new(Bot::new(name))),
                token: None,
            },
            system: SystemRule::default(),
            reasoning: Reasoning::default(),
            overflow: Overflow::default(),
            memory: Memory::default(),
            history_rounds: DEFAULT_HISTORY_ROUNDS,
            cleanup: false,
            parameters: Vec::new(),
        })
    }
}
