//! A log line as one JSON object.
//!
//! In comes an event of `tracing`, out goes its line: when it was, how grave,
//! its fields in their order, and its target. What tracing-subscriber brings
//! for this makes a map of a serialiser of every field, which was an eighth of
//! what a request cost; this writes text. Spans are left out: there are none.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::turn::escape::next_escape;

/// How much room is made for a line.
const LINE: usize = 768;

/// Writes events as JSON objects.
#[derive(Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // At once: what is written to the writer goes by way of two others.
        let mut line = String::with_capacity(LINE);
        line.push_str("{\"timestamp\":\"");
        SystemTime.format_time(&mut Writer::new(&mut line))?;
        let metadata = event.metadata();
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push('"');
        event.record(&mut Fields { line: &mut line });
        line.push_str(",\"target\":");
        push_text(&mut line, metadata.target());
        line.push_str("}\n");
        writer.write_str(&line)
    }
}

struct Fields<'a> {
    line: &'a mut String,
}

impl Fields<'_> {
    /// The name as it is: it stands in the code, and has nothing to escape.
    fn name(&mut self, field: &Field) {
        self.line.push_str(",\"");
        self.line.push_str(field.name());
        self.line.push_str("\":");
    }

    /// What JSON writes as Rust does.
    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        // A string takes everything.
        let _ = write!(self.line, "{value}");
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        push_text(self.line, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is no number.
        if value.is_finite() { self.bare(field, value) } else { self.bare(field, "null") }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.line.push('"');
        // A value that cannot be shown ends early; its line goes on.
        let _ = write!(Escaping { line: self.line }, "{value:?}");
        self.line.push('"');
    }
}

/// Escapes what is written to it.
struct Escaping<'a> {
    line: &'a mut String,
}

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.line, text);
        Ok(())
    }
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    escape(line, text);
    line.push('"');
}

/// Writes the inside of a JSON string.
fn escape(line: &mut String, text: &str) {
    let mut rest = text;
    loop {
        // Both sides of an ASCII byte are whole characters.
        let (plain, special) = rest.split_at(next_escape(rest.as_bytes()));
        line.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('"') => line.push_str("\\\""),
            Some('\\') => line.push_str("\\\\"),
            Some('\n') => line.push_str("\\n"),
            Some('\r') => line.push_str("\\r"),
            Some('\t') => line.push_str("\\t"),
            Some(other) => {
                let _ = write!(line, "\\u{:04x}", u32::from(other));
            }
            None => return,
        }
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_an_object_with_every_kind_of_field() {
        let nothing: Option<&str> = None;
        let lines = logged(|| {
            tracing::info!(
                target: "t",
                text = "a\"b\\c\nd\u{1}é😀\u{2028}",
                some = Some("here"),
                nothing,
                count = 3_u64,
                below = -4_i64,
                yes = true,
                share = 0.5,
                odd = f64::NAN,
                large = 7_u128,
                shown = %"x\ty",
                told = ?Some("z"),
                dotted.name = 1,
                "it is {}", "so"
            );
            tracing::warn!("bare");
        });
        let mut first = lines[0].clone();
        let when = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(when.as_str().unwrap().ends_with('Z'), "{when}");
        let expected = json!({
            "level": "INFO", "message": "it is so", "target": "t",
            "text": "a\"b\\c\nd\u{1}é😀\u{2028}", "some": "here", "count": 3, "below": -4, "yes": true,
            "share": 0.5, "odd": null, "large": 7, "shown": "x\ty", "told": "Some(\"z\")",
            "dotted.name": 1
        });
        assert_eq!(first, expected);
        assert_eq!(lines[1]["level"], "WARN");
        assert_eq!(lines[1]["message"], "bare");
    }

    #[test]
    fn what_cannot_be_shown_leaves_a_line_whole() {
        struct Broken;
        impl fmt::Debug for Broken {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half \"")?;
                Err(fmt::Error)
            }
        }
        let lines = logged(|| tracing::info!(broken = ?Broken, after = 1, "m"));
        assert_eq!((&lines[0]["broken"], &lines[0]["after"]), (&json!("half \""), &json!(1)));
    }
}
