//! Whole files: what they come to, and every fault of the wrong ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::access::{Caller, Mode, Quota, Quotas};
use crate::catalog::{Memory, Model, Overflow};
use crate::coze::chatflow::{Chatflow, FollowUps};
use crate::coze::workflow::{Input, Workflow};
use crate::coze::{Callee, Kind, Within, token};
use crate::turn::{Reasoning, SystemRule};

mod faults;
mod reload;

/// A secret that must never be seen anywhere.
const SECRET: &str = "pat_never-to-be-seen-0123456789";

pub(super) fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" | "COZE_TOKEN" => Some(SECRET.to_owned()),
        "TEAM_A_KEY" | "COZEWAY_KEY" => Some("sk-never-to-be-seen".to_owned()),
        "SPACED" => Some("pat never".to_owned()),
        "EMPTY" => Some(String::new()),
        "WILD" => Some("\"\n\n[auth]\nmode = \"none\"\nx = '''".to_owned()),
        _ => None,
    }
}

#[track_caller]
pub(super) fn good(text: &str) -> Snapshot {
    parse(text, Path::new("dir/f.toml"), &env).unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn model(snapshot: &Snapshot, name: &str) -> Arc<Model> {
    Arc::clone(snapshot.catalog.find(name).unwrap())
}

fn caller(snapshot: &Snapshot, key: &str) -> Caller {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    snapshot.keys.authenticate(&headers).unwrap()
}

/// A directory for one test, removed with it.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cozeway-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const BASE: &str = r#"
[coze.local]
base_url = "http://127.0.0.1:8888/"
token = "${SECRET}"
[models.support]
bot_id = "75"
[auth]
mode = "none"
"#;

#[test]
fn the_minimal_example_is_good() {
    let snapshot = good(include_str!("../../config/minimal.toml"));
    assert_eq!(snapshot.keys.mode(), Mode::Keys);
    assert_eq!(snapshot.server, Server::default());
    let model = model(&snapshot, "support");
    assert_eq!(model.target.callee.id(), "7531406778865549312");
    assert_eq!(model.target.token.as_ref().unwrap().known().unwrap().expose(), SECRET);
    assert_eq!(model.target.deployment.kind, Kind::Studio);
}

#[test]
fn the_full_example_is_good_and_its_comments_show_the_defaults() {
    let text = include_str!("../../config/full.toml");
    let snapshot = good(text);
    let desk = model(&snapshot, "desk");
    assert_eq!(desk.system, SystemRule::Variable("instructions".into()));
    assert_eq!((desk.reasoning, desk.overflow), (Reasoning::Think, Overflow::Reject));
    assert_eq!(desk.target.deployment.name, "cloud");
    assert_eq!(snapshot.server.cors_origins.as_deref(), Some(&["https://chat.example.com".to_owned()][..]));
    let mut keys = snapshot.keys.iter();
    let team_a = keys.next().unwrap();
    assert_eq!(team_a.models.as_deref(), Some(&["support".to_owned(), "desk*".to_owned()][..]));
    let number = std::num::NonZeroU32::new;
    let quota = Quota {
        requests_per_minute: number(600),
        tokens_per_minute: number(100_000),
        concurrent_requests: number(20),
    };
    assert_eq!(team_a.quota, quota);
    assert_eq!(snapshot.limits, Quota { requests_per_minute: number(6000), ..Quota::default() });
    let team_b = keys.next().unwrap();
    assert_eq!((team_b.name.as_str(), team_b.quota), ("team-b", Quota::default()));

    let defaults = [
        "keepalive",
        "upstream_timeout",
        "upload_timeout",
        "drain_delay",
        "shutdown_grace",
        "max_body",
        "max_connections",
        "allow_anonymous",
        "kind",
        "system",
        "reasoning",
        "overflow",
        "memory",
        "history_rounds",
        "cleanup",
        "auto_save_history",
        "conversation_wait",
        "conversation_hints",
        "url",
        "conversation_ttl",
    ];
    let mut uncommented = String::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").filter(|bare| {
            let mut words = bare.split(' ');
            words.next().is_some_and(|key| defaults.contains(&key)) && words.next() == Some("=")
        });
        uncommented.push_str(bare.unwrap_or(line));
        uncommented.push('\n');
    }
    let spelled_out = good(&uncommented);
    assert_eq!(spelled_out.server, snapshot.server);
    assert_eq!(spelled_out.state, snapshot.state);
    for (a, b) in spelled_out.catalog.models().zip(snapshot.catalog.models()) {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn everything_of_the_server_is_read() {
    let text = format!(
        "[server]\nlisten = \"[::1]:0\"\nkeepalive = \"500ms\"\nupstream_timeout = \"5m\"\nupload_timeout = \"9s\"\n\
         drain_delay = \"5s\"\nshutdown_grace = \"0s\"\nmax_body = 1_000\nmax_connections = 50\n\
         conversation_wait = \"1s\"\nconversation_hints = [\"X-Chat\"]\n\
         trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\ncors_origins = []\nallow_anonymous = true\n{BASE}"
    );
    let expected = Server {
        listen: "[::1]:0".parse().unwrap(),
        keepalive: Duration::from_millis(500),
        upstream_timeout: Duration::from_secs(300),
        upload_timeout: Duration::from_secs(9),
        drain_delay: Duration::from_secs(5),
        shutdown_grace: Duration::ZERO,
        max_body: 1000,
        max_connections: 50,
        conversation_wait: Duration::from_secs(1),
        conversation_hints: vec![http::HeaderName::from_static("x-chat")],
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        tls: None,
        cors_origins: Some(Vec::new()),
        allow_anonymous: true,
    };
    assert_eq!(good(&text).server, expected);
}

#[test]
fn a_star_among_the_origins_is_every_origin() {
    assert_eq!(
        good(&format!("server.cors_origins = [\"https://a.example\", \"*\"]\n{BASE}")).server.cors_origins,
        None
    );
}

#[test]
fn a_deployments_url_has_no_slash_at_its_end() {
    let snapshot = good(BASE);
    let [deployment] = snapshot.deployments.as_slice() else { panic!("one deployment") };
    assert_eq!(deployment.client.base_url(), "http://127.0.0.1:8888");
    let deeper = good(&BASE.replace("8888/", "8888/coze/api//"));
    assert_eq!(
        model(&deeper, "support").target.deployment.client.base_url(),
        "http://127.0.0.1:8888/coze/api"
    );
}

#[test]
fn models_and_deployments_keep_the_order_of_the_file() {
    let snapshot = good(
        "models.z.bot_id = '1'\nmodels.a.bot_id = '2'\nmodels.z.coze = 'y'\nmodels.a.coze = 'b'\nauth.mode = 'none'\n\
         coze.y = { base_url = 'http://y', token = 't' }\ncoze.b = { base_url = 'http://b', token = 't' }",
    );
    assert_eq!(snapshot.catalog.models().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(snapshot.deployments.iter().map(|coze| coze.name.as_str()).collect::<Vec<_>>(), ["y", "b"]);
}

#[test]
fn a_models_own_token_goes_before_the_deployments() {
    let snapshot = good(&BASE.replace("bot_id = \"75\"", "bot_id = \"75\"\ntoken = \" own\\n\""));
    assert_eq!(model(&snapshot, "support").target.token.as_ref().unwrap().known().unwrap().expose(), "own");
}

#[test]
fn an_oauth_app_is_built_with_its_key_and_kept_by_a_reload() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("oauth");
    let (pem, _) = crate::coze::oauth::new_key();
    let key = directory.write("app.pem", &pem);
    let allow = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    let text = "auth.mode = 'none'\n[coze.c]\nbase_url = 'https://api.coze.cn'\n[coze.c.oauth]\napp_id = '118'\n\
                key_id = 'k'\nprivate_key_file = 'app.pem'\nsession_name = 'prod'\n[models.m]\nbot_id = '1'";
    let path = directory.write("f.toml", text);
    let first = load(&path, &env).unwrap();
    let token = model(&first, "m").target.token.clone().unwrap();
    let token::Source::OAuth(oauth) = &*token else { panic!("an app") };
    assert_eq!(
        (oauth.settings().app_id.as_str(), oauth.settings().audience.as_str()),
        ("118", "api.coze.cn")
    );
    assert_eq!((oauth.settings().key_file.as_path(), first.notes.len()), (key.as_path(), 0));
    assert!(!format!("{oauth:?}").contains(&pem[40..60]));

    allow(0o644);
    let second = Source::File(path.clone()).read(&env, Some(&first)).result.unwrap();
    assert!(std::sync::Arc::ptr_eq(&token, model(&second, "m").target.token.as_ref().unwrap()));
    assert_eq!(
        second.notes,
        ["coze.c.oauth.private_key_file: everybody on this machine can read the private key: chmod o-r"]
    );
    let other = directory.write("f.toml", &text.replace("'prod'", "'test'"));
    let third = Source::File(other).read(&env, Some(&second)).result.unwrap();
    assert!(!std::sync::Arc::ptr_eq(&token, model(&third, "m").target.token.as_ref().unwrap()));
    assert_eq!(third.changes_since(&second).models.changed, ["m"]);
}

#[test]
fn a_draft_may_lack_models_and_keys_and_nothing_else() {
    let directory = Directory::new("draft");
    let coze = "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\n";
    let path = directory.write("f.toml", coze);
    let snapshot = Source::File(path.clone()).load_draft(&env).unwrap();
    assert_eq!((snapshot.catalog.models().count(), snapshot.tokens.len()), (0, 1));
    assert!(load(&path, &env).is_err());
    directory.write("f.toml", &coze.replace("base_url", "base"));
    assert!(Source::File(path).load_draft(&env).is_err());
    let environment = |name: &str| (name != "COZE_BOT_ID").then(|| "http://h".to_owned());
    assert_eq!(Source::Environment.load_draft(&environment).unwrap().tokens.len(), 1);
    assert!(Source::Environment.load(&environment).is_err());
}

#[test]
fn files_are_found_beside_the_config() {
    let directory = Directory::new("beside");
    directory.write("token", &format!("{SECRET}\n"));
    directory.write("key", "a-key-from-a-file\n");
    let text = "[coze.c]\nbase_url = 'https://api.coze.cn'\ntoken_file = 'token'\n[models.m]\nbot_id = '1'\n\
                [keys.k]\nkey_file = 'key'";
    let path = directory.write("f.toml", text);
    let snapshot = load(&path, &env).unwrap();
    let target = &model(&snapshot, "m").target;
    assert_eq!(target.deployment.kind, Kind::Cloud);
    let Some(token::Source::File(file)) = target.token.as_deref() else { panic!("a file") };
    assert_eq!(file.path(), directory.0.join("token"));
    assert_eq!(caller(&snapshot, "a-key-from-a-file").name(), "k");
}

#[test]
fn a_value_of_the_environment_cannot_change_the_file() {
    let snapshot = good(&BASE.replace("[auth]", "description = \"<${WILD}>\"\n[auth]"));
    let description = model(&snapshot, "support").description.clone().unwrap();
    assert_eq!(description, format!("<{}>", env("WILD").unwrap()));
}

#[test]
fn no_secret_is_in_the_debug_form() {
    let snapshot = good(
        "[coze.c]\nbase_url = 'https://api.coze.com'\ntoken = '${SECRET}'\nproxy = 'http://u:${SECRET}@proxy:1'\n\
         headers = { x-door = '${SECRET}' }\n[models.m]\nbot_id = '1'\n[keys.k]\nkey = '${SECRET}'",
    );
    let debug = format!("{snapshot:?}");
    assert!(!debug.contains("never"), "{debug}");
    assert!(!debug.contains(&crate::secret::Digest::of(SECRET).to_hex()), "{debug}");
}

#[test]
fn a_key_may_use_what_its_patterns_match() {
    let text = BASE.replace("[auth]\nmode = \"none\"", "aliases = [\"gpt-*\"]\n[models.desk]\nbot_id = '2'")
        + "[keys.a]\nkey = 'aaaaaaaaaaaaaaaa'\n[keys.b]\nkey = 'bbbbbbbbbbbbbbbb'\nmodels = ['des*']";
    let snapshot = good(&text);
    let (a, b) = (caller(&snapshot, "aaaaaaaaaaaaaaaa"), caller(&snapshot, "bbbbbbbbbbbbbbbb"));
    assert_eq!(snapshot.resolve(&a, "gpt-5").unwrap().name, "support");
    assert_eq!(snapshot.resolve(&b, "desk").unwrap().name, "desk");
    assert_eq!(snapshot.resolve(&b, "gpt-5").unwrap_err(), NoModel::NotAllowed);
    assert_eq!(snapshot.resolve(&b, "support").unwrap_err(), NoModel::NotAllowed);
    assert_eq!(snapshot.resolve(&a, "other").unwrap_err(), NoModel::NotFound);
    assert_eq!(snapshot.resolve(&a, "7531406778865549312").unwrap_err(), NoModel::NotFound);
}

#[test]
fn in_passthrough_mode_digits_are_a_bot_of_the_only_deployment() {
    let text = BASE.replace("\"none\"", "\"passthrough\"");
    let snapshot = good(&text);
    let caller = caller(&snapshot, "pat_of_the_caller");
    assert!(model(&snapshot, "support").target.token.is_none());
    assert_eq!(snapshot.notes.len(), 1, "{:?}", snapshot.notes);
    let bot = snapshot.resolve(&caller, "7531406778865549312").unwrap();
    assert_eq!(bot.target.callee.id(), "7531406778865549312");
    assert!(bot.target.token.is_none());
    for name in ["0", "+7", "7a", "", "99999999999999999999", "٧"] {
        assert_eq!(snapshot.resolve(&caller, name).unwrap_err(), NoModel::NotFound, "{name}");
    }
    let two = good(
        &text.replace("[models.support]", "[coze.b]\nbase_url = 'http://b'\n[models.support]\ncoze = 'b'"),
    );
    assert_eq!(two.resolve(&caller, "7531406778865549312").unwrap_err(), NoModel::NotFound);
}

#[test]
fn limits_are_of_keys_and_of_everyone_but_of_each_token_in_passthrough_mode() {
    let number = std::num::NonZeroU32::new;
    let limits = "[limits]\nconcurrent_requests = 0x10\n";
    let (set, unset) = (Quota { concurrent_requests: number(16), ..Quota::default() }, Quota::default());
    let open = good(&format!("{limits}{BASE}"));
    assert_eq!(open.quotas(&caller(&open, "x")), Quotas { own: unset, everyone: set });
    let passed = good(&format!("{limits}{}", BASE.replace("\"none\"", "\"passthrough\"")));
    assert_eq!(passed.quotas(&caller(&passed, "x")), Quotas { own: set, everyone: unset });
    let keys = BASE
        .replace("[auth]\nmode = \"none\"", "[keys.a]\nkey = 'aaaaaaaaaaaaaaaa'\ntokens_per_minute = 1_000");
    let keys = good(&format!("{limits}{keys}"));
    let own = Quota { tokens_per_minute: number(1000), ..unset };
    assert_eq!(keys.quotas(&caller(&keys, "aaaaaaaaaaaaaaaa")), Quotas { own, everyone: set });
}

#[test]
fn the_environment_alone_makes_a_gateway() {
    let snapshot = from_environment(&|name| match name {
        "COZE_BASE_URL" => Some("https://api.coze.cn/".to_owned()),
        "COZE_TOKEN" => Some(format!("{SECRET}${{X}}\n")),
        "COZE_BOT_ID" => Some("75".to_owned()),
        _ => None,
    })
    .unwrap();
    assert_eq!(snapshot.keys.mode(), Mode::Open);
    assert_eq!(snapshot.server.listen.to_string(), "127.0.0.1:8787");
    let target = &model(&snapshot, "coze").target;
    assert_eq!((target.callee.id(), target.deployment.kind), ("75", Kind::Cloud));
    assert_eq!(target.token.as_ref().unwrap().known().unwrap().expose(), format!("{SECRET}${{X}}"));
}

#[test]
fn every_missing_or_wrong_variable_is_named() {
    let faults = from_environment(&|name| (name == "COZE_TOKEN").then(String::new)).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "environment: COZE_BASE_URL: is not set\nenvironment: COZE_TOKEN: is not set\n\
         environment: COZE_BOT_ID: is not set"
    );
    let faults = from_environment(&|name| Some(if name == "COZE_TOKEN" { "a b" } else { "x" }.to_owned()));
    assert_eq!(
        faults.unwrap_err().to_string(),
        "environment: COZE_TOKEN: holds a space or other characters that no header takes\n\
         environment: COZE_BASE_URL: expected a URL such as \"https://api.coze.com\"\n\
         environment: COZE_BOT_ID: expected the id of a bot: decimal digits, as in the address of the bot's page"
    );
}

