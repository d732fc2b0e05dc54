mod forgetful;
mod questions;

use super::*;
use crate::store::{Listed, Settled};
use crate::turn::{Message, Text};

/// Someone who talks to a bot.
#[derive(Clone)]
struct Client {
    memory: Conversations,
    space: Space<'static>,
}

/// A turn that has begun.
struct Begin {
    plan: Plan,
    note: String,
    thread: Box<Thread>,
}

fn client() -> Client {
    let space =
        Space { caller: "key", deployment: "local", kind: "bot", target: "1", user: None, hint: None };
    Client { memory: Conversations::in_memory(), space }
}

/// Messages, the user's and the assistant's in turn.
fn said(texts: &[&str]) -> Prompt {
    let role = |index| if index % 2 == 0 { Role::User } else { Role::Assistant };
    let messages = texts.iter().enumerate().map(|(index, text)| Message::text(role(index), *text));
    let question = texts.len().checked_sub(1);
    Prompt { messages: messages.collect(), question, ..Prompt::default() }
}

fn place(conversation: &str, chat: &str) -> Place {
    Place { conversation: conversation.into(), section: None, chat: chat.into() }
}

impl Client {
    async fn try_begin(&self, name: Option<&str>, prompt: &Prompt) -> Begun {
        let name = name.map(|name| Name::parse(name).unwrap());
        let wanted = Wanted {
            space: self.space,
            name: name.as_ref(),
            whole: false,
            prompt,
            history_rounds: 100,
            now: 0,
        };
        self.memory.begin(&wanted).await.unwrap()
    }

    async fn begin(&self, name: Option<&str>, texts: &[&str]) -> Begin {
        match self.try_begin(name, &said(texts)).await {
            Begun::Planned { plan, thread } => Begin { plan, note: thread.note().to_string(), thread },
            other => panic!("{other:?}"),
        }
    }

    /// Begins with another space.
    fn elsewhere(&self, space: impl FnOnce(&mut Space<'static>)) -> Self {
        let mut other = self.clone();
        space(&mut other.space);
        other
    }

    async fn is_not_found(&self, name: &str) -> bool {
        matches!(self.try_begin(Some(name), &said(&["x"])).await, Begun::NotFound)
    }
}

impl Begin {
    fn name(&self) -> String {
        self.thread.name()
    }

    async fn end(self, ending: Ending<'_>) -> Settled {
        self.thread.end(ending).store().await.unwrap()
    }

