//! The simulated Coze alone, on a port of its own: for a gateway that is
//! started, stopped and configured by whoever tests it.
//!
//! ```text
//! cargo run --example simulator
//! ```
//!
//! It prints one line of JSON: `base_url` and `token` are a deployment's in
//! the gateway's config, `bots` has the demonstration's bots by name. Nobody
//! waits for anything but the `slow` bot, which is silent for two seconds.
//! Everything is forgotten when it ends.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use cozeway::simulator::{DEMO_TOKEN, Options, Simulator, demo_bots};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long the `slow` bot says nothing.
const SILENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let bots: serde_json::Map<String, Value> =
        demo_bots().iter().map(|bot| (bot.name.to_owned(), bot.bot_id.into())).collect();
    let base_url = format!("http://{}", listener.local_addr()?);
    writeln!(io::stdout(), "{}", json!({ "base_url": base_url, "token": DEMO_TOKEN, "bots": bots }))?;
    Simulator::new(Options { silence: SILENCE, ..Options::instant() }).serve(listener).await;
    Ok(())
}
