//! Access tokens of an OAuth app: made of a signed JWT, and made anew ahead
//! of their end.
//!
//! In come an app's ids and its key file, out comes a token that is good now.
//! However many want one, Coze is asked once at a time. Never shows a token or
//! a key.

mod exchange;
mod key;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Client;
use super::token::{Error, small};
use crate::secret::Secret;
use crate::turn::{Failure, Kind};
pub use exchange::skew;
pub use key::KeyError;
#[cfg(test)]
pub(crate) use key::tests::new_key;
use key::{Claims, Key};

/// How long a JWT is good: the time on its way, with clocks apart.
const JWT_LIFETIME: Duration = Duration::from_secs(600);

/// How long Coze may take to give a token.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a failure is told again before Coze is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// The same while there still is a token.
const CALM_PAUSE: Duration = Duration::from_secs(5);

/// How often a refused token is made anew, at most: it may be the bot that is
/// not the app's, and then no token helps.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// How long ahead of its end a token is made anew, at most.
const AHEAD: Duration = Duration::from_secs(300);

/// The largest key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// An OAuth app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its id.
    pub app_id: String,
    /// Which of its public keys: the fingerprint that Coze shows.
    pub key_id: String,
    /// The file of the private key, in PEM form.
    pub key_file: PathBuf,
    /// Whom a JWT is for: the host name of Coze's API.
    pub audience: String,
    /// The session that its tokens are for.
    pub session_name: Option<String>,
}

/// The access token of an OAuth app.
#[derive(Debug)]
pub struct OAuth {
    settings: Settings,
    client: Client,
    /// As it was last read.
    key: Mutex<Arc<Key>>,
    state: Mutex<State>,
}

type Waiting = watch::Receiver<Option<Result<Secret, Failure>>>;

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Coze is being asked.
    running: Option<Waiting>,
    /// Until when this failure is told again.
    failed: Option<(Instant, Failure)>,
    /// Coze is asked because it has refused the token that is held.
    refused: bool,
    /// When a refused token was last made anew.
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    token: Secret,
    refresh: Instant,
    expires: Instant,
}

/// The same app at the same deployment, whatever its key file holds by now.
impl PartialEq for OAuth {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.client.settings() == other.client.settings()
    }
}

impl OAuth {
    /// Reads the private key; asks for nothing yet.
    ///
    /// # Errors
    /// If the key file cannot be read, or holds no key that can be used.
    pub fn open(settings: Settings, client: Client) -> Result<Self, Error> {
        let key = Mutex::new(Arc::new(read_key(&settings.key_file)?));
        Ok(Self { settings, client, key, state: Mutex::default() })
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who its tokens are for.
    pub(super) fn owner(&self) -> Secret {
        let Settings { app_id, session_name, .. } = &self.settings;
        Secret::new(format!("app {app_id} {}", session_name.as_deref().unwrap_or_default()))
    }

    /// The token that was last got, if it was.
    pub(super) fn known(&self) -> Option<Secret> {
        self.state().held.as_ref().map(|held| held.token.clone())
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// If Coze gives none.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Secret, Failure> {
        let waiting = {
            let mut state = self.state();
            let now = Instant::now();
            match &state.held {
                Some(held) if now < held.refresh => return Ok(held.token.clone()),
                Some(held) if now < held.expires => {
                    // It still is good: nobody waits for the next one.
                    let token = held.token.clone();
                    if state.may_ask(now).is_ok() {
                        self.ask(&mut state);
                    }
                    return Ok(token);
                }
                _ => state.held = None,
            }
            state.may_ask(now)?;
            self.ask(&mut state)
        };
        wait(waiting).await
    }

    /// Coze has refused a token: another one, unless that has been tried just
    /// now.
    ///
    /// # Errors
    /// If Coze gives none.
    pub(super) async fn after_refusal(self: &Arc<Self>, refused: &Secret) -> Result<Option<Secret>, Failure> {
        let waiting = {
            let mut state = self.state();
            let now = Instant::now();
            match &state.held {
                Some(held) if held.token != *refused => return Ok(Some(held.token.clone())),
                Some(_) if state.renewed.is_some_and(|at| now.duration_since(at) < RENEW_EVERY) => {
                    return Ok(None);
                }
                Some(_) | None => {}
            }
            state.may_ask(now)?;
            // What is held is kept until there is another one: it may be good
            // for all but this bot.
            state.refused = state.held.is_some();
            self.ask(&mut state)
        };
        wait(waiting).await.map(Some)
    }

    /// Has Coze asked, unless it is being asked already. That goes on if
    /// nobody waits for it any more, since the next one will.
    fn ask(self: &Arc<Self>, state: &mut State) -> Waiting {
        // One whose sender is gone was cut off and comes to nothing.
        if let Some(running) = state.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return running.clone();
        }
        let (sender, waiting) = watch::channel(None);
        state.running = Some(waiting.clone());
        let oauth = Arc::clone(self);
        tokio::spawn(async move {
            let asked = tokio::time::timeout(ANSWER, oauth.exchange()).await;
            let result = asked.unwrap_or_else(|_| {
                Err(Failure::new(Kind::Timeout, "Coze did not give the gateway a token in time."))
            });
            let told = oauth.take(result);
            sender.send_replace(Some(told));
        });
        waiting
    }

