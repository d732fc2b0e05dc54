//! Every way to a server: with TLS or without, through each kind of proxy.

use std::sync::{Arc, Mutex};

use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::Client;
use super::*;
use crate::coze::Call;
use crate::secret::Secret;
use crate::turn::{Failure, Kind};

/// What a proxy or a server does with its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Server,
    /// Answers for the server, or makes a tunnel.
    HttpProxy,
    SocksProxy,
}

/// A server or a proxy, perhaps with TLS.
struct Peer {
    port: u16,
    certificate: Option<String>,
    /// The heads that it was sent.
    heads: Arc<Mutex<Vec<String>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Peer {
    async fn start(part: Part, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let identity = crate::tls::Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (identity, seen) = (identity.config(), Arc::clone(&seen));
                tokio::spawn(async move {
                    if tls {
                        // One that trusts nobody hangs up.
                        if let Ok(stream) = TlsAcceptor::from(identity).accept(stream).await {
                            part.play(stream, &seen).await;
                        }
                    } else {
                        part.play(stream, &seen).await;
                    }
                });
            }
        });
        Self { port, certificate: tls.then_some(certificate), heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Part {
    async fn play(self, mut stream: impl Stream, seen: &Mutex<Vec<String>>) {
        if self == Self::SocksProxy {
            return socks(stream, seen).await;
        }
        while let Some(head) = read_head(&mut stream).await {
            seen.lock().unwrap().push(head.clone());
            match head.strip_prefix("CONNECT ").filter(|_| self == Self::HttpProxy) {
                Some(rest) => {
                    let mut far = TcpStream::connect(rest.split(' ').next().unwrap()).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
                    return;
                }
                None => stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}")
                    .await
                    .unwrap(),
            }
        }
    }
}

async fn read_head(stream: &mut impl Stream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A SOCKS proxy that wants a password.
async fn socks(mut stream: impl Stream, seen: &Mutex<Vec<String>>) {
    let mut bytes = [0; 3];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, [5, 1, 2], "a password is offered");
    stream.write_all(&[5, 2]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    let mut words = Vec::new();
    for _ in 0..2 {
        words.push(read_short(&mut stream).await);
    }
    stream.write_all(&[1, 0]).await.unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, [5, 1, 0, 3], "a connection to a name");
    let host = read_short(&mut stream).await;
    let port = stream.read_u16().await.unwrap();
    seen.lock().unwrap().push(format!("{}:{} {host}:{port}", words[0], words[1]));
    let mut far = TcpStream::connect((host, port)).await.unwrap();
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
}

async fn read_short(stream: &mut impl Stream) -> String {
    let length = stream.read_u8().await.unwrap();
    let mut text = vec![0; usize::from(length)];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn url(peer: &Peer) -> String {
    let scheme = if peer.certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://localhost:{}", peer.port)
}

fn settings(server: &Peer, proxy: Option<(&Peer, String)>) -> Settings {
    let peers = [Some(server), proxy.as_ref().map(|(peer, _)| *peer)];
    let pem: String = peers.into_iter().flatten().filter_map(|peer| peer.certificate.as_deref()).collect();
    Settings {
        base_url: url(server),
        ca_pem: (!pem.is_empty()).then(|| pem.into_bytes()),
        proxy: proxy.map(|(_, url)| url),
        ..Settings::default()
    }
}

async fn ask(settings: Settings) -> Result<(), Failure> {
    let call = Call { method: Method::GET, path: "/x".to_owned(), body: None };
    let client = Client::new(settings).unwrap();
    client.fetch(&call, &Secret::new("pat")).await?;
    // The second one goes over the same connection.
    client.fetch(&call, &Secret::new("pat")).await?;
    assert_eq!((client.figures().connections, client.figures().calls), (1, 2));
    Ok(())
}

async fn assert_no_delay(settings: &Settings) {
    let connector = Connector::new(settings, &Url::parse(&settings.base_url).unwrap()).unwrap();
    assert!(connector.connect().await.unwrap().tcp().nodelay().unwrap());
}

/// With a name and a password that are escaped in a URL.
fn with_password(url: &str) -> String {
    url.replace("://", "://us%40er:p%3Ass@")
}

/// `us@er:p:ss` in Base64.
const BASIC: &str = "\r\nproxy-authorization: Basic dXNAZXI6cDpzcw==\r\n";

#[tokio::test]
async fn a_server_is_reached_straight() {
    for tls in [false, true] {
        let server = Peer::start(Part::Server, tls).await;
        ask(settings(&server, None)).await.unwrap();
        assert_no_delay(&settings(&server, None)).await;
        let head = format!("GET /x HTTP/1.1\r\nhost: localhost:{}\r\n", server.port);
        assert!(server.heads().iter().all(|seen| seen.starts_with(&head)), "{:?}", server.heads());
        assert_eq!(server.heads().len(), 2);
    }
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_url_of_a_plain_server() {
    for tls in [false, true] {
        let server = Peer::start(Part::Server, false).await;
        let proxy = Peer::start(Part::HttpProxy, tls).await;
        let settings = settings(&server, Some((&proxy, with_password(&url(&proxy)))));
        ask(settings.clone()).await.unwrap();
        assert_no_delay(&settings).await;
        assert!(server.heads().is_empty());
        let line = format!("GET http://localhost:{0}/x HTTP/1.1\r\nhost: localhost:{0}\r\n", server.port);
        for head in proxy.heads() {
            assert!(head.starts_with(&line) && head.contains(BASIC), "{head}");
        }
        assert_eq!(proxy.heads().len(), 2);
    }
}

#[tokio::test]
async fn a_proxy_makes_a_tunnel_to_a_server_with_tls() {
    for tls in [false, true] {
        let server = Peer::start(Part::Server, true).await;
        let proxy = Peer::start(Part::HttpProxy, tls).await;
        let settings = settings(&server, Some((&proxy, with_password(&url(&proxy)))));
        ask(settings.clone()).await.unwrap();
        let heads = proxy.heads();
        assert_eq!((heads.len(), server.heads().len()), (1, 2));
        assert!(heads[0].starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)));
        assert!(heads[0].to_ascii_lowercase().contains(&BASIC.to_ascii_lowercase()));
        assert!(!server.heads()[0].contains("proxy-authorization"));
        assert_no_delay(&settings).await;
    }
}

