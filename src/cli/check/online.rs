//! `cozeway check --online`: asks Coze about each model.
//!
//! In come the models of a config, out comes what was found, check by check,
//! with what to do about each failure. Runs no bot and no workflow; what it
//! makes at Coze it takes away again, but for a file of a few bytes.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::advice::{self, Found};
use super::upload::upload;
use crate::catalog::Model;
use crate::config::Snapshot;
use crate::coze::client::Plain;
use crate::coze::oauth::skew;
use crate::coze::token::Source;
use crate::coze::{Bearer, Call, Callee, Kind, Target, conversation, inventory};
use crate::secret::Secret;
use crate::turn::{Failure, Kind as Why};

/// How long Coze may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What was found of all models.
#[derive(Debug, Serialize)]
pub(super) struct Online {
    pub(super) ok: bool,
    pub(super) models: Vec<Examined>,
}

/// What was found of one model.
#[derive(Debug, Serialize)]
pub(super) struct Examined {
    pub(super) model: String,
    pub(super) ok: bool,
    pub(super) checks: Vec<Finding>,
}

impl Examined {
    /// One line a check.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nonline {}", self.model)?;
        for Finding { check, status, says, todo } in &self.checks {
            let status = match status {
                Status::Ok => "ok",
                Status::Failed => "FAILED",
                Status::Skipped => "skipped",
            };
            write!(out, "  {status:<10} {check}")?;
            for (sign, text) in [(":", says), (" ->", todo)] {
                if let Some(text) = text {
                    write!(out, "{sign} {text}")?;
                }
            }
            out.push('\n');
        }
        Ok(())
    }
}

/// What one check came to.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) status: Status,
    /// What is wrong, or why it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) says: Option<String>,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) todo: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Failed,
    /// It could not be checked, or there is nothing to check.
    Skipped,
}

/// Examines one model after the other.
pub(super) async fn examine(snapshot: &Snapshot) -> Online {
    let mut models = Vec::new();
    for model in snapshot.catalog.models() {
        models.push(Examination::of(model).await);
    }
    Online { ok: models.iter().all(|model| model.ok), models }
}

/// One model while it is examined.
struct Examination<'m> {
    target: &'m Target,
    checks: Vec<Finding>,
}

impl<'m> Examination<'m> {
    async fn of(model: &'m Model) -> Examined {
        let mut examination = Self { target: &model.target, checks: Vec::new() };
        examination.run().await;
        let ok = !examination.checks.iter().any(|finding| finding.status == Status::Failed);
        Examined { model: model.name.clone(), ok, checks: examination.checks }
    }

    async fn run(&mut self) {
        let Ok(bearer) = self.target.bearer(None) else { return self.without_token().await };
        let token = match tokio::time::timeout(ANSWER, bearer.token()).await {
            Ok(Ok(token)) => token,
            Ok(Err(failure)) if is_away(&failure) => return self.failed("reachable", &failure, Found::Away),
            Ok(Err(failure)) => {
                return self.without_app(&failure).await;
            }
            Err(_) => return self.failed("reachable", &late(), Found::Away),
        };
        let cloud = self.target.deployment.kind == Kind::Cloud;
        let first = if cloud { inventory::me() } else { self.own_call() };
        let Some(plain) = self.reach(&first, &token).await else { return };
        if let Some(failure) = plain.failure.as_ref().filter(|failure| is_of_token(failure, &plain)) {
            return self.failed("token", failure, Found::Token);
        }
        self.ok("token");
        if cloud {
            self.ok("region");
        }
        self.clock(&plain);
        match &self.target.callee {
            Callee::Bot(bot) => {
                self.bot(&bot.id, &bearer).await;
                self.upload(&bearer).await;
            }
            Callee::Workflow(workflow) => {
                self.workflow(&bearer).await;
                if let Some(id) = workflow.within.as_ref().and_then(|within| within.bot()) {
                    self.bot(id, &bearer).await;
                }
            }
            Callee::Chatflow(chatflow) => {
                self.workflow(&bearer).await;
                match chatflow.within.bot() {
                    Some(id) => self.bot(id, &bearer).await,
                    None => self.skipped("conversation", "those of an app are made by its first chat"),
                }
                self.upload(&bearer).await;
            }
        }
    }

