//! The way to the server.
//!
//! In come calls of scripts, out come their answers, or in good time that
//! there is none. One connection carries all calls. Where it is lost it is
//! made anew by the next call; while the server is known to be away, one call
//! at a time finds out whether it is back, and all others fail at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, PushKind, RedisError, ScriptInvocation, ServerErrorKind,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::super::Unavailable;
use crate::secret::Secret;

/// So long a call takes at most, with everything.
const PATIENCE: Duration = Duration::from_secs(1);

/// So long after a failure nobody tries to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// So many calls wait for their answers at most.
const IN_FLIGHT: usize = 1024;

/// So many characters of an error are told.
const MOST_WORDS: usize = 200;

/// The connection, and how it is with it.
pub(super) struct Link {
    client: Client,
    state: Arc<Mutex<State>>,
    calls: Semaphore,
    /// Held by who connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections, so that the end of one is not taken for the
    /// end of the next.
    number: u64,
    away: Option<Away>,
}

/// The server could not be reached.
#[derive(Clone)]
struct Away {
    since: Instant,
    why: String,
}

/// What a call may do when its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Be sent once more: done twice, it comes to the same.
    Yes,
    /// Nothing: it may have been done.
    No,
}

impl Link {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If the URL is none of a server.
    pub(super) fn new(url: &Secret) -> Result<Self, RedisError> {
        let info: ConnectionInfo = url.expose().into_connection_info()?;
        // With the third version of the protocol a lost connection is told
        // of at once, not with the next call.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (calls, connecting) = (Semaphore::new(IN_FLIGHT), tokio::sync::Mutex::new(()));
        Ok(Self { client, state: Arc::default(), calls, connecting })
    }

    /// Runs a script.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        again: Again,
    ) -> Result<T, Unavailable> {
        let _call =
            self.calls.try_acquire().map_err(|_| Unavailable(format!("{IN_FLIGHT} steps wait for it")))?;
        let end = Instant::now() + PATIENCE;
        let mut again = again;
        loop {
            let (mut connection, number) = self.connection(end).await?;
            let answer = timeout_at(end, script.invoke_async(&mut connection)).await;
            let why = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => match Failure::of(&error) {
                    Failure::Call => return Err(Unavailable(words(&error))),
                    Failure::Connection => {
                        self.lose(number);
                        if again == Again::No {
                            return Err(Unavailable(words(&error)));
                        }
                        again = Again::No;
                        continue;
                    }
                    Failure::Server => words(&error),
                },
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            self.lose(number);
            self.go_away(&why);
            return Err(Unavailable(why));
        }
    }

    /// The connection that is there, or a new one.
    async fn connection(&self, end: Instant) -> Result<(MultiplexedConnection, u64), Unavailable> {
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        let is_away = self.state().away.is_some();
        let connecting = match self.connecting.try_lock() {
            Ok(connecting) => connecting,
            Err(_) if is_away => return Err(self.is_away()),
            // The first of all, or the first after a loss: it will not take long.
            Err(_) => timeout_at(end, self.connecting.lock()).await.map_err(|_| self.is_away())?,
        };
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        let connection = self.connect(end).await;
        drop(connecting);
        connection
    }

    /// The connection that is there; none, if it is time to connect.
    fn usable(&self) -> Result<Option<(MultiplexedConnection, u64)>, Unavailable> {
        let state = self.state();
        if let Some(connection) = &state.connection {
            return Ok(Some((connection.clone(), state.number)));
        }
        match &state.away {
            Some(away) if away.since.elapsed() < PAUSE => Err(Unavailable(away.why.clone())),
            _ => Ok(None),
        }
    }

    async fn connect(&self, end: Instant) -> Result<(MultiplexedConnection, u64), Unavailable> {
        let number = self.state().number.saturating_add(1);
        // The connection must not keep itself alive.
        let state = Arc::downgrade(&self.state);
        let lost = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection
                && let Some(state) = state.upgrade()
            {
                lose(&state, number);
            }
            Ok::<(), SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(lost);
        // Who leaves in between has others try.
        let connected = self.client.get_multiplexed_async_connection_with_config(&config);
        let why = match timeout_at(end, connected).await {
            Ok(Ok(connection)) => {
                let mut state = self.state();
                let was_away = state.away.take().is_some();
                (state.connection, state.number) = (Some(connection.clone()), number);
                drop(state);
                if was_away {
                    tracing::debug!("connected again");
                }
                return Ok((connection, number));
            }
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no connection within {PATIENCE:?}"),
        };
        self.go_away(&why);
        Err(Unavailable(why))
    }

    fn lose(&self, number: u64) {
        lose(&self.state, number);
    }

    fn go_away(&self, why: &str) {
        let before = self.state().away.replace(Away { since: Instant::now(), why: why.to_owned() });
        if before.is_none() {
            // Who asks tells the operator.
            tracing::debug!(why, "the server is away");
        }
    }

    fn is_away(&self) -> Unavailable {
        let why = self.state().away.as_ref().map(|away| away.why.clone());
        Unavailable(why.unwrap_or_else(|| format!("no connection within {PATIENCE:?}")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a connection is of no use any more.
fn lose(state: &Mutex<State>, number: u64) {
    let mut state = lock(state);
    if state.number == number {
        state.connection = None;
    }
}

/// What a call has failed of.
enum Failure {
    /// The call.
    Call,
    /// The connection, and another may do.
    Connection,
    /// The server, which cannot serve now, or is not the one to write to.
    Server,
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly,
            ) => Self::Server,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Self::Connection,
            _ => Self::Call,
        }
    }
}

/// An error in one line, not too long.
fn words(error: &RedisError) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_WORDS).collect()
}
