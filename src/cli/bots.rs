//! `cozeway bots`: what the tokens of a config can reach, as entries for its
//! models.
//!
//! In comes a config, which may have no models yet; out comes TOML on standard
//! output, and on standard error what could not be had. Tokens are not shown.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::{ConfigArgs, Stop, env, explain, print, runtime};
use crate::config::Snapshot;
use crate::coze::inventory::{self, Listed, Page};
use crate::coze::token::Source;
use crate::coze::{Bearer, Call, Deployment, Kind, is_id};
use crate::turn::{Failure, Kind as Why};

/// How long Coze may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The most pages that are read of one list.
const MAX_PAGES: usize = 200;

/// The longest name of a model, in characters.
const MAX_NAME: usize = 128;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Bots to look for by their ids. Coze Studio has no list: there it takes
    /// them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

/// A token with the Coze that takes it.
struct Access {
    deployment: Arc<Deployment>,
    source: Arc<Source>,
}

/// What was found, and what went wrong on the way.
#[derive(Default)]
struct Harvest {
    text: String,
    names: BTreeSet<String>,
    /// Deployment and id of each bot that is shown.
    seen: BTreeSet<(String, String)>,
    faults: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<(), Stop> {
    if let Some(wrong) = args.ids.iter().find(|id| !is_id(id)) {
        return Err(Stop::Wrong(format!("cozeway: {wrong:?} is not the id of a bot: decimal digits")));
    }
    let snapshot = args.config.source()?.load_draft(&env)?;
    let all = accesses(&snapshot);
    if all.is_empty() {
        return Err(anyhow!("the config has no token of its own to ask Coze with").into());
    }
    let mut harvest = Harvest::of(&snapshot);
    runtime()?.block_on(async {
        if args.ids.is_empty() {
            for access in &all {
                harvest.list(access).await;
            }
        }
        for id in &args.ids {
            harvest.find(id, &all).await;
        }
    });
    print(&harvest.text)?;
    for fault in &harvest.faults {
        explain(&format!("cozeway: {fault}"));
    }
    match harvest.faults.len() {
        0 => Ok(()),
        count => Err(anyhow!("{count} of these could not be had").into()),
    }
}

/// Every token once.
fn accesses(snapshot: &Snapshot) -> Vec<Access> {
    let of_models = snapshot.catalog.models().filter_map(|model| {
        let target = &model.target;
        Some((Arc::clone(&target.deployment), Arc::clone(target.token.as_ref()?)))
    });
    let mut all: Vec<Access> = Vec::new();
    for (deployment, source) in snapshot.tokens.iter().cloned().chain(of_models) {
        let known = |access: &Access| access.deployment == deployment && access.source == source;
        if !all.iter().any(known) {
            all.push(Access { deployment, source });
        }
    }
    all
}

impl Access {
    async fn fetch(&self, call: &Call) -> Result<bytes::Bytes, Failure> {
        let bearer = Bearer::Source(Arc::clone(&self.source));
        let asked = bearer.fetch(&self.deployment.client, call);
        let late = || Err(Failure::new(Why::Timeout, "Coze did not answer in time."));
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| late())
    }

    /// All pages of a list, and whether that is the whole of it. A page may
    /// be shorter than was asked for: only the number of all entries, or an
    /// empty page, says that there is no other.
    async fn pages<T: PartialEq>(
        &self,
        call: impl Fn(usize) -> Call,
        read: impl Fn(&[u8]) -> Option<Page<T>>,
    ) -> Result<(Vec<T>, bool), Failure> {
        let mut all = Vec::new();
        let mut passed = 0;
        for number in 1..=MAX_PAGES {
            let body = self.fetch(&call(number)).await?;
            let Page { entries, count, total } = read(&body)
                .ok_or_else(|| Failure::new(Why::Broken, "Coze's answer to that makes no sense."))?;
            // Then the number of the page is not heeded.
            let stuck = !entries.is_empty() && entries.iter().all(|entry| all.contains(entry));
            if stuck {
                return Ok((all, false));
            }
            passed += count;
            all.extend(entries);
            if count == 0 || total.is_some_and(|total| passed >= total) {
                return Ok((all, true));
            }
        }
        Ok((all, false))
    }
}

impl Harvest {
    fn of(snapshot: &Snapshot) -> Self {
        let names = snapshot.catalog.names().map(|(name, _)| name.to_owned()).collect();
        Self { names, ..Self::default() }
    }

