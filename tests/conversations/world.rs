//! Clients that do what clients do, and a world in which things go wrong.
//!
//! In come a seed and the steps to leave out, out comes nothing, or a broken
//! promise with the history that led to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::call::{Outcome, Reply};
use crate::chance::{Plan, choose};
use crate::expected::Expected;
use crate::ledger::{Around, Ledger};
use crate::model::Said;
use crate::random::Random;
use crate::stage::{Callers, MODELS, PATIENCE, Stage, until};
use crate::turn::{Leaves, Space, Turn};

/// What a client has of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    pub(crate) space: Space,
    /// What it calls it.
    pub(crate) name: Option<String>,
    /// Whether it only ever sends what is new.
    pub(crate) delta: bool,
    pub(crate) system: Option<String>,
    /// The transcript, if it keeps one.
    pub(crate) said: Vec<Said>,
    /// Whether it changes what it was told a little before sending it back.
    pub(crate) sloppy: bool,
    /// What the gateway calls it.
    pub(crate) own: Option<String>,
}

/// A broken promise.
#[derive(Debug)]
pub(crate) struct Broken {
    /// In which step.
    pub(crate) step: usize,
    pub(crate) why: String,
    pub(crate) log: Vec<String>,
}

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) chats: Vec<Chat>,
    pub(crate) ledger: Ledger,
    gates: Vec<CancellationToken>,
    log: Vec<String>,
}

/// Lives through the steps of a seed; gives how often which mode was said.
pub(crate) async fn live(
    seed: u64,
    steps: usize,
    left_out: &BTreeSet<usize>,
) -> Result<BTreeMap<String, usize>, Box<Broken>> {
    let callers = if seed % 5 == 4 { Callers::HaveTokens } else { Callers::HaveKeys };
    let mut world = World::new(Backend::of(seed).await, callers, Vec::new()).await;
    for step in (0..steps).filter(|step| !left_out.contains(step)) {
        let mut random = Random::of_step(seed, step);
        world.log.push(format!("step {step}"));
        if let Err(why) = world.step(step, &mut random).await {
            return Err(Box::new(Broken { step, why, log: world.log }));
        }
    }
    match world.end().await {
        Ok(()) => Ok(world.ledger.modes),
        Err(why) => Err(Box::new(Broken { step: steps, why, log: world.log })),
    }
}

impl World {
    pub(crate) async fn new(backend: Backend, callers: Callers, chats: Vec<Chat>) -> Self {
        let log = vec![format!("the store is {}, callers {callers:?}", backend.name())];
        let stage = Stage::new(backend, callers).await;
        Self { stage, chats, ledger: Ledger::default(), gates: Vec::new(), log }
    }

    async fn step(&mut self, step: usize, random: &mut Random) -> Result<(), String> {
        if random.percent(70) {
            self.release().await?;
        }
        match choose(self, step, random) {
            Plan::Turns(turns, around) => self.turns(turns, around).await,
            Plan::Restart(replica) => {
                self.log.push(format!("  gateway {replica} starts anew"));
                self.stage.quiet().await?;
                self.stage.kill(replica);
                Ok(())
            }
            Plan::RestartStore => {
                self.log.push("  the store starts anew".to_owned());
                self.stage.quiet().await?;
                self.stage.restart_store().await;
                if self.stage.backend.forgets() {
                    self.ledger.known.clear();
                }
                Ok(())
            }
            Plan::Disturb { coze, conversation, forget } => {
                self.ledger.listen(&self.stage.cozes);
                let what = if forget { "forgets" } else { "clears" };
                self.log.push(format!("  Coze {coze} {what} {conversation}"));
                let simulator = &self.stage.cozes[coze];
                if forget {
                    simulator.forget(&conversation)
                } else {
                    simulator.clear(&conversation)
                }
                self.ledger.disturbed.insert((coze, conversation));
                Ok(())
            }
        }
    }

    /// Lets the bots that wait go on, and waits for their ends.
    pub(crate) async fn release(&mut self) -> Result<(), String> {
        if self.gates.is_empty() {
            return Ok(());
        }
        self.gates.drain(..).for_each(|gate| gate.cancel());
        self.stage.silence().await?;
        self.ledger.listen(&self.stage.cozes);
        Ok(())
    }