    /// Ends with an answer in a conversation of Coze's.
    async fn answer(mut self, conversation: &str, chat: &str, text: &str) -> Settled {
        self.thread.hear(&Text::Plain(text.into()));
        self.end(Ending::Answered { chat: Chat { conversation, section: None, id: chat }, asked: false })
            .await
    }
}

/// What the plan does, and where.
fn went(begin: &Begin) -> String {
    match &begin.plan {
        Plan::Detached => "detached".into(),
        Plan::Lost { .. } => "lost".into(),
        Plan::Fresh => "fresh".into(),
        Plan::Continue { place, new, .. } => format!("{}: {new:?}", place.conversation),
        Plan::Resume { place, new, .. } => format!("{}: answer {new:?}", place.conversation),
        Plan::Rebuild { place, new } => format!("like {} up to {}: {new:?}", place.conversation, place.chat),
    }
}

#[test]
fn a_name_is_1_to_256_bytes_without_control_characters() {
    assert_eq!(Name::parse("a"), Ok(Name::Given("a".into())));
    assert_eq!(Name::parse("你好 %"), Ok(Name::Given("你好 %".into())));
    assert_eq!(Name::parse(&"x".repeat(256)), Ok(Name::Given("x".repeat(256))));
    for bad in
        [String::new(), "x".repeat(257), "好".repeat(86), "a\nb".into(), "\u{7f}".into(), "\u{85}".into()]
    {
        assert_eq!(Name::parse(&bad), Err(BadName), "{bad:?}");
    }
}

#[test]
fn names_that_begin_as_the_gateways_own_are_its_own() {
    let id = Id([0xab; 16]);
    assert_eq!(Name::parse(&format!("conv_{id}")), Ok(Name::Own(id)));
    for nobodys in [
        "conv_",
        "conv_1",
        &format!("conv_{id}0"),
        &format!("conv_{id}").to_uppercase()[..].replace("CONV_", "conv_"),
    ] {
        assert_eq!(Name::parse(nobodys), Ok(Name::Nobodys), "{nobodys}");
    }
    assert_eq!(Name::parse("CONV_1"), Ok(Name::Given("CONV_1".into())));
}

#[tokio::test]
async fn a_transcript_goes_on_where_its_head_is() {
    let client = client();
    let first = client.begin(None, &["a"]).await;
    assert_eq!((went(&first), first.note.as_str()), ("fresh".into(), "new"));
    let id = first.name();
    first.answer("c1", "h1", "b").await;
    let second = client.begin(None, &["a", "b", "c"]).await;
    assert_eq!(
        (went(&second), second.note.as_str(), second.name()),
        ("c1: 2..3".into(), "continued", id.clone())
    );
    assert_eq!(second.answer("c1", "h2", "d").await, Settled::Done);
    let third = client.begin(None, &["a", "b", "c", " d\r\n", "e"]).await;
    assert_eq!((went(&third), third.name()), ("c1: 4..5".into(), id));
    third.answer("c1", "h3", "f").await;
    // The old head is gone with it.
    let again = client.begin(None, &["a", "b", "c"]).await;
    assert_eq!((went(&again), again.note.as_str()), ("fresh".into(), "replayed; reason=edited"));
}

#[tokio::test]
async fn of_a_transcript_that_nobody_knows_nothing_is_assumed() {
    let client = client();
    let begun = client.begin(None, &["a", "b", "c"]).await;
    assert_eq!((went(&begun), begun.note.as_str()), ("fresh".into(), "replayed; reason=unknown"));
    begun.answer("c1", "h1", "d").await;
    let next = client.begin(None, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(went(&next), "c1: 4..5", "a replayed one goes on");
}

#[tokio::test]
async fn an_edit_a_regeneration_and_a_branch_leave_the_first_as_it_is() {
    let client = client();
    client.begin(None, &["a"]).await.answer("c1", "h1", "b").await;
    client.begin(None, &["a", "b", "c"]).await.answer("c1", "h2", "d").await;
    for (conversation, branch) in [("edit", ["a", "b", "C"]), ("again", ["a", "b", "c"])] {
        let begun = client.begin(None, &branch).await;
        assert_eq!(begun.note, "replayed; reason=edited");
        begun.answer(conversation, "h", conversation).await;
    }
    let edit = client.begin(None, &["a", "b", "C", "edit", "e"]).await;
    let again = client.begin(None, &["a", "b", "c", "again", "e"]).await;
    let first = client.begin(None, &["a", "b", "c", "d", "e"]).await;
    assert_eq!([went(&edit), went(&again), went(&first)], ["edit: 4..5", "again: 4..5", "c1: 4..5"]);
}

#[tokio::test]
async fn a_head_is_claimed_once() {
    let client = client();
    client.begin(None, &["a"]).await.answer("c1", "h1", "b").await;
    let first = client.begin(None, &["a", "b", "c"]).await;
    let twin = client.begin(None, &["a", "b", "c"]).await;
    assert_eq!((went(&first), went(&twin)), ("c1: 2..3".into(), "fresh".into()));
    assert_eq!(twin.note, "replayed; reason=edited");
}

#[tokio::test]
async fn a_refused_turn_is_put_back_so_that_the_next_try_goes_on() {
    let client = client();
    client.begin(None, &["a"]).await.answer("c1", "h1", "b").await;
    for _ in 0..3 {
        let begun = client.begin(None, &["a", "b", "c"]).await;
        assert_eq!(went(&begun), "c1: 2..3");
        assert_eq!(begun.end(Ending::Refused).await, Settled::Done);
    }
}

#[tokio::test]
async fn a_failed_turn_is_not_gone_on_with() {
    let client = client();
    client.begin(None, &["a"]).await.answer("c1", "h1", "b").await;
    client.begin(None, &["a", "b", "c"]).await.end(Ending::Failed).await;
    assert_eq!(went(&client.begin(None, &["a", "b", "c"]).await), "fresh");

    client.begin(Some("n"), &["a"]).await.answer("c2", "h1", "b").await;
    client.begin(Some("n"), &["c"]).await.end(Ending::Failed).await;
    let delta = client.begin(Some("n"), &["c"]).await;
    assert_eq!(
        (went(&delta), delta.note.as_str()),
        ("like c2 up to h1: 0..1".into(), "rebuilt; reason=failed")
    );
    delta.end(Ending::Refused).await;
    let whole = client.begin(Some("n"), &["a", "b", "c"]).await;
    assert_eq!((went(&whole), whole.note.as_str()), ("fresh".into(), "replayed; reason=failed"));
}

#[tokio::test]
async fn after_a_rebuild_the_transcript_is_known_again() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    client.begin(Some("n"), &["c"]).await.end(Ending::Failed).await;
    client.begin(Some("n"), &["c"]).await.answer("c2", "h2", "d").await;
    assert_eq!(went(&client.begin(Some("n"), &["a", "b", "c", "d", "e"]).await), "c2: 4..5");
}

#[tokio::test]
async fn a_cut_delta_goes_on_after_the_end_of_the_cut_chat_and_a_transcript_is_replayed() {
    let client = client();
    let cut = Ending::Cut(Some(Chat { conversation: "c1", section: None, id: "h2" }));
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    client.begin(Some("n"), &["c"]).await.end(cut).await;
    let whole = client.begin(Some("n"), &["a", "b", "c", "half", "e"]).await;
    assert_eq!((went(&whole), whole.note.as_str()), ("fresh".into(), "replayed; reason=cut"));
    whole.end(Ending::Refused).await;
    let delta = client.begin(Some("n"), &["e"]).await;
    assert_eq!(
        delta.plan,
        Plan::Continue {
            place: place("c1", "h1"),
            new: 0..1,
            after: Some(Cut { chat: "h2".into(), answers: true })
        }
    );
    delta.answer("c1", "h3", "f").await;
    // What Coze said in the cut chat nobody knows here.
    let whole = client.begin(Some("n"), &["a", "b", "c", "half", "e", "f", "g"]).await;
    assert_eq!(whole.note, "replayed; reason=edited");
    whole.end(Ending::Refused).await;
    assert_eq!(went(&client.begin(Some("n"), &["g"]).await), "c1: 0..1");
}

#[tokio::test]
async fn two_live_conversations_with_the_same_head_are_ambiguous() {
    let client = client();
    for conversation in ["c1", "c2"] {
        client.begin(None, &["a"]).await.answer(conversation, "h", "b").await;
    }
    for conversation in ["c3", "c4"] {
        let begun = client.begin(None, &["a", "b", "c"]).await;
        assert_eq!((went(&begun), begun.note.as_str()), ("fresh".into(), "replayed; reason=ambiguous"));
        begun.answer(conversation, "h", conversation).await;
    }
    assert_eq!(went(&client.begin(None, &["a", "b", "c", "c3", "e"]).await), "c3: 4..5");
}

#[tokio::test]
async fn a_name_goes_on_with_deltas_and_transcripts_alike() {
    let client = client();
    let first = client.begin(Some("n"), &["a"]).await;
    assert_eq!((went(&first), first.note.as_str(), first.name()), ("fresh".into(), "new", "n".into()));
    first.answer("c1", "h1", "b").await;
    let delta = client.begin(Some("n"), &["c"]).await;
    assert_eq!((went(&delta), delta.note.as_str()), ("c1: 0..1".into(), "continued"));
    delta.answer("c1", "h2", "d").await;
    let whole = client.begin(Some("n"), &["a", "b", "c", "d", "e"]).await;
    assert_eq!((went(&whole), whole.name()), ("c1: 4..5".into(), "n".into()));
    whole.answer("c1", "h3", "f").await;
    assert_eq!(went(&client.begin(Some("n"), &["g"]).await), "c1: 0..1");
}

#[tokio::test]
async fn a_branch_under_a_name_takes_the_name_along() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    let branch = client.begin(Some("n"), &["A", "b", "c"]).await;
    assert_eq!((went(&branch), branch.note.as_str()), ("fresh".into(), "replayed; reason=edited"));
    branch.answer("c2", "h2", "d").await;
    assert_eq!(went(&client.begin(Some("n"), &["e"]).await), "c2: 0..1");
}

