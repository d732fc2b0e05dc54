//! Other gateways in front of the same mock: LiteLLM where it is installed,
//! and whatever a URL is given for.
//!
//! They pass OpenAI's stream on as nginx does; none of them speaks Coze.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::answer::Void;
use crate::exchange::{Asked, Target};
use crate::load::{Clients, Job, interleave};
use crate::process::{Process, SERVERS};
use crate::rows::Bench;
use crate::scenario::{BURST, Scenario};
use crate::servers::{Server, bearer};
use crate::table::median;

/// Where peers are that run already: `NAME=URL` and, behind bars, headers that
/// they want; several are separated by spaces.
const VARIABLE: &str = "BENCH_PEERS";

/// How long each figure is measured.
const TIME: Duration = Duration::from_secs(2);

const KEY: &str = "sk-bench-0123456789abcdef";

/// Measures all that there are; gives a table, or nothing.
pub(crate) async fn measure(bench: &Bench, nginx: &Server) -> Result<String, Void> {
    let mut text = String::new();
    if let Some(program) = installed("litellm") {
        let figures = match litellm(bench, &program).await {
            Ok(server) => with_cpu(&server).await,
            Err(why) => Err(why),
        };
        row(&mut text, "LiteLLM", figures);
    }
    for entry in std::env::var(VARIABLE).unwrap_or_default().split_whitespace() {
        let (name, target) = given(entry)?;
        row(&mut text, &name, without_cpu(&target).await);
    }
    if text.is_empty() {
        return Ok(text);
    }
    let mut table = String::from(
        "| peer | CPU, plain request | CPU, streamed request | streamed, 16 connections | chunks, 16 connections |\n\
         |---|--:|--:|--:|--:|\n",
    );
    row(&mut table, "nginx", with_cpu(nginx).await);
    Ok(table + &text)
}

fn row(table: &mut String, name: &str, figures: Result<[String; 4], Void>) {
    let cells = match figures {
        Ok(figures) => figures.join(" | "),
        Err(why) => format!("**void**: {} | | |", why.0.replace(['\n', '\r', '|'], " ")),
    };
    let _ = writeln!(table, "| {name} | {cells} |");
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `NAME=URL|header: value|…`, the URL with its path up to `/v1`, without it.
fn given(entry: &str) -> Result<(String, Target), Void> {
    let wrong = || Void::new(format!("{VARIABLE} is NAME=http://127.0.0.1:PORT|header:value, not {entry}"));
    let (name, rest) = entry.split_once('=').ok_or_else(wrong)?;
    let mut parts = rest.split('|');
    let url = parts.next().and_then(|url| url.strip_prefix("http://")).ok_or_else(wrong)?;
    let (address, path) = url.split_once('/').unwrap_or((url, ""));
    let path = path.trim_end_matches('/').trim_end_matches("v1").trim_end_matches('/');
    let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
    let mut headers = bearer(KEY);
    for header in parts {
        let _ = write!(headers, "{header}\r\n");
    }
    let address = address.parse().map_err(|_| wrong())?;
    Ok((name.to_owned(), Target { address, prefix, is_coze: false, headers }))
}

/// Starts LiteLLM's proxy.
async fn litellm(bench: &Bench, program: &PathBuf) -> Result<Server, Void> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let folder = bench.programs.folder.0.join("litellm");
    std::fs::create_dir_all(&folder)?;
    let mut config = String::from("model_list:\n");
    for scenario in [Scenario::One, Scenario::Burst] {
        let (model, upstream) = (scenario.model(), bench.mock.target.address);
        let _ = write!(
            config,
            "  - model_name: {model}\n    litellm_params:\n      model: openai/{model}\n      \
             api_base: http://{upstream}/v1\n      api_key: {KEY}\n"
        );
    }
    let _ = write!(config, "general_settings:\n  master_key: {KEY}\n");
    let file = folder.join("config.yaml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&file).args(["--host", "127.0.0.1", "--num_workers", "1", "--port"]);
    command.arg(free.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(&mut command, SERVERS)?;
    let target = Target { address: free, prefix: String::new(), is_coze: false, headers: bearer(KEY) };
    let server = Server { process, target };
    server.wait_for_port().await?;
    Ok(server)
}

async fn with_cpu(server: &Server) -> Result<[String; 4], Void> {
    let asked = [Asked::whole(Scenario::One), Asked::streamed(Scenario::One)];
    let mut jobs = vec![];
    for asked in asked {
        jobs.push(Job::cost(server, &server.target, asked, 8, 25).await?);
    }
    interleave(&mut jobs, 5).await;
    let cost = |job: &Job<'_>| job.samples().map(|all| format!("{:.0} µs", median(&all))).map_err(Void);
    let [_, _, requests, chunks] = without_cpu(&server.target).await?;
    Ok([cost(&jobs[0])?, cost(&jobs[1])?, requests, chunks])
}

async fn without_cpu(target: &Target) -> Result<[String; 4], Void> {
    let rate = async |scenario| {
        let mut clients = Clients::open(target, Asked::streamed(scenario), 16).await?;
        clients.ask(2).await?;
        clients.ask_for(TIME).await
    };
    let requests = rate(Scenario::One).await?;
    let chunks = rate(Scenario::Burst).await? * BURST as f64;
    Ok(["—".into(), "—".into(), format!("{requests:.0} /s"), format!("{chunks:.0} /s")])
}