    /// Takes turns, all at the same time.
    ///
    /// # Errors
    /// If a promise is broken.
    pub(crate) async fn turns(&mut self, mut turns: Vec<Turn>, around: Around) -> Result<(), String> {
        // Whoever still waits goes on while the turns already want to.
        self.release_after(Duration::from_millis(20), self.gates.clone());
        self.gates.clear();
        for turn in &mut turns {
            turn.asked = self.stage.cozes[turn.space.coze()].asked(turn.question()).len();
            self.log.push(format!("  {}", turn.line()));
        }
        self.log.extend(weather(around));
        let mut around = around;
        let mut expected: Vec<Expected> = turns.iter().map(|turn| self.ledger.expect(turn, around)).collect();
        let mut slow = self.stage.slow();
        if around.away {
            self.stage.go_away(around.is_killed).await;
        }
        self.stage.gateways.iter().for_each(|gateway| gateway.link.lose(around.lost));
        let (replies, ()) = tokio::join!(self.take(&turns, around), self.crash(around));
        let replies = replies?;
        if around.away || around.away_later || around.crash.is_some() {
            self.stage.come_back().await;
        }
        for (turn, reply) in turns.iter().zip(&replies) {
            self.log.push(format!("    chat {}: {}", turn.chat, told(reply)));
            match turn.gate() {
                Some(gate) if turn.leaves == Leaves::Midway => self.gates.push(gate.clone()),
                Some(gate) => gate.cancel(),
                None => {}
            }
            if turn.leaves == Leaves::WithItsGateway {
                slow = slow.saturating_sub(self.stage.gateways[turn.replica].link.slow());
                self.stage.kill(turn.replica);
            }
        }
        self.stage.cozes.iter().for_each(cozeway::simulator::Simulator::no_trouble);
        // What is still to be stored is stored before anybody looks.
        self.stage.quiet().await?;
        if self.stage.slow() > slow {
            self.log.push("  the store was slow".to_owned());
            around.is_slow = true;
            expected.fill(Expected::Anything);
        }
        self.stage.gateways.iter().for_each(|gateway| gateway.link.lose(None));
        if (around.is_killed || around.crash.is_some()) && self.stage.backend.forgets() {
            self.ledger.forget(&turns);
        }
        self.account(&turns, &replies, &expected, around)
    }

    /// Takes turns at the same time.
    async fn take(&self, turns: &[Turn], around: Around) -> Result<Vec<Reply>, String> {
        let taken = turns.iter().map(|turn| {
            let gateway = &self.stage.gateways[turn.replica];
            let coze = &self.stage.cozes[turn.space.coze()];
            if let Some(gate) = turn.gate().filter(|_| turn.leaves == Leaves::Never && !around.away_later) {
                self.release_after(Duration::from_millis(5), vec![gate.clone()]);
            }
            let taking = turn.take(gateway.service.clone(), coze, || gateway.link.cut());
            let away = async {
                if around.away_later {
                    let _never = until(|| coze.asked(turn.question()).len() > turn.asked).await;
                    self.stage.go_away(around.is_killed).await;
                    turn.gate().into_iter().for_each(CancellationToken::cancel);
                }
                std::future::pending::<()>().await;
            };
            async move {
                tokio::select! {
                    reply = tokio::time::timeout(PATIENCE, taking) => {
                        reply.unwrap_or_else(|_| Err("no answer comes".to_owned()))
                    }
                    () = away => Err("never".to_owned()),
                }
            }
        });
        join_all(taken).await.into_iter().collect()
    }

    /// The server of the store is killed, and is there again.
    async fn crash(&self, around: Around) {
        if let (Some(crash), Some(server)) = (around.crash, self.stage.backend.server()) {
            tokio::time::sleep(crash.after).await;
            let mut server = server.lock().await;
            server.kill();
            tokio::time::sleep(crash.pause).await;
            server.start().await;
        }
    }

    fn account(
        &mut self,
        turns: &[Turn],
        replies: &[Reply],
        expected: &[Expected],
        around: Around,
    ) -> Result<(), String> {
        let mut all = Vec::new();
        for ((turn, reply), expected) in turns.iter().zip(replies).zip(expected) {
            let facts = self.ledger.facts(turn, reply, &self.stage.cozes);
            all.push((turn, reply, facts, *expected));
        }
        // What has failed may have come before and after; the rest as Coze
        // ran it.
        let lost = |reply: &Reply| matches!(&reply.outcome, Outcome::Failed { code, .. } if code == "conversation_lost");
        all.sort_by_key(|(_, reply, facts, _)| {
            let chat = facts.chat.as_ref().map(|id| (id.chat.len(), id.chat.clone()));
            (!lost(reply), chat)
        });
        for (turn, reply, facts, expected) in &all {
            self.ledger
                .account(turn, reply, facts, *expected, around, &self.stage.cozes)
                .map_err(|why| format!("chat {}: {why}", turn.chat))?;
            self.hear(turn, reply, around);
        }
        if around.company {
            for (turn, reply, facts, expected) in all.iter().filter(|(_, reply, ..)| lost(reply)) {
                self.ledger.account(turn, reply, facts, *expected, around, &self.stage.cozes)?;
            }
        }
        Ok(())
    }

