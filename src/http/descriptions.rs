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

/// How long it has to answer, for all bots of a list together.
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
    slots: Mutex<HashMap<Key, Slot>>,
}

/// What is known of one bot; locked while Coze is asked.
type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

/// A bot, and in whose eyes: in mode passthrough not everyone may know of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    deployment: String,
    bot: String,
    caller: Option<String>,
}

#[derive(Debug)]
struct Known {
    until: Instant,
    text: Option<Arc<str>>,
}

impl Descriptions {
    /// The descriptions of these models, one for each.
    pub(super) async fn of(&self, models: Vec<Arc<Model>>, caller: &Caller) -> Vec<String> {
        let deadline = Instant::now() + WAIT;
        let one = |model: Arc<Model>| async move { self.one(&model, caller, deadline).await };
        stream::iter(models).map(one).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, model: &Model, caller: &Caller, deadline: Instant) -> String {
        let configured = model.description.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = match (configured, &model.target.callee) {
            (Some(text), _) => text.to_owned(),
            (None, Callee::Bot(bot)) => match self.at_coze(model, &bot.id, caller, deadline).await {
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
    async fn at_coze(
        &self,
        model: &Model,
        bot: &str,
        caller: &Caller,
        deadline: Instant,
    ) -> Option<Arc<str>> {
        let (caller, own) = match caller.identity() {
            Identity::CozeToken(token) => (Some(caller.space()), Some(token)),
            Identity::Key(_) | Identity::Anonymous => (None, None),
        };
        let bearer = model.target.bearer(own).ok()?;
        let deployment = &model.target.deployment;
        let slot = self.slot(Key { deployment: deployment.name.clone(), bot: bot.to_owned(), caller });
        // Whoever else wants to know of this bot waits for one answer.
        let mut known = tokio::time::timeout_at(deadline, slot.lock()).await.ok()?;
        let now = Instant::now();
        if let Some(known) = known.as_ref().filter(|known| known.until > now) {
            return known.text.clone();
        }
        if now >= deadline {
            return None;
        }
        let call = about::about(bot);
        let asked = tokio::time::timeout_at(deadline, bearer.fetch(&deployment.client, &call)).await;
        let body = match asked {
            Ok(Ok(body)) => Some(body),
            Ok(Err(failure)) => {
                tracing::debug!(model.name = model.name, %failure.message, "Coze does not describe a bot");
                None
            }
            Err(_) => None,
        };
        let text: Option<Arc<str>> = body.and_then(|body| about::description(&body)).map(Arc::from);
        let holds = if text.is_some() { FRESH } else { RETRY };
        *known = Some(Known { until: Instant::now() + holds, text: text.clone() });
        text
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(&key) {
            slots.clear();
        }
        Arc::clone(slots.entry(key).or_default())
    }
}