    /// Coze gives the app no token: because of the clock, perhaps.
    async fn without_app(&mut self, failure: &Failure) {
        let Some(plain) = self.reach(&self.own_call(), &Secret::new("none")).await else { return };
        match skew(plain.date, SystemTime::now()) {
            Some(says) => self.failed("clock", &Failure::new(Why::Auth, says), Found::Clock),
            None => self.failed("token", failure, Found::OAuth),
        }
    }

    /// In mode passthrough only the way there can be checked.
    async fn without_token(&mut self) {
        if self.reach(&self.own_call(), &Secret::new("none")).await.is_some() {
            self.skipped("token", "callers bring their own");
        }
    }

    /// The call that tells most of this very model.
    fn own_call(&self) -> Call {
        match &self.target.callee {
            Callee::Bot(bot) => inventory::bot(&bot.id),
            Callee::Workflow(_) | Callee::Chatflow(_) => inventory::workflow(self.target.callee.id()),
        }
    }

    /// Whether an API of Coze's answers.
    async fn reach(&mut self, call: &Call, token: &Secret) -> Option<Plain> {
        let asked = self.target.deployment.client.ask_plainly(call, token);
        let answer = tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()));
        match answer {
            Err(failure) => self.failed("reachable", &failure.without(token.expose()), Found::Away),
            Ok(plain) if plain.failure.as_ref().is_some_and(|failure| failure.kind == Why::Unsupported) => {
                self.failed("reachable", &old(), Found::OtherKind);
            }
            Ok(plain) if plain.failure.is_none() && !is_json(&plain) => {
                let says = format!("what answers there is no API of Coze (status {})", plain.status.as_u16());
                self.failed("reachable", &Failure::new(Why::Broken, says), Found::NoApi);
            }
            Ok(plain) => {
                self.ok("reachable");
                let failure = plain.failure.map(|failure| failure.without(token.expose()));
                return Some(Plain { failure, ..plain });
            }
        }
        None
    }

    /// A JWT says when it was made.
    fn clock(&mut self, plain: &Plain) {
        if !matches!(self.target.token.as_deref(), Some(Source::OAuth(_))) {
            return;
        }
        match skew(plain.date, SystemTime::now()) {
            Some(says) => self.failed("clock", &Failure::new(Why::Auth, says), Found::Clock),
            None if plain.date.is_none() => self.skipped("clock", "Coze does not say what time it is"),
            None => self.ok("clock"),
        }
    }

    /// Whether a bot exists, is the token's user's, and is published; then
    /// whether one could talk to it.
    async fn bot(&mut self, id: &str, bearer: &Bearer) {
        let names = ["bot", "owner", "published"];
        let failure = match self.fetch(&inventory::bot(id), bearer).await {
            Ok(_) => {
                names.into_iter().for_each(|name| self.ok(name));
                return self.conversation(id, bearer).await;
            }
            Err(failure) => failure,
        };
        let found = advice::of_bot(&failure);
        let check = match found {
            Found::NoOwner => "owner",
            Found::NotPublished => "published",
            _ => "bot",
        };
        // What comes before the check that fails was good.
        for name in names.into_iter().take_while(|name| *name != check) {
            self.ok(name);
        }
        self.failed(check, &failure, found);
    }

    /// Whether a workflow is published, as far as that can be known without
    /// running it.
    async fn workflow(&mut self, bearer: &Bearer) {
        const NO_CHATFLOW: i64 = 777_777_780;
        let is_chatflow = matches!(self.target.callee, Callee::Chatflow(_));
        match self.fetch(&inventory::workflow(self.target.callee.id()), bearer).await {
            Ok(_) => self.ok("workflow"),
            Err(failure) if failure.coze_code == Some(NO_CHATFLOW) && !is_chatflow => {
                self.skipped("workflow", "Coze Studio says nothing of it unless it is run");
            }
            Err(failure) if failure.kind == Why::Unsupported => {
                self.skipped("workflow", "this Coze says nothing of it unless it is run");
            }
            Err(failure) => {
                let found = advice::of_workflow(&failure);
                self.failed("workflow", &failure, found);
            }
        }
    }

    /// Whether a conversation can be made; it is deleted again.
    async fn conversation(&mut self, bot: &str, bearer: &Bearer) {
        let made = match self.fetch(&conversation::create(bot), bearer).await {
            Ok(body) => conversation::made(&body),
            Err(failure) => return self.failed("conversation", &failure, Found::NoConversation),
        };
        let Some(id) = made else {
            let failure = Failure::new(Why::Broken, "Coze made a conversation and does not say which");
            return self.failed("conversation", &failure, Found::NoConversation);
        };
        match self.fetch(&conversation::delete(&id), bearer).await {
            Ok(_) => self.ok("conversation"),
            Err(failure) => {
                let says = format!("the conversation {id} was made, but not deleted again: {failure}");
                self.failed("conversation", &Failure { message: says, ..failure }, Found::NoConversation);
            }
        }
    }

    /// Whether Coze takes a file, if all else is well.
    async fn upload(&mut self, bearer: &Bearer) {
        if self.checks.iter().any(|finding| finding.status == Status::Failed) {
            return;
        }
        let asked = tokio::time::timeout(ANSWER, upload(self.target, bearer)).await;
        match asked.unwrap_or_else(|_| Err(late())) {
            Ok(()) => self.ok("upload"),
            Err(failure) => self.failed("upload", &failure, Found::NoUpload),
        }
    }

    async fn fetch(&self, call: &Call, bearer: &Bearer) -> Result<bytes::Bytes, Failure> {
        let asked = bearer.fetch(&self.target.deployment.client, call);
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()))
    }

    fn ok(&mut self, check: &'static str) {
        self.checks.push(Finding { check, status: Status::Ok, says: None, todo: None });
    }

    fn skipped(&mut self, check: &'static str, why: &str) {
        self.checks.push(Finding { check, status: Status::Skipped, says: Some(why.to_owned()), todo: None });
    }

    fn failed(&mut self, check: &'static str, failure: &Failure, found: Found) {
        let detail = failure.detail.as_deref().filter(|_| is_away(failure));
        let says = match detail {
            Some(detail) => format!("{failure} ({detail})"),
            None => failure.to_string(),
        };
        let todo = Some(advice::on(found, self.target));
        self.checks.push(Finding { check, status: Status::Failed, says: Some(one_line(&says)), todo });
    }
}

/// Whether nobody has answered.
fn is_away(failure: &Failure) -> bool {
    matches!(failure.kind, Why::Unreachable(_) | Why::Timeout | Why::Broken | Why::RateLimited(_))
}

/// Whether it is the token that is refused, and not what it is for.
fn is_of_token(failure: &Failure, plain: &Plain) -> bool {
    match failure.coze_code {
        Some(700_012_006) => true,
        // A proxy's 401 is told as this, too; a 403 is no word on the token.
        Some(4100) => plain.status != http::StatusCode::FORBIDDEN,
        _ => false,
    }
}

fn is_json(plain: &Plain) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(&plain.body).is_ok()
}

fn late() -> Failure {
    Failure::new(Why::Timeout, "Coze did not answer in time.")
}

fn old() -> Failure {
    Failure::new(Why::Unsupported, "this Coze does not have the API that was asked for")
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect();
    words.join(" ")
}
