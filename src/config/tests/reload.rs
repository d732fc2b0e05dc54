//! A config for a gateway that runs with another one.

use super::*;

const OLD: &str = r#"
[server]
listen = "127.0.0.1:1"
keepalive = "10s"
[coze.local]
base_url = "http://127.0.0.1:8888"
token = "t"
[coze.other]
base_url = "http://127.0.0.1:9999"
token = "t"
[models.a]
coze = "local"
bot_id = "1"
[models.b]
coze = "other"
bot_id = "2"
[keys.k]
key = "0123456789abcdef"
"#;

fn renewed(old: &Snapshot, text: &str) -> Result<Snapshot, Faults> {
    parse_for(text, Path::new("dir/f"), &env, Reading { running: Some(old), draft: false }, Report::default())
        .result
}

#[track_caller]
fn changes(text: &str) -> String {
    let old = good(OLD);
    renewed(&old, text).unwrap().changes_since(&old).to_string()
}

#[track_caller]
fn refused(running: &Snapshot, text: &str) -> String {
    renewed(running, text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_changed_is_said_by_name() {
    assert_eq!(changes(OLD), "nothing changed");
    let moved = OLD.replace("9999", "9998").replace("10s", "20s").replace("cdef", "cdee");
    assert_eq!(
        changes(&moved),
        "models changed: b; keys changed: k; deployments changed: other; settings: server.keepalive"
    );
    let other = OLD.replace("[models.a]", "[models.c]").replace("[keys.k]", "[keys.l]");
    assert_eq!(changes(&other), "models added: c; models removed: a; keys added: l; keys removed: k");
    assert_eq!(changes(&OLD.replace("bot_id = \"1\"", "bot_id = \"7\"\ntoken = \"x\"")), "models changed: a");
    let open = OLD.replace("[keys.k]\nkey = \"0123456789abcdef\"", "[auth]\nmode = \"none\"");
    assert_eq!(changes(&open), "keys removed: k; settings: auth.mode");
}

#[test]
fn a_deployment_that_is_the_same_keeps_its_connections() {
    let old = good(OLD);
    let new = renewed(&old, &OLD.replace("9999", "9998").replace("10s", "20s")).unwrap();
    let same: Vec<bool> =
        old.deployments.iter().zip(&new.deployments).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(same, [true, false]);
    assert!(Arc::ptr_eq(&model(&new, "a").target.deployment, &old.deployments[0]));
}

#[test]
fn what_cannot_change_is_a_fault_beside_the_others() {
    let directory = Directory::new("fixed");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let tls = format!("tls = {{ cert = {cert:?}, key = {key:?} }}\n[coze.local]");
    let with_tls = OLD.replacen("[coze.local]", &tls, 1);

    let old = good(OLD);
    assert_eq!(
        refused(&old, &with_tls.replace("127.0.0.1:1\"", "127.0.0.1:2\"").replace("10s", "no")),
        "dir/f:3: server.listen: cannot change while the gateway runs (it listens on 127.0.0.1:1): restart it\n\
         dir/f:4: server.keepalive: expected a duration such as \"15s\" (units: ms, s, m, h, d)\n\
         dir/f:5: server.tls: TLS cannot be turned on while the gateway runs: restart it"
    );
    let old = good(&with_tls);
    assert_eq!(
        refused(&old, OLD),
        "dir/f:2: server: tls is missing, and cannot be turned off while the gateway runs: restart it"
    );
    assert!(renewed(&old, &with_tls).unwrap().changes_since(&old).is_empty());

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    directory.write("cert.pem", &other.cert.pem());
    assert!(refused(&old, &with_tls).starts_with("dir/f:5: server.tls: "), "the key is another's");
    directory.write("key.pem", &other.signing_key.serialize_pem());
    assert_eq!(renewed(&old, &with_tls).unwrap().changes_since(&old).settings, ["server.tls"]);
}
