//! The gateway's own certificate.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Certificate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
