//! The program as a person uses it: arguments in, text and exit code out.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output};

use cozeway::conversation::{Owner, Place, Record};
use cozeway::store::sqlite::Sqlite;
use cozeway::store::{Entry, Id, Store as _};

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
    let state = concat!("sqlite:", env!("CARGO_MANIFEST_DIR"), "/config/cozeway.db");
    assert_eq!(
        text(&output.stdout).replace(state, "STATE"),
        "\
listen  127.0.0.1:8787
auth    keys
state   STATE
limits  6000 requests per minute

model support
  aliases    gpt-4o, gpt-*
  coze       local (studio) http://127.0.0.1:8888
  bot        7531406778865549312
  token      *** (config)
  tool       support
  rules      system prepend, reasoning field, overflow trim
  memory     auto, 100 rounds

model desk
  coze       cloud (cloud) https://api.coze.com
  bot        7442165654356000000
  token      *** (config)
  tool       desk
  gives      custom_variables.tone
  steps      coze
  rules      system variable instructions, reasoning think, overflow reject
  memory     auto, 100 rounds

model weather
  coze       local (studio) http://127.0.0.1:8888
  workflow   7396891037212345678
  token      *** (config)
  tool       weather with days (integer), unit (string)
  rules      system prepend

model guide
  coze       local (studio) http://127.0.0.1:8888
  chatflow   7442024337778000000
  token      *** (config)
  tool       guide
  rules      system prepend, reasoning field, overflow trim
  memory     auto, 100 rounds

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
        assert_eq!(json["keys"][1]["models"], serde_json::json!(["support", "desk", "weather", "guide"]));
        assert_eq!(json["models"][2]["workflow_id"], "7396891037212345678");
        assert!(json["models"][2].get("memory").is_none());
        assert_eq!(json["models"][2]["tool"]["name"], "weather");
        assert_eq!(
            json["models"][2]["tool"]["parameters"][0],
            serde_json::json!({
                "name": "days",
                "type": "integer",
                "description": "How many days, from today.",
                "required": false
            })
        );
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
        "listen  127.0.0.1:8787\nauth    none\nstate   sqlite:cozeway.db\n\nmodel coze\n  coze       coze (studio) http://h\n  \
         bot        7\n  token      *** (config)\n  tool       coze\n  \
         rules      system prepend, reasoning field, overflow trim\n  memory     auto, 100 rounds\n"
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
    let output = cozeway(&env!("CARGO_TARGET_TMPDIR").into(), &["health"], &env);
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

const STATE: &str = "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\n[models.m]\nbot_id = '7'\n\
                     [keys.k]\nkey = '0123456789abcdef'\n[state]\nurl = ";

/// A conversation that is remembered.
fn entry(number: u8, key: &str, user: Option<&str>, name: Option<&str>) -> Entry {
    let record = Record {
        owner: Owner {
            key: key.to_owned(),
            deployment: "c".to_owned(),
            target: "7".to_owned(),
            user: user.map(str::to_owned),
        }
        .into(),
        name: name.map(str::to_owned),
        place: Some(Place { conversation: "75".to_owned(), section: None, chat: "76".to_owned() }),
        rounds: 2,
        ..Record::default()
    };
    Entry {
        id: Id([number; 16]),
        space: [0; 16],
        head: None,
        name: name.map(|_| [number; 16]),
        root: None,
        value: record.to_bytes(),
    }
}

#[tokio::test]
async fn an_operator_lists_and_forgets_conversations() {
    let directory = directory("conversations");
    let config = directory.join("f.toml");
    std::fs::write(&config, format!("{STATE}'sqlite:state.db'\n")).unwrap();
    let config = config.to_str().unwrap();
    let conversations = |arguments: &[&str]| {
        let arguments = [&["conversations"], arguments, &["--config", config]].concat();
        let output = cozeway(&directory, &arguments, &[]);
        let said = text(if output.status.success() { &output.stdout } else { &output.stderr }).to_owned();
        (output.status.code().unwrap(), said)
    };
    let missing = format!("cozeway: there is no state file {}\n", directory.join("state.db").display());
    assert_eq!(conversations(&["list"]), (1, missing));

    let ttl = std::time::Duration::from_secs(3600);
    let store = Sqlite::open(&directory.join("state.db"), ttl).unwrap();
    let names = [("a", Some("ann"), None), ("a", None, Some("x\u{1b}y")), ("b", Some("ann"), Some("z"))];
    for (number, (key, user, name)) in (1..).zip(names) {
        store.insert_for_good(entry(number, key, user, name)).await.unwrap();
    }
    let (code, listed) = conversations(&["list"]);
    assert_eq!((code, listed.lines().count()), (0, 3));
    let first = listed.lines().next().unwrap();
    assert!(first.starts_with("conv_01010101010101010101010101010101  "), "{first}");
    assert!(first.ends_with("answered     2 rounds  key a  c/7  user \"ann\""), "{first}");
    assert!(listed.contains(r#"name "x\u{1b}y""#), "{listed}");

    let (_, json) = conversations(&["list", "--json", "--key-name", "b"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!((&json[0]["name"], &json[0]["conversation"]), (&"z".into(), &"75".into()));
    assert!(json[0]["used_at"].as_u64().unwrap() > 1_700_000_000);

    assert_eq!(conversations(&["forget"]).0, 2);
    assert_eq!(
        conversations(&["forget", "nobody"]),
        (1, "cozeway: there is no conversation [\"nobody\"]\n".into())
    );
    assert_eq!(conversations(&["forget", "z"]), (0, "forgot 1 conversation\n".into()));
    assert_eq!(conversations(&["forget", "--user", "ann"]), (0, "forgot 1 conversation\n".into()));
    assert_eq!(conversations(&["purge"]), (0, "forgot 0 conversations\n".into()));
    assert_eq!(conversations(&["purge", "--unused-for", "1h"]), (0, "forgot 0 conversations\n".into()));
    assert_eq!(conversations(&["purge", "--unused-for", "soon"]).0, 2);
    assert_eq!(conversations(&["purge", "--unused-for", "0s", "--json"]), (0, "{\"forgotten\":1}\n".into()));
    assert_eq!(conversations(&["list"]), (0, "no conversations\n".into()));

    std::fs::write(directory.join("f.toml"), format!("{STATE}'memory:'\n")).unwrap();
    let (code, said) = conversations(&["list"]);
    assert!(code == 1 && said.contains("in the gateway's process alone"), "{said}");
}

#[test]
fn a_state_that_cannot_be_used_is_said_at_the_start() {
    let directory = directory("state");
    for (url, words) in
        [("sqlite:no/such/folder.db", "folder"), ("sqlite:f.toml", "f.toml"), ("sqlite:.", "cozeway")]
    {
        let config = directory.join("f.toml");
        std::fs::write(&config, format!("[server]\nlisten = '127.0.0.1:0'\n{STATE}'{url}'\n")).unwrap();
        let output = cozeway(&directory, &["serve", "--config", config.to_str().unwrap()], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && said.starts_with("cozeway: "), "{said}");
        assert_eq!(text(&output.stdout), "");
        assert!(std::fs::read_to_string(&config).unwrap().starts_with("[server]"));
    }
}
