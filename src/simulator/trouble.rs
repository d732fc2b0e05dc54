//! What goes wrong on demand, and what became of chats: for tests.
//!
//! A test names the question that meets a [`Trouble`], once, and asks for
//! what was [`Ran`]. Without one of these calls nothing here does anything.

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Simulator;
use super::book::Kind;
use super::bots::{Act, Play};
use super::wire::Id;

/// How many troubles may wait for their questions.
const MAX_TROUBLES: usize = 1_000;

/// What happens to one chat.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It is refused with this code; nothing is stored.
    Refused(u32),
    /// The connection is reset before the request is taken up.
    ResetUnheard,
    /// The run goes on, but the connection is reset before the answer's head.
    ResetHeard,
    /// The run goes on, but the connection is reset after so many events.
    ResetAfter(usize),
    /// Nothing is said and nothing stored (failure shape D, protocol 3.6).
    Silent,
    /// The question is stored, but the bot cannot start (shape B).
    CannotStart,
    /// The bot fails after its first words (shape C).
    Fails,
    /// The bot stops after its first words until the token is cancelled, and
    /// perhaps fails then.
    Waits(CancellationToken, bool),
}

/// The troubles that wait for their questions.
pub(super) type Troubles = Vec<(String, Trouble)>;

/// A chat that a bot was asked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its id.
    pub chat: String,
    /// Where it took place.
    pub conversation: String,
    /// Whether it was the first chat there.
    pub first: bool,
    /// Whether it answered a question of the bot's.
    pub resumed: bool,
    /// Whether it ended in such a question.
    pub asks: bool,
    /// What the bot has said so far, answer by answer.
    pub answers: Vec<String>,
    /// Whether it goes on.
    pub running: bool,
}

impl Trouble {
    /// What becomes of what a bot would have done.
    pub(super) fn disturb(&self, play: Play) -> Play {
        match (self, play) {
            (Self::CannotStart, _) => Play::CannotStart("code=100000013 message=no model\n"),
            (Self::Fails, Play::Acts(mut acts)) => {
                acts.truncate(1);
                acts.push(Act::Fail);
                Play::Acts(acts)
            }
            (Self::Waits(until, fails), Play::Acts(mut acts)) => {
                let hold = Act::Hold(until.clone());
                if *fails {
                    acts.truncate(1);
                    acts.extend([hold, Act::Fail]);
                } else {
                    acts.insert(acts.len().min(1), hold);
                }
                Play::Acts(acts)
            }
            (_, play) => play,
        }
    }
}

impl Simulator {
    /// The next chat whose question is this text meets a trouble.
    pub fn trouble(&self, question: &str, trouble: Trouble) {
        let mut troubles = super::lock(&self.0.troubles);
        if troubles.len() < MAX_TROUBLES {
            troubles.push((question.to_owned(), trouble));
        }
    }

    /// Takes back the troubles that nobody has met.
    pub fn no_trouble(&self) {
        super::lock(&self.0.troubles).clear();
    }

    /// What the chat of this body meets.
    pub(super) fn take_trouble(&self, body: &Value) -> Option<Trouble> {
        let mut troubles = super::lock(&self.0.troubles);
        if troubles.is_empty() {
            return None;
        }
        let query = body.get("additional_messages")?.as_array()?.last()?;
        let content = query.get("content")?.as_str()?;
        let question = match query.get("content_type").and_then(Value::as_str) {
            Some("object_string") => text_of(content)?,
            _ => content.to_owned(),
        };
        let at = troubles.iter().position(|(text, _)| *text == question)?;
        Some(troubles.swap_remove(at).1)
    }

    /// Forgets every question of a workflow's that waits.
    pub fn forget_questions(&self) {
        super::lock(&self.0.questions).clear();
    }

    /// Forgets a conversation, with all that was said in it.
    pub fn forget(&self, conversation: &str) {
        if let Some(id) = Id::parse(conversation) {
            self.book().forget(id);
        }
    }

