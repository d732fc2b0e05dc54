use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::conversation::{Fingerprints, Name, Space, Wanted, read};
use crate::turn::{Message, Prompt, Role};

const SYSTEM: Key = [1; 16];
const OTHER_SYSTEM: Key = [2; 16];
const HEAD: Key = [3; 16];
const NOW: u64 = 1_800_000_000;

/// A transcript of three messages and one that is new.
fn transcript() -> Sent {
    Sent { delta: false, messages: 4, pinned: 0, new: 3, own: true, before: HEAD, system: None }
}

/// The same with an edit somewhere in front.
fn edited() -> Sent {
    Sent { before: [9; 16], ..transcript() }
}

/// The new message alone.
fn delta() -> Sent {
    Sent { delta: true, messages: 1, pinned: 0, new: 0, own: true, before: [0; 16], system: None }
}

fn place() -> Place {
    Place { conversation: "c".into(), section: None, chat: "good".into() }
}

fn answered() -> Record {
    Record { place: Some(place()), head: Some(HEAD), rounds: 4, system: Some(SYSTEM), ..Record::default() }
}

fn asked() -> Record {
    Record { state: State::Asked, ..answered() }
}

fn failed() -> Record {
    Record { state: State::Failed, ..answered() }
}

fn cut() -> Record {
    Record { state: State::Cut("running".into()), head: None, ..answered() }
}

fn shown(plan: &Plan) -> String {
    match plan {
        Plan::Detached => "detached".into(),
        Plan::Lost { .. } => "lost".into(),
        Plan::Fresh => "fresh".into(),
        Plan::Continue { new, after: None, .. } => format!("continue with {new:?}"),
        Plan::Continue { new, after: Some(Cut { chat, answers }), .. } => {
            let answers = if *answers { ", an answer perhaps" } else { "" };
            format!("continue with {new:?} after {chat}{answers}")
        }
        Plan::Resume { new, .. } => format!("resume with {new:?}"),
        Plan::Rebuild { new, .. } => format!("rebuild with {new:?}"),
    }
}

