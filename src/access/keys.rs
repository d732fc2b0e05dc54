//! Client keys and the three ways to check them.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Quota;
use crate::secret::{Digest, Secret};

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With one of the gateway's own keys.
    Keys,
    /// With their own Coze token, which is passed on.
    Passthrough,
    /// Not at all.
    Open,
}

/// A key of the config: what is known of it, never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the config.
    pub name: String,
    /// The SHA-256 of the key.
    pub digest: Digest,
    /// The models that it may use, by name; one that ends in `*` stands for
    /// all that begin so. `None` is all.
    pub models: Option<Vec<String>>,
    /// Headers in which this trusted caller names its user.
    pub user_headers: Vec<http::HeaderName>,
    /// Whether it may set fields of Coze's in its requests.
    pub allow_coze_fields: bool,
    /// How much it may use.
    pub quota: Quota,
}

/// All keys, and how they are asked for.
#[derive(Clone, Debug)]
pub struct Keys {
    mode: Mode,
    keys: Vec<Arc<Key>>,
}

/// Proof that a caller was let in. Only [`Keys::authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Identity,
}

/// Who a caller is.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The holder of one of the gateway's keys.
    Key(Arc<Key>),
    /// The holder of a Coze token.
    CozeToken(Secret),
    /// Anybody.
    Anonymous,
}

/// Why a caller was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no bearer token in the request.
    #[error("no API key was sent")]
    Missing,
    /// It is none of the keys.
    #[error("the API key is wrong")]
    Wrong,
}

impl Key {
    /// Whether it may use the model with this name.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|pattern| matches(pattern, model)))
    }
}

impl Keys {
    /// The keys of a config. With [`Mode::Passthrough`] and [`Mode::Open`]
    /// the list plays no part.
    #[must_use]
    pub fn new(mode: Mode, keys: Vec<Key>) -> Self {
        Self { mode, keys: keys.into_iter().map(Arc::new).collect() }
    }

    /// How callers are asked.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The keys, for showing what the config came to.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Checks the `authorization` header of a request.
    ///
    /// Every key is compared, as digests and in constant time, so that the
    /// time taken tells nothing about any of them.
    ///
    /// # Errors
    /// If the mode asks for a key and there is none, or a wrong one.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let identity = match self.mode {
            Mode::Open => Identity::Anonymous,
            Mode::Passthrough => Identity::CozeToken(Secret::new(bearer(headers)?)),
            Mode::Keys => {
                let sent = Digest::of(bearer(headers)?);
                let mut found = None;
                for key in &self.keys {
                    if key.digest.matches(&sent) {
                        found = Some(key);
                    }
                }
                Identity::Key(Arc::clone(found.ok_or(Refusal::Wrong)?))
            }
        };
        Ok(Caller { identity })
    }
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The name of its key, for logs; in passthrough mode the beginning of
    /// the token's hash; nothing without keys.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.identity {
            Identity::Key(key) => key.name.clone(),
            Identity::CozeToken(token) => {
                let mut hash = Digest::of(token.expose()).to_hex();
                hash.truncate(16);
                hash
            }
            Identity::Anonymous => String::new(),
        }
    }

    /// What keeps its users apart from those of other keys; `None` where
    /// there are no keys to keep apart.
    #[must_use]
    pub fn user_space(&self) -> Option<&str> {
        match &self.identity {
            Identity::Key(key) => Some(&key.name),
            Identity::CozeToken(_) | Identity::Anonymous => None,
        }
    }

    /// Whose its conversations are: the name of its key, or its token's whole
    /// hash.
    #[must_use]
    pub fn space(&self) -> String {
        match &self.identity {
            Identity::Key(key) => key.name.clone(),
            Identity::CozeToken(token) => Digest::of(token.expose()).to_hex(),
            Identity::Anonymous => String::new(),
        }
    }

    /// The user that a trusted caller names in a header.
    #[must_use]
    pub fn user_in(&self, headers: &HeaderMap) -> Option<String> {
        let Identity::Key(key) = &self.identity else {
            return None;
        };
        let value = key.user_headers.iter().find_map(|name| headers.get(name))?;
        let text = String::from_utf8_lossy(value.as_bytes());
        let user = text.trim();
        (!user.is_empty()).then(|| user.to_owned())
    }

    /// Whether it may set fields of Coze's: who calls with its own token could
    /// call Coze itself.
    #[must_use]
    pub fn may_set_coze_fields(&self) -> bool {
        match &self.identity {
            Identity::Key(key) => key.allow_coze_fields,
            Identity::CozeToken(_) => true,
            Identity::Anonymous => false,
        }
    }

    /// Whether it may use the model with this name.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        match &self.identity {
            Identity::Key(key) => key.may_use(model),
            Identity::CozeToken(_) | Identity::Anonymous => true,
        }
    }
}

