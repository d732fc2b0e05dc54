//! Two simulated Cozes, a store, and two gateways over it, in one process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cozeway::conversation::Conversations;
use cozeway::http::{App, Service};
use cozeway::relay::Relay;
use cozeway::simulator::{Behaviour, Bot, Options, Simulator};
use cozeway::store::Store;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::link::Link;

/// Nothing that is waited for takes longer, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What clients may call, where it lives, and what it is: two names of one
/// bot are the same, one id in two deployments is not.
pub(crate) const MODELS: [Model; 9] = [
    model("signed", 0, "1001"),
    model("alias", 0, "1001"),
    model("echo", 0, "1002"),
    model("double", 0, "1003"),
    model("ask", 0, "1004"),
    Model { short: true, ..model("short", 0, "1005") },
    model("other", 1, "1001"),
    Model { memory: "explicit", ..model("explicit", 0, "1002") },
    Model { memory: "off", ..model("off", 0, "1001") },
];

const fn model(name: &'static str, coze: usize, bot: &'static str) -> Model {
    Model { name, coze, bot, short: false, memory: "auto" }
}

/// How many rounds the bot of the model `short` is shown.
const FEW_ROUNDS: usize = 6;

const BOTS: [(&str, Behaviour); 5] = [
    ("1001", Behaviour::Signed),
    ("1002", Behaviour::Echo),
    ("1003", Behaviour::Double),
    ("1004", Behaviour::Ask),
    ("1005", Behaviour::Signed),
];

pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) coze: usize,
    pub(crate) bot: &'static str,
    /// Whether its bot is shown a few rounds only.
    pub(crate) short: bool,
    pub(crate) memory: &'static str,
}

impl Model {
    /// Whether a client may send only what is new: not to a bot that is shown
    /// little of what it said.
    pub(crate) fn takes_deltas(&self) -> bool {
        !self.short && self.memory != "off"
    }
}

/// How callers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    /// By keys of the gateway's.
    HaveKeys,
    /// By their own tokens for Coze.
    HaveTokens,
}

/// Everything that a world runs on.
pub(crate) struct Stage {
    pub(crate) cozes: Vec<Simulator>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) backend: Backend,
    config: String,
    serving: Vec<JoinHandle<()>>,
}

/// One replica.
pub(crate) struct Gateway {
    pub(crate) service: Service,
    pub(crate) app: Arc<App>,
    pub(crate) link: Arc<Link>,
    tracker: TaskTracker,
}

impl Stage {
    pub(crate) async fn new(backend: Backend, callers: Callers) -> Self {
        let (mut cozes, mut serving, mut config) = (Vec::new(), Vec::new(), head(callers));
        for name in ["a", "b"] {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            config += &format!("[coze.{name}]\nbase_url = \"http://{}\"\n", listener.local_addr().unwrap());
            if callers == Callers::HaveKeys {
                config += "token = \"pat\"\n";
            }
            let coze = Simulator::new(Options {
                tokens: ["pat", "one-0123456789abcdef", "two-0123456789abcdef"].map(str::to_owned).to_vec(),
                bots: bots(),
                ..Options::instant()
            });
            cozes.push(coze.clone());
            serving.push(tokio::spawn(async move { coze.serve(listener).await }));
        }
        let gateways = (0..2).map(|_| Gateway::new(&config, backend.open())).collect();
        Self { cozes, gateways, backend, config, serving }
    }

    /// Starts a replica anew; what it still had to say to the store is lost.
    pub(crate) fn kill(&mut self, replica: usize) {
        self.gateways[replica].link.cut();
        self.gateways[replica] = Gateway::new(&self.config, self.backend.open());
    }

    /// Starts the store anew, and the gateways with it if it is theirs.
    pub(crate) async fn restart_store(&mut self) {
        if self.backend.server().is_some() {
            self.go_away(true).await;
            self.come_back().await;
            return;
        }
        let replicas = self.gateways.len();
        self.gateways.drain(..).for_each(|gateway| gateway.link.cut());
        self.backend.restart();
        self.gateways = (0..replicas).map(|_| Gateway::new(&self.config, self.backend.open())).collect();
    }

