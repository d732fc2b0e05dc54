//! `cozeway chat`: a gateway from the terminal.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::secret::Secret;

/// Where to, and as whom.
#[derive(Clone, Debug)]
pub struct Session {
    /// The gateway's address, with or without `/v1`.
    pub url: String,
    /// A key for it.
    pub key: Option<Secret>,
    /// The model to talk to.
    pub model: String,
}

/// Asks one question and streams the answer to standard output.
///
/// # Errors
/// If the gateway cannot be reached or the answer fails.
pub async fn once(session: &Session, text: &str) -> anyhow::Result<()> {
    let messages = [json!({ "role": "user", "content": text })];
    answer(&reqwest::Client::new(), session, &messages).await?;
    Ok(())
}

/// A conversation, line by line from standard input. A failed turn is shown
/// and taken back, so that it can be tried again.
///
/// # Errors
/// If standard input cannot be read.
pub async fn converse(session: &Session) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
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
        match answer(&http, session, &messages).await {
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
async fn answer(http: &reqwest::Client, session: &Session, messages: &[Value]) -> anyhow::Result<String> {
    let base = session.url.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let body = json!({ "model": session.model, "stream": true, "messages": messages });
    let mut request = http
        .post(format!("{base}/v1/chat/completions"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string());
    if let Some(key) = &session.key {
        request = request.bearer_auth(key.expose());
    }
    let response = request.send().await.with_context(|| format!("cannot reach {base}"))?;
    if !response.status().is_success() {
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        bail!("{}", message_of(&text).unwrap_or_else(|| format!("the gateway answered with status {status}")));
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
        let delta = &chunk["choices"][0]["delta"];
        if let Some(thinking) = delta["reasoning_content"].as_str() {
            eprint!("{thinking}");
        }
        if let Some(piece) = delta["content"].as_str() {
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
    value["error"]["message"].as_str().map(str::to_owned)
}
