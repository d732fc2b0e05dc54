//! The store on a server: what becomes of it when the server is away.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cozeway::secret::Secret;
use cozeway::store::redis::{PREFIX, Redis};
use cozeway::store::{Claimed, Counts, Entry, Outcome, Store, Unavailable};
use cozeway::tls::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::stage::{ABSENT, Folder, HOUR, entry, head, key, name, until};
use crate::support::redis::{FORGETS, KEEPS, Keys, Server, redis_url};

fn store(url: &str) -> Arc<dyn Store> {
    Arc::new(Redis::new(&Secret::new(url), PREFIX, HOUR).unwrap())
}

/// How many of so many steps at once fail.
async fn failures(store: &Arc<dyn Store>, steps: usize) -> Vec<Unavailable> {
    let mut counts = JoinSet::new();
    for _ in 0..steps {
        let store = Arc::clone(store);
        counts.spawn(async move { store.counts().await.err() });
    }
    counts.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_is_found_again() {
    let Some(mut server) = Server::new(&KEEPS) else { return };
    server.start().await;
    let store = store(&server.url());
    let secret = until(async || store.secret().await.ok()).await;
    let known = entry(2, 3);
    store.insert(known.clone()).await.unwrap();
    server.kill();
    until(async || store.counts().await.err()).await;
    let start = Instant::now();
    assert_eq!(failures(&store, 5000).await.len(), 5000);
    assert!(start.elapsed() < Duration::from_secs(5), "they fail at once: {:?}", start.elapsed());
    assert_eq!(store.secret().await.unwrap(), secret, "it is remembered");

    server.start().await;
    until(async || store.counts().await.ok()).await;
    let claimed = store.claim(head(2, 3), HOUR).await.unwrap();
    assert!(matches!(claimed, Claimed::Lent { entry, .. } if entry == known));
    let again = self::store(&server.url());
    assert_eq!(again.secret().await.unwrap(), secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_come_after_the_store() {
    let Some(mut server) = Server::new(&KEEPS) else { return };
    let store = store(&format!("{}/3", server.url()));
    let error = store.secret().await.unwrap_err();
    assert!(error.to_string().starts_with("the state store is away: "), "{error}");
    store.insert(entry(2, 3)).await.unwrap_err();
    server.start().await;
    until(async || store.secret().await.ok()).await;
    store.insert(entry(2, 3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_between_two_steps_is_not_noticed() {
    let Some(mut server) = Server::new(&KEEPS) else { return };
    server.start().await;
    let store = store(&server.url());
    store.secret().await.unwrap();
    store.insert(entry(2, 3)).await.unwrap();
    server.kill();
    server.start().await;
    assert!(matches!(store.claim(head(2, 3), HOUR).await.unwrap(), Claimed::Lent { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_its_secret_is_given_it_again() {
    let Some(mut server) = Server::new(&FORGETS) else { return };
    for step in ["claim", "insert", "counts"] {
        server.start().await;
        let (one, two) = (store(&server.url()), store(&server.url()));
        let secret = one.secret().await.unwrap();
        server.kill();
        server.start().await;
        match step {
            "claim" => drop(one.claim(name(7), HOUR).await.unwrap()),
            "insert" => one.insert(entry(2, 3)).await.unwrap(),
            _ => drop(one.counts().await.unwrap()),
        }
        assert_eq!(two.secret().await.unwrap(), secret, "{step}");
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_another_secret_by_now_is_told_nothing_under_the_old_one() {
    let Some(mut server) = Server::new(&FORGETS) else { return };
    for step in ["claim", "insert", "counts"] {
        server.start().await;
        let (one, two) = (store(&server.url()), store(&server.url()));
        let old = one.secret().await.unwrap();
        server.kill();
        server.start().await;
        let new = two.secret().await.unwrap();
        assert_ne!(new, old);
        match step {
            "claim" => drop(one.claim(name(7), HOUR).await.unwrap_err()),
            "insert" => drop(one.insert(entry(2, 3)).await.unwrap_err()),
            // Reading harms nobody.
            _ => drop(one.counts().await.unwrap()),
        }
        assert_eq!(two.counts().await.unwrap(), Counts::default(), "{step}");
        assert_eq!(one.secret().await.unwrap(), new, "{step}");
        assert!(matches!(one.claim(name(7), HOUR).await.unwrap(), Claimed::Lent { .. }));
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_and_never_shown() {
    let user = ["--user", "gateway", "on", ">s3cr3t&t", "~cozeway:*", "+@all"];
    let Some(mut server) = Server::new(&user) else { return };
    server.start().await;
    let url = |login: &str| server.url().replace("redis://", &format!("redis://{login}@")) + "/1";
    let right = store(&url("gateway:s3cr3t%26t"));
    until(async || right.secret().await.ok()).await;
    let wrong = Redis::new(&Secret::new(url("gateway:hunter2")), PREFIX, HOUR);
    let wrong = wrong.unwrap();
    let error = wrong.secret().await.unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") || error.contains("uthentication"), "{error}");
    assert!(!format!("{error} {wrong:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_waited_for_no_longer_than_a_second() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let store = store(&format!("redis://127.0.0.1:{port}"));
    let start = Instant::now();
    let failures = failures(&store, 3000).await;
    assert_eq!(failures.len(), 3000);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let crowded = failures.iter().filter(|error| error.to_string().contains("1024 steps wait for it"));
    assert!(crowded.count() > 0, "so many do not wait");
    assert!(failures.iter().any(|error| error.to_string().contains("no connection within 1s")));
    silent.abort();
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["redis://", "redis://hunter2:hunter2@host:port/", "hunter2"] {
        let error = Redis::new(&Secret::new(url), PREFIX, HOUR).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_the_server_has_forgotten_are_given_again() {
    let Some(url) = redis_url() else { return };
    let keys = Keys::new(url);
    let store = keys.open(HOUR);
    store.insert(entry(2, 3)).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut keys.connect()).unwrap();
    store.insert(entry(4, 5)).await.unwrap();
    assert_eq!(store.counts().await.unwrap().entries, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_die_by_themselves_and_none_is_left_behind() {
    let Some(url) = redis_url() else { return };
    let keys = Keys::new(url);
    let store = keys.open(HOUR);
    store.secret().await.unwrap();
    for number in 0..5 {
        let known = Entry { name: Some(key(number)), ..entry(number, number % 2) };
        store.insert(known.clone()).await.unwrap();
        let Claimed::Lent { lease, .. } = store.claim(name(number), HOUR * 10).await.unwrap() else {
            panic!("it is there")
        };
        if number > 2 {
            let known = Entry { head: Some(key(9)), name: None, ..known };
            store.settle(lease, Outcome::Keep(known)).await.unwrap();
        }
    }
    let mut connection = keys.connect();
    for found in keys.all() {
        let left: i64 = redis::cmd("PTTL").arg(keys.full(&found)).query(&mut connection).unwrap();
        let text = String::from_utf8_lossy(&found);
        assert!(if found == b"secret" { left == -1 } else { left > 2 * 3_600_000 }, "{text}: {left}");
    }
    for listed in store.list(None, 100).await.unwrap() {
        store.forget(listed.entry.id).await.unwrap();
    }
    assert_eq!(keys.all(), [b"secret".to_vec()]);
    assert_eq!(store.claim(head(9, 1), HOUR).await.unwrap(), ABSENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_died_by_itself_is_forgotten() {
    let Some(url) = redis_url() else { return };
    let keys = Keys::new(url);
    let store = keys.open(HOUR);
    let known = Entry { name: Some(key(7)), ..entry(2, 3) };
    store.insert(known.clone()).await.unwrap();
    let dead = keys.full(&[b"e:".as_slice(), &known.id.0].concat());
    redis::cmd("DEL").arg(dead).exec(&mut keys.connect()).unwrap();
    assert_eq!(store.claim(head(2, 3), HOUR).await.unwrap(), ABSENT);
    assert_eq!(store.list(None, 10).await.unwrap(), []);
    let Claimed::Lent { lease, .. } = store.claim(name(7), HOUR).await.unwrap() else { panic!("it is made") };
    assert_ne!(lease.id, known.id);
    assert_eq!(keys.open(Duration::ZERO).purge(10).await.unwrap(), []);
    assert_eq!(store.counts().await.unwrap().entries, 1);
}

/// Where the process that trusts the authority of a test finds its server.
const TRUSTING: &str = "COZEWAY_TEST_TLS_REDIS";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_by_tls_if_its_certificate_is_trusted() {
    let Some(url) = redis_url() else { return };
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).unwrap();
    let identity =
        Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
    let mut config = identity.unwrap().config().as_ref().clone();
    config.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let plain = url::Url::parse(url.expose()).unwrap();
    let plain = plain.socket_addrs(|| Some(6379)).unwrap()[0];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(carry(acceptor.clone(), stream, plain));
        }
    });
    let url = format!("rediss://localhost:{port}");
    let error = store(&url).secret().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::a_process_that_trusts_an_authority", "--ignored"])
        .env(TRUSTING, url)
        .env("SSL_CERT_FILE", authority)
        .stdout(Stdio::null())
        .status();
    assert!(child.await.unwrap().success());
    proxy.abort();
}

async fn carry(acceptor: TlsAcceptor, stream: TcpStream, plain: SocketAddr) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut server = TcpStream::connect(plain).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

#[tokio::test]
#[ignore = "another test runs it as a process of its own"]
async fn a_process_that_trusts_an_authority() {
    let url = std::env::var(TRUSTING).unwrap();
    store(&url).counts().await.unwrap();
}
