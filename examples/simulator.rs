//! The simulated Coze alone, on a port of its own: for a gateway that is
//! started, stopped and configured by whoever tests it.
//!
//! ```text
//! cargo run --example simulator
//! ```
//!
//! It prints one line of JSON: `base_url` and `token` are a deployment's in
//! the gateway's config, `bots` has its bots by name, and `flows` the entries
//! of its workflows and chatflows for the config, by name. They are those of the
//! demonstration, but say all at once; only the `slow` bot is silent for two
//! seconds first, and a bot more, `steady`, speaks word by word.
//! Everything is forgotten when it ends.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use cozeway::simulator::{Behaviour, Bot, DEMO_TOKEN, Options, Simulator, demo_flows};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long the `slow` bot says nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// The time between two words of the `steady` bot.
const PACE: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut options = Options { silence: SILENCE, ..Options::instant() };
    let steady = Bot::new("7530512345678900099", "steady", Behaviour::Storyteller);
    options.bots.push(Bot { pace: Some(PACE), ..steady });
    let bots: serde_json::Map<String, Value> =
        options.bots.iter().map(|bot| (bot.name.clone(), bot.id.as_str().into())).collect();
    let flows: serde_json::Map<String, Value> =
        demo_flows().iter().map(|flow| (flow.name.to_owned(), flow.entry.into())).collect();
    let base_url = format!("http://{}", listener.local_addr()?);
    writeln!(
        io::stdout(),
        "{}",
        json!({ "base_url": base_url, "token": DEMO_TOKEN, "bots": bots, "flows": flows })
    )?;
    Simulator::new(options).serve(listener).await;
    Ok(())
}
