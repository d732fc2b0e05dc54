//! Where the config comes from: a file, or the environment alone.

use std::path::{Path, PathBuf};

use super::document::Item;
use super::fault::{Place, Report};
use super::file::{Bot, Deployment, Field, File, Model, Runs, Serving, StateTable};
use super::{Env, Faults, Files, Loaded, Reading, Server, Snapshot, build, finish, read};
use crate::access::{Mode, Quota};
use crate::catalog::{Memory, Overflow};
use crate::turn::{Reasoning, SystemRule};

/// The file that is taken if none is named.
const DEFAULT_FILE: &str = "./cozeway.toml";

/// What makes a gateway without a file.
const VARIABLES: [&str; 3] = ["COZE_BASE_URL", "COZE_TOKEN", BOT_ID];

const BOT_ID: &str = "COZE_BOT_ID";

/// Where a config comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, which may be read again later.
    File(PathBuf),
    /// The variables `COZE_BASE_URL`, `COZE_TOKEN` and `COZE_BOT_ID`.
    Environment,
}

impl Source {
    /// The file that was named, else `./cozeway.toml`, else the environment.
    ///
    /// # Errors
    /// If there is nothing of all that.
    pub fn find(named: Option<PathBuf>, env: Env<'_>) -> Result<Self, Faults> {
        if let Some(path) = named {
            return Ok(Self::File(path));
        }
        let path = Path::new(DEFAULT_FILE);
        if path.exists() {
            return Ok(Self::File(path.to_owned()));
        }
        if VARIABLES.iter().any(|name| env(name).is_some()) {
            return Ok(Self::Environment);
        }
        let reason = "there is no such file: name one with --config, or set COZE_BASE_URL, COZE_TOKEN \
             and COZE_BOT_ID";
        Err(Faults::whole(DEFAULT_FILE, reason))
    }

    /// Reads the config; for a gateway that runs with another one already,
    /// what has not changed is kept, and what cannot change is a fault.
    #[must_use]
    pub fn read(&self, env: Env<'_>, running: Option<&Snapshot>) -> Loaded {
        match self {
            Self::File(path) => read(path, env, Reading { running, draft: false }),
            Self::Environment => Loaded { result: from_environment(env), files: Files::default() },
        }
    }

    /// Reads a config that may have no models and no keys yet.
    ///
    /// # Errors
    /// With everything else that is wrong with it.
    pub fn load_draft(&self, env: Env<'_>) -> Result<Snapshot, Faults> {
        match self {
            Self::File(path) => read(path, env, Reading { running: None, draft: true }).result,
            Self::Environment => environment(env, true),
        }
    }

    /// Reads the config.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn load(&self, env: Env<'_>) -> Result<Snapshot, Faults> {
        self.read(env, None).result
    }
}

/// Makes a gateway with the one model `coze` out of `COZE_BASE_URL`,
/// `COZE_TOKEN` and `COZE_BOT_ID`, on loopback and without keys.
///
/// # Errors
/// With every variable that is missing or wrong.
pub fn from_environment(env: Env<'_>) -> Result<Snapshot, Faults> {
    environment(env, false)
}

fn environment(env: Env<'_>, draft: bool) -> Result<Snapshot, Faults> {
    let mut report = Report::default();
    let [base_url, token, bot_id] = VARIABLES.map(|name| {
        let value = env(name).filter(|value| !value.trim().is_empty());
        if value.is_none() && !(draft && name == BOT_ID) {
            report.add(&Place::variable(name), "is not set");
        }
        value.map(|value| Item { value: value.trim().to_owned(), at: Place::variable(name) })
    });
    let name = |key: &str| Item { value: "coze".to_owned(), at: Place::variable(key) };
    let token = token.map_or(Field::Wrong, |token| Field::Is(("token", token)));
    let file = File {
        draft,
        serving: Serving {
            server: Server::default(),
            at: Place::variable("server"),
            listen_at: Place::variable("server.listen"),
            tls: Field::Absent,
        },
        mode_at: Place::variable("auth.mode"),
        mode: Field::Is(Mode::Open),
        deployments: vec![Deployment {
            name: name("COZE_BASE_URL"),
            base_url,
            kind: None,
            ca_file: None,
            proxy: None,
            headers: Vec::new(),
            token,
            oauth: None,
        }],
        models: bot_id
            .into_iter()
            .map(|bot_id| Model {
                name: name("COZE_BOT_ID"),
                deployment: Field::Absent,
                runs: Runs::Bot(Box::new(Bot::with(Some(bot_id)))),
                token: Field::Absent,
                aliases: Vec::new(),
                description: None,
                system: SystemRule::default(),
                reasoning: Reasoning::default(),
                overflow: Overflow::default(),
                memory: Memory::default(),
                history_rounds: None,
                cleanup: false,
                parameters: Vec::new(),
            })
            .collect(),
        keys: Vec::new(),
        limits: Quota::default(),
        state: StateTable { at: Place::variable("state"), url: None, ttl: None },
    };
    let snapshot = build::build(file, Path::new(""), None, &mut report);
    finish(snapshot, report, "environment").result
}
