//! Wrong files, and exactly what is said of them.

use super::*;

const COZE: &str = "[coze.local]\nbase_url = 'http://h'\ntoken = 't'\n";
const MODEL: &str = "[models.m]\nbot_id = '1'\n";
const KEY: &str = "[keys.k]\nkey = '0123456789abcdef'\n";

/// A table of cases: each a file's beginning, with its faults. The rest of
/// the file, which is good, follows.
#[track_caller]
fn table(rest: &[&str], cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        wrong(&format!("{text}\n{}", rest.concat()), expected);
    }
}

#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    let Err(faults) = parse(text, Path::new("f"), &env) else { panic!("no fault:\n{text}") };
    let faults = faults.to_string();
    assert!(!faults.contains("never"), "a secret: {faults}");
    assert_eq!(faults.lines().collect::<Vec<_>>(), expected, "\n{text}");
}

const NO_KEY: &str = "auth.mode: there is no key: add one (`cozeway key NAME` makes it), \
                      or set mode to \"passthrough\" or \"none\"";
const NO_MODEL: &str = "there is no model: add a [models.NAME] table";
const NO_DURATION: &str = "expected a duration such as \"15s\" (units: ms, s, m, h, d)";
const NO_SIZE: &str = "expected a size such as \"20MB\" (units: B, KB, MB, GB, KiB, MiB, GiB)";

#[test]
fn what_is_no_toml_is_one_fault_with_its_line() {
    wrong("[server]\n\nlisten = \n[models", &["f:3: string values must be quoted, expected literal string"]);
    wrong("[models.m]\n[models.m]\nx = [", &["f:2: duplicate key"]);
}

#[test]
fn what_is_needed_and_not_there() {
    let coze = "f:1: coze: there is no Coze deployment: add a [coze.NAME] table";
    wrong("", &[coze, &format!("f:1: models: {NO_MODEL}"), &format!("f:1: {NO_KEY}")]);
    wrong(&format!("{MODEL}{KEY}"), &[coze]);
    wrong(&format!("{COZE}{KEY}[models]"), &[&format!("f:6: models: {NO_MODEL}")]);
    wrong(&format!("{COZE}{MODEL}"), &[&format!("f:1: {NO_KEY}")]);
    wrong(&format!("{COZE}{MODEL}[auth]"), &[&format!("f:6: {NO_KEY}")]);
    wrong(
        &format!("{COZE}{MODEL}[auth]\nmode = 'keys'"),
        &["f:7: auth.mode: mode \"keys\" needs a key: `cozeway key NAME` makes one"],
    );
}

#[test]
fn the_top_of_the_file() {
    table(
        &[COZE, MODEL, KEY],
        &[
            ("[sever]\nx = 1", &["f:1: sever: unknown key; did you mean \"server\"?"]),
            ("zebra = 1", &["f:1: zebra: unknown key"]),
            ("server = 5", &["f:1: server: expected a table, found an integer"]),
            (
                "[limits]\nrequests_per_minute = 0\ntokens_per_minute = 1000000001\nconcurrent_request = 1",
                &[
                    "f:2: limits.requests_per_minute: must be at least 1",
                    "f:3: limits.tokens_per_minute: must be at most 1000000000",
                    "f:4: limits.concurrent_request: unknown key; did you mean \"concurrent_requests\"?",
                ],
            ),
            (
                "[state]\nurl = 'postgres:x'\nconversation_ttl = '5s'\nttl = 1",
                &[
                    "f:2: state.url: use memory:, sqlite:PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB",
                    "f:3: state.conversation_ttl: must be from 1m to 3650d",
                    "f:4: state.ttl: unknown key",
                ],
            ),
            (
                "[auth]\nmode = 'passthru'",
                &[
                    "f:2: auth.mode: expected one of \"keys\", \"passthrough\", \"none\"; did you mean \"passthrough\"?",
                ],
            ),
            ("[auth]\nmodes = 'keys'", &["f:2: auth.modes: unknown key; did you mean \"mode\"?"]),
        ],
    );
}