#[test]
fn every_branch() {
    let with_system = |sent: Sent, system| Sent { system: Some(system), ..sent };
    let pinned = |system| Sent { messages: 2, pinned: 1, ..with_system(delta(), system) };
    let two = Sent { messages: 2, ..delta() };
    let two_more = Sent { messages: 5, ..transcript() };
    let nothing = Record::default;
    for (what, sent, record, expected, note) in [
        // Nothing is there.
        ("delta", delta(), nothing(), "fresh", "new"),
        ("beginning", Sent { delta: false, ..delta() }, nothing(), "fresh", "new"),
        ("transcript", transcript(), nothing(), "fresh", "replayed; reason=unknown"),
        // The last turn ended well.
        ("transcript", transcript(), answered(), "continue with 3..4", "continued"),
        ("transcript of more", two_more.clone(), answered(), "continue with 3..5", "continued"),
        ("edited transcript", edited(), answered(), "fresh", "replayed; reason=edited"),
        ("delta", delta(), answered(), "continue with 0..1", "continued"),
        ("delta of two", two.clone(), answered(), "continue with 0..2", "continued"),
        ("delta, same system", pinned(SYSTEM), answered(), "continue with 1..2", "continued"),
        ("delta, new system", pinned(OTHER_SYSTEM), answered(), "continue with 0..2", "continued"),
        (
            "delta, system as a variable",
            with_system(delta(), OTHER_SYSTEM),
            answered(),
            "continue with 0..1",
            "continued",
        ),
        // The bot has asked something.
        ("transcript", transcript(), asked(), "resume with 3..4", "resumed"),
        (
            "transcript, same system",
            with_system(transcript(), SYSTEM),
            asked(),
            "resume with 3..4",
            "resumed",
        ),
        (
            "transcript, new variable",
            with_system(transcript(), OTHER_SYSTEM),
            asked(),
            "fresh",
            "replayed; reason=question",
        ),
        ("transcript of more", two_more, asked(), "fresh", "replayed; reason=question"),
        ("edited transcript", edited(), asked(), "fresh", "replayed; reason=edited"),
        ("delta", delta(), asked(), "resume with 0..1", "resumed"),
        ("delta of two", two, asked(), "rebuild with 0..2", "rebuilt; reason=question"),
        ("delta, same system", pinned(SYSTEM), asked(), "resume with 1..2", "resumed"),
        ("delta, new system", pinned(OTHER_SYSTEM), asked(), "rebuild with 0..2", "rebuilt; reason=question"),
        (
            "delta, new variable",
            with_system(delta(), OTHER_SYSTEM),
            asked(),
            "rebuild with 0..1",
            "rebuilt; reason=question",
        ),
        (
            "transcript with a tool's words",
            Sent { own: false, ..transcript() },
            asked(),
            "fresh",
            "replayed; reason=question",
        ),
        (
            "delta of a tool's words",
            Sent { own: false, ..delta() },
            asked(),
            "rebuild with 0..1",
            "rebuilt; reason=question",
        ),
        (
            "delta of a tool's words",
            Sent { own: false, ..delta() },
            answered(),
            "continue with 0..1",
            "continued",
        ),
        // The last turn failed.
        ("transcript", transcript(), failed(), "fresh", "replayed; reason=failed"),
        ("edited transcript", edited(), failed(), "fresh", "replayed; reason=failed"),
        ("delta", delta(), failed(), "rebuild with 0..1", "rebuilt; reason=failed"),
        ("delta, same system", pinned(SYSTEM), failed(), "rebuild with 1..2", "rebuilt; reason=failed"),
        ("delta, new system", pinned(OTHER_SYSTEM), failed(), "rebuild with 0..2", "rebuilt; reason=failed"),
        // The last answer was cut.
        ("transcript", transcript(), cut(), "fresh", "replayed; reason=cut"),
        ("delta", delta(), cut(), "continue with 0..1 after running, an answer perhaps", "continued"),
        (
            "delta, same system",
            pinned(SYSTEM),
            cut(),
            "continue with 1..2 after running, an answer perhaps",
            "continued",
        ),
        ("delta, new system", pinned(OTHER_SYSTEM), cut(), "continue with 0..2 after running", "continued"),
    ] {
        let (decided, said) = plan(&sent, &record, false, 100, NOW);
        let case = format!("{what} to {:?}", record.state);
        assert_eq!((shown(&decided), said.to_string()), (expected.into(), note.into()), "{case}");
    }
}

#[test]
fn after_a_turn_that_never_ended_nothing_is_trusted_but_the_last_good_chat() {
    for record in [answered(), asked(), failed(), cut()] {
        let (decided, note) = plan(&transcript(), &record, true, 100, NOW);
        assert_eq!((decided, note.to_string()), (Plan::Fresh, "replayed; reason=interrupted".into()));
        let (decided, note) = plan(&delta(), &record, true, 100, NOW);
        assert_eq!(decided, Plan::Rebuild { place: place(), new: 0..1 });
        assert_eq!(note.to_string(), "rebuilt; reason=interrupted");
    }
    // Its first turn: there is nothing to trust.
    let (decided, note) = plan(&delta(), &Record::default(), true, 100, NOW);
    assert_eq!((decided, note.to_string()), (Plan::Fresh, "new".into()));
}

#[test]
fn a_transcript_is_replayed_rather_than_pass_the_rounds_that_coze_shows() {
    let one = transcript();
    let two = Sent { messages: 5, ..transcript() };
    // The record has four; one message is one round more, two are two.
    for (sent, limit, expected) in [
        (&one, 5, "continued"),
        (&one, 4, "replayed; reason=history_full"),
        (&two, 6, "continued"),
        (&two, 5, "replayed; reason=history_full"),
        (&delta(), 0, "continued"),
    ] {
        assert_eq!(plan(sent, &answered(), false, limit, NOW).1.to_string(), expected, "{sent:?} of {limit}");
    }
    assert_eq!(
        plan(&one, &asked(), false, 0, NOW).1.to_string(),
        "resumed",
        "a question waits for its answer"
    );
    let full = Record { rounds: u32::MAX, ..answered() };
    assert_eq!(plan(&one, &full, false, u32::MAX, NOW).1.to_string(), "continued");
    assert_eq!(plan(&one, &full, false, u32::MAX - 1, NOW).1.to_string(), "replayed; reason=history_full");
}