    /// The store cannot be reached any more: by a trick, or since it is killed.
    pub(crate) async fn go_away(&self, is_killed: bool) {
        match self.backend.server().filter(|_| is_killed) {
            Some(server) => server.lock().await.kill(),
            None => self.gateways.iter().for_each(|gateway| gateway.link.set_away(true)),
        }
    }

    /// It can be reached again, and every gateway has found it.
    pub(crate) async fn come_back(&self) {
        if let Some(server) = self.backend.server() {
            server.lock().await.start().await;
        }
        for gateway in &self.gateways {
            gateway.link.set_away(false);
            let finding = async {
                while gateway.link.counts().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, finding).await.unwrap();
        }
    }

    /// Waits until no turn holds anything.
    ///
    /// # Errors
    /// If that takes too long: what is held.
    pub(crate) async fn quiet(&self) -> Result<(), String> {
        let held = || self.gateways.iter().map(|gateway| gateway.link.held()).sum::<usize>();
        let work = || self.gateways.iter().map(|gateway| gateway.tracker.len()).sum::<usize>();
        let running = || self.gateways.iter().map(|gateway| gateway.app.limits().running()).sum::<u32>();
        until(|| held() == 0 && work() == 0 && running() == 0)
            .await
            .map_err(|()| format!("still held: {} leases, {} tasks, {} slots", held(), work(), running()))
    }

    /// Waits until no run goes on at any Coze.
    pub(crate) async fn silence(&self) -> Result<(), String> {
        until(|| self.cozes.iter().all(|coze| coze.running() == 0))
            .await
            .map_err(|()| "a run never ends".to_owned())
    }

    /// How often a gateway was told that another turn is in a conversation.
    pub(crate) fn busy(&self) -> usize {
        self.gateways.iter().map(|gateway| gateway.link.busy()).sum()
    }

    /// How often the store took too long.
    pub(crate) fn slow(&self) -> usize {
        self.gateways.iter().map(|gateway| gateway.link.slow()).sum()
    }

    /// How many entries of the store are lent.
    pub(crate) async fn lent(&self) -> usize {
        let listed = self.gateways[0].link.list(None, 100_000).await.unwrap();
        listed.iter().filter(|listed| listed.lent).count()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

impl Gateway {
    fn new(config: &str, store: Arc<dyn Store>) -> Self {
        let snapshot = cozeway::config::parse(config, Path::new("test"), &|_| None).unwrap();
        let link = Link::new(store);
        let tracker = TaskTracker::new();
        let conversations = Conversations::new(Arc::clone(&link) as Arc<dyn Store>);
        let app = Arc::new(App::new(
            snapshot,
            Relay::new(tracker.clone(), Arc::clone(&link) as Arc<dyn Store>),
            conversations,
        ));
        Self { service: Service::new(Arc::clone(&app)), app, link, tracker }
    }
}

fn head(callers: Callers) -> String {
    let mut text = "[server]\nconversation_wait = \"60s\"\nkeepalive = \"60s\"\n[state]\nurl = \"memory:\"\n\
         [limits]\nconcurrent_requests = 1000\n"
        .to_owned();
    match callers {
        Callers::HaveKeys => {
            for key in ["one", "two"] {
                text += &format!("[keys.{key}]\nkey = \"{key}-0123456789abcdef\"\n");
            }
        }
        Callers::HaveTokens => text += "[auth]\nmode = \"passthrough\"\n",
    }
    for model in MODELS.iter().filter(|model| model.name != "alias") {
        let coze = ["a", "b"][model.coze];
        text += &format!("[models.{}]\ncoze = \"{coze}\"\nbot_id = \"{}\"\n", model.name, model.bot);
        if model.name == "signed" {
            text += "aliases = [\"alias\"]\n";
        }
        text += &format!("memory = \"{}\"\n", model.memory);
        if model.short {
            text += &format!("history_rounds = {FEW_ROUNDS}\n");
        }
    }
    text
}

fn bots() -> Vec<Bot> {
    BOTS.iter()
        .map(|(id, behaviour)| {
            let rounds = if *id == "1005" { FEW_ROUNDS } else { 100 };
            Bot { rounds, ..Bot::new(id, id, *behaviour) }
        })
        .collect()
}

/// Waits for something to be so.
pub(crate) async fn until(is: impl Fn() -> bool) -> Result<(), ()> {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| ())
}
