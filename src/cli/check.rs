//! `cozeway check`: what the config comes to, and with `--online` what Coze
//! says of it.
//!
//! In comes a [`Snapshot`], out comes text or JSON. Tokens are shown as
//! `***`, keys and their digests not at all.

mod advice;
mod key;
mod online;
mod tool;
mod upload;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::{ConfigArgs, Stop, env, explain, print, runtime};
use crate::access::Mode;
use crate::catalog::{Memory, Model, Overflow};
use crate::config::Snapshot;
use crate::coze::bot::{Bot, History, Steps};
use crate::coze::token::Source;
use crate::coze::{Callee, Kind};
use crate::store::Place;
use crate::turn::{Extras, Reasoning, SystemRule};
use key::{ShownKey, ShownQuota};
use online::Online;
use tool::ShownTool;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask Coze about each model: exit code 1 if one cannot be used
    #[arg(long, env = "COZEWAY_ONLINE", value_parser = clap::builder::FalseyValueParser::new())]
    online: bool,
    /// Show it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<(), Stop> {
    let snapshot = args.config.source()?.load(&env)?;
    let mut shown = Shown::of(&snapshot);
    if args.online {
        shown.online = Some(runtime()?.block_on(online::examine(&snapshot)));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&shown).context("cannot write JSON")?;
        print(&format!("{json}\n"))?;
    } else {
        print(&shown.to_text())?;
        for note in &snapshot.notes {
            explain(&format!("note: {note}"));
        }
    }
    match shown.online {
        Some(online) if !online.ok => {
            let bad = online.models.iter().filter(|model| !model.ok).count();
            Err(anyhow::anyhow!("{bad} of {} models cannot be used as they are", online.models.len()).into())
        }
        _ => Ok(()),
    }
}

/// What is shown of a config.
#[derive(Serialize)]
struct Shown<'s> {
    listen: String,
    /// The file of the gateway's certificate.
    tls: Option<String>,
    auth: &'static str,
    state: String,
    models: Vec<ShownModel<'s>>,
    keys: Vec<ShownKey<'s>>,
    limits: ShownQuota,
    notes: &'s [String],
    /// What Coze says, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<Online>,
}

#[derive(Serialize)]
struct ShownModel<'s> {
    name: &'s str,
    aliases: &'s [String],
    description: Option<&'s str>,
    coze: &'s str,
    kind: &'static str,
    base_url: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_id: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chatflow_id: Option<&'s str>,
    token: ShownToken,
    /// What it is to an agent.
    tool: ShownTool<'s>,
    system: String,
    /// What a bot is given beside the messages: names, never values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gives: Vec<String>,
    /// How a bot is shown a transcript, if not message by message.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'static str>,
    /// Whether Coze keeps the chats, where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_save_history: Option<bool>,
    /// How a bot's steps are shown, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'static str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    chat: Option<ShownChat>,
}

/// What counts where there are conversations.
#[derive(Serialize)]
struct ShownChat {
    reasoning: &'static str,
    overflow: &'static str,
    memory: &'static str,
    history_rounds: u32,
    cleanup: bool,
}

#[derive(Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
enum ShownToken {
    Config { value: &'static str },
    File { value: &'static str, path: String },
    OAuth { app_id: String, key_id: String, path: String },
    Caller,
}

impl<'s> Shown<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let tools = snapshot.catalog.tools().map(|(tool, model)| (model.name.as_str(), tool)).collect();
        Self {
            listen: snapshot.server.listen.to_string(),
            tls: snapshot.server.tls.as_ref().map(|tls| tls.cert.display().to_string()),
            auth: match snapshot.keys.mode() {
                Mode::Keys => "keys",
                Mode::Passthrough => "passthrough",
                Mode::Open => "none",
            },
            state: match &snapshot.state.place {
                Place::Memory => "memory:".to_owned(),
                Place::Sqlite(path) => format!("sqlite:{}", path.display()),
                Place::Redis(url) => redis(url.expose()),
            },
            models: snapshot.catalog.models().map(|model| ShownModel::of(model, &tools)).collect(),
            keys: snapshot.keys.iter().map(|key| ShownKey::of(key, snapshot)).collect(),
            limits: ShownQuota::of(snapshot.limits),
            notes: &snapshot.notes,
            online: None,
        }
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "listen  {}", self.listen)?;
        if let Some(certificate) = &self.tls {
            writeln!(out, "tls     {certificate}")?;
        }
        writeln!(out, "auth    {}", self.auth)?;
        writeln!(out, "state   {}", self.state)?;
        if let Some(limits) = self.limits.words() {
            writeln!(out, "limits  {limits}")?;
        }
        for model in &self.models {
            writeln!(out, "\nmodel {}", model.name)?;
            if !model.aliases.is_empty() {
                writeln!(out, "  aliases    {}", model.aliases.join(", "))?;
            }
            writeln!(out, "  coze       {} ({}) {}", model.coze, model.kind, model.base_url)?;
            let ids =
                [("bot", model.bot_id), ("workflow", model.workflow_id), ("chatflow", model.chatflow_id)];
            for (kind, id) in ids {
                if let Some(id) = id {
                    writeln!(out, "  {kind:<10} {id}")?;
                }
            }
            match &model.token {
                ShownToken::Config { value } => writeln!(out, "  token      {value} (config)")?,
                ShownToken::File { value, path } => writeln!(out, "  token      {value} (file {path})")?,
                ShownToken::OAuth { app_id, key_id, path } => {
                    writeln!(out, "  token      of the OAuth app {app_id} (key {key_id}, file {path})")?;
                }
                ShownToken::Caller => writeln!(out, "  token      the caller's own")?,
            }
            writeln!(out, "  tool       {}", model.tool)?;
            if !model.gives.is_empty() {
                writeln!(out, "  gives      {}", model.gives.join(", "))?;
            }
            if let Some(history) = model.history {
                writeln!(out, "  history    {history}")?;
            }
            if model.auto_save_history == Some(false) {
                writeln!(out, "  history    not kept by Coze")?;
            }
            if let Some(steps) = model.steps {
                writeln!(out, "  steps      {steps}")?;
            }
            let Some(chat) = &model.chat else {
                writeln!(out, "  rules      system {}", model.system)?;
                continue;
            };
            writeln!(
                out,
                "  rules      system {}, reasoning {}, overflow {}",
                model.system, chat.reasoning, chat.overflow
            )?;
            let cleanup = if chat.cleanup { ", cleanup" } else { "" };
            writeln!(out, "  memory     {}, {} rounds{cleanup}", chat.memory, chat.history_rounds)?;
        }
        self.keys.iter().try_for_each(|key| key.write(out))?;
        self.online.iter().flat_map(|online| &online.models).try_for_each(|model| model.write(out))
    }
}

