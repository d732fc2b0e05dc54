//! What an agent is told about each model: the config's words, or else those
//! that the bot has at Coze.
//!
//! Coze is asked once in a while, and not waited for long: a bot of which it
//! says nothing has a neutral text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use crate::access::{Caller, Identity};
use crate::catalog::Model;
use crate::coze::{Callee, about};

/// How long what Coze says holds.
const FRESH: Duration = Duration::from_secs(600);

/// How long it is not asked again if it has said nothing.
const RETRY: Duration = Duration::from_secs(60);

/// How long it has to answer.
const WAIT: Duration = Duration::from_secs(2);

/// How many bots are asked about at the same time.
const AT_ONCE: usize = 8;

/// How many bots are remembered.
const MOST: usize = 4096;

/// The longest description, in characters: agents take no longer ones.
const LONGEST: usize = 1024;

/// What Coze has said, by bot.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    known: Mutex<HashMap<Key, Known>>,
}

/// A bot, and in whose eyes: in mode passthrough not everyone may know of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    deployment: String,
    bot: String,
    caller: Option<String>,
}

#[derive(Clone, Debug)]
struct Known {
    until: Instant,
    text: Option<Arc<str>>,
}

impl Descriptions {
    /// The descriptions of these models, one for each.
    pub(super) async fn of(&self, models: Vec<Arc<Model>>, caller: &Caller) -> Vec<String> {
        let one = |model: Arc<Model>| async move { self.one(&model, caller).await };
        stream::iter(models).map(one).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, model: &Model, caller: &Caller) -> String {
        let configured = model.description.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = match (configured, &model.target.callee) {
            (Some(text), _) => text.to_owned(),
            (None, Callee::Bot(bot)) => match self.at_coze(model, &bot.id, caller).await {
                Some(text) => text.as_ref().to_owned(),
                None => format!("Asks the bot {} and gives its answer.", model.name),
            },
            (None, Callee::Chatflow(_)) => format!("Asks the chatflow {} and gives its answer.", model.name),
            (None, Callee::Workflow(_)) => format!("Runs the workflow {} and gives its result.", model.name),
        };
        text.chars().take(LONGEST).collect()
    }

    /// What the bot is described as at Coze, as far as that is known by now
    /// or becomes known in time.
    async fn at_coze(&self, model: &Model, bot: &str, caller: &Caller) -> Option<Arc<str>> {
        let (caller, own) = match caller.identity() {
            Identity::CozeToken(token) => (Some(caller.space()), Some(token)),
            Identity::Key(_) | Identity::Anonymous => (None, None),
        };
        let bearer = model.target.bearer(own).ok()?;
        let deployment = &model.target.deployment;
        let key = Key { deployment: deployment.name.clone(), bot: bot.to_owned(), caller };
        if let Some(known) = self.known(&key) {
            return known.text;
        }
        let call = about::about(bot);
        let asked = tokio::time::timeout(WAIT, bearer.fetch(&deployment.client, &call)).await;
        let body = match asked {
            Ok(Ok(body)) => Some(body),
            Ok(Err(failure)) => {
                tracing::debug!(model.name = model.name, %failure.message, "Coze does not describe a bot");
                None
            }
            Err(_) => None,
        };
        let text = body.and_then(|body| about::description(&body)).map(Arc::from);
        self.remember(key, text.clone());
        text
    }

    fn known(&self, key: &Key) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|known| known.until > Instant::now()).cloned()
    }

    fn remember(&self, key: Key, text: Option<Arc<str>>) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, known| known.until > now);
        }
        if known.len() >= MOST {
            known.clear();
        }
        let holds = if text.is_some() { FRESH } else { RETRY };
        known.insert(key, Known { until: now + holds, text });
    }
}
