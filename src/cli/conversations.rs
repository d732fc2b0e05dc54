//! `cozeway conversations`: the operator's look at the state store.
//!
//! In comes the config for its `[state]`, out comes text or JSON: whose
//! conversations there are, never a word of them but by `show`, which asks
//! Coze. What is forgotten here stays at Coze.

mod coze;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;

use super::{ConfigArgs, Stop, env, print, runtime};
use crate::config::{self, Snapshot};
use crate::conversation::{ID_PREFIX, Record, State};
use crate::store::{self, Id, Listed, Place, Store};

/// How many entries are read at a time.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is remembered, what was used last at the end
    List(List),
    /// Forget conversations: by id, by name, or all of a key or user
    Forget(Forget),
    /// Forget what nobody has used for long
    Purge(Purge),
    /// Show what Coze holds of a conversation
    Show(coze::Show),
    /// Have the bot see none of it any more
    Clear(coze::Clear),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Show it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Forget {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ids (conv_…) or names
    #[arg(value_name = "ID|NAME", required_unless_present_any = ["key_name", "user"])]
    names: Vec<String>,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Say it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Purge {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also what nobody has used for so long, such as 7d [default: only what
    /// has passed its conversation_ttl]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "COZEWAY_UNUSED_FOR")]
    unused_for: Option<Duration>,
    /// Say it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

/// Whose conversations are meant.
#[derive(Debug, clap::Args)]
struct OwnerArgs {
    /// Only those of this key
    #[arg(long, value_name = "NAME", env = "COZEWAY_KEY_NAME")]
    key_name: Option<String>,
    /// Only those of this user
    #[arg(long, value_name = "USER", env = "COZEWAY_USER")]
    user: Option<String>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    config::duration(text).ok_or("expected a time such as 12h or 7d")
}

pub(super) fn run(args: Args) -> Result<(), Stop> {
    match args.command {
        Command::List(args) => {
            let store = open(&load(args.config)?)?;
            let mut found = Vec::new();
            runtime()?.block_on(each(&*store, |listed| {
                if let Some(shown) = Shown::of(&listed).filter(|shown| args.owner.is_of(shown)) {
                    found.push(shown);
                }
                None
            }))?;
            found.sort_by_key(|shown| shown.used);
            print(&if args.json { json(&found)? } else { table(&found) })
        }
        Command::Forget(args) => forget(args),
        Command::Purge(args) => purge(args),
        Command::Show(args) => coze::show(args),
        Command::Clear(args) => coze::clear(args),
    }
}

fn forget(args: Forget) -> Result<(), Stop> {
    let store = open(&load(args.config)?)?;
    let mut left: Vec<&String> = args.names.iter().collect();
    let count = runtime()?.block_on(each(&*store, |listed| {
        let shown = Shown::of(&listed).filter(|shown| args.owner.is_of(shown))?;
        let is_named = |name: &&String| **name == shown.id || Some(*name) == shown.name.as_ref();
        let is_meant = args.names.is_empty() || args.names.iter().any(|name| is_named(&name));
        left.retain(|name| !is_named(name));
        is_meant.then_some(listed.entry.id)
    }))?;
    told(count, args.json)?;
    match left.as_slice() {
        [] => Ok(()),
        names => Err(anyhow::anyhow!("there is no conversation {names:?}").into()),
    }
}

fn purge(args: Purge) -> Result<(), Stop> {
    let store = open(&load(args.config)?)?;
    let now = SystemTime::now();
    let count = runtime()?.block_on(async {
        let mut count = 0;
        loop {
            let purged = store.purge(PAGE).await.context("cannot purge")?.len();
            count += purged;
            if purged < PAGE {
                break;
            }
        }
        if let Some(limit) = args.unused_for {
            let is_old = |listed: &Listed| now.duration_since(listed.used).is_ok_and(|age| age >= limit);
            count +=
                each(&*store, |listed| (is_old(&listed) && !listed.lent).then_some(listed.entry.id)).await?;
        }
        anyhow::Ok(count)
    })?;
    told(count, args.json)
}

fn told(count: usize, as_json: bool) -> Result<(), Stop> {
    if as_json {
        return print(&format!("{{\"forgotten\":{count}}}\n"));
    }
    print(&format!("forgot {count} conversation{}\n", if count == 1 { "" } else { "s" }))
}

impl OwnerArgs {
    fn is_of(&self, shown: &Shown) -> bool {
        self.key_name.as_ref().is_none_or(|key| *key == shown.key)
            && self.user.as_ref().is_none_or(|user| Some(user) == shown.user.as_ref())
    }
}

fn load(config: ConfigArgs) -> Result<Snapshot, Stop> {
    Ok(config.source()?.load(&env)?)
}

/// Opens the store of a config, if it can be looked into from here.
fn open(snapshot: &Snapshot) -> Result<Arc<dyn Store>, Stop> {
    match &snapshot.state.place {
        Place::Memory => {
            return Err(anyhow::anyhow!(
                "[state] url is \"memory:\": what is remembered is in the gateway's process alone"
            )
            .into());
        }
        // Looking must not make one.
        Place::Sqlite(path) if !path.exists() => {
            return Err(anyhow::anyhow!("there is no state file {}", path.display()).into());
        }
        Place::Sqlite(_) | Place::Redis(_) => {}
    }
    Ok(store::open(&snapshot.state.place, snapshot.state.ttl).map_err(anyhow::Error::new)?)
}

/// Looks at every entry, and forgets those whose ids come back; gives how
/// many that were.
async fn each(store: &dyn Store, mut look: impl FnMut(Listed) -> Option<Id>) -> anyhow::Result<usize> {
    let mut after = None;
    let mut count = 0;
    loop {
        let page = store.list(after, PAGE).await.context("cannot list")?;
        let Some(last) = page.last() else {
            return Ok(count);
        };
        after = Some(last.entry.id);
        for listed in page {
            if let Some(id) = look(listed) {
                count += usize::from(store.forget(id).await.context("cannot forget")?.is_some());
            }
        }
    }
}

/// What is shown of a conversation.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: Option<String>,
    key: String,
    deployment: String,
    target: String,
    user: Option<String>,
    /// Coze's id of it.
    conversation: Option<String>,
    rounds: u32,
    state: &'static str,
    /// In seconds since 1970.
    used_at: u64,
    #[serde(skip)]
    used: SystemTime,
}

impl Shown {
    fn of(listed: &Listed) -> Option<Self> {
        // An entry whose first turn still runs has nothing to show yet.
        let record = Record::from_bytes(&listed.entry.value)?;
        let state = match (&record.state, listed.lent) {
            (_, true) => "running",
            (State::Answered, _) => "answered",
            (State::Asked, _) => "asked",
            (State::Cut(_), _) => "cut",
            (State::Failed, _) => "failed",
        };
        let owner = Arc::unwrap_or_clone(record.owner);
        Some(Self {
            id: format!("{ID_PREFIX}{}", listed.entry.id),
            name: record.name,
            key: owner.key,
            deployment: owner.deployment,
            target: owner.target,
            user: owner.user,
            conversation: record.place.map(|place| place.conversation),
            rounds: record.rounds,
            state,
            used_at: listed.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            used: listed.used,
        })
    }
}

fn json(found: &[Shown]) -> Result<String, Stop> {
    let json = serde_json::to_string_pretty(found).context("cannot write JSON")?;
    Ok(format!("{json}\n"))
}

fn table(found: &[Shown]) -> String {
    let mut out = String::new();
    for shown in found {
        let Shown { id, key, deployment, target, rounds, state, .. } = shown;
        let key = if key.is_empty() { "-" } else { key };
        let age = age(shown.used);
        let _ =
            write!(out, "{id}  {age:>8}  {state:<8}  {rounds:>4} rounds  key {key}  {deployment}/{target}");
        for (word, text) in [("user", &shown.user), ("name", &shown.name)] {
            if let Some(text) = text {
                // As a literal: whoever chose it may have put anything in.
                let _ = write!(out, "  {word} {text:?}");
            }
        }
        out.push('\n');
    }
    if found.is_empty() {
        out.push_str("no conversations\n");
    }
    out
}

/// How long ago that was, roughly.
fn age(then: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds}s ago"),
        120..7200 => format!("{}m ago", seconds / 60),
        7200..172_800 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}
