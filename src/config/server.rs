//! The `[server]` table.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use url::Url;

use super::document::{Item, Reader, Table};
use super::fault::{Place, Report};
use super::file::{self, Field};
use crate::tls::Identity;

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Silence towards the client before something is sent to fill it.
    pub keepalive: Duration,
    /// The longest silence of Coze inside a turn.
    pub upstream_timeout: Duration,
    /// How long the upload of one file to Coze may take.
    pub upload_timeout: Duration,
    /// How long serving goes on after the signal to stop.
    pub drain_delay: Duration,
    /// How long streams in flight may go on when the gateway stops.
    pub shutdown_grace: Duration,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// How long a request waits for the one before it in its conversation.
    pub conversation_wait: Duration,
    /// Headers by which front ends tell their chats apart: the value of the
    /// first one that is there is part of whose conversation it is.
    pub conversation_hints: Vec<HeaderName>,
    /// The most connections of clients at a time.
    pub max_connections: usize,
    /// Proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What TLS is spoken with; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// The web origins that may call; `None` is every one.
    pub cors_origins: Option<Vec<String>>,
    /// Mode `none` is wanted on purpose, for everybody who can connect.
    pub allow_anonymous: bool,
}

/// The gateway's own certificate and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The file of the certificates.
    pub cert: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    /// What they hold.
    pub identity: Identity,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            keepalive: Duration::from_secs(15),
            upstream_timeout: Duration::from_secs(600),
            upload_timeout: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(30),
            max_body: 20_000_000,
            conversation_wait: Duration::from_secs(5),
            conversation_hints: HINTS.map(HeaderName::from_static).to_vec(),
            max_connections: 10_000,
            trusted_proxies: Vec::new(),
            tls: None,
            cors_origins: None,
            allow_anonymous: false,
        }
    }
}

const KEYS: &[&str] = &[
    "listen",
    "keepalive",
    "upstream_timeout",
    "upload_timeout",
    "drain_delay",
    "shutdown_grace",
    "max_body",
    "max_connections",
    "conversation_wait",
    "conversation_hints",
    "trusted_proxies",
    "tls",
    "cors_origins",
    "allow_anonymous",
];

/// What front ends are known to send: Open WebUI, chat-ui, and proxies with
/// sessions.
const HINTS: [&str; 3] = ["x-openwebui-chat-id", "chatui-conversation-id", "x-session-id"];

/// More than any system has files for.
const MAX_CONNECTIONS: u32 = 1_000_000;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the table. The files of `tls` are not read yet.
pub(super) fn read(reader: &mut Reader<'_>, root: &Table<'_>) -> file::Serving {
    let default = Server::default();
    let absent = Place::top("server.listen");
    let Some(table) = reader.section(root, "server") else {
        return file::Serving {
            server: default,
            listen_at: absent,
            at: Place::top("server"),
            tls: Field::Absent,
        };
    };
    reader.only(&table, KEYS, &[]);
    let listen = reader.text(&table, "listen");
    let server = Server {
        listen: listen.as_ref().and_then(|text| address(&mut reader.report, text)).unwrap_or(default.listen),
        keepalive: reader.duration(&table, "keepalive", MILLISECOND, HOUR).unwrap_or(default.keepalive),
        upstream_timeout: reader
            .duration(&table, "upstream_timeout", MILLISECOND, DAY)
            .unwrap_or(default.upstream_timeout),
        upload_timeout: reader
            .duration(&table, "upload_timeout", MILLISECOND, HOUR)
            .unwrap_or(default.upload_timeout),
        drain_delay: reader
            .duration(&table, "drain_delay", Duration::ZERO, HOUR)
            .unwrap_or(default.drain_delay),
        shutdown_grace: reader
            .duration(&table, "shutdown_grace", Duration::ZERO, DAY)
            .unwrap_or(default.shutdown_grace),
        conversation_wait: reader
            .duration(&table, "conversation_wait", Duration::ZERO, HOUR)
            .unwrap_or(default.conversation_wait),
        conversation_hints: hints(reader, &table).unwrap_or(default.conversation_hints),
        max_body: reader.size(&table, "max_body", "1GiB").unwrap_or(default.max_body),
        max_connections: reader
            .count(&table, "max_connections", MAX_CONNECTIONS)
            .and_then(|count| usize::try_from(count.get()).ok())
            .unwrap_or(default.max_connections),
        trusted_proxies: proxies(reader, &table),
        tls: None,
        cors_origins: origins(reader, &table),
        allow_anonymous: reader.boolean(&table, "allow_anonymous").unwrap_or(default.allow_anonymous),
    };
    let tls = tls(reader, &table);
    file::Serving { server, listen_at: listen.map_or(absent, |text| text.at), at: table.at, tls }
}

fn tls(reader: &mut Reader<'_>, table: &Table<'_>) -> Field<file::Tls> {
    if !table.has("tls") {
        return Field::Absent;
    }
    let Some(table) = reader.section(table, "tls") else {
        return Field::Wrong;
    };
    reader.only(&table, &["cert", "key"], &[]);
    let [cert, key] = ["cert", "key"].map(|name| file::required(reader, &table, name));
    Field::Is(file::Tls { at: table.at, cert, key })
}

/// Addresses and networks.
fn proxies(reader: &mut Reader<'_>, table: &Table<'_>) -> Vec<IpNet> {
    let list = reader.texts(table, "trusted_proxies").map(|list| list.value).unwrap_or_default();
    let mut nets = Vec::new();
    for item in list {
        let text = item.value.trim();
        let net = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())));
        let expected = "expected an IP address or a network such as \"10.0.0.0/8\"";
        nets.extend(reader.report.check(&item.at, net.map_err(|_| expected)));
    }
    nets
}

fn address(report: &mut Report, text: &Item<String>) -> Option<SocketAddr> {
    let address = text.value.parse();
    if address.is_err() {
        report
            .add(&text.at, "expected an IP address and a port such as \"127.0.0.1:8787\" or \"[::1]:8787\"");
    }
    address.ok()
}

/// The origins that may call; `"*"` in the list is every one.
fn origins(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Vec<String>> {
    let list = reader.texts(table, "cors_origins")?.value;
    if list.iter().any(|item| item.value == "*") {
        return None;
    }
    let mut origins = Vec::new();
    for item in list {
        match origin(&item.value) {
            Some(origin) => origins.push(origin),
            None => reader.report.add(
                &item.at,
                "expected an origin such as \"https://app.example.com\": scheme, host and port, no path",
            ),
        }
    }
    Some(origins)
}

/// An origin as browsers send it.
fn origin(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    Some(if url.origin().is_tuple() {
        url.origin().ascii_serialization()
    } else {
        // The scheme of an app or an extension, which has no standard port.
        url.as_str().trim_end_matches('/').to_owned()
    })
}

/// The names of hint headers.
fn hints(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Vec<HeaderName>> {
    let list = reader.texts(table, "conversation_hints")?;
    let names = list.value.iter().filter_map(|item| {
        let name = HeaderName::from_bytes(item.value.as_bytes()).map_err(|_| "is not the name of a header");
        reader.report.check(&item.at, name)
    });
    Some(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (text, result) in [
            ("https://App.Example.com", Some("https://app.example.com")),
            ("https://a.example:443/", Some("https://a.example")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("tauri://localhost", Some("tauri://localhost")),
            ("chrome-extension://abc", Some("chrome-extension://abc")),
            ("null", Some("null")),
            ("https://a.example/path", None),
            ("a.example", None),
            ("https://u:p@a.example", None),
            ("", None),
        ] {
            assert_eq!(origin(text).as_deref(), result, "{text}");
        }
    }
}