#[test]
fn the_server() {
    table(
        &[COZE, MODEL, KEY],
        &[
            ("[server]\nlisen = 'x'", &["f:2: server.lisen: unknown key; did you mean \"listen\"?"]),
            (
                "[server]\nlisten = 'localhost:1'",
                &[
                    "f:2: server.listen: expected an IP address and a port such as \"127.0.0.1:8787\" or \"[::1]:8787\"",
                ],
            ),
            ("[server]\nlisten = 8787", &["f:2: server.listen: expected a string, found an integer"]),
            ("[server]\nkeepalive = '15'", &[&format!("f:2: server.keepalive: {NO_DURATION}")]),
            ("[server]\nkeepalive = 15", &[&format!("f:2: server.keepalive: {NO_DURATION}")]),
            ("[server]\nkeepalive = '0s'", &["f:2: server.keepalive: must be from 1ms to 1h"]),
            ("[server]\nkeepalive = '2h'", &["f:2: server.keepalive: must be from 1ms to 1h"]),
            ("[server]\nupstream_timeout = '0ms'", &["f:2: server.upstream_timeout: must be from 1ms to 1d"]),
            ("[server]\nupload_timeout = '2h'", &["f:2: server.upload_timeout: must be from 1ms to 1h"]),
            ("[server]\nshutdown_grace = '2d'", &["f:2: server.shutdown_grace: must be from 0s to 1d"]),
            ("[server]\nmax_body = '20mb'", &[&format!("f:2: server.max_body: {NO_SIZE}")]),
            ("[server]\nmax_body = -1", &[&format!("f:2: server.max_body: {NO_SIZE}")]),
            ("[server]\nmax_body = 0", &["f:2: server.max_body: must be from 1B to 1GiB"]),
            ("[server]\nmax_body = '2GiB'", &["f:2: server.max_body: must be from 1B to 1GiB"]),
            ("[server]\nmax_body = true", &["f:2: server.max_body: expected a string, found a boolean"]),
            ("[server]\ndrain_delay = '2h'", &["f:2: server.drain_delay: must be from 0s to 1h"]),
            ("[server]\nmax_connections = 0", &["f:2: server.max_connections: must be at least 1"]),
            (
                "[server]\nmax_connections = 1000001",
                &["f:2: server.max_connections: must be at most 1000000"],
            ),
            (
                "[server]\nmax_connections = '1'",
                &["f:2: server.max_connections: expected an integer, found a string"],
            ),
            (
                "[server]\ntrusted_proxies = [\n'10.0.0.1',\n'10.0.0.0/33',\n'proxy']",
                &[
                    "f:4: server.trusted_proxies[1]: expected an IP address or a network such as \"10.0.0.0/8\"",
                    "f:5: server.trusted_proxies[2]: expected an IP address or a network such as \"10.0.0.0/8\"",
                ],
            ),
            ("[server]\ntls = true", &["f:2: server.tls: expected a table, found a boolean"]),
            (
                "[server]\ntls = { cert = '/nowhere/c', kei = 'k' }",
                &[
                    "f:2: server.tls.kei: unknown key; did you mean \"key\"?",
                    "f:2: server.tls: key is missing",
                    "f:2: server.tls.cert: cannot read it: No such file or directory (os error 2)",
                ],
            ),
            (
                "[server]\nallow_anonymous = 'yes'",
                &["f:2: server.allow_anonymous: expected true or false, found a string"],
            ),
            (
                "[server]\ncors_origins = 'x'",
                &["f:2: server.cors_origins: expected a list of strings, found a string"],
            ),
            (
                "[server]\ncors_origins = [\n'http://a',\n'a/b',\n7]",
                &[
                    "f:4: server.cors_origins[1]: expected an origin such as \"https://app.example.com\": scheme, host and port, no path",
                    "f:5: server.cors_origins[2]: expected a string, found an integer",
                ],
            ),
            (
                "[server]\nconversation_wait = '2h'\nconversation_hints = ['x chat']",
                &[
                    "f:2: server.conversation_wait: must be from 0s to 1h",
                    "f:3: server.conversation_hints[0]: is not the name of a header",
                ],
            ),
        ],
    );
}