    /// What Coze has said.
    fn take(&self, result: Result<(Secret, Duration), Failure>) -> Result<Secret, Failure> {
        let mut state = self.state();
        state.running = None;
        let now = Instant::now();
        match result {
            Ok((token, left)) => {
                let refresh = now + left - (left / 5).min(AHEAD);
                state.held = Some(Held { token: token.clone(), refresh, expires: now + left });
                state.failed = None;
                if std::mem::take(&mut state.refused) {
                    state.renewed = Some(now);
                }
                Ok(token)
            }
            Err(failure) => {
                let calm = state.held.is_some() && !std::mem::take(&mut state.refused);
                let pause = if calm { CALM_PAUSE } else { PAUSE };
                state.failed = Some((now + pause, failure.clone()));
                let detail = failure.detail.as_deref().unwrap_or_default();
                tracing::warn!(app = self.settings.app_id, %failure, detail, "Coze has given no access token");
                Err(failure)
            }
        }
    }

    async fn exchange(&self) -> Result<(Secret, Duration), Failure> {
        let now = SystemTime::now();
        let jwt =
            self.jwt(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).map_err(|error| {
                Failure::new(Kind::Auth, "The gateway could not sign for its OAuth app.")
                    .with_detail(error.to_string())
            })?;
        let answer = self.client.ask_plainly(&exchange::call(), &jwt).await;
        // Nothing runs at Coze because of it.
        let answer = answer.map_err(|failure| Failure { may_be_running: false, ..failure });
        answer
            .and_then(|answer| exchange::read(&answer, SystemTime::now()))
            .map_err(|failure| failure.without(jwt.expose()))
    }

    fn jwt(&self, now: u64) -> Result<Secret, key::NotSigned> {
        let Settings { app_id, key_id, key_file, audience, session_name } = &self.settings;
        let claims = Claims {
            iss: app_id,
            aud: audience,
            iat: now,
            exp: now + JWT_LIFETIME.as_secs(),
            jti: &uuid::Uuid::now_v7().simple().to_string(),
            session_name: session_name.as_deref(),
        };
        let key = match read_key(key_file) {
            Ok(key) => {
                let key = Arc::new(key);
                *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&key);
                key
            }
            Err(error) => {
                tracing::warn!(path = %key_file.display(), %error, "a key file cannot be read again; the old key stays");
                Arc::clone(&self.key.lock().unwrap_or_else(PoisonError::into_inner))
            }
        };
        key.sign(key_id, &claims)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// # Errors
    /// With what went wrong just now.
    fn may_ask(&self, now: Instant) -> Result<(), Failure> {
        match &self.failed {
            Some((until, failure)) if now < *until => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}

async fn wait(mut waiting: Waiting) -> Result<Secret, Failure> {
    let told = waiting.wait_for(Option::is_some).await;
    told.ok().and_then(|told| told.clone()).unwrap_or_else(|| {
        Err(Failure::new(Kind::Broken, "The gateway stopped while it asked for a Coze token."))
    })
}

fn read_key(path: &Path) -> Result<Key, Error> {
    let (bytes, _) = small(path, MAX_FILE_BYTES)?;
    Ok(Key::from_pem(&bytes)?)
}
