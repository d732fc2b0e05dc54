//! New connections to a deployment: names, addresses, proxies, TLS.
//!
//! In come its URL and perhaps a proxy's, out come sockets on which HTTP/1.1
//! can be spoken. A proxy gets the whole URL of what is asked where that is
//! `http`, as many let nothing else pass; for `https`, and in SOCKS, it is
//! asked for a tunnel. A SOCKS proxy looks names up itself.

use std::future::{Ready, ready};
use std::io;
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
    tcp: HttpConnector,
    /// Who is connected to: the server, or the proxy.
    next: Uri,
    /// TLS with whom is connected to.
    outer: Option<Tls>,
    way: Way,
    /// TLS with the server, behind a proxy.
    inner: Option<Tls>,
}

/// What there is between a connection that stands and the server.
enum Way {
    /// Nothing.
    Straight,
    /// A proxy that is told in each request what server is meant.
    Forwarded(Forwarded),
    /// A proxy that makes a tunnel to this address.
    Tunnel(Uri, Option<HeaderValue>),
    /// A SOCKS proxy; perhaps it wants a name and a password.
    Socks(Uri, Option<(String, String)>),
}

/// See [`Way::Forwarded`].
pub(super) struct Forwarded {
    /// What lets a request pass.
    pub(super) authorization: Option<HeaderValue>,
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
        let Some((url, proxy)) = proxy else {
            let (next, outer) = (address(server)?, tls(server)?);
            return Ok(Self { tcp: tcp(), next, outer, way: Way::Straight, inner: None });
        };
        let inner = tls(server)?;
        let authorization = proxy.basic_auth().cloned();
        let way = if url.scheme().starts_with("socks") {
            let words = proxy.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned()));
            Way::Socks(address(server)?, words)
        } else if inner.is_some() {
            Way::Tunnel(address(server)?, authorization)
        } else {
            Way::Forwarded(Forwarded { authorization })
        };
        Ok(Self { tcp: tcp(), next: address(&url)?, outer: tls(&url)?, way, inner })
    }

    /// The proxy that is told what server is meant, if there is one.
    pub(super) fn forwarded(&self) -> Option<&Forwarded> {
        match &self.way {
            Way::Forwarded(proxy) => Some(proxy),
            _ => None,
        }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// If none comes about, or not in time.
    pub(super) async fn connect(&self) -> Result<Socket, Error> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_in_time()).await {
            Ok(connected) => connected,
            Err(_) => Err("the connection did not come about in time".into()),
        }
    }

    async fn connect_in_time(&self) -> Result<Socket, Error> {
        let stream = self.tcp.clone().oneshot(self.next.clone()).await?.into_inner();
        let socket = over(self.outer.as_ref(), Socket::Plain(stream)).await?;
        let socket = match &self.way {
            Way::Straight | Way::Forwarded(_) => socket,
            Way::Tunnel(server, authorization) => {
                let tunnel = Tunnel::new(self.next.clone(), given(socket));
                let tunnel = match authorization {
                    Some(value) => tunnel.with_auth(value.clone()),
                    None => tunnel,
                };
                tunnel.oneshot(server.clone()).await?.into_inner()
            }
            Way::Socks(server, words) => {
                let socks = SocksV5::new(self.next.clone(), given(socket));
                let socks = match words.clone() {
                    Some((user, password)) => socks.with_auth(user, password),
                    None => socks,
                };
                socks.oneshot(server.clone()).await?.into_inner()
            }
        };
        over(self.inner.as_ref(), socket).await
    }
}

async fn over(tls: Option<&Tls>, socket: Socket) -> Result<Socket, Error> {
    Ok(match tls {
        Some(tls) => tls.over(socket).await?,
        None => socket,
    })
}

/// The connection that a proxy's handshake is done over: it stands already.
fn given(socket: Socket) -> impl Service<Uri, Response = TokioIo<Socket>, Error = io::Error, Future = Given> {
    let mut given = Some(TokioIo::new(socket));
    tower::service_fn(move |_: Uri| ready(given.take().ok_or_else(|| io::ErrorKind::NotConnected.into())))
}

type Given = Ready<io::Result<TokioIo<Socket>>>;

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

#[cfg(test)]
mod tests;
