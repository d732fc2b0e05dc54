//! Numbers: in come samples, out goes a table in Markdown.

/// Rows as they are measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    /// Adds a row: what, how much, and what else there is to say.
    pub(crate) fn row(&mut self, what: &str, value: String, note: impl Into<String>) {
        let note = note.into();
        eprintln_row(what, &value, &note);
        self.rows.push([what.to_owned(), value, note]);
    }

    pub(crate) fn print(&self) {
        let wide = |column: usize, head: &str| {
            self.rows.iter().map(|row| row[column].chars().count()).chain([head.len()]).max().unwrap()
        };
        let (what, value, note) = (wide(0, "measured"), wide(1, "value"), wide(2, "spread"));
        println!("\n| {:what$} | {:>value$} | {:note$} |", "measured", "value", "spread");
        println!("|{}|{}:|{}|", "-".repeat(what + 2), "-".repeat(value + 1), "-".repeat(note + 2));
        for [a, b, c] in &self.rows {
            println!("| {a:what$} | {b:>value$} | {c:note$} |");
        }
    }
}

#[allow(clippy::print_stderr, reason = "so that one sees it going on")]
fn eprintln_row(what: &str, value: &str, note: &str) {
    eprintln!("{what}: {value} {note}");
}

/// The samples' median.
pub(crate) fn median(samples: &mut [f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The value that this share of the samples does not exceed.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().checked_sub(1).expect("there are samples");
    samples[(last as f64 * share).round() as usize]
}

/// From the least to the most.
pub(crate) fn spread(samples: &mut [f64], digits: usize) -> String {
    let (least, most) = (percentile(samples, 0.0), percentile(samples, 1.0));
    format!("{least:.digits$} to {most:.digits$}")
}