#[tokio::test]
async fn a_socks_proxy_looks_the_name_up() {
    for (tls, scheme) in [(false, "socks5"), (true, "socks5h")] {
        let server = Peer::start(Part::Server, tls).await;
        let proxy = Peer::start(Part::SocksProxy, false).await;
        let proxy_url = format!("{scheme}://us%40er:p%3Ass@127.0.0.1:{}", proxy.port);
        let settings = settings(&server, Some((&proxy, proxy_url)));
        ask(settings.clone()).await.unwrap();
        assert_eq!(proxy.heads(), [format!("us@er:p:ss localhost:{}", server.port)]);
        assert_eq!(server.heads().len(), 2);
        assert_no_delay(&settings).await;
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_reached() {
    let (server, other) = (Peer::start(Part::Server, true).await, Peer::start(Part::Server, true).await);
    let ca_pem = other.certificate.clone().map(String::into_bytes);
    let failure = ask(Settings { ca_pem, ..settings(&server, None) }).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Unreachable(None));
    assert!(failure.detail.as_ref().unwrap().contains("invalid peer certificate"), "{failure:?}");
    // The certificate is that of a name.
    let base_url = format!("https://127.0.0.1:{}", server.port);
    let failure = ask(Settings { base_url, ..settings(&server, None) }).await.unwrap_err();
    assert!(failure.detail.as_ref().unwrap().contains("certificate"), "{failure:?}");
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for (base_url, proxy) in [
        (format!("http://{address}"), None),
        (format!("https://{address}"), None),
        ("http://coze.invalid".to_owned(), Some(format!("http://u:secret@{address}"))),
        ("https://coze.invalid".to_owned(), Some(format!("http://u:secret@{address}"))),
        ("http://coze.invalid".to_owned(), Some(format!("socks5://u:secret@{address}"))),
    ] {
        let failure = ask(Settings { base_url, proxy, ..Settings::default() }).await.unwrap_err();
        assert_eq!((failure.kind, failure.may_be_running), (Kind::Unreachable(None), false));
        let detail = failure.detail.unwrap();
        assert!(detail.contains("refused") && !detail.contains("secret"), "{detail}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let settings = Settings { base_url, ..Settings::default() };
    let connector = Connector::new(&settings, &Url::parse(&settings.base_url).unwrap()).unwrap();
    let (connected, accepted) = tokio::join!(connector.connect(), async {
        let accepted = listener.accept().await.unwrap();
        tokio::time::pause();
        accepted
    });
    drop(accepted);
    assert!(connected.unwrap_err().to_string().contains("in time"));
}

#[test]
fn settings_that_cannot_be_used_say_why_and_no_more() {
    let base = Settings { base_url: "http://coze.example".to_owned(), ..Settings::default() };
    let fault = |settings| Client::new(settings).map(|_| ()).unwrap_err().to_string();
    for (proxy, said) in [
        ("http://u:secret@", "not the URL of a proxy"),
        ("u:secret", "not the URL of a proxy"),
        ("socks4://u:secret@h", "not the URL of a proxy"),
        (&format!("socks5://u:{}secret@h", "x".repeat(300)), "not the URL of a proxy"),
    ] {
        assert_eq!(fault(Settings { proxy: Some(proxy.to_owned()), ..base.clone() }), said, "{proxy}");
    }
    for pem in ["", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        let ca_pem = Some(pem.as_bytes().to_vec());
        let said = fault(Settings { ca_pem, ..base.clone() });
        assert!(said.starts_with("no certificate in PEM form"), "{said}");
    }
    let base_url = "ftp://coze.example".to_owned();
    assert!(fault(Settings { base_url, ..base }).starts_with("not a URL"));
}
