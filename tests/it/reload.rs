//! A config that changes while the gateway runs.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use cozeway::simulator::{Options, Script, Step};

use crate::support::gateway::{config, request};
use crate::support::scrape::Scrape;
use crate::support::sse::{Stream, Streamed, delta, ended};
use crate::support::{Coze, Gateway, KEY, SCRIPTED, eventually};

async fn status(gateway: &Gateway, key: &str, model: &str) -> u16 {
    let body = request(model, "hi", json!({})).to_string();
    let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key).body(body);
    request.send().await.unwrap().status().as_u16()
}

fn extra() -> String {
    format!("[models.extra]\nbot_id = \"{}\"\n", cozeway::simulator::bots::ECHO)
}

#[tokio::test]
async fn a_signal_or_a_changed_file_brings_the_new_config() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    assert_eq!(status(&gateway, KEY, "extra").await, 404);
    gateway.reload(&config(&coze, "keepalive = \"9s\"", &extra())).await;
    assert_eq!(status(&gateway, KEY, "extra").await, 200);
    assert_eq!(gateway.logged_lines("models added: extra; settings: server.keepalive"), 1);

    let other = config(&coze, "", "").replace(KEY, "sk-another-0123456789");
    gateway.rewrite(&other);
    eventually("the file is read again", || {
        gateway.logged_lines("a file changed: the new config is in force") > 0
    })
    .await;
    let what = "models removed: extra; keys changed: test; settings: server.keepalive";
    assert_eq!(gateway.logged_lines(what), 1, "{:?}", gateway.log());
    assert_eq!(status(&gateway, KEY, "echo").await, 401);
    assert_eq!(status(&gateway, "sk-another-0123456789", "echo").await, 200);
    assert_eq!(status(&gateway, "sk-another-0123456789", "extra").await, 404);
}

#[tokio::test]
async fn a_wrong_config_changes_nothing_and_every_fault_is_logged() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let wrong = config(&coze, "max_body = 0\nkeepalive = \"soon\"", &extra());
    for (text, faults) in [
        (wrong.as_str(), &["server.max_body: must be", "server.keepalive: expected"][..]),
        ("[server\n", &["the old one stays"]),
        ("", &["coze: there is no Coze deployment", "models: there is no model"]),
        (
            &config(&coze, "", "").replace("127.0.0.1:0", "127.0.0.1:1"),
            &["server.listen: cannot change while the gateway runs"],
        ),
    ] {
        gateway.rewrite(text);
        gateway.signal("-HUP");
        for fault in faults {
            let logged = || {
                gateway
                    .log()
                    .iter()
                    .any(|l| l.contains("SIGHUP: the new config is refused") && l.contains(fault))
            };
            eventually(fault, logged).await;
        }
        gateway.assert_well().await;
        assert_eq!(status(&gateway, KEY, "extra").await, 404);
    }
    std::fs::remove_file(gateway.folder.join("cozeway.toml")).unwrap();
    gateway.signal("-HUP");
    eventually("it is missed", || gateway.logged_lines("cannot read it: No such file") > 0).await;
    gateway.assert_well().await;
    assert_eq!(gateway.logged_lines("is in force"), 0);
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\ncozeway_reloads_total{result=\"applied\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("\ncozeway_reloads_total{result=\"refused\"} 0\n"), "{metrics}");
    gateway.reload(&config(&coze, "", &extra())).await;
    assert_eq!(status(&gateway, KEY, "extra").await, 200, "and it comes right again");
}

#[tokio::test]
async fn files_beside_the_config_are_read_again() {
    let mut options = Options::instant();
    options.tokens.push("pat_other".to_owned());
    let coze = Coze::with(options).await;
    let text = config(&coze, "", "")
        .replace("token = \"pat_demo\"", "token_file = \"token\"")
        .replace(&format!("key = \"{KEY}\""), "key_file = \"key\"");
    let gateway = Gateway::in_folder(|folder| {
        std::fs::write(folder.join("cozeway.toml"), &text).unwrap();
        std::fs::write(folder.join("token"), "pat_demo\n").unwrap();
        std::fs::write(folder.join("key"), KEY).unwrap();
    })
    .await;
    gateway.assert_well().await;
    std::fs::write(gateway.folder.join("token"), "pat_other\n").unwrap();
    std::fs::write(gateway.folder.join("key"), "sk-another-0123456789").unwrap();
    eventually("the key is read again", || gateway.logged_lines("keys changed: test") > 0).await;
    assert_eq!(status(&gateway, KEY, "echo").await, 401);
    assert_eq!(status(&gateway, "sk-another-0123456789", "echo").await, 200);
    assert_eq!(coze.simulator.requests().pop().unwrap().headers["authorization"], "Bearer pat_other");
}