#[tokio::test]
async fn a_conversation_with_a_name_is_not_found_by_its_transcript() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    assert_eq!(client.begin(None, &["a", "b", "c"]).await.note, "replayed; reason=unknown");
    // One that is called by its id has a name from then on.
    let first = client.begin(None, &["x"]).await;
    let id = first.name();
    first.answer("c2", "h1", "y").await;
    client.begin(Some(&id), &["z"]).await.answer("c2", "h2", "w").await;
    assert_eq!(went(&client.begin(None, &["x", "y", "z", "w", "v"]).await), "fresh");
    assert_eq!(went(&client.begin(Some(&id), &["x", "y", "z", "w", "v"]).await), "c2: 4..5");
}

#[tokio::test]
async fn an_id_that_was_never_given_is_not_found() {
    let client = client();
    assert!(client.is_not_found(&format!("conv_{}", Id([1; 16]))).await);
    assert!(client.is_not_found("conv_made-up").await);
    // A turn that came to nothing leaves nothing behind.
    let first = client.begin(None, &["a"]).await;
    let id = first.name();
    assert_eq!(first.end(Ending::Failed).await, Settled::Done);
    assert!(client.is_not_found(&id).await);
}

#[tokio::test]
async fn a_forgotten_conversation_is_dropped_and_its_name_begins_anew() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    client.begin(Some("n"), &["c"]).await.end(Ending::Forgotten).await;
    let begun = client.begin(Some("n"), &["c"]).await;
    assert_eq!((went(&begun), begun.note.as_str()), ("fresh".into(), "new"));

    let first = client.begin(None, &["a"]).await;
    let id = first.name();
    first.answer("c2", "h1", "b").await;
    client.begin(Some(&id), &["c"]).await.end(Ending::Forgotten).await;
    assert!(client.is_not_found(&id).await);
}