    /// Every bot that a cloud lists.
    async fn list(&mut self, access: &Access) {
        let name = &access.deployment.name;
        if access.deployment.kind == Kind::Studio {
            self.faults.push(format!(
                "{name}: Coze Studio has no list of bots. Give ids: cozeway bots ID…, \
                 the numbers behind /bot/ in the addresses of their pages"
            ));
            return;
        }
        let spaces = match access.pages(inventory::spaces, inventory::read_spaces).await {
            Ok((spaces, whole)) => {
                self.cut(name, "the workspaces", spaces.len(), whole);
                spaces
            }
            Err(failure) => return self.fault(name, "the workspaces", &failure),
        };
        for space in &spaces {
            let bots = access.pages(|page| inventory::bots(&space.id, page), inventory::read_bots).await;
            let what = format!("the bots of the workspace {:?}", space.name);
            let bots = match bots {
                Ok((bots, whole)) => {
                    self.cut(name, &what, bots.len(), whole);
                    bots
                }
                Err(failure) => {
                    self.fault(name, &what, &failure);
                    continue;
                }
            };
            let _ =
                writeln!(self.text, "# {name}, workspace {}: {} published", plain(&space.name), bots.len());
            for bot in bots {
                self.entry(access, &bot);
            }
        }
    }

    /// One bot, with whatever token reaches it.
    async fn find(&mut self, id: &str, all: &[Access]) {
        let mut faults = Vec::new();
        for access in all {
            match access.fetch(&inventory::bot(id)).await {
                Ok(body) => match inventory::read_bot(&body) {
                    Some(bot) => return self.entry(access, &Listed { id: id.to_owned(), ..bot }),
                    None => faults.push(format!("{}: Coze's answer makes no sense", access.deployment.name)),
                },
                Err(failure) => faults.push(format!("{}: {failure}", access.deployment.name)),
            }
        }
        self.faults.push(format!("bot {id}: {}", faults.join("; ")));
    }

    /// Says of a list that is not whole that it is not.
    fn cut(&mut self, name: &str, what: &str, count: usize, whole: bool) {
        if !whole {
            self.faults
                .push(format!("{name}: {what}: only the first {count} are listed; give ids for others"));
        }
    }

    fn fault(&mut self, name: &str, what: &str, failure: &Failure) {
        self.faults.push(format!("{name}: {what}: {failure}"));
    }

    fn entry(&mut self, access: &Access, bot: &Listed) {
        let deployment = &access.deployment.name;
        if !self.seen.insert((deployment.clone(), bot.id.clone())) {
            return;
        }
        let name = self.name(bot);
        // Writing to a String cannot fail.
        let out = &mut self.text;
        let _ = writeln!(out, "\n[models.{}]", key(&name));
        let _ = writeln!(out, "coze = {}", string(deployment));
        let _ = writeln!(out, "bot_id = {}", string(&bot.id));
        if !bot.description.trim().is_empty() {
            let _ = writeln!(out, "description = {}", string(bot.description.trim()));
        }
        out.push('\n');
    }

    /// A name that no model has yet.
    fn name(&mut self, bot: &Listed) -> String {
        let fits = |c: char| if c.is_whitespace() || c.is_control() || c == '*' { '-' } else { c };
        let name: String = bot.name.trim().chars().map(fits).take(MAX_NAME - 24).collect();
        let name = if name.is_empty() { format!("bot-{}", bot.id) } else { name };
        let mut free = name.clone();
        let mut count = 1;
        while !self.names.insert(free.clone()) {
            count += 1;
            free = format!("{name}-{count}");
        }
        free
    }
}

/// A key of a table, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A string of the config: `${…}` means nothing in it.
fn string(text: &str) -> String {
    quoted(text).replace("${", "$${")
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Text for a comment, which a line break would end.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bot_is_called_cannot_break_the_toml() {
        let hostile = "a\"]\n[auth]\u{7f}\\ ${HOME}";
        let text = format!("{} = {}", key(hostile), string(hostile));
        assert_eq!(text.lines().count(), 1);
        let table: toml::Table = text.parse().unwrap();
        let (name, value) = table.iter().next().unwrap();
        assert_eq!(name, hostile);
        assert_eq!(value.as_str().unwrap(), hostile.replace("${", "$${"));
        assert_eq!((key("a-b_1"), key("a.b")), ("a-b_1".to_owned(), "\"a.b\"".to_owned()));
    }

    #[test]
    fn no_two_models_have_one_name() {
        let mut harvest = Harvest { names: ["support".to_owned()].into(), ..Harvest::default() };
        let mut name = |name: &str| {
            harvest.name(&Listed { id: "7".to_owned(), name: name.to_owned(), description: String::new() })
        };
        assert_eq!(name("support"), "support-2");
        assert_eq!(name("My *bot"), "My--bot");
        assert_eq!(name("My *bot"), "My--bot-2");
        assert_eq!(name(" "), "bot-7");
        assert_eq!(name(&"你".repeat(200)).chars().count(), MAX_NAME - 24);
    }
}
