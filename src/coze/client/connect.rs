//! New connections to a deployment: names, addresses, proxies, TLS.
//!
//! In come its URL and perhaps a proxy's, out come sockets on which HTTP/1.1
//! can be spoken. A proxy gets the whole URL of what is asked where that is
//! `http`, as many let nothing else pass; for `https`, and in SOCKS, it is
//! asked for a tunnel. A SOCKS proxy looks names up itself.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tower::{Service, ServiceExt as _};
use url::Url;

use super::socket::Socket;
use super::tls::{self, Tls};
use super::{Settings, SettingsError};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which the kernel asks whether the other side still is; and
/// again, so often, this much later.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Why there is no connection.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections to one deployment.
pub(super) struct Connector {
    way: Way,
    /// What `way` is asked for.
    address: Uri,
    /// With the server, through a proxy.
    inner: Option<Tls>,
    forwarded: Option<Forwarded>,
}

/// A proxy that is told in each request what server is meant.
pub(super) struct Forwarded {
    /// What it wants to let the request pass.
    pub(super) authorization: Option<HeaderValue>,
}

/// How a server is reached.
#[derive(Clone)]
enum Way {
    /// By a connection to it, or to a proxy that is told what is asked.
    Straight(Hop),
    /// Through a proxy.
    Tunnel(Tunnel<Hop>),
    /// Through a SOCKS proxy.
    Socks(SocksV5<Hop>),
}

/// Makes connections to whom we speak ourselves: TCP, and TLS if that has it.
#[derive(Clone)]
struct Hop {
    tcp: HttpConnector,
    tls: Option<Tls>,
}

impl Connector {
    /// For a deployment at `server`.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(super) fn new(settings: &Settings, server: &Url) -> Result<Self, SettingsError> {
        let more = settings.ca_pem.as_deref().map(tls::certificates).transpose()?.unwrap_or_default();
        let proxy = settings.proxy.as_deref().map(proxy).transpose()?;
        let is_tls = |url: &Url| url.scheme() == "https";
        // The system's certificates are only read where they are needed.
        let wanted = is_tls(server) || proxy.as_ref().is_some_and(|(url, _)| is_tls(url));
        let connector = wanted.then(|| tls::connector(more)).transpose()?;
        let tls = |url: &Url| match &connector {
            Some(connector) if is_tls(url) => Tls::new(connector.clone(), url).map(Some),
            _ => Ok(None),
        };
        let next = proxy.as_ref().map_or(server, |(url, _)| url);
        let hop = Hop { tcp: tcp(), tls: tls(next)? };
        let (at, inner) = (address(next)?, tls(server)?);
        let Some((url, proxy)) = &proxy else {
            return Ok(Self { way: Way::Straight(hop), address: at, inner: None, forwarded: None });
        };
        let is_socks = url.scheme().starts_with("socks");
        if !is_socks && inner.is_none() {
            let forwarded = Some(Forwarded { authorization: proxy.basic_auth().cloned() });
            return Ok(Self { way: Way::Straight(hop), address: at, inner, forwarded });
        }
        let way = if is_socks { through_socks(at, hop, proxy) } else { through_tunnel(at, hop, proxy) };
        Ok(Self { way, address: address(server)?, inner, forwarded: None })
    }

    /// The proxy that is told what server is meant, if there is one.
    pub(super) fn forwarded(&self) -> Option<&Forwarded> {
        self.forwarded.as_ref()
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// If none comes about, or not in time.
    pub(super) async fn connect(&self) -> Result<Socket, Error> {
        let connecting = async {
            let address = self.address.clone();
            let stream = match self.way.clone() {
                Way::Straight(hop) => hop.oneshot(address).await?,
                Way::Tunnel(tunnel) => tunnel.oneshot(address).await?,
                Way::Socks(socks) => socks.oneshot(address).await?,
            };
            let socket = stream.into_inner();
            match &self.inner {
                Some(tls) => Ok(tls.over(socket).await?),
                None => Ok(socket),
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err("the connection did not come about in time".into()),
        }
    }
}

fn through_socks(at: Uri, hop: Hop, proxy: &Intercept) -> Way {
    let socks = SocksV5::new(at, hop);
    Way::Socks(match proxy.raw_auth() {
        Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
        None => socks,
    })
}

fn through_tunnel(at: Uri, hop: Hop, proxy: &Intercept) -> Way {
    let tunnel = Tunnel::new(at, hop);
    Way::Tunnel(match proxy.basic_auth() {
        Some(authorization) => tunnel.with_auth(authorization.clone()),
        None => tunnel,
    })
}

/// Reads the URL of a proxy.
fn proxy(text: &str) -> Result<(Url, Intercept), SettingsError> {
    // Without the parser's words: the URL may hold a password.
    let bad = || SettingsError("not the URL of a proxy".to_owned());
    let url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err(bad());
    }
    let anywhere = Uri::from_static("https://localhost");
    let intercept = Matcher::builder().all(url.as_str()).build().intercept(&anywhere).ok_or_else(bad)?;
    // SOCKS has one byte for the length of each.
    if intercept.raw_auth().is_some_and(|(user, password)| user.len() > 255 || password.len() > 255) {
        return Err(bad());
    }
    Ok((url, intercept))
}

/// Host and port of a URL, as the connectors take them.
fn address(url: &Url) -> Result<Uri, SettingsError> {
    let bad = || SettingsError("the URL names no host that can be called".to_owned());
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    let port = url.port_or_known_default().unwrap_or(1080);
    Uri::try_from(format!("http://{host}:{port}/")).map_err(|_| bad())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // Requests are small and answers are waited for.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

impl Service<Uri> for Hop {
    type Response = TokioIo<Socket>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Socket>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.tcp.call(address);
        let tls = self.tls.clone();
        Box::pin(async move {
            let socket = Socket::Plain(connecting.await?.into_inner());
            Ok(TokioIo::new(match tls {
                Some(tls) => tls.over(socket).await?,
                None => socket,
            }))
        })
    }
}

#[cfg(test)]
mod tests;
