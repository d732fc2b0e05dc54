//! What is done to a bot's words on their way: cut at stop strings, and
//! thinking put into tags.

use std::borrow::Cow;

use crate::turn::{Cut, Event, Finish, StopWords, Text, ThinkTags};

/// Shapes the events of one answer.
#[derive(Debug)]
pub(super) struct Shaping {
    cut: Option<Cut>,
    tags: Option<ThinkTags>,
    stopped: bool,
    /// Whether what is said aloud is wanted.
    aloud: bool,
    /// How much of the answer was passed on while stop strings are searched
    /// for, in bytes.
    passed: usize,
}

impl Shaping {
    pub(super) fn new(stop: &StopWords, think_tags: bool, aloud: bool) -> Self {
        let tags = think_tags.then(ThinkTags::default);
        Self { cut: stop.search(), tags, stopped: false, aloud, passed: 0 }
    }

    /// How much of the answer a stop string has let through, in bytes.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// Whether a stop string has ended the answer.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Passes an event on, shaped. After a stop string only usage passes,
    /// until [`Event::Finished`].
    pub(super) fn push(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match event {
            Event::Usage(_) | Event::Finished(Finish::StopWord) => self.tagged(event, sink),
            _ if self.stopped => {}
            Event::Sound(_) if !self.aloud => {}
            Event::Text(text) => {
                let Some(cut) = &mut self.cut else {
                    self.tagged(Event::Text(text), sink);
                    return;
                };
                let passed = cut.push(&text.decode());
                self.stopped = passed.stopped;
                self.plain(passed.text, sink);
            }
            Event::Finished(_) => {
                let rest = self.cut.as_mut().map(Cut::finish).unwrap_or_default();
                self.plain(rest, sink);
                self.tagged(event, sink);
            }
            other => self.tagged(other, sink),
        }
    }

    fn plain(&mut self, text: String, sink: &mut dyn FnMut(Event<'_>)) {
        self.passed += text.len();
        if !text.is_empty() {
            self.tagged(Event::Text(Text::Plain(Cow::Owned(text))), sink);
        }
    }

    fn tagged(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match &mut self.tags {
            Some(tags) => tags.push(event, sink),
            None => sink(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Reply;

    fn shape(stop: &[&str], think: bool, events: Vec<Event<'_>>) -> (Reply, bool) {
        let stop = StopWords::new(stop.iter().map(|&word| word.to_owned()).collect()).unwrap();
        let mut shaping = Shaping::new(&stop, think, false);
        let mut reply = Reply::default();
        for event in events {
            shaping.push(event, &mut |event| reply.push(event));
        }
        (reply, shaping.stopped())
    }

    #[test]
    fn nothing_is_said_aloud_unless_that_is_wanted() {
        for (aloud, expected) in [(false, 0), (true, 1)] {
            let (mut shaping, mut sounds) = (Shaping::new(&StopWords::default(), false, aloud), 0);
            let mut count = |event: Event<'_>| sounds += usize::from(matches!(event, Event::Sound(_)));
            shaping.push(Event::Sound("AAAA".into()), &mut count);
            assert_eq!(sounds, expected);
        }
    }

    fn text(text: &str) -> Event<'_> {
        Event::Text(Text::Plain(Cow::Borrowed(text)))
    }

    #[test]
    fn nothing_passes_after_a_stop_string() {
        let (reply, stopped) = shape(&["END"], false, vec![text("one E"), text("ND two"), text("three")]);
        assert!(stopped);
        assert_eq!(reply.text().decode(), "one ");
    }

    #[test]
    fn what_was_held_back_comes_before_the_end() {
        let events = vec![text("one E"), Event::Finished(Finish::Completed)];
        let (reply, stopped) = shape(&["END"], false, events);
        assert!(!stopped);
        assert_eq!(reply.text().decode(), "one E");
        assert_eq!(reply.finish, Some(Finish::Completed));
    }

    #[test]
    fn thinking_is_not_searched_for_stop_strings() {
        let thinking = Event::Thinking(Text::Plain(Cow::Borrowed("END")));
        let (reply, stopped) =
            shape(&["END"], true, vec![thinking, text("hello"), Event::Finished(Finish::Completed)]);
        assert!(!stopped);
        assert_eq!(reply.text().decode(), "<think>END</think>\n\nhello");
    }
}