#[test]
fn a_bots_question_that_is_a_day_old_is_not_answered_any_more() {
    let asked = |age| {
        let question = Some(Question { asked_at: NOW - age, ..Question::default() });
        Record { question, ..asked() }
    };
    for (age, whole, delta_goes) in
        [(86_399, "resumed", "resumed"), (86_400, "replayed; reason=question", "rebuilt; reason=question")]
    {
        assert_eq!(plan(&transcript(), &asked(age), false, 100, NOW).1.to_string(), whole);
        assert_eq!(plan(&delta(), &asked(age), false, 100, NOW).1.to_string(), delta_goes);
    }
}

#[test]
fn notes_are_what_the_header_says() {
    let reasons = [
        (Reason::Off, "off"),
        (Reason::Unnamed, "unnamed"),
        (Reason::Choices, "choices"),
        (Reason::Ambiguous, "ambiguous"),
        (Reason::Forgotten, "forgotten"),
        (Reason::StateUnavailable, "state_unavailable"),
    ];
    for (reason, name) in reasons {
        assert_eq!(Note::new(Mode::Rebuilt, Some(reason)).to_string(), format!("rebuilt; reason={name}"));
    }
}

/// What Coze holds of a conversation, and how.
#[derive(Clone, Debug)]
struct World {
    /// What both sides know to have been said; ends with the bot's words.
    said: Vec<Message>,
    /// Whether the first of them is this system text.
    system: Option<String>,
    /// As a variable of the bot's, it is no message.
    variable: bool,
    state: State,
    abandoned: bool,
    rounds: u32,
}

/// What a client sends, knowing that.
#[derive(Clone, Debug)]
struct Request {
    /// The system text that it sends.
    system: Option<String>,
    /// Where it changes or leaves off what was said, if it does.
    edit: Option<(Index, String)>,
    /// What it says.
    new: Vec<String>,
    named: bool,
    whole: bool,
    delta: bool,
    /// Whether the last of it is what a tool has said.
    tool: bool,
}

fn word() -> impl Strategy<Value = String> {
    "[ab]{1,2}"
}

fn system() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some("s".to_owned())), Just(Some("t".to_owned()))]
}

fn worlds() -> impl Strategy<Value = World> {
    let state = prop_oneof![
        4 => Just(State::Answered),
        2 => Just(State::Asked),
        1 => Just(State::Failed),
        1 => Just(State::Cut("running".to_owned())),
    ];
    let rounds = prop::collection::vec((prop::collection::vec(word(), 1..3), word()), 0..4);
    (rounds, system(), any::<bool>(), state, prop::bool::weighted(0.1), 0..6_u32).prop_map(
        |(rounds, system, variable, state, abandoned, counted)| {
            let pinned = system.iter().filter(|_| !variable && !rounds.is_empty());
            let mut said: Vec<Message> = pinned.map(|text| Message::text(Role::User, text)).collect();
            for (questions, answer) in &rounds {
                said.extend(questions.iter().map(|text| Message::text(Role::User, text)));
                said.push(Message::text(Role::Assistant, answer));
            }
            World { said, system, variable, state, abandoned, rounds: counted }
        },
    )
}

fn requests() -> impl Strategy<Value = Request> {
    let edit = prop::option::weighted(0.3, (any::<Index>(), word()));
    let new = prop::collection::vec(word(), 1..3);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    (system(), edit, new, flags).prop_map(|(system, edit, new, (named, whole, delta, tool))| Request {
        system,
        edit,
        new,
        named,
        whole,
        delta,
        tool,
    })
}

impl World {
    fn record(&self, prints: &Fingerprints, space: Key) -> Record {
        if self.said.is_empty() {
            return Record::default();
        }
        let mut chain = prints.chain(space);
        self.said.iter().for_each(|message| chain.push(message));
        let is_known = !matches!(self.state, State::Cut(_));
        Record {
            place: Some(place()),
            head: is_known.then(|| chain.head()),
            system: self.system.as_ref().map(|text| prints.system(text)),
            rounds: self.rounds,
            state: self.state.clone(),
            ..Record::default()
        }
    }

