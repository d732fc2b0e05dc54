//! The gateway's own certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Certificate;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, KEY, eventually};

struct Made {
    certificate: String,
    key: String,
}

fn made() -> Made {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

async fn start(coze: &Coze, made: &Made) -> Gateway {
    Gateway::in_folder(|folder| {
        let text = config(coze, "tls = { cert = \"cert.pem\", key = \"key.pem\" }", "");
        std::fs::write(folder.join("cozeway.toml"), text).unwrap();
        std::fs::write(folder.join("cert.pem"), &made.certificate).unwrap();
        std::fs::write(folder.join("key.pem"), &made.key).unwrap();
    })
    .await
}

/// A client with connections of its own, which trusts one certificate alone.
fn client(gateway: &Gateway, made: &Made, http2: bool) -> reqwest::Client {
    let port: u16 = gateway.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], port)))
        .tls_certs_only([Certificate::from_pem(made.certificate.as_bytes()).unwrap()]);
    let builder = if http2 { builder } else { builder.http1_only() };
    builder.build().unwrap()
}

async fn raw(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.address.replace("localhost", "127.0.0.1")).await.unwrap()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let (coze, made) = (Coze::start().await, made());
    let gateway = start(&coze, &made).await;
    for (http2, version) in [(false, http::Version::HTTP_11), (true, http::Version::HTTP_2)] {
        let client = client(&gateway, &made, http2);
        let body = crate::support::gateway::request("echo", "hello", serde_json::json!({"stream": true}));
        let request = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY);
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.version(), version);
        assert_eq!(Streamed::of(response).await.content(), "hello");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let (coze, first, second) = (Coze::start().await, made(), made());
    let gateway = start(&coze, &first).await;
    let ask = async |made: &Made| {
        client(&gateway, made, true).get(gateway.url("/healthz")).send().await.map(|answer| answer.status())
    };
    let kept = client(&gateway, &first, true);
    assert_eq!(kept.get(gateway.url("/healthz")).send().await.unwrap().status(), 200);

    // The files come one after the other, and in between do not fit.
    std::fs::write(gateway.folder.join("cert.pem"), &second.certificate).unwrap();
    eventually("it is refused", || gateway.logged_lines("server.tls: ") > 0).await;
    assert_eq!(ask(&first).await.unwrap(), 200);
    std::fs::write(gateway.folder.join("key.pem"), &second.key).unwrap();
    eventually("it is taken", || gateway.logged_lines("settings: server.tls") > 0).await;
    assert_eq!(ask(&second).await.unwrap(), 200);
    assert!(ask(&first).await.is_err());
    assert_eq!(
        kept.get(gateway.url("/healthz")).send().await.unwrap().status(),
        200,
        "kept connections go on"
    );
    assert!(gateway.log().iter().all(|line| !line.contains("PRIVATE KEY")));
}

#[tokio::test]
async fn who_speaks_no_tls_harms_nobody() {
    let (coze, made) = (Coze::start().await, made());
    let gateway = start(&coze, &made).await;
    let mut silent = raw(&gateway).await;
    let mut plain = raw(&gateway).await;
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP/"), "{bytes:?}");
    let answer = client(&gateway, &made, true).get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let ended = tokio::time::timeout(Duration::from_secs(15), silent.read_to_end(&mut bytes)).await;
    let _ = ended.expect("a handshake that does not come is not waited for forever");
}

/// A connection with TLS and nothing above it.
async fn naked(gateway: &Gateway, made: &Made) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, raw(gateway).await).await.unwrap()
}

#[tokio::test]
async fn what_is_no_http_is_an_error_behind_tls_too() {
    let (coze, made) = (Coze::start().await, made());
    let gateway = start(&coze, &made).await;
    for (bytes, status, code) in [
        ("\x00\r\n\r\n".to_owned(), 400, "invalid_request"),
        (
            format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)),
            431,
            "request_header_fields_too_large",
        ),
    ] {
        let mut stream = naked(&gateway, &made).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        let (first, second) = answers.split_at(answers.rfind("HTTP/1.1 4").unwrap());
        assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
        assert!(second.starts_with(&format!("HTTP/1.1 {status} ")), "{second}");
        assert!(second.contains("\r\nx-request-id: req_"), "{second}");
        let error: Value = serde_json::from_str(second.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(error["error"]["code"], code);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_through_tls() {
    let (coze, made) = (Coze::start().await, made());
    let gateway = Gateway::in_folder(|folder| {
        let server = "max_connections = 1\ntls = { cert = \"cert.pem\", key = \"key.pem\" }";
        std::fs::write(folder.join("cozeway.toml"), config(&coze, server, "")).unwrap();
        std::fs::write(folder.join("cert.pem"), &made.certificate).unwrap();
        std::fs::write(folder.join("key.pem"), &made.key).unwrap();
    })
    .await;
    let _held = raw(&gateway).await;
    for http2 in [false, true] {
        let answer = client(&gateway, &made, http2).get(gateway.url("/healthz")).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(answer.headers().contains_key("x-request-id"));
        let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "overloaded");
    }
}

#[tokio::test]
async fn tls_cannot_be_turned_off_while_it_runs() {
    let (coze, made) = (Coze::start().await, made());
    let mut gateway = start(&coze, &made).await;
    gateway.rewrite(&config(&coze, "", ""));
    gateway.signal("-HUP");
    eventually("it is refused", || gateway.logged_lines("cannot be turned off while the gateway runs") > 0)
        .await;
    let answer = client(&gateway, &made, true).get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
}
