//! Which public name means which bot.

pub mod tool;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coze::Target;
use crate::turn::{Reasoning, SystemRule};

/// A model: a public name with the bot behind it and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name in the config, which clients put in `model`.
    pub name: String,
    /// More names for it; one that ends in `*` stands for all that begin so.
    pub aliases: Vec<String>,
    /// What `/v1/models` says about it.
    pub description: Option<String>,
    /// The bot.
    pub target: Target,
    /// What becomes of system texts.
    pub system: SystemRule,
    /// How thinking is shown.
    pub reasoning: Reasoning,
    /// What becomes of a transcript that is too long.
    pub overflow: Overflow,
    /// Whether conversations go on.
    pub memory: Memory,
    /// How many rounds of a conversation Coze shows the bot.
    pub history_rounds: u32,
    /// Whether conversations of Coze's are deleted once nothing refers to
    /// them.
    pub cleanup: bool,
    /// What it takes as a tool, beside the message.
    pub parameters: Vec<tool::Parameter>,
}

/// Which conversations are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Every one: found by its name or by its words.
    #[default]
    Auto,
    /// Those with a name.
    Explicit,
    /// None.
    Off,
}

/// How many rounds Coze shows a bot that has no setting of its own (protocol
/// 3.3).
pub const DEFAULT_HISTORY_ROUNDS: u32 = 100;

/// What becomes of a transcript that Coze cannot store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages are left out.
    #[default]
    Trim,
    /// The request is refused.
    Reject,
}

/// All models by every name that they go by.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: Vec<Arc<Model>>,
    names: BTreeMap<String, Arc<Model>>,
    /// Beginnings, the longest first.
    prefixes: Vec<(String, Arc<Model>)>,
    /// By the names that they have as tools.
    tools: BTreeMap<String, Arc<Model>>,
}

impl Catalog {
    /// Indexes models whose names and aliases are all different.
    #[must_use]
    pub fn new(models: Vec<Model>) -> Self {
        let models: Vec<Arc<Model>> = models.into_iter().map(Arc::new).collect();
        let mut names = BTreeMap::new();
        let mut prefixes = Vec::new();
        for model in &models {
            names.insert(model.name.clone(), Arc::clone(model));
            for alias in &model.aliases {
                match alias.strip_suffix('*') {
                    Some(prefix) => prefixes.push((prefix.to_owned(), Arc::clone(model))),
                    None => {
                        names.insert(alias.clone(), Arc::clone(model));
                    }
                }
            }
        }
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let fit = tool::names(models.iter().map(|model| model.name.as_str()));
        let tools = fit.into_iter().filter_map(|(name, model)| Some((name, Arc::clone(names.get(model)?))));
        Self { tools: tools.collect(), names, prefixes, models }
    }

    /// The model that a name means: its own name or an alias, else the
    /// longest beginning.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.names.get(name).or_else(|| {
            let (_, model) = self.prefixes.iter().find(|(prefix, _)| name.starts_with(prefix.as_str()))?;
            Some(model)
        })
    }

    /// The models, in the order of the config.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }

    /// Every name that can be listed (all but beginnings) with its model, in
    /// alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        self.names.iter().map(|(name, model)| (name.as_str(), model))
    }

    /// Every model as a tool, by names that clients take for one.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        self.tools.iter().map(|(name, model)| (name.as_str(), model))
    }

    /// The model that a tool's name means.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Arc<Model>> {
        self.tools.get(name)
    }
}