    /// What a bot would see in the conversation as it lies there.
    fn held(&self) -> Vec<Message> {
        let mut held = self.said.clone();
        if self.abandoned || self.state == State::Failed {
            held.push(Message::text(Role::User, "what failed"));
        } else if let (State::Cut(_), Some(last)) = (&self.state, held.last_mut()) {
            last.text.push_str(" and more");
        }
        held
    }

    /// The same up to the last chat that is known to be good.
    fn good(&self) -> Vec<Message> {
        self.said.clone()
    }

    fn prompt(&self, request: &Request) -> Prompt {
        let mut prompt = Prompt::default();
        match &request.system {
            Some(text) if self.variable => prompt.variable = Some(("v".into(), text.clone())),
            Some(text) => {
                prompt.pinned = 1;
                prompt.messages.push(Message::text(Role::User, text));
            }
            None => {}
        }
        if !request.delta {
            let pinned = usize::from(self.system.is_some() && !self.variable);
            let mut said = self.said.get(pinned..).unwrap_or_default().to_vec();
            if let Some((at, text)) = request.edit.as_ref().filter(|_| !said.is_empty()) {
                let at = at.index(said.len());
                said.truncate(at + 1);
                said[at].text = text.clone();
            }
            prompt.messages.extend(said);
        }
        prompt.messages.extend(request.new.iter().map(|text| Message::text(Role::User, text)));
        prompt.question = prompt.messages.len().checked_sub(if request.tool { 2 } else { 1 });
        prompt
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What lies there and what is sent are together what the client has
    /// sent, or what was known and what it adds.
    #[test]
    fn each_message_once_and_in_order(world in worlds(), request in requests()) {
        let prints = Fingerprints::new(&[7; 32]);
        let space = Space { caller: "k", deployment: "d", kind: "bot", target: "t", user: None, hint: None };
        let prompt = world.prompt(&request);
        let name = Name::Given("n".into());
        let wanted = Wanted {
            space,
            name: request.named.then_some(&name),
            whole: request.whole,
            prompt: &prompt,
            history_rounds: 4,
            now: NOW,
        };
        let sent = read(&prints, ([0; 16], std::sync::Arc::default()), &wanted).sent;
        let record = world.record(&prints, prints.space(&space));
        let (decided, note) = plan(&sent, &record, world.abandoned, wanted.history_rounds, NOW);

        let part = |new: &Range<usize>| prompt.messages[new.clone()].to_vec();
        let seen = match &decided {
            Plan::Detached | Plan::Fresh | Plan::Lost { .. } => prompt.messages.clone(),
            Plan::Continue { new, .. } | Plan::Resume { new, .. } => [world.held(), part(new)].concat(),
            Plan::Rebuild { new, .. } => [world.good(), part(new)].concat(),
        };
        let has_assistant = prompt.messages.iter().any(|message| message.role == Role::Assistant);
        let is_delta = request.named && !request.whole && !has_assistant;
        prop_assert_eq!(sent.delta, is_delta);
        let expected = if is_delta && record.place.is_some() {
            let known = match (&decided, &world.state) {
                // Its own words count, once the run has ended.
                (Plan::Continue { after: Some(_), .. }, State::Cut(_)) => world.held(),
                _ => world.good(),
            };
            let stays = prompt.pinned == 1 && world.system == request.system;
            [known, prompt.messages[usize::from(stays)..].to_vec()].concat()
        } else {
            prompt.messages.clone()
        };
        prop_assert_eq!(seen, expected, "{:?} {}", decided, note);

        if let Plan::Resume { new, .. } = &decided {
            prop_assert_eq!(new.len(), 1);
            prop_assert!(!request.tool);
            prop_assert!(request.system.is_none() || request.system == world.system);
        }
        if world.abandoned || world.state == State::Failed {
            prop_assert!(matches!(decided, Plan::Fresh | Plan::Rebuild { .. }), "{:?}", decided);
        }
        if let (Plan::Continue { new, .. }, false) = (&decided, sent.delta) {
            prop_assert!(record.rounds + rounds(new.len()) <= wanted.history_rounds);
        }
    }
}

mod runs {
    use super::*;