    /// What the client makes of an answer.
    fn hear(&mut self, turn: &Turn, reply: &Reply, around: Around) {
        let coze = &self.stage.cozes[turn.space.coze()];
        let chat = &mut self.chats[turn.chat];
        if !around.away && reply.name.is_some() && turn.name.is_none() {
            chat.own.clone_from(&reply.name);
        }
        if matches!(&reply.outcome, Outcome::Failed { code, .. } if code == "conversation_not_found")
            && chat.name == turn.name
        {
            // It begins anew, with what it has.
            (chat.name, chat.own, chat.delta) = (None, None, false);
        }
        let Outcome::Answered { text, chat: id, .. } = &reply.outcome else { return };
        if turn.delta {
            chat.system.clone_from(&turn.system);
            return;
        }
        let answers = coze.ran(id).map(|ran| ran.answers).unwrap_or_default();
        let cut = crate::ledger::is_cut(turn, text);
        let words = if chat.sloppy {
            text.replace("\r\n", "\n").replace('\u{e9}', "e\u{301}").trim().to_owned()
        } else {
            text.clone()
        };
        // Who keeps other words than Coze has is taken at its own.
        let stored = if cut { vec![words.clone()] } else { answers };
        chat.said = turn.before.clone();
        chat.said.extend(turn.new.iter().cloned().map(Said::User));
        chat.said.push(Said::Bot { words, stored });
        chat.system.clone_from(&turn.system);
    }

    fn release_after(&self, time: Duration, gates: Vec<CancellationToken>) {
        if !gates.is_empty() {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                gates.iter().for_each(CancellationToken::cancel);
            });
        }
    }

    /// Nothing is left behind.
    async fn end(&mut self) -> Result<(), String> {
        self.log.push("the end".to_owned());
        self.release().await?;
        self.stage.silence().await?;
        self.stage.quiet().await?;
        // Leases of gateways that were killed run out by themselves.
        let end = tokio::time::Instant::now() + PATIENCE;
        while self.stage.lent().await > 0 {
            if tokio::time::Instant::now() > end {
                return Err(format!("{} conversations are still lent", self.stage.lent().await));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Coze notices in its own time that nobody reads any more.
        let open = || self.stage.cozes.iter().map(cozeway::simulator::Simulator::open_streams).sum::<usize>();
        until(|| open() == 0).await.map_err(|()| format!("{} answers of Coze are still open", open()))?;
        for name in ["main", "side"] {
            // Where deltas make sense.
            let shows_all = |chat: &usize| MODELS[self.chats[*chat].space.model].takes_deltas();
            for chat in (0..self.chats.len()).filter(shows_all).take(4).collect::<Vec<_>>() {
                let turn = Turn {
                    name: Some(name.to_owned()),
                    delta: true,
                    before: Vec::new(),
                    system: None,
                    ..Turn::of(chat, &self.chats[chat], vec![format!("the end of {name} {chat}")])
                };
                let busy = self.stage.busy();
                self.turns(vec![turn], Around::default()).await?;
                if self.stage.busy() > busy {
                    return Err(format!("{name} was in somebody's hands"));
                }
            }
        }
        Ok(())
    }
}

impl Turn {
    /// A plain turn of a chat.
    pub(crate) fn of(index: usize, chat: &Chat, new: Vec<String>) -> Self {
        Self {
            chat: index,
            replica: 0,
            space: chat.space.clone(),
            name: chat.name.clone(),
            delta: chat.delta,
            system: chat.system.clone(),
            before: if chat.delta { Vec::new() } else { chat.said.clone() },
            new,
            stream: false,
            stop: false,
            leaves: Leaves::Never,
            trouble: None,
            asked: 0,
            choices: 1,
            salt: 0,
        }
    }
}

/// What happens to the store around turns, in a line.
fn weather(around: Around) -> Option<String> {
    let how = if around.is_killed { "is killed" } else { "is away" };
    match around {
        Around { away: true, .. } => Some(format!("  before that the store {how}")),
        Around { away_later: true, .. } => Some(format!("  once the bot is asked the store {how}")),
        Around { crash: Some(crash), .. } => Some(format!("  meanwhile the store is killed: {crash:?}")),
        Around { lost: Some(lost), .. } => Some(format!("  meanwhile the answers to a {lost:?} are lost")),
        _ => None,
    }
}

fn told(reply: &Reply) -> String {
    let note = reply.note.as_deref().unwrap_or("-");
    let name = reply.name.as_deref().unwrap_or("-");
    match &reply.outcome {
        Outcome::Answered { text, chat, .. } => format!("{note}, {name}, chat {chat}: {text:?}"),
        Outcome::Failed { status, code, message } => format!("{status} {code}: {message} ({note}, {name})"),
        Outcome::Left { heard } => format!("has left (heard: {heard}; {note}, {name})"),
    }
}
