//! Conversations, runs and messages, kept as the community server keeps them.
//!
//! In come messages to store, out comes the history that a bot is given
//! (protocol 3.2, 3.3). Bounded: the oldest conversations are forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::wire::{self, Id, Map, Usage};

/// How many conversations are kept.
const MAX_CONVERSATIONS: usize = 10_000;

/// How many runs of one conversation are kept.
const MAX_RUNS: usize = 1_000;

/// How much content is kept in all conversations together, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a stored message costs beside its content, in bytes.
const BYTES_PER_MESSAGE: usize = 256;

/// What a message is (protocol 3.5, the table of types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Question,
    Answer,
    FunctionCall,
    ToolResponse,
    /// What was found in a knowledge base.
    Knowledge,
    FollowUp,
    /// `generate_answer_finish`.
    Finish,
    /// The verbose message that says that a bot has asked back.
    Interrupt,
}

impl Kind {
    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Answer => "answer",
            Self::FunctionCall => "function_call",
            Self::ToolResponse => "tool_response",
            Self::Knowledge => "knowledge",
            Self::FollowUp => "follow_up",
            Self::Finish | Self::Interrupt => "verbose",
        }
    }

    /// The role on the wire: only questions are the user's (protocol 3.5).
    pub(super) fn role(self) -> &'static str {
        if self == Self::Question { "user" } else { "assistant" }
    }

    /// Whether the model sees it (protocol 3.3).
    fn is_history(self) -> bool {
        matches!(self, Self::Question | Self::Answer | Self::FunctionCall | Self::ToolResponse)
    }
}

/// What a model is given of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) images: Vec<String>,
    /// The `object_string` that it came as; `None` for plain text.
    pub(super) object: Option<String>,
}

/// A stored message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: Id,
    pub(super) bot: Id,
    pub(super) kind: Kind,
    pub(super) content: Content,
    pub(super) meta: Map,
    pub(super) created_at: u64,
    pub(super) reasoning: String,
}

impl Stored {
    fn size(&self) -> usize {
        let object = self.content.object.as_ref().map_or(0, String::len);
        BYTES_PER_MESSAGE + self.content.text.len() + object + self.reasoning.len()
    }

    /// The content as the lists show it.
    pub(super) fn shown(&self) -> &str {
        self.content.object.as_deref().unwrap_or(&self.content.text)
    }
}

/// One record of a run: a chat, or a batch of additional messages.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) chat: wire::Chat,
    pub(super) messages: Vec<Arc<Stored>>,
    /// What the bot was given.
    pub(super) context: Vec<Arc<Stored>>,
}

/// A conversation's own facts.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) id: Id,
    /// Which token's user made it.
    pub(super) owner: usize,
    pub(super) bot: Option<Id>,
    pub(super) created_at: u64,
    pub(super) section: Id,
    pub(super) name: String,
    pub(super) meta: Option<Map>,
    pub(super) user_id: String,
    /// Off the lists, but still usable (protocol 4.4).
    pub(super) deleted: bool,
    runs: VecDeque<Id>,
    bytes: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    last_id: u64,
    conversations: HashMap<Id, Conversation>,
    order: VecDeque<Id>,
    runs: HashMap<Id, Run>,
    bytes: usize,
}

impl Book {
    /// A new id, of the size that the server's are: seconds in the upper half.
    pub(super) fn next_id(&mut self) -> Id {
        self.last_id = self.last_id.max(super::now() << 32) + 1;
        Id(self.last_id)
    }

    /// Makes a conversation, forgetting the oldest if there are too many.
    pub(super) fn create(&mut self, owner: usize, bot: Option<Id>, user_id: String, meta: Option<Map>) -> Id {
        let id = self.next_id();
        let section = self.next_id();
        let conversation = Conversation {
            id,
            owner,
            bot,
            created_at: super::now(),
            section,
            name: String::new(),
            meta,
            user_id,
            deleted: false,
            runs: VecDeque::new(),
            bytes: 0,
        };
        self.conversations.insert(id, conversation);
        self.order.push_back(id);
        self.shrink(id);
        id
    }

    /// Forgets the oldest conversations while there is too much; never `keep`.
    fn shrink(&mut self, keep: Id) {
        while self.order.len() > MAX_CONVERSATIONS || self.bytes > MAX_BYTES {
            let oldest = self.order.iter().position(|id| *id != keep);
            let Some(oldest) = oldest.and_then(|at| self.order.remove(at)) else { return };
            let Some(conversation) = self.conversations.remove(&oldest) else { continue };
            self.bytes -= conversation.bytes;
            for run in conversation.runs {
                self.runs.remove(&run);
            }
        }
    }