#[tokio::test]
async fn spaces_never_see_each_others_conversations() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("named", "h", "b").await;
    let unnamed = client.begin(None, &["a"]).await;
    let id = unnamed.name();
    unnamed.answer("unnamed", "h", "b").await;
    let others = [
        client.elsewhere(|space| space.caller = "other"),
        client.elsewhere(|space| space.deployment = "other"),
        client.elsewhere(|space| space.kind = "chatflow"),
        client.elsewhere(|space| space.target = "2"),
        client.elsewhere(|space| space.user = Some("ann")),
        client.elsewhere(|space| space.user = Some("bob")),
        client.elsewhere(|space| space.hint = Some(b"h1")),
        client.elsewhere(|space| space.hint = Some(b"h2")),
    ];
    for (number, other) in others.iter().enumerate() {
        assert!(other.is_not_found(&id).await, "{:?}", other.space);
        assert_eq!(other.begin(None, &["a", "b", "c"]).await.note, "replayed; reason=unknown");
        let named = other.begin(Some("n"), &["c"]).await;
        assert_eq!((went(&named), named.note.as_str()), ("fresh".into(), "new"));
        named.answer(&number.to_string(), "h", "d").await;
    }
    for (number, other) in others.iter().enumerate() {
        assert_eq!(went(&other.begin(Some("n"), &["e"]).await), format!("{number}: 0..1"));
    }
    assert_eq!(went(&client.begin(Some("n"), &["c"]).await), "named: 0..1");
    assert_eq!(went(&client.begin(None, &["a", "b", "c"]).await), "unnamed: 2..3");
}

#[tokio::test(start_paused = true)]
async fn a_turn_in_a_named_conversation_keeps_others_out_while_it_says_that_it_goes_on() {
    let client = client();
    let first = client.begin(Some("n"), &["a"]).await;
    for _ in 0..10 {
        tokio::time::advance(RENEWAL).await;
        client.memory.renew().await.unwrap();
        let second = client.try_begin(Some("n"), &said(&["b"])).await;
        assert!(matches!(second, Begun::Busy(wait) if wait == LEASE), "{second:?}");
    }
    assert_eq!(first.answer("c1", "h1", "b").await, Settled::Done);
    assert_eq!(went(&client.begin(Some("n"), &["c"]).await), "c1: 0..1");
}

