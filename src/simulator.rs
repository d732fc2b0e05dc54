//! A simulated Coze Studio community server, for the demonstration and the
//! tests.
//!
//! In come requests on a listener that the caller has bound, out go answers
//! in the exact bytes of the real server: its event streams, its stored
//! conversations, its failures. Beside the bots that live in [`bots`] a test
//! may put [`Script`]s that do anything to the wire. It calls out to nothing
//! and keeps everything in memory, within bounds.
//!
//! "Protocol" and the names that end in `.server.sse` or `.server.json` in
//! these modules name the description of the server's API and its recorded
//! answers that the facts are taken from.

mod book;
pub mod bots;
mod chat;
mod chatflow;
pub mod cloud;
mod endpoint;
mod files;
pub mod flows;
mod records;
mod request;
mod run;
mod script;
mod server;
mod streams;
mod trouble;
mod wire;
mod workflow;

pub use bots::{Behaviour, Bot, DemoBot, Seen, Standing, demo_bots};
pub use files::{Upload, UploadTrouble};
pub use flows::{DemoFlow, Flow, Runs, demo_flows};
pub use script::{Head, Opening, Script, Step};
pub use trouble::{Ran, Trouble};

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method};
use serde_json::Value;

use book::Book;
use wire::Id;

/// The token that the demonstration's server accepts.
pub const DEMO_TOKEN: &str = "pat_demo";

/// How many requests are remembered.
const MAX_RECORDED: usize = 1_000;

/// How much of their bodies is remembered in all, in bytes.
const MAX_RECORDED_BYTES: usize = 64 * 1024 * 1024;

/// What a simulated server is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tokens that it accepts; each is a user of its own.
    pub tokens: Vec<String>,
    /// Its bots.
    pub bots: Vec<Bot>,
    /// Its workflows and chatflows.
    pub flows: Vec<Flow>,
    /// Scripts by bot id, as [`Simulator::script`] would add them.
    pub scripts: Vec<(String, Script)>,
    /// The time between two deltas.
    pub pace: Duration,
    /// How long the `slow` bot says nothing.
    pub silence: Duration,
}

impl Options {
    /// The demonstration: its bots speak as fast as one reads.
    #[must_use]
    pub fn demo() -> Self {
        Self { pace: Duration::from_millis(40), silence: Duration::from_secs(20), ..Self::instant() }
    }

    /// The same bots and token, but nobody ever waits.
    #[must_use]
    pub fn instant() -> Self {
        Self {
            tokens: vec![DEMO_TOKEN.to_owned()],
            bots: demo_bots().iter().map(Bot::from).collect(),
            flows: demo_flows().iter().map(Flow::from).collect(),
            scripts: Vec::new(),
            pace: Duration::ZERO,
            silence: Duration::ZERO,
        }
    }
}

/// A request that was made.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET`, `POST`, …
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All of its headers.
    pub headers: HeaderMap,
    /// Its body; null if that is no JSON.
    pub body: Value,
    /// How long its body was.
    pub body_bytes: usize,
}

/// The simulated server. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    book: Mutex<Book>,
    scripts: Mutex<HashMap<String, VecDeque<Script>>>,
    troubles: Mutex<trouble::Troubles>,
    recorded: Mutex<Recording>,
    files: Mutex<files::Files>,
    questions: Mutex<workflow::Questions>,
    cloud: Mutex<Option<cloud::State>>,
    streams: streams::Streams,
    runs: streams::Streams,
    /// How many connections have been accepted.
    connections: AtomicUsize,
}

#[derive(Debug, Default)]
struct Recording {
    requests: VecDeque<Recorded>,
    bytes: usize,
}

