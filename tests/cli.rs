//! The program as a person uses it: arguments in, text and exit code out.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output};

const TOKEN: &str = "pat_never-to-be-seen";
const KEY: &str = "sk-never-to-be-seen";

/// A directory of its own for each test.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn cozeway(directory: &PathBuf, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_hidden(output: &Output) {
    for secret in [TOKEN, KEY, "bb576e73"] {
        assert!(!text(&output.stdout).contains(secret) && !text(&output.stderr).contains(secret));
    }
}

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml");
const ENV: [(&str, &str); 2] = [("COZE_TOKEN", TOKEN), ("TEAM_A_KEY", KEY)];

#[test]
fn check_shows_what_each_model_comes_to() {
    let output = cozeway(&directory("check"), &["check", "--config", FULL], &ENV);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_hidden(&output);
    assert_eq!(
        text(&output.stdout),
        "\
listen  127.0.0.1:8787
auth    keys
limits  6000 requests per minute

model support
  aliases    gpt-4o, gpt-*
  coze       local (studio) http://127.0.0.1:8888
  bot        7531406778865549312
  token      *** (config)
  rules      system prepend, reasoning field, overflow trim

model desk
  coze       cloud (cloud) https://api.coze.com
  bot        7442165654356000000
  token      *** (config)
  rules      system variable instructions, reasoning think, overflow reject

key team-a
  models     support, desk
  user from  x-openwebui-user-id
  limits     600 requests per minute, 100000 tokens per minute, 20 at one time

key team-b
  models     all
"
    );
}

#[test]
fn check_shows_the_same_as_json() {
    let env = [ENV[0], ENV[1], ("COZEWAY_JSON", "1"), ("COZEWAY_CONFIG", FULL)];
    for (arguments, env) in [(&["check", "--json", "--config", FULL][..], &env[..2]), (&["check"][..], &env)]
    {
        let output = cozeway(&directory("json"), arguments, env);
        assert_hidden(&output);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["auth"], "keys");
        assert_eq!(json["models"][0]["token"], serde_json::json!({"source": "config", "value": "***"}));
        assert_eq!(json["models"][1]["kind"], "cloud");
        assert_eq!(json["keys"][0]["patterns"], serde_json::json!(["support", "desk*"]));
        assert_eq!(json["keys"][0]["limits"]["tokens_per_minute"], 100_000);
        assert_eq!(json["keys"][1]["limits"]["tokens_per_minute"], serde_json::Value::Null);
        assert_eq!(json["limits"]["requests_per_minute"], 6000);
        assert_eq!(json["keys"][1]["models"], serde_json::json!(["support", "desk"]));
    }
}

#[test]
fn check_names_every_fault_of_a_wrong_file_and_exits_2() {
    let directory = directory("wrong");
    std::fs::write(directory.join("cozeway.toml"), "[server]\nlisen = ''\n[models.m]\nbot_id = 7\n").unwrap();
    let output = cozeway(&directory, &["check"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    let faults: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert_eq!(faults[2], "./cozeway.toml:2: server.lisen: unknown key; did you mean \"listen\"?");
    assert_eq!(faults[3], "./cozeway.toml:4: models.m.bot_id: an id is a string: put it in quotes");
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let env = [("COZE_BASE_URL", "http://h"), ("COZE_TOKEN", TOKEN), ("COZE_BOT_ID", "7")];
    let output = cozeway(&directory("missing"), &["check", "--config", "no.toml"], &env);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("no.toml: cannot read it: "));
}

#[test]
fn without_a_file_the_environment_makes_a_gateway() {
    let env = [("COZE_BASE_URL", "http://h"), ("COZE_TOKEN", TOKEN), ("COZE_BOT_ID", "7")];
    let directory = directory("environment");
    let output = cozeway(&directory, &["check"], &env);
    assert_hidden(&output);
    assert_eq!(
        text(&output.stdout),
        "listen  127.0.0.1:8787\nauth    none\n\nmodel coze\n  coze       coze (studio) http://h\n  \
         bot        7\n  token      *** (config)\n  rules      system prepend, reasoning field, overflow trim\n"
    );
    let output = cozeway(&directory, &["check"], &env[..1]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "environment: COZE_TOKEN: is not set\nenvironment: COZE_BOT_ID: is not set\n"
    );
    let output = cozeway(&directory, &["check"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("./cozeway.toml: there is no such file: "));
}

#[test]
fn a_new_key_is_let_in_by_its_entry() {
    let directory = directory("key");
    let output = cozeway(&directory, &["key", "team-a"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let (key, entry) = text(&output.stdout).split_once("\n\n").unwrap();
    assert!(key.starts_with("sk-cozeway-") && !entry.contains(key) && !text(&output.stderr).contains(key));
    let file = format!(
        "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\n[models.m]\nbot_id = '7'\n{entry}[keys.twin]\nkey = '{key}'"
    );
    let path = directory.join("cozeway.toml");
    std::fs::write(&path, file).unwrap();
    let output = cozeway(&directory, &["check"], &[]);
    assert_eq!(text(&output.stderr), "./cozeway.toml:8: keys.twin: has the same key as [keys.team-a]\n");
}

#[test]
fn wrong_usage_exits_2() {
    let directory = directory("usage");
    for arguments in [&["key", "Team A"][..], &["key"], &["check", "--confg", "x"], &["chekc"], &[]] {
        let output = cozeway(&directory, arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(cozeway(&directory, &["--help"], &[]).status.code(), Some(0));
}

/// A gateway that answers once: what it was asked, and what `health` makes of
/// its answer.
#[track_caller]
fn health(answer: &'static str, suffix: &str) -> (String, Output) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{suffix}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        text(request.get(..length).unwrap()).lines().next().unwrap().to_owned()
    });
    // Whoever runs it may have a proxy; this machine is never behind one.
    let env = [("COZEWAY_URL", url.as_str()), ("http_proxy", "http://192.0.2.1:1")];
    let output = cozeway(&directory("health"), &["health"], &env);
    (asked.join().unwrap(), output)
}

#[test]
fn health_says_whether_a_gateway_is_ready() {
    for (body, state) in [
        (r#"{"state":"ready"}"#, "ready"),
        (r#"{"state":"degraded"}"#, "degraded"),
        (r#"{"status":"ok"}"#, "ready"),
        ("ok", "ready"),
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (asked, output) = health(answer.leak(), "/v1/");
        assert_eq!(asked, "GET /readyz HTTP/1.1");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with(&format!(": {state}\n")), "{}", text(&output.stdout));
    }
}

#[test]
fn health_fails_while_a_gateway_is_not_ready() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 20\r\n\r\n{\"state\":\"draining\"}";
    let (_, output) = health(answer, "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let error = text(&output.stderr);
    assert!(error.starts_with("cozeway: http://127.0.0.1:") && error.contains("status 503"), "{error}");
    assert!(error.contains("draining"), "{error}");

    // A redirect is nobody's readiness.
    let (_, output) = health("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn health_fails_where_nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = cozeway(&directory("nobody"), &["health", "--url", &format!("http://{free}")], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not ready: it cannot be reached"), "{}", text(&output.stderr));
    for url in ["8787", "localhost:8787"] {
        let output = cozeway(&directory("nowhere"), &["health", "--url", url], &[]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}
