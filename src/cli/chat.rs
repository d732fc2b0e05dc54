//! `cozeway chat`: a gateway from the terminal.

#![expect(clippy::print_stderr, reason = "a program for the terminal")]

use std::io::Write as _;

use anyhow::{Context as _, bail};
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Stop, runtime};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The model to talk to
    model: String,
    /// What to say; without it a conversation, line by line
    text: Option<String>,
    /// The gateway's address, with or without /v1
    #[arg(long, default_value = "http://127.0.0.1:8787", env = "COZEWAY_URL")]
    url: String,
    /// A key for it
    #[arg(long, env = "COZEWAY_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key.
        f.debug_struct("Args").field("model", &self.model).field("url", &self.url).finish_non_exhaustive()
    }
}

/// Talks to a gateway.
pub(super) fn run(args: Args) -> Result<(), Stop> {
    runtime()?.block_on(async {
        let http = client(&args.url)?;
        match &args.text {
            Some(text) => once(&http, &args, text).await?,
            None => converse(&http, &args).await?,
        }
        Ok(())
    })
}

/// What asks the gateway. A proxy of the environment does not lead to this
/// machine's own addresses.
fn client(url: &str) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder();
    let local = url::Url::parse(url).is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    });
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().context("cannot prepare requests")
}

/// Asks one question and streams the answer to standard output.
async fn once(http: &reqwest::Client, session: &Args, text: &str) -> anyhow::Result<()> {
    let messages = [json!({ "role": "user", "content": text })];
    answer(http, session, &messages).await?;
    Ok(())
}

/// A conversation, line by line from standard input. A failed turn is shown
/// and taken back, so that it can be tried again.
async fn converse(http: &reqwest::Client, session: &Args) -> anyhow::Result<()> {
    let mut messages: Vec<Value> = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        eprint!("> ");
        let Some(line) = lines.next_line().await.context("cannot read standard input")? else {
            eprintln!();
            return Ok(());
        };
        if line.trim().is_empty() {
            continue;
        }
        messages.push(json!({ "role": "user", "content": line }));
        match answer(http, session, &messages).await {
            Ok(text) => messages.push(json!({ "role": "assistant", "content": text })),
            Err(error) => {
                eprintln!("{error:#}");
                messages.pop();
            }
        }
    }
}

/// Streams one answer to standard output, its thinking to standard error;
/// gives its text.
async fn answer(http: &reqwest::Client, session: &Args, messages: &[Value]) -> anyhow::Result<String> {
    let base = session.url.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let body = json!({ "model": session.model, "stream": true, "messages": messages });
    let mut request = http
        .post(format!("{base}/v1/chat/completions"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string());
    if let Some(key) = &session.key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.with_context(|| format!("cannot reach {base}"))?;
    if !response.status().is_success() {
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        bail!(
            "{}",
            message_of(&text).unwrap_or_else(|| format!("the gateway answered with status {status}"))
        );
    }
    let mut events = response.bytes_stream().eventsource();
    let mut text = String::new();
    let mut out = std::io::stdout();
    while let Some(event) = events.next().await {
        let event = event.context("the answer broke off")?;
        if event.data == "[DONE]" {
            writeln!(out)?;
            return Ok(text);
        }
        if let Some(message) = message_of(&event.data) {
            writeln!(out)?;
            bail!("{message}");
        }
        let chunk: Value = serde_json::from_str(&event.data).context("the gateway sent what is no JSON")?;
        let delta = |name| chunk.pointer("/choices/0/delta").and_then(|delta| delta.get(name)?.as_str());
        if let Some(thinking) = delta("reasoning_content") {
            eprint!("{thinking}");
        }
        if let Some(piece) = delta("content") {
            text.push_str(piece);
            write!(out, "{piece}")?;
            out.flush()?;
        }
    }
    writeln!(out)?;
    bail!("the answer broke off before it was complete")
}

/// The message of an error body or event.
fn message_of(json: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    value.pointer("/error/message")?.as_str().map(str::to_owned)
}
