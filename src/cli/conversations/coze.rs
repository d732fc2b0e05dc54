//! `cozeway conversations show` and `clear`: what Coze holds of a conversation.
//!
//! In comes a name or an id, out come Coze's messages, or word that they count
//! no more. What is remembered of the conversation is changed first.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::{ConfigArgs, OwnerArgs, PAGE, Shown, load, open, print, runtime};
use crate::cli::Stop;
use crate::config::Snapshot;
use crate::conversation::{LEASE, Place, Record};
use crate::coze::messages::{self, Listing, Page, Until};
use crate::coze::{Bearer, Call, Target, conversation, error};
use crate::store::{By, Claimed, Entry, Listed, Outcome, Store};
use crate::turn::{Attachment, Failure, Kind, Message, Role, Source};

/// How long Coze may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The most messages that are shown, the newest ones.
const MAX_MESSAGES: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its id (conv_…) or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Also what was said before the conversation was cleared
    #[arg(long, env = "COZEWAY_ALL", value_parser = clap::builder::FalseyValueParser::new())]
    all: bool,
    /// Show it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Clear {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its id (conv_…) or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Say it as JSON
    #[arg(long, env = "COZEWAY_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

/// A conversation, and the way to it.
struct Found {
    listed: Listed,
    place: Place,
    target: Target,
    bearer: Bearer,
}

/// A message as it is shown.
#[derive(Serialize)]
struct ShownMessage<'m> {
    role: &'static str,
    text: &'m str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'m str>,
}

pub(super) fn show(args: Show) -> Result<(), Stop> {
    let snapshot = load(args.config)?;
    let store = open(&snapshot)?;
    let listing = runtime()?.block_on(async {
        let found = find(&*store, &snapshot, &args.name, &args.owner).await?;
        let section = found.place.section.clone().filter(|_| !args.all);
        found.list(Listing::new(Until::End, section)).await
    })?;
    let messages = listing.into_messages();
    let shown: Vec<ShownMessage<'_>> = messages.iter().map(ShownMessage::of).collect();
    if args.json {
        let json = serde_json::to_string_pretty(&shown).context("cannot write JSON")?;
        return print(&format!("{json}\n"));
    }
    print(&text(&shown))
}

pub(super) fn clear(args: Clear) -> Result<(), Stop> {
    let snapshot = load(args.config)?;
    let store = open(&snapshot)?;
    let conversation = runtime()?.block_on(async {
        let found = find(&*store, &snapshot, &args.name, &args.owner).await?;
        found.clear(&*store).await?;
        anyhow::Ok(found.place.conversation)
    })?;
    if args.json {
        return print(&format!("{}\n", serde_json::json!({ "cleared": conversation })));
    }
    print(&format!("cleared {conversation}: the bot sees no message of before any more\n"))
}

/// Finds the one conversation with an id or a name.
async fn find(
    store: &dyn Store,
    snapshot: &Snapshot,
    name: &str,
    owner: &OwnerArgs,
) -> anyhow::Result<Found> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(after, PAGE).await.context("cannot list")?;
        let Some(last) = page.last() else { break };
        after = Some(last.entry.id);
        let is_meant = |listed: &Listed| {
            Shown::of(listed).is_some_and(|shown| {
                owner.is_of(&shown) && (shown.id == name || shown.name.as_deref() == Some(name))
            })
        };
        found.extend(page.into_iter().filter(is_meant));
    }
    let listed = match (found.pop(), found.len()) {
        (None, _) => return Err(anyhow!("there is no conversation {name:?}")),
        (Some(one), 0) => one,
        (Some(_), more) => {
            let count = more + 1;
            return Err(anyhow!(
                "{count} conversations are called {name:?}: give an id of `conversations list`, or --key-name and --user"
            ));
        }
    };
    let record =
        Record::from_bytes(&listed.entry.value).context("what is remembered of it cannot be read")?;
    let target = target(snapshot, &record)?;
    if !target.callee.converses() {
        return Err(anyhow!("a workflow keeps no conversation: there is nothing at Coze"));
    }
    let place = record.place.context("nothing of it is at Coze yet")?;
    let bearer = target
        .bearer(None)
        .context("in mode \"passthrough\" there is no token for it: only its client can ask Coze")?;
    Ok(Found { listed, place, target, bearer })
}

/// The model that a conversation is with, or else another one of its
/// deployment: that has a token for it, too.
fn target(snapshot: &Snapshot, record: &Record) -> anyhow::Result<Target> {
    let owner = &record.owner;
    let there = |target: &&Target| target.deployment.name == owner.deployment;
    let targets = || snapshot.catalog.models().map(|model| &model.target).filter(there);
    let same = targets().find(|target| target.callee.id() == owner.target);
    let known = same.or_else(|| targets().find(|target| target.callee.converses()));
    known
        .cloned()
        .with_context(|| format!("the config has no model of the deployment {:?}", owner.deployment))
}