    /// Forgets a conversation.
    pub(super) fn forget(&mut self, id: Id) {
        self.order.retain(|other| *other != id);
        let Some(conversation) = self.conversations.remove(&id) else { return };
        self.bytes -= conversation.bytes;
        for run in conversation.runs {
            self.runs.remove(&run);
        }
    }

    /// All records, in no order.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// A conversation by its id.
    pub(super) fn conversation(&self, id: Id) -> Option<&Conversation> {
        self.conversations.get(&id)
    }

    /// The same, to change it.
    pub(super) fn conversation_mut(&mut self, id: Id) -> Option<&mut Conversation> {
        self.conversations.get_mut(&id)
    }

    /// All conversations, oldest first.
    pub(super) fn conversations(&self) -> impl Iterator<Item = &Conversation> {
        self.order.iter().filter_map(|id| self.conversations.get(id))
    }

    /// A run by its chat id.
    pub(super) fn run(&self, id: Id) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// The same, to change it.
    pub(super) fn run_mut(&mut self, id: Id) -> Option<&mut Run> {
        self.runs.get_mut(&id)
    }

    /// Starts a new section: what was said stays readable, but no bot is
    /// given it (protocol 4.5).
    pub(super) fn clear(&mut self, id: Id) -> Option<Id> {
        let section = self.next_id();
        self.conversations.get_mut(&id)?.section = section;
        Some(section)
    }

    /// Begins a run in the current section.
    pub(super) fn begin(&mut self, conversation: Id, bot: Id, context: Vec<Arc<Stored>>) -> Option<Run> {
        let id = self.next_id();
        let place = self.conversations.get_mut(&conversation)?;
        let chat = wire::Chat {
            id,
            conversation_id: conversation,
            bot_id: bot,
            created_at: super::now(),
            completed_at: 0,
            failed_at: 0,
            status: "in_progress",
            usage: None,
            section_id: place.section,
        };
        let run = Run { chat, messages: Vec::new(), context };
        place.runs.push_back(id);
        if place.runs.len() > MAX_RUNS
            && let Some(gone) = place.runs.pop_front().and_then(|oldest| self.runs.remove(&oldest))
        {
            let size: usize = gone.messages.iter().map(|message| message.size()).sum();
            place.bytes -= size;
            self.bytes -= size;
        }
        self.runs.insert(id, run.clone());
        Some(run)
    }

    /// Stores a message under a run.
    pub(super) fn store(&mut self, run: Id, message: Stored) {
        let Some(run) = self.runs.get_mut(&run) else { return };
        let conversation_id = run.chat.conversation_id;
        let size = message.size();
        run.messages.push(Arc::new(message));
        if let Some(conversation) = self.conversations.get_mut(&conversation_id) {
            conversation.bytes += size;
            self.bytes += size;
        }
        self.shrink(conversation_id);
    }

    /// Ends a run. That overwrites what a cancel has written (protocol 3.10).
    pub(super) fn complete(&mut self, run: Id, usage: Option<Usage>) -> Option<wire::Chat> {
        let run = self.runs.get_mut(&run)?;
        run.chat.status = "completed";
        run.chat.completed_at = super::now();
        run.chat.usage = usage;
        Some(run.chat.clone())
    }

    /// The messages of a conversation, oldest first, with the runs they are
    /// stored under.
    pub(super) fn messages(&self, conversation: Id) -> impl Iterator<Item = (&wire::Chat, &Arc<Stored>)> {
        self.runs_of(conversation)
            .flat_map(|run| run.messages.iter().map(move |message| (&run.chat, message)))
    }

    /// The records of a conversation, oldest first.
    pub(super) fn runs_of(&self, conversation: Id) -> impl DoubleEndedIterator<Item = &Run> {
        let ids = self.conversations.get(&conversation).map(|place| &place.runs);
        ids.into_iter().flatten().filter_map(|id| self.runs.get(id))
    }

    fn section_runs(&self, conversation: Id) -> impl DoubleEndedIterator<Item = &Run> {
        let section = self.conversations.get(&conversation).map(|place| place.section);
        self.runs_of(conversation).filter(move |run| Some(run.chat.section_id) == section)
    }

    /// What a model is given of the last `rounds` runs of the current section,
    /// oldest first (protocol 3.3).
    pub(super) fn history(&self, conversation: Id, rounds: usize) -> Vec<Arc<Stored>> {
        let mut runs: Vec<&Run> = self.section_runs(conversation).rev().take(rounds).collect();
        runs.reverse();
        runs.iter()
            .flat_map(|run| &run.messages)
            .filter(|message| message.kind.is_history())
            .map(Arc::clone)
            .collect()
    }

