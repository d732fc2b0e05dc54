//! Who may import whom: `src/` is read as text and compared with the table
//! of `docs/architecture.md`.
//!
//! It relies on what `rustfmt` guarantees (the brace that closes a module
//! stands alone, as far in as the line that opened it) and looks at code that
//! ships alone: not at comments, not at tests.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every module of the crate's root, and those that are still to come. One may
/// use only those of a lower rank.
const RANKS: &[(&str, u8)] = &[
    ("main", 5),
    ("cli", 5),
    ("http", 4),
    ("simulator", 4),
    ("config", 3),
    ("relay", 3),
    ("access", 2),
    ("catalog", 2),
    ("conversation", 2),
    ("openai", 1),
    ("mcp", 1),
    ("coze", 1),
    ("store", 1),
    ("telemetry", 1),
    ("tls", 1),
    ("batch", 0),
    ("turn", 0),
    ("secret", 0),
];

/// Which files may use a crate: a module of the root, or one file.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    // What rustls takes from it goes by the same name.
    ("aws_lc_rs", &["coze/oauth/key.rs", "simulator", "tls", "coze/client/tls.rs"]),
    ("axum", &["http", "simulator"]),
    ("base64", &["coze/oauth/key.rs", "openai", "simulator"]),
    ("clap", &["cli"]),
    ("httparse", &["coze/client/http1/head.rs"]),
    ("hyper_util", &["http", "simulator", "coze/client/connect.rs"]),
    ("prometheus_client", &["telemetry"]),
    // Clients of the gateway alone: see the exceptions.
    ("reqwest", &[]),
    ("rustls", &["tls", "coze/client/tls.rs", "coze/oauth/key.rs"]),
    ("rustls_platform_verifier", &["coze/client/tls.rs"]),
    ("redis", &["store"]),
    ("rmcp", &["http/routes/mcp.rs"]),
    ("rusqlite", &["store"]),
    ("tokio", &["cli", "http", "simulator", "relay", "coze", "store"]),
    ("toml", &["config"]),
];

/// What breaks the tables above all the same: file, what it uses, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("main.rs", "cli", "the program is the command line and nothing else"),
    ("main.rs", "clap", "the trait that parses the arguments has to be in scope"),
    ("cli/chat.rs", "reqwest", "a client of the gateway, as any other would be; it never calls Coze"),
    ("cli/health.rs", "reqwest", "asks a running gateway, never Coze"),
];

#[test]
fn modules_use_only_lower_ranks() {
    let mut uses = BTreeSet::new();
    for file in files().iter().filter(|file| file.name != "lib.rs") {
        for used in file.modules_used() {
            if rank(&used) >= rank(file.module()) && used != file.module() {
                uses.insert((file.name.clone(), used));
            }
        }
    }
    let exceptions = exceptions(|used| RANKS.iter().any(|(module, _)| *module == used));
    assert_same(&uses, &exceptions);
}

#[test]
fn crates_are_used_where_they_belong() {
    let mut uses = BTreeSet::new();
    for file in files() {
        for (name, places) in CRATES {
            let belongs = places.iter().any(|place| *place == file.module() || *place == file.name);
            if !belongs && file.uses_crate(name) {
                uses.insert((file.name.clone(), (*name).to_owned()));
            }
        }
    }
    let exceptions = exceptions(|used| CRATES.iter().any(|(name, _)| *name == used));
    assert_same(&uses, &exceptions);
}

#[test]
fn the_modules_of_the_crate_are_those_of_the_table() {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let unknown: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .filter(|module| !RANKS.iter().any(|(known, _)| known == module))
        .collect();
    assert!(unknown.is_empty(), "without a rank: {unknown:?}");
}

