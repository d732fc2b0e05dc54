//! The text that goes with the table: what was measured, where and when.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tokio::time::Instant;

use crate::answer::Void;
use crate::servers::Programs;
use crate::table::Table;

/// The table's place in the document.
const BEGIN: &str = "<!-- benches/run: begin -->";
const END: &str = "<!-- benches/run: end -->";

/// What is known before the first row.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    facts: String,
}

impl Report {
    pub(crate) fn begin(programs: &Programs) -> Self {
        let version = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output();
            let output = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
            String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
        };
        let nginx = version(&programs.nginx, "-v").replace("nginx version: ", "");
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        let facts = format!(
            "{}; {} at {commit}, {nginx}, {}; {}, {} cores, Linux {}; load average {} at the start",
            said("date", &["-u", "+%Y-%m-%d"]),
            version(&programs.cozeway, "--version"),
            said("rustc", &["--version"]),
            processor(),
            said("nproc", &["--all"]),
            said("uname", &["-r"]),
            load(),
        );
        Self { began: Instant::now(), facts }
    }

    /// The whole text, in Markdown. `traces` says what the gateway has left.
    pub(crate) fn end(&self, table: &Table, traces: &str, peers: &str) -> String {
        let mut text = String::new();
        let Self { began, facts } = self;
        let _ = write!(
            text,
            "{facts}, {} at the end; {:.0} s.\n{traces}\n\n{}",
            load(),
            began.elapsed().as_secs_f64(),
            table.markdown()
        );
        if !peers.is_empty() {
            let _ = write!(text, "\n{peers}");
        }
        text
    }
}

/// What a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("unknown processor", |line| line.trim_start_matches(['\t', ' ', ':'])).to_owned()
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Puts the text between the markers of a document.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Void> {
    let document = std::fs::read_to_string(path)?;
    let without = || Void::new(format!("{} has no markers {BEGIN} and {END}", path.display()));
    let (before, rest) = document.split_once(BEGIN).ok_or_else(without)?;
    let (_, after) = rest.split_once(END).ok_or_else(without)?;
    std::fs::write(path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?;
    Ok(())
}