    /// Whether the last thing in the current section is a question of the
    /// bot's that waits for its answer (protocol 3.9).
    pub(super) fn is_waiting(&self, conversation: Id) -> bool {
        self.section_runs(conversation)
            .rev()
            .flat_map(|run| run.messages.iter().rev())
            .find(|message| message.kind != Kind::Finish)
            .is_some_and(|message| message.kind == Kind::Interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOT: Id = Id(1);

    fn say(book: &mut Book, run: Id, kind: Kind, text: &str) {
        let id = book.next_id();
        let content = Content { text: text.to_owned(), ..Content::default() };
        let reasoning = "thought".to_owned();
        let message = Stored { id, bot: BOT, kind, content, meta: Map::new(), created_at: 0, reasoning };
        book.store(run, message);
    }

    fn round(book: &mut Book, conversation: Id, question: &str, answer: &str) {
        let run = book.begin(conversation, BOT, Vec::new()).unwrap().chat.id;
        say(book, run, Kind::Question, question);
        say(book, run, Kind::Answer, answer);
        say(book, run, Kind::FollowUp, "and then?");
        say(book, run, Kind::Finish, "{}");
        book.complete(run, None);
    }

    fn texts(history: &[Arc<Stored>]) -> Vec<&str> {
        history.iter().map(|message| message.content.text.as_str()).collect()
    }

    #[test]
    fn history_is_the_last_rounds_of_questions_and_answers() {
        let mut book = Book::default();
        let conversation = book.create(0, Some(BOT), String::new(), None);
        for n in 1..=3 {
            round(&mut book, conversation, &format!("q{n}"), &format!("a{n}"));
        }
        assert_eq!(texts(&book.history(conversation, 2)), ["q2", "a2", "q3", "a3"]);
        assert_eq!(book.history(conversation, 100).len(), 6);
        assert!(book.history(conversation, 0).is_empty());
    }

    #[test]
    fn a_cleared_conversation_begins_anew_but_stays_readable() {
        let mut book = Book::default();
        let conversation = book.create(0, Some(BOT), String::new(), None);
        round(&mut book, conversation, "q", "a");
        book.clear(conversation).unwrap();
        assert!(book.history(conversation, 100).is_empty());
        assert_eq!(book.messages(conversation).count(), 4);
    }

    #[test]
    fn a_question_back_waits_until_something_is_said() {
        let mut book = Book::default();
        let conversation = book.create(0, Some(BOT), String::new(), None);
        let run = book.begin(conversation, BOT, Vec::new()).unwrap().chat.id;
        say(&mut book, run, Kind::Question, "weather?");
        assert!(!book.is_waiting(conversation));
        say(&mut book, run, Kind::Interrupt, "{}");
        say(&mut book, run, Kind::Finish, "{}");
        assert!(book.is_waiting(conversation));
        round(&mut book, conversation, "here", "sunny");
        assert!(!book.is_waiting(conversation));
    }

    #[test]
    fn the_oldest_conversations_are_forgotten() {
        let mut book = Book::default();
        let first = book.create(0, None, String::new(), None);
        round(&mut book, first, "q", "a");
        for _ in 0..MAX_CONVERSATIONS {
            book.create(0, None, String::new(), None);
        }
        assert!(book.conversation(first).is_none());
        assert!(book.runs.is_empty());
        assert_eq!(book.bytes, 0);
        assert_eq!(book.conversations().count(), MAX_CONVERSATIONS);
    }

    #[test]
    fn much_content_is_forgotten_too() {
        let mut book = Book::default();
        let big = "x".repeat(MAX_BYTES / 2);
        let first = book.create(0, None, String::new(), None);
        round(&mut book, first, "q", &big);
        let second = book.create(0, None, String::new(), None);
        round(&mut book, second, "q", &big);
        assert!(book.conversation(first).is_none());
        assert_eq!(book.history(second, 1).len(), 2);
    }

    #[test]
    fn a_conversation_that_grows_is_kept_and_others_make_room() {
        let mut book = Book::default();
        let first = book.create(0, None, String::new(), None);
        let second = book.create(0, None, String::new(), None);
        round(&mut book, second, "q", &"x".repeat(MAX_BYTES / 2));
        round(&mut book, first, "q", &"x".repeat(MAX_BYTES / 2));
        assert!(book.conversation(second).is_none());
        assert_eq!(book.history(first, 1).len(), 2);
    }

    #[test]
    fn the_end_of_a_run_overwrites_a_cancel() {
        let mut book = Book::default();
        let conversation = book.create(0, None, String::new(), None);
        let run = book.begin(conversation, BOT, Vec::new()).unwrap().chat.id;
        book.run_mut(run).unwrap().chat.status = "conversation.chat.cancelled";
        assert_eq!(book.complete(run, None).unwrap().status, "completed");
    }
}