#[test]
fn every_way_to_name_a_module_is_found() {
    let file = |name: &str, text: &str| File { name: name.to_owned(), code: code(text) };
    for (name, text) in [
        ("relay/run.rs", "use crate::http::App;"),
        ("relay/run.rs", "pub(crate) use crate::http;"),
        ("relay/run.rs", "use crate::{\n    turn::{Event, Kind},\n    http,\n};"),
        ("relay/run.rs", "fn f() -> crate::http::App {}"),
        ("relay/run.rs", "macro_rules! m { () => { $crate::http::App } }"),
        ("relay/run.rs", "use super::super::http::App;"),
        ("relay.rs", "use super::http::App;"),
        ("main.rs", "use cozeway::http::App;"),
    ] {
        assert!(file(name, text).modules_used().contains("http"), "{text}");
    }
    for (name, text) in [
        ("relay/run.rs", "//! See [`crate::http`].\n    // crate::http"),
        ("relay/run.rs", "#[cfg(test)]\nmod tests {\n    use crate::http::App;\n}"),
        ("relay/run.rs", "#[cfg(test)]\nuse crate::http::App;"),
        ("relay/run.rs", "use super::http::App;"),
        ("relay/run.rs", "tracing::info!(target: \"cozeway::http\");"),
    ] {
        assert!(!file(name, text).modules_used().contains("http"), "{text}");
    }
    let after = file("relay.rs", "#[cfg(test)]\nmod tests {\n    mod deep {\n    }\n}\nuse crate::http;");
    assert!(after.modules_used().contains("http"));
    assert!(file("x.rs", "#[derive(clap::Args)]").uses_crate("clap"));
    assert!(file("x.rs", "use clap;").uses_crate("clap"));
    assert!(!file("x.rs", "use eclap::Args; // clap::Args").uses_crate("clap"));
}

/// A source file.
struct File {
    /// Its path below `src/`.
    name: String,
    /// Its text without comments and tests.
    code: String,
}

impl File {
    /// The module of the crate's root that it belongs to.
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// The modules of the crate's root that it names.
    fn modules_used(&self) -> BTreeSet<String> {
        // As many `super::` lead from a module of this file to the root.
        let depth = self.name.split('/').count();
        let mut roots = vec!["crate::".to_owned(), "super::".repeat(depth)];
        if self.name == "main.rs" {
            roots.push("cozeway::".to_owned());
        }
        roots.iter().flat_map(|root| occurrences(&self.code, root)).flat_map(first_segments).collect()
    }

    fn uses_crate(&self, name: &str) -> bool {
        occurrences(&self.code, name).any(|rest| rest.starts_with("::") || rest.starts_with(';'))
    }
}

/// What follows each occurrence of a path's beginning.
fn occurrences<'t>(text: &'t str, start: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(start).filter_map(move |(at, found)| {
        let is_inside = text.get(..at)?.ends_with(|c: char| c.is_alphanumeric() || "_:\"".contains(c));
        if is_inside { None } else { text.get(at + found.len()..) }
    })
}

/// The first names of the paths that follow: one, or those of a `{…}`.
fn first_segments(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()];
    };
    let mut depth = 1;
    let mut top = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if depth == 1 => top.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    top.split(',').flat_map(|path| first_segments(path.trim())).collect()
}

/// A file's text without comment lines, `#[cfg(test)]` items and what hangs
/// on them.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if bare.starts_with("//") {
            continue;
        }
        if bare != "#[cfg(test)]" {
            code.push_str(line.split(" // ").next().unwrap_or(line));
            code.push('\n');
            continue;
        }
        let indent = line.len() - bare.len();
        let closing = format!("{}}}", " ".repeat(indent));
        let item = lines.find(|line| !line.trim_start().starts_with("#["));
        if item.is_some_and(|item| item.ends_with('{')) {
            lines.by_ref().find(|line| **line == closing);
        }
    }
    code
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of `src/` but those that hold tests alone.
fn files() -> Vec<File> {
    let source = source();
    let mut files = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem().unwrap() == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
                files.push(File { name, code: code(&std::fs::read_to_string(&path).unwrap()) });
            }
        }
    }
    assert!(files.len() > 50, "src/ was not found");
    files
}

/// The rank of a module; what is not in the table may not be used at all.
fn rank(module: &str) -> u8 {
    let found = RANKS.iter().find(|(name, _)| *name == module);
    found.map_or(u8::MAX, |(_, rank)| *rank)
}

/// The exceptions that concern what `is_meant`.
fn exceptions(is_meant: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
    EXCEPTIONS
        .iter()
        .filter(|(_, used, _)| is_meant(used))
        .map(|(file, used, _)| ((*file).to_owned(), (*used).to_owned()))
        .collect()
}

/// Neither a use without its exception nor an exception without its use.
#[track_caller]
fn assert_same(uses: &BTreeSet<(String, String)>, exceptions: &BTreeSet<(String, String)>) {
    let show = |(file, used): &(String, String)| format!("\n  {file} uses {used}");
    let broken: String = uses.difference(exceptions).map(show).collect();
    let unneeded: String = exceptions.difference(uses).map(show).collect();
    assert!(broken.is_empty(), "against the table of docs/architecture.md:{broken}");
    assert!(unneeded.is_empty(), "exceptions that nothing needs any more:{unneeded}");
}