#[test]
fn deep_nesting_is_a_fault_not_a_crash() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("x{} = 1", ".x".repeat(100_000)),
    ] {
        assert!(parse(&text, Path::new("f"), &env).is_err());
    }
}

/// Lines that mean something to a config, in any order and number.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[server]".to_owned()),
        Just("[coze.a]".to_owned()),
        Just("[models.m]".to_owned()),
        Just("[keys.k]".to_owned()),
        Just("[auth]".to_owned()),
        ("(listen|keepalive|max_body|base_url|token|bot_id|aliases|system|models|key|sha256|mode|headers)",
         "(\"\\PC{0,12}\"|'[$\\{\\}A-Z:-]{0,12}'|-?[0-9]{1,22}|\\[\"\\PC{0,6}\\*?\"\\]|\\{ [a-z]{1,8} = \"x\" \\}|true|0x[0-9a-f]{1,20})")
            .prop_map(|(key, value)| format!("{key} = {value}")),
        "\\PC{0,20}",
    ];
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text, Path::new("f.toml"), &env);
    }

    #[test]
    fn no_config_makes_it_panic_and_every_fault_is_one_line(text in lines()) {
        if let Err(faults) = parse(&text, Path::new("f.toml"), &env) {
            for line in faults.to_string().lines() {
                prop_assert!(line.starts_with("f.toml:"), "{line}");
                prop_assert!(!line.contains("never"), "{line}");
            }
        }
    }
}