    /// Clears a conversation: it goes on in a new section (protocol 4.5).
    pub fn clear(&self, conversation: &str) {
        if let Some(id) = Id::parse(conversation) {
            self.book().clear(id);
        }
    }

    /// The chats that were asked this, oldest first.
    #[must_use]
    pub fn asked(&self, question: &str) -> Vec<Ran> {
        let book = self.book();
        let mut chats: Vec<Id> = book
            .runs()
            .filter(|run| {
                let query = run.context.last();
                query.is_some_and(|query| query.kind == Kind::Question && query.content.text == question)
            })
            .map(|run| run.chat.id)
            .collect();
        chats.sort_unstable_by_key(|id| id.0);
        drop(book);
        chats.iter().filter_map(|chat| self.ran(&chat.to_string())).collect()
    }

    /// A chat by its id, if it is known and a bot was asked in it.
    #[must_use]
    pub fn ran(&self, chat: &str) -> Option<Ran> {
        let book = self.book();
        let run = book.run(Id::parse(chat)?)?;
        let place = run.chat.conversation_id;
        let mut earlier = book.runs_of(place).take_while(|other| other.chat.id != run.chat.id);
        let asked_back = |kind: Kind| kind == Kind::Interrupt;
        let previous = book.runs_of(place).take_while(|other| other.chat.id != run.chat.id).last();
        let of_kind = |kind: Kind| run.messages.iter().filter(move |message| message.kind == kind);
        Some(Ran {
            chat: chat.to_owned(),
            conversation: place.to_string(),
            first: !earlier.any(|other| !other.context.is_empty()),
            resumed: previous.is_some_and(|other| other.messages.iter().any(|said| asked_back(said.kind))),
            asks: of_kind(Kind::Interrupt).next().is_some(),
            answers: of_kind(Kind::Answer).map(|answer| Arc::clone(answer).content.text.clone()).collect(),
            running: run.chat.status != "completed",
        })
    }
}

/// The text of an `object_string`.
fn text_of(content: &str) -> Option<String> {
    let parts: Value = serde_json::from_str(content).ok()?;
    let text = parts.as_array()?.iter().find_map(|part| part.get("text")?.as_str())?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Options;
    use super::*;

    #[test]
    fn a_trouble_is_met_once_by_its_question() {
        let simulator = Simulator::new(Options::instant());
        simulator.trouble("hi", Trouble::Fails);
        let asks = |text: &str| json!({"additional_messages": [{"content": "hi"}, {"content": text}]});
        assert!(simulator.take_trouble(&asks("hello")).is_none());
        assert!(matches!(simulator.take_trouble(&asks("hi")), Some(Trouble::Fails)));
        assert!(simulator.take_trouble(&asks("hi")).is_none());
        simulator.trouble("hi", Trouble::Fails);
        let parts = r#"[{"type":"image","file_url":"http://h/i.png"},{"type":"text","text":"hi"}]"#;
        let query = json!({"role": "user", "content": parts, "content_type": "object_string"});
        let shows = json!({"additional_messages": [query]});
        assert!(matches!(simulator.take_trouble(&shows), Some(Trouble::Fails)));
        simulator.trouble("hi", Trouble::Silent);
        simulator.no_trouble();
        assert!(simulator.take_trouble(&asks("hi")).is_none());
    }

    #[test]
    fn a_forgotten_conversation_is_gone_and_a_cleared_one_is_not() {
        let simulator = Simulator::new(Options::instant());
        let [kept, gone] = [(); 2].map(|()| simulator.book().create(0, None, String::new(), None));
        let section = |id| simulator.book().conversation(id).map(|place| place.section);
        let before = section(kept);
        simulator.clear(&kept.to_string());
        simulator.forget(&gone.to_string());
        assert_eq!(simulator.conversations(), [kept.to_string()]);
        assert!(section(kept).is_some() && section(kept) != before);
    }
}
