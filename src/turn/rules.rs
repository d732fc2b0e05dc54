//! The rules that a model's config sets: what becomes of system texts, and
//! how thinking is shown.

use std::borrow::Cow;
use std::ops::Range;

use super::{Ask, Event, Message, Role, Text};

/// What becomes of the leading system texts, since Coze refuses role=system
/// (`chat_error_role.server.sse`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SystemRule {
    /// They go as one user message ahead of everything.
    #[default]
    Prepend,
    /// They are left out: the bot's own prompt in Coze says it all.
    Drop,
    /// A request that has any is refused.
    Reject,
    /// They fill this variable of the bot's prompt (Coze's
    /// `custom_variables`).
    Variable(String),
}

/// What a bot is shown: the transcript after the system rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// How many messages at the front are system text, which is never
    /// trimmed: 0 or 1.
    pub pinned: usize,
    /// Every message in order; the last one is the user's.
    pub messages: Vec<Message>,
    /// Which of them is the last that the user wrote, which is never trimmed
    /// either.
    pub question: Option<usize>,
    /// The bot variable to fill, with its text.
    pub variable: Option<(String, String)>,
    /// See [`Ask::answered`].
    pub answered: bool,
}

impl Prompt {
    /// Some of the messages, as a prompt of their own.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        let pinned = self.pinned.saturating_sub(range.start).min(range.len());
        let question = self.question.filter(|index| range.contains(index)).map(|index| index - range.start);
        let messages = self.messages.get(range).unwrap_or_default().to_vec();
        let Self { variable, answered, .. } = self;
        Self { pinned, messages, question, variable: variable.clone(), answered: *answered }
    }

    /// Whether something goes with it that came in the request itself.
    #[must_use]
    pub fn has_inline(&self) -> bool {
        self.messages.iter().any(Message::has_inline)
    }

    /// Puts messages ahead of all others; none of them is system text.
    pub fn lead_with(&mut self, messages: Vec<Message>) {
        self.question = self.question.map(|index| index + messages.len());
        // A new system text stands where it was said, and is as any other.
        self.pinned = if messages.is_empty() { self.pinned } else { 0 };
        self.messages.splice(0..0, messages);
    }
}

/// The system rule is [`SystemRule::Reject`] and there was a system text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this model takes no system or developer messages")]
pub struct SystemRejected;

impl SystemRule {
    /// Turns what a client asks into what the bot is shown. The messages are
    /// taken out of it: copying 50 of them takes 16,000 instructions.
    ///
    /// # Errors
    /// If the rule refuses system texts and there is one.
    pub fn apply(&self, ask: &mut Ask) -> Result<Prompt, SystemRejected> {
        let mut prompt = Prompt { answered: ask.answered, ..Prompt::default() };
        match (&ask.system, self) {
            (None, _) | (Some(_), Self::Drop) => {}
            (Some(_), Self::Reject) => return Err(SystemRejected),
            (Some(text), Self::Prepend) => {
                prompt.pinned = 1;
                ask.messages.insert(0, Message::text(Role::User, text.as_str()));
            }
            (Some(text), Self::Variable(name)) => {
                prompt.variable = Some((name.clone(), text.clone()));
            }
        }
        prompt.question = ask.question.map(|index| index + prompt.pinned);
        prompt.messages = std::mem::take(&mut ask.messages);
        Ok(prompt)
    }
}

/// How a bot's thinking is shown to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// As `reasoning_content`.
    #[default]
    Field,
    /// As `reasoning_content` and, the same text, as `reasoning`.
    Both,
    /// As `<think>…</think>` ahead of the text it led to.
    Think,
    /// Not at all.
    Drop,
}

/// Rewrites thinking as [`Reasoning::Think`] shows it: a pure state machine
/// over the events of one answer.
///
/// ```text
///            Thinking: "<think>" + it
///   Outside ─────────────────────────▶ Inside
///      ▲                                  │
///      └──────────────────────────────────┘
///        Text: "</think>\n\n" + it;  Finished: "</think>"
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThinkTags {
    /// The last words were the answer's.
    #[default]
    Outside,
    /// A `<think>` is open.
    Inside,
}

impl ThinkTags {
    /// Passes one event on to `sink`, with the tags that it needs.
    pub fn push<'a>(&mut self, event: Event<'a>, sink: &mut dyn FnMut(Event<'_>)) {
        match event {
            Event::Thinking(text) => {
                if *self == Self::Outside {
                    *self = Self::Inside;
                    sink(Event::Text(Text::Plain(Cow::Borrowed("<think>"))));
                }
                sink(Event::Text(text));
            }
            Event::Text(text) => {
                self.close("</think>\n\n", sink);
                sink(Event::Text(text));
            }
            Event::Finished(finish) => {
                self.close("</think>", sink);
                sink(Event::Finished(finish));
            }
            other => sink(other),
        }
    }

    fn close(&mut self, tag: &'static str, sink: &mut dyn FnMut(Event<'_>)) {
        if *self == Self::Inside {
            *self = Self::Outside;
            sink(Event::Text(Text::Plain(Cow::Borrowed(tag))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Finish, Reply};

    fn ask() -> Ask {
        Ask {
            system: Some("be brief".into()),
            messages: vec![Message::text(Role::User, "hello")],
            ..Ask::default()
        }
    }

    #[test]
    fn prepend_puts_the_system_text_ahead_as_one_user_message() {
        let prompt = SystemRule::Prepend.apply(&mut ask()).unwrap();
        assert_eq!(prompt.pinned, 1);
        assert_eq!(
            prompt.messages,
            [Message::text(Role::User, "be brief"), Message::text(Role::User, "hello")]
        );
    }

    #[test]
    fn drop_leaves_the_system_text_out() {
        let prompt = SystemRule::Drop.apply(&mut ask()).unwrap();
        assert_eq!((prompt.pinned, prompt.messages.len()), (0, 1));
    }

    #[test]
    fn reject_refuses_only_what_has_a_system_text() {
        assert_eq!(SystemRule::Reject.apply(&mut ask()), Err(SystemRejected));
        let mut without = Ask { system: None, ..ask() };
        assert!(SystemRule::Reject.apply(&mut without).is_ok());
    }

    #[test]
    fn variable_moves_the_system_text_into_a_bot_variable() {
        let prompt = SystemRule::Variable("persona".into()).apply(&mut ask()).unwrap();
        assert_eq!(prompt.variable, Some(("persona".into(), "be brief".into())));
        assert_eq!((prompt.pinned, prompt.messages.len()), (0, 1));
    }

    #[test]
    fn thinking_is_wrapped_once_and_closed_before_the_text() {
        let mut tags = ThinkTags::default();
        let mut reply = Reply::default();
        let plain = |text: &'static str| Text::Plain(Cow::Borrowed(text));
        for event in [
            Event::Thinking(plain("a")),
            Event::Thinking(plain("b")),
            Event::Text(plain("c")),
            Event::Thinking(plain("d")),
            Event::Finished(Finish::Completed),
        ] {
            tags.push(event, &mut |event| reply.push(event));
        }
        assert_eq!(reply.text().decode(), "<think>ab</think>\n\nc<think>d</think>");
        assert_eq!(reply.finish, Some(Finish::Completed));
    }
}