#[test]
fn a_workflow_is_what_its_table_says() {
    let text = "[coze.local]\nbase_url = 'http://h'\ntoken = 't'\n[models.w]\nworkflow_id = '7'\n\
                input = 'q'\nhistory = 'log'\noutput = 'o'\nstream = false\napp_id = '8'\nversion = 'v1'\nshow_debug_url = true\n\
                parameters = { city = '${CITY:-杭州}', deep = { list = [1, 2.5, true] } }\n"
        .to_owned()
        + "[auth]\nmode = 'none'\n";
    let snapshot = good(&text);
    let model = model(&snapshot, "w");
    assert_eq!((model.target.callee.kind(), model.memory), ("workflow", Memory::Auto));
    let Callee::Workflow(workflow) = &model.target.callee else { panic!("{model:?}") };
    let expected = Workflow {
        id: "7".to_owned(),
        input: Input::Parameter("q".to_owned()),
        history: Some("log".to_owned()),
        parameters: BTreeMap::from([
            ("city".to_owned(), json!("杭州")),
            ("deep".to_owned(), json!({"list": [1, 2.5, true]})),
        ]),
        output: Some("o".to_owned()),
        stream: false,
        within: Some(Within::App("8".to_owned())),
        version: Some("v1".to_owned()),
        show_debug_url: true,
    };
    assert_eq!(**workflow, expected);
}

#[test]
fn a_chatflow_is_what_its_table_says() {
    let text = "[coze.local]\nbase_url = 'http://h'\ntoken = 't'\n[auth]\nmode = 'none'\n[models.c]\nchatflow_id = '7'\n\
                bot_id = '9'\nparameters.city = '杭州'\nmemory = 'explicit'\nhistory_rounds = 5\nversion = 'v1'\n\
                follow_ups = { prompt = 'short ones' }\n";
    let snapshot = good(text);
    let model = model(&snapshot, "c");
    assert_eq!((model.memory, model.history_rounds), (Memory::Explicit, 5));
    let expected = Chatflow {
        id: "7".to_owned(),
        within: Within::Bot("9".to_owned()),
        parameters: BTreeMap::from([("city".to_owned(), json!("杭州"))]),
        version: Some("v1".to_owned()),
        show_debug_url: false,
        follow_ups: FollowUps::Prompted("short ones".to_owned()),
    };
    assert_eq!(model.target.callee, Callee::Chatflow(std::sync::Arc::new(expected)));
}