#[test]
fn deployments() {
    let no_url = "f:2: coze.c.base_url: expected a URL such as \"https://api.coze.com\"";
    let no_http = "f:2: coze.c.base_url: expected a URL that begins with http:// or https://";
    let credentials = "f:2: coze.c.base_url: must not hold a user or a password: use token, or headers";
    table(
        &[MODEL, KEY],
        &[
            ("[coze.c]\ntoken = 't'", &["f:1: coze.c: base_url is missing"]),
            ("[coze.c]\nbase_url = 'h:8888/x y'\ntoken = 't'", &[no_http]),
            ("[coze.c]\nbase_url = 'h'\ntoken = 't'", &[no_url]),
            ("[coze.c]\nbase_url = 'ftp://h'\ntoken = 't'", &[no_http]),
            ("[coze.c]\nbase_url = 'http://u:${SECRET}@h'\ntoken = 't'", &[credentials]),
            (
                "[coze.c]\nbase_url = 'http://h?x=1'\ntoken = 't'",
                &["f:2: coze.c.base_url: must end with the host or a path: no query, no fragment"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\nkind = 'Cloud'",
                &["f:4: coze.c.kind: expected one of \"studio\", \"cloud\"; did you mean \"cloud\"?"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\ntoken_file = 't'",
                &["f:1: coze.c: has both token and token_file; only one can be"],
            ),
            ("[coze.c]\nbase_url = 'http://h'\ntoken = '${EMPTY}'", &["f:3: coze.c.token: is empty"]),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = '${SPACED}'",
                &["f:3: coze.c.token: holds a space or other characters that no header takes"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken_file = 'no/such'",
                &["f:3: coze.c.token_file: cannot read it: No such file or directory (os error 2)"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\nca_file = 'no/such'",
                &["f:4: coze.c.ca_file: cannot read it: No such file or directory (os error 2)"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\nproxy = 'socks4://u:${SECRET}@p'",
                &["f:4: coze.c.proxy: of SOCKS, only socks5:// is supported"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\nproxy = 'proxy'",
                &["f:4: coze.c.proxy: expected the URL of a proxy such as \"http://proxy:3128\""],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\n[coze.c.headers]\n'a b' = 'x'\nx-a = 1\n\
                 Authorization = '${SECRET}'\nx-b = '${WILD}'\nX-C = 'a'\nx-c = 'b'",
                &[
                    "f:5: coze.c.headers.\"a b\": is not the name of a header",
                    "f:6: coze.c.headers.x-a: expected a string, found an integer",
                    "f:7: coze.c.headers.Authorization: the gateway sets this header itself",
                    "f:8: coze.c.headers.x-b: holds characters that no header takes",
                    "f:10: coze.c.headers.x-c: the same header is given twice",
                ],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = 't'\ntokn = 'x'",
                &["f:4: coze.c.tokn: unknown key; did you mean \"token\"?"],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'\ntoken = '${A}${B:-x}${C}'",
                &[
                    "f:3: coze.c.token: the environment variable A is not set",
                    "f:3: coze.c.token: the environment variable C is not set",
                ],
            ),
            (
                "[coze.c]\nbase_url = 'http://h'",
                &[
                    "f:3: models.m: there is no token for it: give token or token_file here or in [coze.c], or [coze.c.oauth]",
                ],
            ),
            (
                "[coze.''] \nbase_url = 'http://h'\ntoken = 't'",
                &["f:1: coze.\"\": the name of a deployment is not empty and has no control characters"],
            ),
        ],
    );
}

#[test]
fn a_certificate_that_is_none_is_said_at_its_file() {
    let directory = Directory::new("ca");
    let path = directory.write("ca.pem", "no certificate");
    let text = format!("{COZE}ca_file = '{}'\n{MODEL}{KEY}", path.display());
    wrong(&text, &["f:4: coze.local.ca_file: no certificate in PEM form"]);
    let path = directory.write("empty", "\n");
    let text = format!("{MODEL}token_file = '{0}'\n{COZE}[keys.k]\nkey_file = '{0}'", path.display());
    wrong(&text, &["f:3: models.m.token_file: it is empty", "f:8: keys.k.key_file: the file is empty"]);
}

#[test]
fn models() {
    let long = format!("[models.{}]\nbot_id = '1'", "x".repeat(129));
    let long_fault = format!("f:1: models.{}: the name of a model has 1 to 128 characters", "x".repeat(129));
    let id = "expected the id of a bot: decimal digits, as in the address of the bot's page";
    table(
        &[COZE, KEY],
        &[
            ("[models.m]", &["f:1: models.m: bot_id is missing"]),
            ("[models.m]\nbot_id = 75", &["f:2: models.m.bot_id: an id is a string: put it in quotes"]),
            ("[models.m]\nbot_id = '0'", &[&format!("f:2: models.m.bot_id: {id}")]),
            ("[models.m]\nbot_id = '7a'", &[&format!("f:2: models.m.bot_id: {id}")]),
            ("[models.m]\nbot_id = '99999999999999999999'", &[&format!("f:2: models.m.bot_id: {id}")]),
            ("[models]\nm = '75'", &["f:2: models.m: expected a table, found a string"]),
            (
                "[models.m]\nbot_id = '1'\ncoze = 'loca'",
                &["f:3: models.m.coze: there is no such Coze deployment; did you mean \"local\"?"],
            ),
            (
                "[models.m]\nbot_id = '1'\ncoze = '${SECRET}'",
                &["f:3: models.m.coze: there is no such Coze deployment"],
            ),
            (
                "[coze.b]\nbase_url = 'http://h'\n[models.m]\nbot_id = '1'",
                &[
                    "f:3: models.m: coze is missing: with several deployments say which one, of \"b\", \"local\"",
                ],
            ),
            ("[models.'']\nbot_id = '1'", &["f:1: models.\"\": the name of a model has 1 to 128 characters"]),
            (&long, &[&long_fault]),
            (
                "[models.'a b']\nbot_id = '1'",
                &["f:1: models.\"a b\": the name of a model has no spaces and no control characters"],
            ),
            ("[models.'a*']\nbot_id = '1'", &["f:1: models.\"a*\": only an alias may hold a *, at its end"]),
            (
                "[models.m]\nbot_id = '1'\naliases = ['a*b', '**', '', 'm', 'x', 'x', 3]\n\
                 [models.n]\nbot_id = '1'\naliases = ['m', 'x', 'y*', 'y*', '*']",
                &[
                    "f:3: models.m.aliases[6]: expected a string, found an integer",
                    "f:3: models.m.aliases[0]: only the last character may be a *",
                    "f:3: models.m.aliases[1]: only the last character may be a *",
                    "f:3: models.m.aliases[2]: the name of a model has 1 to 128 characters",
                    "f:3: models.m.aliases[3]: is already the name of a model",
                    "f:3: models.m.aliases[5]: is already an alias of the model \"m\"",
                    "f:6: models.n.aliases[0]: is already the name of a model",
                    "f:6: models.n.aliases[1]: is already an alias of the model \"m\"",
                    "f:6: models.n.aliases[3]: is already an alias of the model \"n\"",
                ],
            ),
            (
                "[models.m]\nbot_id = '1'\nsystem = 'ignore'\nreasoning = 'feild'\noverflow = 1",
                &[
                    "f:3: models.m.system: expected one of \"prepend\", \"drop\", \"reject\"",
                    "f:4: models.m.reasoning: expected one of \"field\", \"both\", \"think\", \"drop\"; did you mean \"field\"?",
                    "f:5: models.m.overflow: expected a string, found an integer",
                ],
            ),
            (
                "[models.m]\nbot_id = '1'\nsystem = { variabel = 'x' }",
                &[
                    "f:3: models.m.system.variabel: unknown key; did you mean \"variable\"?",
                    "f:3: models.m.system: variable is missing",
                ],
            ),
            (
                "[models.m]\nbot_id = '1'\nsystem = { variable = '' }",
                &[
                    "f:3: models.m.system.variable: is not the name of a variable: it has no spaces and is not empty",
                ],
            ),
            ("[models.m]\nbot_id = '1'\ntoken = ' '", &["f:3: models.m.token: is empty"]),
            (
                "[models.m]\nbot_id = '1'\nsystem = { variable = 'p' }\ncustom_variables = { p = 'x', n = 1 }\n\
                 extra_params = 'x'\nsteps = 'all'\n[models.m.shortcut_command]\ncommand_id = 'x'\nparameter = {}",
                &[
                    "f:4: models.m.custom_variables.n: expected a string, found an integer",
                    "f:4: models.m.custom_variables.p: is what system goes into: it cannot be fixed as well",
                    "f:5: models.m.extra_params: expected a table, found a string",
                    "f:6: models.m.steps: expected one of \"hidden\", \"reasoning\", \"coze\"",
                    "f:8: models.m.shortcut_command.command_id: expected the id of a command: decimal digits, as in the address of the command's page",
                    "f:9: models.m.shortcut_command.parameter: unknown key; did you mean \"parameters\"?",
                ],
            ),
            (
                "[models.m]\nbot_id = '1'\nshortcut_command = {}",
                &["f:3: models.m.shortcut_command: command_id is missing"],
            ),
            (
                "[models.w]\nchatflow_id = '1'\napp_id = '1'\nmemory = 'on'\nhistory_rounds = 0",
                &[
                    "f:4: models.w.memory: expected one of \"auto\", \"explicit\", \"off\"",
                    "f:5: models.w.history_rounds: must be at least 1",
                ],
            ),
        ],
    );
}

#[test]
fn tools() {
    let flow = "[models.w]\nworkflow_id = '1'\ninput = 'a'\n";
    table(
        &[COZE, KEY],
        &[
            (
                "[models.m]\nbot_id = '1'\ntool = {}",
                &["f:3: models.m.tool: this is for workflows and chatflows alone"],
            ),
            (&format!("{flow}tool = 'x'"), &["f:4: models.w.tool: expected a table, found a string"]),
            (
                &format!(
                    "{flow}[models.w.tool]\nparameter = {{}}\n[models.w.tool.parameters]\nx = 1\nmessage = {{}}\n\
                     a = {{}}\n'b c' = {{}}\nd = {{ type = 'text', enum = 1, requierd = true }}\n\
                     e = {{ type = 'integer', enum = [1, 'two'] }}\nf = {{ enum = [] }}"
                ),
                &[
                    "f:5: models.w.tool.parameter: unknown key; did you mean \"parameters\"?",
                    "f:7: models.w.tool.parameters.x: expected a table, found an integer",
                    "f:8: models.w.tool.parameters.message: every tool has this already: a parameter has another name",
                    "f:9: models.w.tool.parameters.a: is what the message goes into: it cannot be a parameter as well",
                    "f:10: models.w.tool.parameters.\"b c\": is not the name of a parameter: it has no spaces and is not empty",
                    "f:11: models.w.tool.parameters.d.requierd: unknown key; did you mean \"required\"?",
                    "f:11: models.w.tool.parameters.d.type: expected one of \"string\", \"integer\", \"number\", \"boolean\", \"array\", \"object\"",
                    "f:11: models.w.tool.parameters.d.enum: expected a list, found an integer",
                    "f:12: models.w.tool.parameters.e.enum[1]: is not an integer, which the parameter's type says",
                    "f:13: models.w.tool.parameters.f.enum: is empty: then no value would do",
                ],
            ),
        ],
    );
}

#[test]
fn workflows() {
    let bots = "a workflow has no conversation and shows no thinking: this is not for it";
    let id = "expected the id of a workflow: decimal digits, as in the address of the workflow's page";
    table(
        &[COZE, KEY],
        &[
            (
                "[models.w]\nworkflow_id = 'x'",
                &[
                    "f:1: models.w: input is missing: name the start parameter that takes the user's text \
                     (or give history, or input_format = \"json\")",
                    &format!("f:2: models.w.workflow_id: {id}"),
                ],
            ),
            (
                "[models.w]\nworkflow_id = '1'\ninput = 'a'\ninput_format = 'json'\nbot_id = '1'\napp_id = '2'",
                &[
                    "f:1: models.w: has both input and input_format = \"json\": then the text itself names the parameters",
                    "f:1: models.w: has both bot_id and app_id; Coze takes only one",
                ],
            ),
            (
                "[models.w]\nworkflow_id = '1'\ninput = 'a'\nmemory = 'off'\nhistory_rounds = 3\ncleanup = true\n\
                 reasoning = 'drop'\noverflow = 'trim'",
                &[
                    &format!("f:4: models.w.memory: {bots}"),
                    &format!("f:5: models.w.history_rounds: {bots}"),
                    &format!("f:6: models.w.cleanup: {bots}"),
                    &format!("f:7: models.w.reasoning: {bots}"),
                    &format!("f:8: models.w.overflow: {bots}"),
                ],
            ),
            (
                "[models.m]\nbot_id = '1'\ninput = 'a'\nparameters = {}\nstram = 1",
                &[
                    "f:3: models.m.input: this is for workflows and chatflows alone",
                    "f:5: models.m.stram: unknown key",
                ],
            ),
            (
                "[models.w]\nworkflow_id = '1'\ninput = ' '\ninput_format = 'yaml'\napp_id = 7\nstream = 'no'\noutput = 1",
                &[
                    "f:3: models.w.input: is not the name of a parameter: it has no spaces and is not empty",
                    "f:4: models.w.input_format: expected one of \"text\", \"json\"",
                    "f:5: models.w.app_id: an id is a string: put it in quotes",
                    "f:6: models.w.stream: expected true or false, found a string",
                    "f:7: models.w.output: expected a string, found an integer",
                ],
            ),
            (
                "[models.w]\nworkflow_id = '1'\ninput = 'a'\nhistory = 'a'\nparameters.a = 1\nparameters.when = 1979-05-27\n\
                 parameters.big = 99999999999999999999\nparameters.x = inf",
                &[
                    "f:4: models.w.history: input and history name the same start parameter",
                    "f:5: models.w.parameters.a: is what input goes into: it cannot be fixed as well",
                    "f:6: models.w.parameters.when: is a date or time, which JSON does not have: put it in quotes",
                    "f:7: models.w.parameters.big: is too large a number: put it in quotes",
                    "f:8: models.w.parameters.x: is a number that JSON does not have",
                ],
            ),
        ],
    );
}

#[test]
fn keys() {
    let name = "the name of a key has 1 to 32 characters: a-z, 0-9, - and _";
    let long = format!("[keys.{}]\nkey = '0123456789abcdef'", "x".repeat(33));
    let long_fault = format!("f:1: keys.{}: {name}", "x".repeat(33));
    let hex = "expected the SHA-256 of a key: 64 digits of 0-9 and a-f, in lower case";
    let upper = format!("[keys.k]\nsha256 = '{}'", "A".repeat(64));
    let again = format!(
        "[keys.a]\nkey = '0123456789abcdef'\n[keys.b]\nsha256 = '{}'",
        crate::secret::Digest::of("0123456789abcdef").to_hex()
    );
    table(
        &[COZE, "[models.support]\nbot_id = '1'\naliases = ['gpt-4o']\n"],
        &[
            ("[keys.Team]\nkey = '0123456789abcdef'", &[&format!("f:1: keys.Team: {name}")]),
            (&long, &[&long_fault]),
            ("[keys.k]", &["f:1: keys.k: needs one of key, sha256 and key_file"]),
            ("[keys.k]\nkey = 'x'\nsha256 = 'x'", &["f:1: keys.k: has both key and sha256; only one can be"]),
            (
                "[keys.k]\nkey = '0123456789abcde'",
                &["f:2: keys.k.key: holds a key of less than 16 characters, which can be guessed"],
            ),
            ("[keys.k]\nkey = ''", &["f:2: keys.k.key: is empty"]),
            (
                "[keys.k]\nkey = '0123456789 abcdef'",
                &["f:2: keys.k.key: holds a space or other characters that no header takes"],
            ),
            (&upper, &[&format!("f:2: keys.k.sha256: {hex}")]),
            ("[keys.k]\nsha256 = 'abc'", &[&format!("f:2: keys.k.sha256: {hex}")]),
            (
                "[keys.k]\nkey_file = 'no/such'",
                &["f:2: keys.k.key_file: cannot read it: No such file or directory (os error 2)"],
            ),
            (&again, &["f:3: keys.b: has the same key as [keys.a]"]),
            (
                "[keys.k]\nkey = '0123456789abcdef'\nmodels = ['suport', 'desk*', 'gpt-4o', 's*t', 's*', 'support']",
                &[
                    "f:3: keys.k.models[0]: there is no such model; did you mean \"support\"?",
                    "f:3: keys.k.models[1]: there is no such model",
                    "f:3: keys.k.models[2]: is an alias: keys are given models by name, here \"support\"",
                    "f:3: keys.k.models[3]: only the last character may be a *",
                ],
            ),
            (
                "[keys.k]\nkey = '0123456789abcdef'\nmodels = []",
                &["f:3: keys.k.models: an empty list allows no model: leave it out to allow all"],
            ),
            (
                "[keys.k]\nkey = '0123456789abcdef'\nuser_headers = ['x-a', 'x a']",
                &["f:3: keys.k.user_headers[1]: is not the name of a header"],
            ),
            (
                "[keys.k]\nkey = '0123456789abcdef'\nrequests_per_minute = -1\ntokens_per_minute = '5'\n\
                 concurrent_requests = 1.5\nmodel = 'x'",
                &[
                    "f:3: keys.k.requests_per_minute: must be at least 1",
                    "f:4: keys.k.tokens_per_minute: expected an integer, found a string",
                    "f:5: keys.k.concurrent_requests: expected an integer, found a float",
                    "f:6: keys.k.model: unknown key; did you mean \"models\"?",
                ],
            ),
        ],
    );
}

#[test]
fn modes() {
    let open = "mode \"none\" lets everybody in who reaches this address: listen on 127.0.0.1, \
                use keys, or say allow_anonymous = true";
    let refused = format!("f:2: server.listen: {open}");
    table(
        &[COZE, MODEL],
        &[
            ("[server]\nlisten = '0.0.0.0:1'\n[auth]\nmode = 'none'", &[&refused]),
            ("[server]\nlisten = '[::]:1'\n[auth]\nmode = 'none'", &[&refused]),
            (
                "[auth]\nmode = 'none'\n[keys.k]\nkey = '0123456789abcdef'",
                &["f:2: auth.mode: there are keys, which mode \"none\" does not ask for"],
            ),
            (
                "[auth]\nmode = 'passthrough'\n[keys.k]\nkey = '0123456789abcdef'",
                &["f:2: auth.mode: there are keys, which mode \"passthrough\" does not ask for"],
            ),
        ],
    );
    for listen in ["127.0.0.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1'\nallow_anonymous = true #"] {
        good(
            &format!("{COZE}{MODEL}[server]\nlisten = '{listen}'\n[auth]\nmode = 'none'").replace("#'", "#"),
        );
    }
}

#[test]
fn the_faults_of_a_whole_file_come_together_and_sorted() {
    wrong(
        "[models.m]\nbot_id = 75\n[keys.K]\nkey = 'short'\n[server]\nkeepalive = '0s'\nlisten = ''\n\
         [coze.a]\nbase_url = '${NOWHERE}'\n[models.n]\ncoze = 'b'\n[auth]\nmode = 'nobody'\nx = 1",
        &[
            "f:2: models.m.bot_id: an id is a string: put it in quotes",
            "f:3: keys.K: the name of a key has 1 to 32 characters: a-z, 0-9, - and _",
            "f:4: keys.K.key: holds a key of less than 16 characters, which can be guessed",
            "f:6: server.keepalive: must be from 1ms to 1h",
            "f:7: server.listen: expected an IP address and a port such as \"127.0.0.1:8787\" or \"[::1]:8787\"",
            "f:9: coze.a.base_url: the environment variable NOWHERE is not set",
            "f:10: models.n: bot_id is missing",
            "f:11: models.n.coze: there is no such Coze deployment",
            "f:13: auth.mode: expected one of \"keys\", \"passthrough\", \"none\"",
            "f:14: auth.x: unknown key",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let missing = load(Path::new("no/such.toml"), &env).unwrap_err();
    assert_eq!(missing.to_string(), "no/such.toml: cannot read it: No such file or directory (os error 2)");
    let directory = Directory::new("bytes");
    let path = directory.0.join("f.toml");
    std::fs::write(&path, b"x = \"\xff\"").unwrap();
    assert_eq!(load(&path, &env).unwrap_err().to_string(), format!("{}: is not UTF-8 text", path.display()));
}

#[test]
fn chatflows() {
    table(
        &[COZE, KEY],
        &[
            (
                "[models.c]\nchatflow_id = 'x'\ninput = 'a'\noverflow = 'trim'\nstream = true",
                &[
                    "f:1: models.c: bot_id or app_id is missing: a chatflow is run in the name of one",
                    "f:2: models.c.chatflow_id: expected the id of a chatflow: decimal digits, as in the address of the chatflow's page",
                    "f:3: models.c.input: this is not for chatflows",
                    "f:4: models.c.overflow: this is not for chatflows",
                    "f:5: models.c.stream: this is not for chatflows",
                ],
            ),
            (
                "[models.c]\nchatflow_id = '1'\napp_id = '2'\nbot_id = '3'\nworkflow_id = '4'\ninput = 'a'",
                &[
                    "f:1: models.c: has both workflow_id and chatflow_id; only one can be",
                    "f:1: models.c: has both bot_id and app_id; Coze takes only one",
                    "f:2: models.c.chatflow_id: a workflow has no conversation and shows no thinking: this is not for it",
                ],
            ),
            (
                "[models.c]\nchatflow_id = '1'\napp_id = '2'\nfollow_ups = { promt = 'x' }\n[models.d]\nchatflow_id = '1'\napp_id = '2'\nfollow_ups = 'yes'",
                &[
                    "f:4: models.c.follow_ups.promt: unknown key; did you mean \"prompt\"?",
                    "f:4: models.c.follow_ups: prompt is missing",
                    "f:8: models.d.follow_ups: expected true or false, found a string",
                ],
            ),
            (
                "[models.c]\nchatflow_id = '1'\napp_id = '2'\nsystem = { variable = 'p' }\nparameters = { p = 1, USER_INPUT = 'x', \
                 CONVERSATION_NAME = 'y' }",
                &[
                    "f:5: models.c.parameters.p: is what system goes into: it cannot be fixed as well",
                    "f:5: models.c.parameters.USER_INPUT: is what the user's text goes into: it cannot be fixed as well",
                    "f:5: models.c.parameters.CONVERSATION_NAME: is what the conversation's name goes into: it cannot be fixed as well",
                ],
            ),
        ],
    );
}

#[test]
fn an_oauth_app() {
    let rest = [MODEL, KEY];
    let coze = "[coze.c]\nbase_url = 'http://h'\n";
    let good = "app_id = '1'\nkey_id = 'k'\nprivate_key_file = 'no/such'\n";
    let no_file = "cannot read it: No such file or directory (os error 2)";
    let case = |text: &str| format!("{coze}{text}");
    for (text, expected) in [
        (
            "oauth = {}",
            &[
                "f:3: coze.c.oauth: app_id is missing",
                "f:3: coze.c.oauth: key_id is missing",
                "f:3: coze.c.oauth: private_key_file is missing",
            ][..],
        ),
        (&format!("[coze.c.oauth]\n{good}"), &[&format!("f:6: coze.c.oauth.private_key_file: {no_file}")]),
        (
            &format!("[coze.c.oauth]\n{good}private_key = '${{SECRET}}'"),
            &[
                &format!("f:6: coze.c.oauth.private_key_file: {no_file}"),
                "f:7: coze.c.oauth.private_key: unknown key; did you mean \"private_key_file\"?",
            ],
        ),
        (
            &format!("token = 't'\n[coze.c.oauth]\n{good}"),
            &["f:4: coze.c.oauth: there is a token, too; only one of token, token_file and oauth can be"],
        ),
        (
            "[coze.c.oauth]\napp_id = 7\nkey_id = ''\nprivate_key_file = '/dev/null'",
            &[
                "f:4: coze.c.oauth.app_id: an id is a string: put it in quotes",
                "f:5: coze.c.oauth.key_id: is empty",
            ],
        ),
        (
            "[coze.c.oauth]\napp_id = '7'\nkey_id = 'k'\nprivate_key_file = '/dev/null'",
            &[
                "f:6: coze.c.oauth.private_key_file: there is no private key in PEM form in it (an encrypted one \
                 cannot be used)",
            ],
        ),
    ] {
        wrong(&format!("{}\n{}", case(text), rest.concat()), expected);
    }
}

#[test]
fn what_a_cloud_may_be_told_to_forget() {
    let model = |more: &str| format!("[models.m]\nbot_id = '1'\nauto_save_history = false\n{more}{KEY}");
    wrong(
        &format!("{COZE}{}", model("")),
        &["f:6: models.m.auto_save_history: only the clouds know this: Coze Studio keeps every chat"],
    );
    let cloud = COZE.replace("token", "kind = 'cloud'\ntoken");
    wrong(
        &format!("{cloud}{}", model("")),
        &[
            "f:7: models.m.auto_save_history: needs memory = \"off\": nothing can go on that Coze does not keep",
        ],
    );
    assert!(parse(&format!("{cloud}{}", model("memory = 'off'\n")), Path::new("f"), &env).is_ok());
    wrong(
        &format!("{COZE}[models.m]\nbot_id = '1'\nhistory = 'flat'\n{KEY}"),
        &["f:6: models.m.history: expected one of \"messages\", \"flatten\"; did you mean \"flatten\"?"],
    );
}
