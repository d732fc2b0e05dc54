//! Rows: in come samples and what they have to reach, out comes a table in
//! Markdown.

use std::fmt::Write as _;

use crate::load::Samples;

/// What a row has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    must: f64,
    aim: f64,
    at_least: bool,
}

/// No more than this.
pub(crate) const fn at_most(must: f64, aim: f64) -> Goal {
    Goal { must, aim, at_least: false }
}

/// No less than this.
pub(crate) const fn at_least(must: f64, aim: f64) -> Goal {
    Goal { must, aim, at_least: true }
}

/// All rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 8]>,
    pub(crate) missed: usize,
}

const HEAD: [&str; 8] = ["row", "nginx", "cozeway", "result", "rounds", "must", "aim", "verdict"];

impl Table {
    /// How many times nginx's figure ours is.
    pub(crate) fn ratio(&mut self, name: &str, unit: Unit, nginx: &Samples, ours: &Samples, goal: Goal) {
        let (nginx, ours) = match (nginx, ours) {
            (Ok(nginx), Ok(ours)) => (nginx, ours),
            (Err(why), _) => return self.void(name, goal, &format!("nginx: {why}")),
            (_, Err(why)) => return self.void(name, goal, why),
        };
        let (a, b) = (median(nginx), median(ours));
        let ratios: Vec<f64> = ours.iter().zip(nginx).map(|(ours, nginx)| ours / nginx).collect();
        let spread = format!("{:.2} to {:.2}", percentile(&ratios, 0.25), percentile(&ratios, 0.75));
        let shown = [unit.show(a), unit.show(b), format!("{:.2} ×", b / a), spread];
        self.judged(name, shown, b / a, goal, |goal| format!("{goal} ×"));
    }

    /// Our figure alone.
    pub(crate) fn value(&mut self, name: &str, unit: Unit, ours: &Samples, goal: Goal) {
        let ours = match ours {
            Ok(ours) => ours,
            Err(why) => return self.void(name, goal, why),
        };
        let value = median(ours);
        let (low, high) = (unit.show(percentile(ours, 0.25)), unit.show(percentile(ours, 0.75)));
        let shown = ["".into(), unit.show(value), unit.show(value), format!("{low} to {high}")];
        self.judged(name, shown, value, goal, |goal| unit.show(goal));
    }

    /// Something to know that has no goal.
    pub(crate) fn note(&mut self, name: &str, unit: Unit, nginx: Option<&Samples>, ours: &Samples) {
        let show = |samples: &Samples| match samples {
            Ok(samples) => unit.show(median(samples)),
            Err(why) => format!("void: {why}"),
        };
        let (nginx, ours) = (nginx.map(show).unwrap_or_default(), show(ours));
        self.push([name.into(), nginx, ours, "".into(), "".into(), "".into(), "".into(), "".into()]);
    }

    fn judged(
        &mut self,
        name: &str,
        shown: [String; 4],
        value: f64,
        goal: Goal,
        show: impl Fn(f64) -> String,
    ) {
        let reaches = |goal_value| if goal.at_least { value >= goal_value } else { value <= goal_value };
        let verdict = match (reaches(goal.must), reaches(goal.aim)) {
            (_, true) => "aim reached",
            (true, _) => "passed",
            _ => "**missed**",
        };
        self.missed += usize::from(!reaches(goal.must));
        let sign = if goal.at_least { "≥" } else { "≤" };
        let [nginx, ours, result, spread] = shown;
        let must = format!("{sign} {}", show(goal.must));
        self.push([name.into(), nginx, ours, result, spread, must, show(goal.aim), verdict.into()]);
    }

    fn void(&mut self, name: &str, _goal: Goal, why: &str) {
        self.missed += 1;
        let why = format!("**void**: {}", why.replace(['\n', '\r', '|'], " "));
        self.push([name.into(), "".into(), "".into(), "".into(), "".into(), "".into(), "".into(), why]);
    }

    fn push(&mut self, row: [String; 8]) {
        eprintln!("{}", row.join("  "));
        self.rows.push(row);
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEAD[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = String::new();
        let line = |cells: [&str; 8], text: &mut String| {
            for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let is_number = (1..=6).contains(&index);
                let cell = if is_number { format!("{padding}{cell}") } else { format!("{cell}{padding}") };
                let _ = write!(text, "| {cell} ");
            }
            text.push_str("|\n");
        };
        line(HEAD, &mut text);
        for (index, width) in widths.iter().enumerate() {
            let end = if (1..=6).contains(&index) { ":" } else { "-" };
            let _ = write!(text, "|{}{end}", "-".repeat(width + 1));
        }
        text.push_str("|\n");
        for row in &self.rows {
            line(row.each_ref().map(String::as_str), &mut text);
        }
        text
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    PerSecond,
    KiB,
    MiB,
    Megabytes,
    Times,
    Share,
}

impl Unit {
    fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        match self {
            Self::Microseconds => format!("{value:.digits$} µs"),
            Self::Milliseconds => format!("{value:.digits$} ms"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::KiB => format!("{value:.1} KiB"),
            Self::MiB => format!("{value:.1} MiB"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Times => format!("{value:.2} ×"),
            Self::Share => format!("{:.0} %", value * 100.0),
        }
    }
}

/// Takes the samples of two jobs together, round by round.
pub(crate) fn combine(a: &Samples, b: &Samples, with: impl Fn(f64, f64) -> f64) -> Samples {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(a.iter().zip(b).map(|(a, b)| with(*a, *b)).collect()),
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
    }
}

/// The samples' median.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The value that this share of the samples does not exceed.
fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
