//! The whole answer: the fold of its events.

use super::{Event, Finish, Step, Text, Usage, Wants};

/// A whole answer, built from the same events that a stream is made of, so
/// that both forms agree.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Coze's id of the request in its logs.
    pub log_id: Option<String>,
    /// Coze's ids of conversation and chat.
    pub conversation: Option<String>,
    /// See `conversation`.
    pub chat: Option<String>,
    /// The answer's text, escaped as the inside of a JSON string.
    text: Vec<u8>,
    /// The thinking, escaped likewise.
    thinking: Vec<u8>,
    /// The answer aloud, in pieces of base64, each for itself.
    pub sound: Vec<String>,
    sound_size: usize,
    /// Suggested next questions, in order.
    pub suggestions: Vec<String>,
    /// What the bot did on its way, in order.
    pub steps: Vec<Step>,
    /// What it waits for, if it is a question.
    pub wants: Option<Wants>,
    /// Where Coze's own page of the run is.
    pub debug_url: Option<String>,
    /// What it cost, where Coze said so.
    pub usage: Option<Usage>,
    /// Why it ended; `None` while it has not.
    pub finish: Option<Finish>,
}

impl Reply {
    /// Takes the next event in.
    pub fn push(&mut self, event: Event<'_>) {
        match event {
            Event::Logged(id) => self.log_id = Some(id.into_owned()),
            Event::Started { conversation, chat, .. } => {
                self.conversation = Some(conversation.into_owned());
                self.chat = Some(chat.into_owned());
            }
            Event::Text(text) => text.write_escaped(&mut self.text),
            Event::Thinking(text) => text.write_escaped(&mut self.thinking),
            Event::Sound(piece) => {
                self.sound_size += piece.len();
                self.sound.push(piece.into_owned());
            }
            Event::Suggestion(text) => self.suggestions.push(text.into_owned()),
            Event::Step(step) => self.steps.push(step.clone()),
            Event::Asked(asked) => self.wants = Some(asked.wants.clone()),
            Event::Debug(url) => self.debug_url = Some(url.into_owned()),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finished(finish) => self.finish = Some(finish),
        }
    }

    /// The answer's text.
    #[must_use]
    pub fn text(&self) -> Text<'_> {
        escaped(&self.text)
    }

    /// The bot's thinking; empty if it showed none.
    #[must_use]
    pub fn thinking(&self) -> Text<'_> {
        escaped(&self.thinking)
    }

    /// How many bytes of text and sound it holds by now.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.thinking.len() + self.sound_size
    }
}

fn escaped(bytes: &[u8]) -> Text<'_> {
    // Only `Text::write_escaped` fills these buffers, and it writes UTF-8.
    Text::Escaped(std::str::from_utf8(bytes).unwrap_or_default())
}
