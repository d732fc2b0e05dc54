//! `cozeway demo`: a gateway in front of a simulated Coze, in one process.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::reload::Origin;
use super::{LogArgs, Stop, print, runtime, serve};
use crate::config::{self, Snapshot};
use crate::simulator::{DEMO_TOKEN, Options, Simulator, demo_bots, demo_flows};

/// The key of the demonstration. It opens nothing but simulated bots.
const DEMO_KEY: &str = "sk-cozeway-demo-key";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787", env = "COZEWAY_LISTEN")]
    listen: SocketAddr,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs the demonstration until it is told to stop.
pub(super) fn run(args: Args) -> Result<(), Stop> {
    args.log.init()?;
    runtime()?.block_on(async {
        let coze = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen for the simulated Coze")?;
        let upstream = coze.local_addr().context("the simulated Coze has no address")?;
        let simulator = Simulator::new(Options::demo());
        let serving = tokio::spawn(async move { simulator.serve(coze).await });
        let snapshot = snapshot(args.listen, upstream)?;
        let result = serve::gateway(snapshot, Origin::Fixed, |address| print(&welcome(address))).await;
        serving.abort();
        result
    })
}

/// The config of the demonstration, by the way that every config goes.
fn snapshot(listen: SocketAddr, upstream: SocketAddr) -> Result<Snapshot, Stop> {
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\n\n\
         [state]\nurl = \"memory:\"\n\n\
         [coze.demo]\nbase_url = \"http://{upstream}\"\ntoken = \"{DEMO_TOKEN}\"\n\n\
         [keys.demo]\nkey = \"{DEMO_KEY}\"\n"
    );
    for bot in demo_bots() {
        let _ = write!(
            text,
            "\n[models.{}]\nbot_id = \"{}\"\ndescription = \"{}\"\n",
            bot.name, bot.bot_id, bot.description
        );
    }
    for flow in demo_flows() {
        let _ =
            write!(text, "\n[models.{}]\n{}description = \"{}\"\n", flow.name, flow.entry, flow.description);
    }
    Ok(config::parse(&text, std::path::Path::new("demo"), &|_| None)?)
}

/// What a newcomer reads first.
fn welcome(address: SocketAddr) -> String {
    let bots = demo_bots().iter().map(|bot| (bot.name, bot.description));
    let flows = demo_flows().iter().map(|flow| (flow.name, flow.description));
    let models: String =
        bots.chain(flows).map(|(name, description)| format!("  {name:<12} {description}\n")).collect();
    format!(
        "cozeway listens on http://{address}\n\
         A simulated Coze is behind it, with these models:\n\n{models}\n\
         Try it:\n\n\
         curl -N http://{address}/v1/chat/completions -H 'Authorization: Bearer {DEMO_KEY}' \
         -H 'Content-Type: application/json' \
         -d '{{\"model\":\"storyteller\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Tell me a story\"}}]}}'\n\n\
         Or with the OpenAI SDK for Python:\n\n\
         from openai import OpenAI\n\
         client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{DEMO_KEY}\")\n\
         answer = client.chat.completions.create(model=\"echo\", messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}])\n\
         print(answer.choices[0].message.content)\n\n\
         Ctrl-C ends it.\n"
    )
}