/// The URL of a Redis without its password.
fn redis(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else {
        return "***".to_owned();
    };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    url.to_string()
}

impl<'s> ShownModel<'s> {
    fn of(model: &'s Model, tools: &BTreeMap<&'s str, &'s str>) -> Self {
        let target = &model.target;
        Self {
            name: &model.name,
            aliases: &model.aliases,
            description: model.description.as_deref(),
            coze: &target.deployment.name,
            kind: match target.deployment.kind {
                Kind::Studio => "studio",
                Kind::Cloud => "cloud",
            },
            base_url: target.deployment.client.base_url(),
            bot_id: matches!(target.callee, Callee::Bot(_)).then(|| target.callee.id()),
            workflow_id: matches!(target.callee, Callee::Workflow(_)).then(|| target.callee.id()),
            chatflow_id: matches!(target.callee, Callee::Chatflow(_)).then(|| target.callee.id()),
            token: match target.token.as_deref() {
                Some(Source::Fixed(_)) => ShownToken::Config { value: "***" },
                Some(Source::File(file)) => {
                    ShownToken::File { value: "***", path: file.path().display().to_string() }
                }
                Some(Source::OAuth(oauth)) => ShownToken::OAuth {
                    app_id: oauth.settings().app_id.clone(),
                    key_id: oauth.settings().key_id.clone(),
                    path: oauth.settings().key_file.display().to_string(),
                },
                None => ShownToken::Caller,
            },
            tool: ShownTool::of(model, tools.get(model.name.as_str()).copied().unwrap_or_default()),
            system: match &model.system {
                SystemRule::Prepend => "prepend".to_owned(),
                SystemRule::Drop => "drop".to_owned(),
                SystemRule::Reject => "reject".to_owned(),
                SystemRule::Variable(name) => format!("variable {name}"),
            },
            gives: gives(&target.callee),
            history: bot(&target.callee).and_then(|bot| (bot.history == History::Flat).then_some("flatten")),
            auto_save_history: bot(&target.callee).and_then(|bot| bot.unsaved.then_some(false)),
            steps: steps(&target.callee),
            chat: target.callee.converses().then(|| ShownChat::of(model)),
        }
    }
}

/// The names of what a bot is given, each with its field.
fn gives(callee: &Callee) -> Vec<String> {
    let Callee::Bot(bot) = callee else { return Vec::new() };
    let Extras { variables, shortcut, params, parameters } = &bot.extras;
    let maps = [("custom_variables", variables), ("extra_params", params), ("parameters", parameters)];
    let entries = maps.iter().flat_map(|(field, map)| map.keys().map(move |name| format!("{field}.{name}")));
    entries.chain(shortcut.iter().map(|shortcut| format!("shortcut_command {}", shortcut.command))).collect()
}

fn bot(callee: &Callee) -> Option<&Bot> {
    match callee {
        Callee::Bot(bot) => Some(bot),
        Callee::Workflow(_) | Callee::Chatflow(_) => None,
    }
}

fn steps(callee: &Callee) -> Option<&'static str> {
    match callee {
        Callee::Bot(bot) => match bot.steps {
            Steps::Hidden => None,
            Steps::Reasoning => Some("reasoning"),
            Steps::Listed => Some("coze"),
        },
        Callee::Workflow(_) | Callee::Chatflow(_) => None,
    }
}

impl ShownChat {
    fn of(model: &Model) -> Self {
        Self {
            reasoning: match model.reasoning {
                Reasoning::Field => "field",
                Reasoning::Both => "both",
                Reasoning::Think => "think",
                Reasoning::Drop => "drop",
            },
            overflow: match model.overflow {
                Overflow::Trim => "trim",
                Overflow::Reject => "reject",
            },
            memory: match model.memory {
                Memory::Auto => "auto",
                Memory::Explicit => "explicit",
                Memory::Off => "off",
            },
            history_rounds: model.history_rounds,
            cleanup: model.cleanup,
        }
    }
}