/// Whether a name is meant by a pattern, which may end in `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// The token of a `Bearer` authorization; the scheme in any case.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(AUTHORIZATION).ok_or(Refusal::Missing)?;
    let value = value.to_str().map_err(|_| Refusal::Wrong)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    match token.trim() {
        "" => Err(Refusal::Missing),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    fn keys(mode: Mode) -> Keys {
        let key = |name: &str, models: Option<&[&str]>| Key {
            name: name.into(),
            digest: Digest::of(&format!("secret-{name}")),
            models: models.map(|models| models.iter().map(|&m| m.to_owned()).collect()),
            user_headers: vec![http::HeaderName::from_static("x-user")],
            allow_coze_fields: false,
            quota: Quota::default(),
        };
        Keys::new(mode, vec![key("a", None), key("b", Some(&["support", "desk-*"]))])
    }

    #[test]
    fn a_key_is_found_whichever_it_is() {
        let keys = keys(Mode::Keys);
        assert_eq!(keys.authenticate(&headers("Bearer secret-a")).unwrap().name(), "a");
        assert_eq!(keys.authenticate(&headers("bearer  secret-b ")).unwrap().name(), "b");
    }

    #[test]
    fn without_a_right_key_nobody_is_let_in() {
        for mode in [Mode::Keys, Mode::Passthrough] {
            let keys = keys(mode);
            assert_eq!(keys.authenticate(&HeaderMap::new()).unwrap_err(), Refusal::Missing);
            for value in ["Bearer", "Bearer ", "Basic c2VjcmV0", "secret-a"] {
                assert_eq!(keys.authenticate(&headers(value)).unwrap_err(), Refusal::Missing, "{value}");
            }
        }
        assert_eq!(keys(Mode::Keys).authenticate(&headers("Bearer secret-c")).unwrap_err(), Refusal::Wrong);
    }

    #[test]
    fn a_key_may_use_only_its_models() {
        let keys = keys(Mode::Keys);
        let b = keys.authenticate(&headers("Bearer secret-b")).unwrap();
        assert!(b.may_use("support") && b.may_use("desk-1"));
        assert!(!b.may_use("support2") && !b.may_use("other"));
        assert!(keys.authenticate(&headers("Bearer secret-a")).unwrap().may_use("other"));
    }

    #[test]
    fn who_may_set_fields_of_cozes() {
        let may = |mode| keys(mode).authenticate(&headers("Bearer secret-a")).unwrap().may_set_coze_fields();
        assert_eq!([Mode::Keys, Mode::Passthrough, Mode::Open].map(may), [false, true, false]);
    }

    #[test]
    fn only_a_keys_own_headers_name_its_user() {
        let mut sent = headers("Bearer secret-a");
        sent.insert("x-user", " ann ".parse().unwrap());
        let caller = keys(Mode::Keys).authenticate(&sent).unwrap();
        assert_eq!(caller.user_in(&sent).as_deref(), Some("ann"));
        let open = keys(Mode::Open).authenticate(&sent).unwrap();
        assert_eq!(open.user_in(&sent), None);
    }

    #[test]
    fn a_passed_on_token_shows_only_its_hash() {
        let caller = keys(Mode::Passthrough).authenticate(&headers("Bearer pat_x")).unwrap();
        assert_eq!(caller.name().len(), 16);
        assert!(!format!("{caller:?}").contains("pat_x"));
    }
}