impl Simulator {
    /// A server that nobody has spoken to.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        let scripts = std::mem::take(&mut options.scripts);
        let simulator = Self(Arc::new(Shared {
            options,
            book: Mutex::default(),
            scripts: Mutex::default(),
            troubles: Mutex::default(),
            recorded: Mutex::default(),
            files: Mutex::default(),
            questions: Mutex::default(),
            cloud: Mutex::default(),
            streams: streams::Streams::default(),
            connections: AtomicUsize::default(),
            runs: streams::Streams::default(),
        }));
        for (bot_id, script) in scripts {
            simulator.script(&bot_id, script);
        }
        simulator
    }

    /// Answers on this listener until the future is dropped. With it end its
    /// connections and the runs that were begun on them.
    pub async fn serve(&self, listener: tokio::net::TcpListener) {
        server::serve(self.clone(), listener).await;
    }

    /// Adds a script for `/v3/chat` of a bot, or for the runs of a workflow: one per request in turn, the
    /// last again and again. The id needs no [`Bot`] of its own. Of a
    /// scripted request only the token is checked.
    pub fn script(&self, bot_id: &str, script: Script) {
        lock(&self.0.scripts).entry(bot_id.to_owned()).or_default().push_back(script);
    }

    /// Forgets the scripts of a bot: it is itself again.
    pub fn unscript(&self, bot_id: &str) {
        lock(&self.0.scripts).remove(bot_id);
    }

    /// The last 1,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.0.recorded).requests.iter().cloned().collect()
    }

    /// How many `/v3/chat` answers are being given at this moment, counted
    /// until they end or their client leaves.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.0.streams.count()
    }

    /// How many runs go on at this moment, those included whose client has
    /// left (protocol 6(e)). Scripts are none.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.runs.count()
    }

    /// How many connections have been accepted since the start.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// What a bot was given in a chat: the history (protocol 3.3) and the
    /// question, oldest first. `None` for a chat that is not known.
    #[must_use]
    pub fn context_seen(&self, chat_id: &str) -> Option<Vec<Seen>> {
        let book = self.book();
        let run = book.run(Id::parse(chat_id)?)?;
        Some(run.context.iter().map(|message| chat::seen(message)).collect())
    }

    /// The status of a chat as `/v3/chat/retrieve` gives it (protocol 3.11).
    #[must_use]
    pub fn chat_status(&self, chat_id: &str) -> Option<&'static str> {
        self.book().run(Id::parse(chat_id)?).map(|run| run.chat.status)
    }

    /// The ids of the conversations that exist and are not deleted, oldest
    /// first.
    #[must_use]
    pub fn conversations(&self) -> Vec<String> {
        let book = self.book();
        book.conversations().filter(|place| !place.deleted).map(|place| place.id.to_string()).collect()
    }

    /// The files that were uploaded (protocol 4.7), oldest first.
    #[must_use]
    pub fn uploads(&self) -> Vec<Upload> {
        self.files().all()
    }

    /// The next upload meets a trouble; several one after the other.
    pub fn trouble_upload(&self, trouble: UploadTrouble) {
        self.files().trouble(trouble);
    }

    /// Forgets all files that were uploaded.
    pub fn forget_files(&self) {
        self.files().forget();
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.0.book)
    }

    fn files(&self) -> MutexGuard<'_, files::Files> {
        lock(&self.0.files)
    }

    fn open(&self) -> streams::Open {
        self.0.streams.open()
    }

    /// The bot of an id; a scripted id is one even if it is not in the list.
    fn bot(&self, id: &str) -> Option<Bot> {
        let listed = self.0.options.bots.iter().find(|bot| bot.id == id).cloned();
        listed.or_else(|| {
            lock(&self.0.scripts).contains_key(id).then(|| Bot::new(id, "scripted", Behaviour::Echo))
        })
    }

    fn next_script(&self, bot_id: &str) -> Option<Script> {
        let mut scripts = lock(&self.0.scripts);
        let queue = scripts.get_mut(bot_id)?;
        if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
    }

    fn record(&self, request: Recorded) {
        let mut recorded = lock(&self.0.recorded);
        recorded.bytes += request.body_bytes;
        recorded.requests.push_back(request);
        while recorded.requests.len() > MAX_RECORDED || recorded.bytes > MAX_RECORDED_BYTES {
            let Some(oldest) = recorded.requests.pop_front() else { break };
            recorded.bytes -= oldest.body_bytes;
        }
    }
}

/// Locks, also after a panic elsewhere: what is guarded is never half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970, as in every `created_at`.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