impl Found {
    async fn fetch(&self, call: &Call) -> Result<bytes::Bytes, Failure> {
        let asked = self.bearer.fetch(&self.target.deployment.client, call);
        tokio::time::timeout(ANSWER, asked)
            .await
            .unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "Coze did not answer in time.")))
    }

    async fn list(&self, mut listing: Listing) -> anyhow::Result<Listing> {
        let mut before: Option<String> = None;
        // A page may hold nothing that is shown.
        for _ in 0..MAX_MESSAGES {
            let kind = self.target.deployment.kind;
            let call = messages::list(kind, &self.place.conversation, before.as_deref());
            let body = self.fetch(&call).await.map_err(|failure| told(&failure))?;
            match listing.push(&body) {
                None => return Err(anyhow!("Coze's list of the conversation makes no sense")),
                Some(Page::More(last)) if listing.len() < MAX_MESSAGES => before = Some(last),
                Some(_) => break,
            }
        }
        Ok(listing)
    }

    /// Has Coze begin a new section. Nothing is recognised by what was said
    /// before from the first step on.
    async fn clear(&self, store: &dyn Store) -> anyhow::Result<()> {
        let Entry { id, space, .. } = self.listed.entry;
        let (lease, entry, abandoned) = match store.claim(By::Id { id, space }, LEASE).await? {
            Claimed::Lent { lease, entry, abandoned } => (lease, entry, abandoned),
            Claimed::Busy(_) => return Err(anyhow!("a request is running in it: try again later")),
            Claimed::Absent { .. } | Claimed::Ambiguous => return Err(anyhow!("it is gone by now")),
        };
        let cleared = self.fetch(&conversation::clear(&self.place.conversation)).await;
        let (outcome, failure) = match cleared {
            Ok(body) => (Outcome::Keep(self.cleared(entry, conversation::made(&body))), None),
            // Then nothing has happened there.
            Err(failure) if !is_unsure(&failure) && abandoned => (Outcome::Abandon, Some(failure)),
            Err(failure) if !is_unsure(&failure) => (Outcome::Keep(entry), Some(failure)),
            // It may have: Coze's section tells at the next turn.
            Err(failure) => (Outcome::Keep(Entry { head: None, ..entry }), Some(failure)),
        };
        store.settle(lease, outcome).await.context("cannot store it")?;
        failure.map_or(Ok(()), |failure| Err(told(&failure)))
    }

    /// What is remembered of the conversation from now on.
    fn cleared(&self, entry: Entry, section: Option<String>) -> Entry {
        let mut record = Record::from_bytes(&entry.value).unwrap_or_default();
        record.place = Some(self.place.clone());
        record.clear(entry.space, section);
        Entry { head: None, root: None, value: record.to_bytes(), ..entry }
    }
}

/// Whether Coze may have done what it was asked all the same.
fn is_unsure(failure: &Failure) -> bool {
    failure.may_be_running || matches!(failure.kind, Kind::Timeout | Kind::Broken)
}

fn told(failure: &Failure) -> anyhow::Error {
    if error::is_forgotten(failure) {
        return anyhow!("Coze knows it no more: `cozeway conversations forget` forgets it here, too");
    }
    match &failure.detail {
        Some(detail) => anyhow!("{failure} ({detail})"),
        None => anyhow!("{failure}"),
    }
}

impl<'m> ShownMessage<'m> {
    fn of(message: &'m Message) -> Self {
        Self {
            role: match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            },
            text: &message.text,
            images: message.attachments.iter().filter_map(address).collect(),
        }
    }
}

/// Where an attachment is, as Coze says it.
fn address(attachment: &Attachment) -> Option<&str> {
    match &attachment.source {
        Source::Url(url) => Some(url),
        Source::Kept(id) => Some(id),
        Source::Inline(_) => None,
    }
}

fn text(messages: &[ShownMessage<'_>]) -> String {
    let mut out = String::new();
    for ShownMessage { role, text, images } in messages {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{role}: {}", visible(text));
        for image in images {
            let _ = writeln!(out, "  {}", visible(image));
        }
    }
    if messages.is_empty() {
        out.push_str("no messages\n");
    }
    out
}

/// A text without what could drive the terminal: whoever wrote it may have put
/// anything in.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // So that no line looks like another message.
            '\n' => out.push_str("\n    "),
            '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_can_look_like_another_or_drive_the_terminal() {
        let user = Message::text(Role::User, "one\nassistant: two\u{1b}[2J\ttab");
        let shown = [ShownMessage::of(&user)];
        assert_eq!(text(&shown), "user: one\n    assistant: two\\u{1b}[2J\ttab\n");
        assert_eq!(text(&[]), "no messages\n");
    }
}