    fn waiting() -> Record {
        waiting_since(NOW - 60)
    }

    fn waiting_since(asked_at: u64) -> Record {
        let question = Some(Question { asked_at, run: true, ..Question::default() });
        Record { state: State::Asked, question, ..answered() }
    }

    fn went(sent: &Sent, record: &Record) -> String {
        let (plan, note) = plan_run(sent, record, false, NOW);
        match plan {
            Plan::Resume { new, .. } => format!("resume with {new:?}, {note}"),
            Plan::Fresh => format!("fresh, {note}"),
            Plan::Lost { frees: true } => "lost, free".to_owned(),
            Plan::Lost { frees: false } => "lost".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn just_the_answer_resumes_and_anything_else_is_lost() {
        assert_eq!(went(&transcript(), &waiting()), "resume with 3..4, resumed");
        for other in [
            Sent { messages: 5, ..transcript() },
            Sent { own: false, ..transcript() },
            Sent { system: Some([9; 16]), ..transcript() },
            edited(),
        ] {
            assert_eq!(went(&other, &waiting()), "lost", "{other:?}");
        }
        assert_eq!(went(&delta(), &waiting()), "resume with 0..1, resumed");
        assert_eq!(plan_run(&transcript(), &waiting(), true, NOW).0, Plan::Lost { frees: true });
        // What says that it is all of a transcript is no answer.
        let whole = Sent { delta: false, ..delta() };
        assert_eq!(went(&whole, &waiting()), "fresh, new");
        assert_eq!(went(&Sent { messages: 2, ..whole }, &waiting()), "lost");
    }

    #[test]
    fn a_question_waits_for_a_day() {
        for (age, expected) in [(86_399, "resume with 3..4, resumed"), (86_400, "lost, free")] {
            assert_eq!(went(&transcript(), &waiting_since(NOW - age)), expected);
        }
        // A clock that was put back makes none older.
        assert_eq!(went(&transcript(), &waiting_since(NOW + 5)), "resume with 3..4, resumed");
    }

    #[test]
    fn after_the_run_the_next_one_begins_and_a_failed_one_is_lost() {
        let with = |state| Record { state, ..waiting() };
        assert_eq!(went(&transcript(), &with(State::Answered)), "fresh, new");
        assert_eq!(went(&edited(), &with(State::Answered)), "lost, free");
        assert_eq!(went(&transcript(), &with(State::Failed)), "lost, free");
        // The answer once more.
        let answered = Record { root: Some([9; 16]), ..with(State::Answered) };
        assert_eq!(went(&edited(), &answered), "lost");
        assert_eq!(went(&transcript(), &Record::default()), "fresh, new");
    }

    proptest! {
        /// Whatever comes: a question is only resumed by one own message right
        /// behind it, and what is not that begins no run while it waits.
        #[test]
        fn a_waiting_question_is_resumed_by_its_answer_or_nothing_happens(
            delta: bool, messages in 1usize..6, new in 0usize..6, own: bool, here: bool, abandoned: bool,
            system in prop::option::of(0u8..2), age in 0u64..200_000,
        ) {
            let new = if delta { 0 } else { new.min(messages - 1) };
            let before = if here { HEAD } else { [9; 16] };
            let system = system.map(|byte| if byte == 0 { SYSTEM } else { [8; 16] });
            let sent = Sent { delta, messages, pinned: 0, new, own, before, system };
            let is_answer = !abandoned
                && (delta || here)
                && own
                && age < 86_400
                && messages - new == 1
                && (system.is_none() || system == Some(SYSTEM));
            match plan_run(&sent, &waiting_since(NOW - age), abandoned, NOW).0 {
                Plan::Resume { new, .. } => {
                    prop_assert!(is_answer);
                    prop_assert_eq!(new, messages - 1..messages);
                }
                Plan::Lost { frees } => {
                    prop_assert!(!is_answer);
                    prop_assert_eq!(frees, abandoned || age >= 86_400);
                }
                Plan::Fresh => prop_assert!(!delta && new == 0 && messages == 1),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
