use super::*;
use crate::conversation::{Cut, Fingerprints, Owner};
use crate::turn::{Message, Role};

const SPACE: Key = [5; 16];

/// Where the conversation was before the turn.
fn old() -> Place {
    Place { conversation: "old".into(), section: Some("s1".into()), chat: "good".into() }
}

/// How a conversation is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Called {
    Nothing,
    Name,
    Id,
}

/// Where a turn's messages have gone.
#[derive(Clone, Copy, Debug)]
enum Went {
    /// To the first conversation that there is.
    First,
    /// To a fresh one, instead of the one that there was.
    Fresh,
    /// To the one that there was.
    On,
    /// To the one that there was, once its cut chat had ended.
    OnAfterCut,
    /// To a fresh one, behind what there was.
    Rebuild,
}

fn before(called: Called) -> Record {
    Record {
        owner: Owner { key: "k".into(), ..Owner::default() }.into(),
        name: (called == Called::Name).then(|| "n".into()),
        by_id: called == Called::Id,
        place: Some(old()),
        head: Some([1; 16]),
        root: Some([2; 16]),
        system: Some([3; 16]),
        rounds: 4,
        state: State::Answered,
        question: None,
    }
}

struct Stage {
    memory: Conversations,
    prints: Fingerprints,
}

impl Stage {
    async fn new() -> Self {
        let memory = Conversations::in_memory();
        let prints = memory.prints().await.unwrap().as_ref().clone();
        Self { memory, prints }
    }

    fn chain(&self) -> Chain {
        let mut chain = self.prints.chain(SPACE);
        chain.push(&Message::text(Role::User, "question"));
        chain
    }

    /// A turn of three messages, one of them new.
    fn thread(&self, went: Went, called: Called) -> Thread {
        let id = Id([7; 16]);
        let lease = Lease { id, fence: 3 };
        let (plan, before) = match went {
            Went::First => (Plan::Fresh, Record { place: None, head: None, ..before(called) }),
            Went::Fresh => (Plan::Fresh, before(called)),
            Went::On => (Plan::Continue { place: old(), new: 2..3, after: None }, before(called)),
            Went::OnAfterCut => (
                Plan::Continue {
                    place: old(),
                    new: 2..3,
                    after: Some(Cut { chat: "cut".into(), answers: true }),
                },
                Record { state: State::Cut("cut".into()), head: None, ..before(called) },
            ),
            Went::Rebuild => {
                (Plan::Rebuild { place: old(), new: 2..3 }, Record { state: State::Failed, ..before(called) })
            }
        };
        let opening = Opening {
            memory: self.memory.clone(),
            space: SPACE,
            before,
            chain: Some(self.chain()),
            root: Some([8; 16]),
            system: Some([9; 16]),
            messages: 3,
            note: Note::new(Mode::New, None),
            delta: false,
        };
        match (went, called) {
            (Went::First, Called::Nothing) => Thread::new(id, opening),
            _ => Thread::lent(Hold { lease, memory: self.memory.clone() }, opening, &plan),
        }
    }
}

fn chat() -> Chat<'static> {
    Chat { conversation: "new", section: Some("s2"), id: "chat" }
}

const CALLED: [Called; 3] = [Called::Nothing, Called::Name, Called::Id];

/// What the bot says.
fn heard(mut thread: Thread) -> Thread {
    for text in ["ans", "wer\r\n"] {
        thread.hear(&Text::Plain(text.into()));
    }
    thread
}

/// By what head the entry is found.
fn head(settlement: impl Into<Option<Settlement>>) -> Option<Key> {
    match settlement.into() {
        Some(Settlement { outcome: Outcome::Keep(entry), .. }) => entry.head,
        _ => None,
    }
}

/// What becomes of the entry, in few words.
fn told(settlement: impl Into<Option<Settlement>>) -> String {
    let Some(Settlement { held, outcome, .. }) = settlement.into() else { return "nothing".into() };
    let entry = match (held, outcome) {
        (Held::New(_), Outcome::Drop) => return "nothing".into(),
        (Held::Lent(_), Outcome::Drop) => return "drop".into(),
        (_, Outcome::Abandon) => return "abandon".into(),
        (_, Outcome::Keep(entry)) => entry,
    };
    assert_eq!((entry.id, entry.space), (Id([7; 16]), SPACE));
    let record = Record::from_bytes(&entry.value).unwrap();
    assert_eq!(record.owner.key, "k");
    let place = record.place.unwrap();
    let head = match record.head {
        None => "no head",
        Some(head) if head == [1; 16] => "old head",
        Some(_) => "new head",
    };
    let root = if record.root == Some([2; 16]) { "old root" } else { "new root" };
    let system = if record.system == Some([3; 16]) { "old system" } else { "new system" };
    let found = match (entry.head, entry.root, entry.name) {
        (Some(head), Some(root), None) => {
            assert_eq!((Some(head), Some(root)), (record.head, record.root));
            "by head"
        }
        (None, Some(_), None) => "as begun",
        (None, None, Some(_)) => "by name",
        (None, None, None) => "by id",
        other => panic!("{other:?}"),
    };
    let state = match record.state {
        State::Cut(chat) => format!("cut {chat}"),
        other => format!("{other:?}").to_lowercase(),
    };
    let Place { conversation, chat, .. } = place;
    let rounds = record.rounds;
    format!("{conversation}/{chat} {state}; {rounds} rounds, {head}, {root}, {system}; found {found}")
}

