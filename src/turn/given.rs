//! What a bot or a flow is given beside the messages.

use std::collections::BTreeMap;

/// What a client gives beside the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Start parameters of a flow: a JSON object.
    pub parameters: Option<String>,
    /// What a bot is given.
    pub extras: Option<Box<Extras>>,
}

/// What a bot is given beside the messages, by a client or by the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Variables of the bot's prompt, for this run alone.
    pub variables: BTreeMap<String, String>,
    /// A command of the bot's that is run first.
    pub shortcut: Option<Shortcut>,
    /// Words that come back with the bot's messages.
    pub params: BTreeMap<String, String>,
    /// Start parameters of the chatflow that a bot may consist of: the value
    /// of each is JSON.
    pub parameters: BTreeMap<String, String>,
}

/// A command of a bot's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortcut {
    /// Its id: decimal digits.
    pub command: String,
    /// What it is called with.
    pub parameters: BTreeMap<String, String>,
}

impl Extras {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These with others over them, name by name.
    #[must_use]
    pub fn under(&self, over: Option<&Self>) -> Self {
        let mut all = self.clone();
        if let Some(Self { variables, shortcut, params, parameters }) = over.cloned() {
            all.variables.extend(variables);
            all.shortcut = shortcut.or(all.shortcut);
            all.params.extend(params);
            all.parameters.extend(parameters);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_gives_goes_over_the_config_name_by_name() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let shortcut =
            |command: &str| Some(Shortcut { command: command.to_owned(), parameters: BTreeMap::new() });
        let config = Extras {
            variables: map(&[("a", "1"), ("b", "1")]),
            shortcut: shortcut("7"),
            params: map(&[("p", "1")]),
            parameters: map(&[("n", "1")]),
        };
        let client = Extras { variables: map(&[("b", "2"), ("c", "2")]), ..Extras::default() };
        assert_eq!(config.under(None), config);
        let both = config.under(Some(&client));
        assert_eq!(both.variables, map(&[("a", "1"), ("b", "2"), ("c", "2")]));
        assert_eq!((both.shortcut, both.params), (shortcut("7"), map(&[("p", "1")])));
        let client = Extras { shortcut: shortcut("8"), parameters: map(&[("n", "2")]), ..Extras::default() };
        let both = config.under(Some(&client));
        assert_eq!((both.shortcut, both.parameters), (shortcut("8"), map(&[("n", "2")])));
        assert!(Extras::default().is_empty() && !client.is_empty());
    }
}