#[tokio::test(start_paused = true)]
async fn after_a_turn_that_was_abandoned_the_conversation_is_rebuilt() {
    let client = client();
    client.begin(Some("n"), &["a"]).await.answer("c1", "h1", "b").await;
    let lost = client.begin(Some("n"), &["c"]).await;
    tokio::time::advance(LEASE).await;
    let delta = client.begin(Some("n"), &["c"]).await;
    let expected = ("like c1 up to h1: 0..1".to_owned(), "rebuilt; reason=interrupted");
    assert_eq!((went(&delta), delta.note.as_str()), expected);
    assert_eq!(lost.answer("c1", "h2", "d").await, Settled::Lost, "it has lost its lease");
    // Put back, it still is one whose last turn nobody knows.
    delta.end(Ending::Refused).await;
    let delta = client.begin(Some("n"), &["c"]).await;
    assert_eq!((went(&delta), delta.note.as_str()), (expected.0, "rebuilt; reason=failed"));
    assert_eq!(delta.answer("c2", "h1", "d").await, Settled::Done);
    assert_eq!(went(&client.begin(Some("n"), &["e"]).await), "c2: 0..1");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_head_is_never_found_again() {
    let client = client();
    client.begin(None, &["a"]).await.answer("c1", "h1", "b").await;
    let lost = client.begin(None, &["a", "b", "c"]).await;
    let id = lost.name();
    tokio::time::advance(LEASE).await;
    assert_eq!(went(&client.begin(None, &["a", "b", "c"]).await), "fresh");
    let by_id = client.begin(Some(&id), &["a", "b", "c"]).await;
    assert_eq!(by_id.note, "replayed; reason=interrupted");
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_as_good_as_none() {
    let client = client();
    let first = client.begin(None, &["a"]).await;
    let id = first.name();
    first.answer("c1", "h1", "b").await;
    let mut listed = client.memory.store().list(None, 1).await.unwrap().remove(0).entry;
    client.memory.store().forget(listed.id).await.unwrap();
    listed.value = b"?".to_vec();
    client.memory.store().insert(listed).await.unwrap();
    let begun = client.begin(Some(&id), &["a", "b", "c"]).await;
    assert_eq!((went(&begun), begun.note.as_str()), ("fresh".into(), "replayed; reason=unknown"));
}

#[tokio::test]
async fn a_bot_that_is_asked_back_gets_its_answer_once() {
    let client = client();
    let chat = Chat { conversation: "c1", section: None, id: "h1" };
    let asking = async |texts: &[&str]| {
        let mut begun = client.begin(None, texts).await;
        begun.thread.hear(&Text::Plain("which?".into()));
        begun.end(Ending::Answered { chat, asked: true }).await;
    };
    asking(&["a"]).await;
    let resumed = client.begin(None, &["a", "which?", "this"]).await;
    assert_eq!((went(&resumed), resumed.note.as_str()), ("c1: answer 2..3".into(), "resumed"));
    resumed.answer("c1", "h2", "done").await;
    assert_eq!(went(&client.begin(None, &["a", "which?", "this", "done", "more"]).await), "c1: 4..5");
}

#[tokio::test]
async fn only_hashes_of_messages_are_stored() {
    let client = client();
    let mut first = client.begin(Some("n"), &["question-text"]).await;
    first.thread.hear(&Text::Plain("answer-text".into()));
    first.answer("c1", "h1", "").await;
    let system = Prompt { pinned: 1, ..said(&["system-text"]) };
    let Begun::Planned { thread, .. } = client.try_begin(None, &system).await else { panic!("planned") };
    let begin = Begin { plan: Plan::Fresh, note: String::new(), thread };
    begin.answer("c2", "h1", "other-text").await;
    let listed = client.memory.store().list(None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    for Listed { entry, .. } in listed {
        // Its strings are stored as they are: the one that is no secret is found.
        let value = String::from_utf8_lossy(&entry.value);
        assert!(value.contains("h1") && !value.contains("-text"), "{value}");
    }
}