#[tokio::test]
async fn a_whole_answer_advances_the_conversation() {
    let stage = Stage::new().await;
    for (asked, state) in [(false, "answered"), (true, "asked")] {
        for (went, counts) in [
            (Went::First, "2 rounds, new head, new root"),
            (Went::Fresh, "2 rounds, new head, new root"),
            (Went::On, "5 rounds, new head, old root"),
            (Went::OnAfterCut, "5 rounds, new head, old root"),
            (Went::Rebuild, "2 rounds, new head, new root"),
        ] {
            for (called, found) in CALLED.into_iter().zip(["by head", "by name", "by id"]) {
                let ended = heard(stage.thread(went, called)).end(Ending::Answered { chat: chat(), asked });
                let expected = format!("new/chat {state}; {counts}, new system; found {found}");
                assert_eq!(told(ended), expected, "{went:?} {called:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_cut_answer_is_found_by_name_or_id_alone_and_gone_on_with_after_its_end() {
    let stage = Stage::new().await;
    for (went, expected) in [
        (Went::First, "new/chat cut chat; 2 rounds, no head, new root"),
        (Went::Fresh, "new/chat cut chat; 2 rounds, no head, new root"),
        (Went::On, "new/good cut chat; 5 rounds, no head, old root"),
        (Went::OnAfterCut, "new/cut cut chat; 5 rounds, no head, old root"),
        (Went::Rebuild, "new/chat cut chat; 2 rounds, no head, new root"),
    ] {
        for (called, found) in CALLED.into_iter().zip(["by id", "by name", "by id"]) {
            let ended = heard(stage.thread(went, called)).end(Ending::Cut(Some(chat())));
            assert_eq!(told(ended), format!("{expected}, new system; found {found}"), "{went:?} {called:?}");
        }
    }
}

#[tokio::test]
async fn a_failed_turn_leaves_the_last_good_chat_and_what_was_not_touched() {
    let stage = Stage::new().await;
    let on = "old/good failed; 4 rounds, old head, old root, old system; found";
    let after_cut = "old/cut failed; 4 rounds, no head, old root, old system; found";
    let untouched = "old/good answered; 4 rounds, old head, old root, old system; found";
    for ending in [Ending::Failed, Ending::Cut(None)] {
        for (called, gone, by, whole) in [
            (Called::Nothing, "nothing", "by id", "by head"),
            (Called::Name, "drop", "by name", "by name"),
            (Called::Id, "drop", "by id", "by id"),
        ] {
            let told = |went| told(heard(stage.thread(went, called)).end(ending));
            assert_eq!(told(Went::First), gone);
            assert_eq!(told(Went::Fresh), format!("{untouched} {whole}"));
            assert_eq!(told(Went::On), format!("{on} {by}"));
            assert_eq!(told(Went::OnAfterCut), format!("{after_cut} {by}"));
            assert_eq!(told(Went::Rebuild), format!("{on} {by}"), "it was one that had failed");
        }
    }
}

#[tokio::test]
async fn a_refused_turn_is_put_back() {
    let stage = Stage::new().await;
    let as_it_was = "old/good answered; 4 rounds, old head, old root, old system; found";
    for (called, gone, by, whole) in [
        (Called::Nothing, "nothing", "by id", "by head"),
        (Called::Name, "drop", "by name", "by name"),
        (Called::Id, "drop", "by id", "by id"),
    ] {
        let told = |went| told(stage.thread(went, called).end(Ending::Refused));
        assert_eq!(told(Went::First), gone);
        assert_eq!(told(Went::Fresh), format!("{as_it_was} {whole}"));
        assert_eq!(told(Went::On), format!("{as_it_was} {whole}"));
        let cut = "old/good cut cut; 4 rounds, no head, old root, old system; found";
        assert_eq!(told(Went::OnAfterCut), format!("{cut} {by}"));
        let failed = "old/good failed; 4 rounds, old head, old root, old system; found";
        assert_eq!(told(Went::Rebuild), format!("{failed} {by}"));
    }
}

#[tokio::test]
async fn a_forgotten_conversation_is_dropped() {
    let stage = Stage::new().await;
    for called in CALLED {
        for went in [Went::Fresh, Went::On, Went::OnAfterCut, Went::Rebuild] {
            assert_eq!(told(stage.thread(went, called).end(Ending::Forgotten)), "drop");
        }
    }
    assert_eq!(told(stage.thread(Went::First, Called::Nothing).end(Ending::Forgotten)), "nothing");
}

#[tokio::test]
async fn a_replay_takes_the_place_of_the_forgotten_one_once_it_is_answered() {
    let stage = Stage::new().await;
    let replayed = |called| {
        let mut thread = heard(stage.thread(Went::On, called));
        thread.replay();
        assert_eq!(thread.note().to_string(), "replayed; reason=forgotten");
        assert!(!thread.goes_on());
        heard(thread)
    };
    let answered = Ending::Answered { chat: chat(), asked: false };
    // What it had heard of the first try counts for nothing: see the head.
    let mut chain = stage.chain();
    chain.push(&Message::text(Role::Assistant, "answer"));
    assert_eq!(head(replayed(Called::Nothing).end(answered)), Some(chain.head()));
    for (called, found) in CALLED.into_iter().zip(["by head", "by name", "by id"]) {
        let expected = format!("new/chat answered; 2 rounds, new head, new root, new system; found {found}");
        assert_eq!(told(replayed(called).end(answered)), expected);
        // A client that has an id, or a name, may try again: it is still known.
        let before = format!("old/good answered; 4 rounds, old head, old root, old system; found {found}");
        for ending in [Ending::Failed, Ending::Refused, Ending::Cut(None)] {
            assert_eq!(told(replayed(called).end(ending)), before, "{ending:?}");
        }
        assert_eq!(told(replayed(called).end(Ending::Forgotten)), "drop");
    }
}

#[tokio::test]
async fn a_conversation_that_cannot_go_on_where_it_lies_is_rebuilt() {
    let stage = Stage::new().await;
    let rebuilt = || {
        let mut thread = stage.thread(Went::OnAfterCut, Called::Name);
        assert!(thread.goes_on());
        thread.rebuild(Reason::Failed);
        assert_eq!(thread.note().to_string(), "rebuilt; reason=failed");
        assert!(!thread.goes_on());
        thread
    };
    let ended = told(rebuilt().end(Ending::Answered { chat: chat(), asked: false }));
    assert_eq!(ended, "new/chat answered; 2 rounds, new head, new root, new system; found by name");
    let before = "old/good cut cut; 4 rounds, no head, old root, old system; found by name";
    for ending in [Ending::Refused, Ending::Failed] {
        assert_eq!(told(rebuilt().end(ending)), before);
    }
}

#[tokio::test]
async fn a_chat_elsewhere_knows_nothing_of_what_was_said() {
    let stage = Stage::new().await;
    let thread = stage.thread(Went::On, Called::Nothing);
    for (conversation, section, is_at) in [
        ("old", Some("s1"), true),
        ("old", None, true),
        ("old", Some("s2"), false),
        ("new", Some("s1"), false),
        ("new", None, false),
    ] {
        let chat = Chat { conversation, section, id: "chat" };
        assert_eq!(thread.is_at(chat), is_at, "{chat:?}");
        assert!(stage.thread(Went::Fresh, Called::Nothing).is_at(chat), "a fresh one may be anywhere");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_known_again_is_only_found_by_name() {
    let stage = Stage::new().await;
    let mut thread = stage.thread(Went::First, Called::Nothing);
    let much = "x".repeat(MAX_SAID / 2 + 1);
    thread.hear(&Text::Plain(much.as_str().into()));
    thread.hear(&Text::Plain(much.as_str().into()));
    thread.hear(&Text::Plain("more".into()));
    assert_eq!(thread.said.capacity(), 0, "nothing more is kept of it");
    let ended = told(thread.end(Ending::Answered { chat: chat(), asked: false }));
    assert_eq!(ended, "new/chat answered; 2 rounds, no head, new root, new system; found as begun");
}

#[tokio::test]
async fn a_thread_tells_its_name_or_its_id() {
    let stage = Stage::new().await;
    assert_eq!(stage.thread(Went::On, Called::Name).name(), "n");
    let id = format!("conv_{}", "07".repeat(16));
    for called in [Called::Nothing, Called::Id] {
        assert_eq!(stage.thread(Went::On, called).name(), id);
    }
}