#[tokio::test]
async fn a_swapped_link_of_a_mounted_config_map_is_noticed() {
    let coze = Coze::start().await;
    let version = |name: &str, folder: &std::path::Path, text: &str| {
        let data = folder.join(name);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("cozeway.toml"), text).unwrap();
        symlink(name, folder.join("..swap")).unwrap();
        std::fs::rename(folder.join("..swap"), folder.join("..data")).unwrap();
    };
    let gateway = Gateway::in_folder(|folder| {
        version("..first", folder, &config(&coze, "", ""));
        symlink("..data/cozeway.toml", folder.join("cozeway.toml")).unwrap();
    })
    .await;
    version("..second", &gateway.folder, &config(&coze, "", &extra()));
    eventually("the link is followed", || gateway.logged_lines("models added: extra") > 0).await;
    assert_eq!(status(&gateway, KEY, "extra").await, 200);
}

#[tokio::test]
async fn a_stream_in_flight_keeps_the_config_it_began_with() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let steps = [delta("a"), Step::Sleep(Duration::from_millis(800)), delta("b"), ended()];
    coze.simulator.script(SCRIPTED, Script::stream(steps));
    let mut stream = Stream::new(gateway.ask("scripted", "hi", json!({"stream": true})).await);
    assert_eq!(stream.content().await, "a");
    let without = config(&coze, "", "")
        .replace(&format!("[models.scripted]\nbot_id = \"{SCRIPTED}\"\n"), "")
        .replace("[coze.local]", "[coze.moved]");
    gateway.reload(&without).await;
    assert_eq!(status(&gateway, KEY, "scripted").await, 404);
    let rest = stream.collect().await;
    assert!(rest.is_done(), "{rest:?}");
    assert_eq!(rest.content(), "b");
}

#[tokio::test]
async fn connections_to_coze_outlive_a_reload() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    for round in 0..10 {
        gateway.assert_well().await;
        gateway.reload(&config(&coze, &format!("keepalive = \"{}s\"", round + 5), &extra())).await;
    }
    assert!(coze.simulator.connections() <= 2, "{} connections", coze.simulator.connections());
}

#[tokio::test]
async fn connections_that_no_deployment_has_any_more_close_at_once() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    gateway.assert_well().await;
    let idle = async || Scrape::of(&gateway).await.sum("cozeway_upstream_idle_connections", &[]);
    assert!(idle().await >= 1.0);
    let files = gateway.open_files();
    let other = config(&coze, "", "").replace("pat_demo\"", "pat_demo\"\nheaders = { x-a = \"b\" }");
    gateway.reload(&other).await;
    assert!(idle().await == 0.0, "the new one begins with none");
    eventually("the old one's are closed", || gateway.open_files() < files).await;
    gateway.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = async |number: usize| {
        while !over.load(Ordering::Relaxed) {
            let text = format!("client {number}");
            if number.is_multiple_of(2) {
                let streamed = Streamed::of(gateway.ask("echo", &text, json!({"stream": true})).await).await;
                assert!(streamed.is_done());
                assert_eq!(streamed.content(), text);
            } else {
                let answer: Value = gateway.answer("echo", &text).await;
                assert_eq!(answer["choices"][0]["message"]["content"], text);
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let clients = futures_util::future::join_all((0..8).map(client));
    let reloads = async {
        for round in 0..100 {
            // Every third time the way to Coze is another one.
            let mut text = config(&coze, &format!("keepalive = \"{}s\"", round % 50 + 5), &extra());
            if round % 3 == 0 {
                text = text.replace("[coze.local]", &format!("[coze.local{round}]"));
            }
            gateway.reload(&text).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    futures_util::future::join(clients, reloads).await;
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?} requests");
    assert_eq!(gateway.logged_lines("refused"), 0);
    coze.idle().await;
}

#[tokio::test]
async fn without_a_file_a_hangup_changes_nothing() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.unwrap();
    let hangup = std::process::Command::new("kill").args(["-HUP", &child.id().unwrap().to_string()]).status();
    assert!(hangup.unwrap().success());
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let said = async {
        line.clear();
        while !line.contains("SIGHUP: there is no config file to read again") {
            assert_ne!(
                tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line).await.unwrap(),
                0,
                "{line}"
            );
        }
    };
    tokio::time::timeout(Duration::from_secs(10), said).await.expect("it says so");
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
}

#[tokio::test]
async fn what_callers_have_used_outlives_a_reload() {
    let coze = Coze::start().await;
    let limited = |rate: u32| config(&coze, "", &format!("requests_per_minute = {rate}\n"));
    let gateway = Gateway::with(&limited(2)).await;
    for expected in [200, 200, 429] {
        assert_eq!(status(&gateway, KEY, "echo").await, expected);
    }
    gateway.reload(&format!("{}{}", limited(2), extra())).await;
    assert_eq!(status(&gateway, KEY, "echo").await, 429);
    gateway.reload(&config(&coze, "", "")).await;
    assert_eq!(status(&gateway, KEY, "echo").await, 200, "without a limit there is none");
}
