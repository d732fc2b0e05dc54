//! `cozeway health`: whether a running gateway is ready, as an exit code.
//!
//! In comes an address, out goes one line and 0 or 1. Made for the health
//! check of an image that has neither a shell nor curl: it asks `/readyz`
//! once, without a key and without a proxy, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use url::{Host, Url};

use super::{Stop, print, runtime};

/// How long all of it may take: less than the patience of those who ask.
const PATIENCE: Duration = Duration::from_secs(4);

/// How much of an answer is looked at and shown, in characters.
const SHOWN: usize = 300;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The gateway's address, with or without /v1
    #[arg(long, default_value = "http://127.0.0.1:8787", env = "COZEWAY_URL")]
    url: String,
}

/// Asks a gateway whether it is ready.
pub(super) fn run(args: Args) -> Result<(), Stop> {
    let base = args.url.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let url = Url::parse(&format!("{base}/readyz")).ok();
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Err(Stop::Wrong(format!("cozeway health: {base:?} is no http or https address")));
    };
    let state = runtime()?.block_on(async { tokio::time::timeout(PATIENCE, ask(&url)).await });
    let state = match state {
        Ok(state) => state.with_context(|| format!("{base} is not ready"))?,
        Err(_) => return Err(anyhow::anyhow!("{base} did not answer within {PATIENCE:?}").into()),
    };
    print(&format!("{base}: {state}\n"))
}

/// What the gateway says that it is.
async fn ask(url: &Url) -> anyhow::Result<String> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // A certificate is made out to the public name. Nothing secret is
        // sent, and on this machine there is nobody to be mistaken for.
        .tls_danger_accept_invalid_certs(is_loopback(url))
        .build()
        .context("cannot ask")?;
    let response = http.get(url.clone()).send().await.context("it cannot be reached")?;
    let status = response.status();
    let text = response.text().await.context("its answer broke off")?;
    if !status.is_success() {
        let text: String =
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
        bail!("status {} {text}", status.as_u16());
    }
    let state = serde_json::from_str::<Value>(&text).ok();
    let state = state.as_ref().and_then(|body| body.get("state")?.as_str()).unwrap_or("ready");
    Ok(state.chars().take(SHOWN).collect())
}

/// Whether a URL stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_goes_without_a_good_certificate() {
        for (url, here) in [
            ("https://127.0.0.1:8787/readyz", true),
            ("https://[::1]:8787/readyz", true),
            ("https://localhost/readyz", true),
            ("https://localhost.example.com/readyz", false),
            ("https://192.0.2.1/readyz", false),
            ("https://gateway.example.com/readyz", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), here, "{url}");
        }
    }
}
