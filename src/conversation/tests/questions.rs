//! The state of a workflow's questions under random clients: no answer goes to
//! the wrong question, and none is answered twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::conversation::Question;

const DAY: u64 = 86_400;

/// What somebody does next.
#[derive(Clone, Debug)]
enum Step {
    /// Begins a run with one of a few words, so that some begin alike.
    Begin { who: usize, word: usize, end: End },
    /// Says something to what was said last.
    Say { who: usize, word: usize, end: End },
    /// Says it twice at the same time.
    SayTwice { who: usize, word: usize, end: End },
    /// Says it to an earlier question once more, with all that stood before.
    Again { who: usize, turn: Index, word: usize },
    /// Says two things to what was said last.
    SayMuch { who: usize },
    /// Says under a name that this is all of it.
    SayAlone { who: usize, word: usize, end: End },
    /// Time goes by.
    Wait { hours: u64 },
}

/// How a run goes on.
#[derive(Clone, Copy, Debug)]
enum End {
    Asks(usize),
    Ends,
    Fails,
    /// The client leaves, and keeps the words that it has.
    Leaves,
    /// Coze is not reached.
    Refused,
    /// The gateway dies.
    Dies,
}

/// How much of a transcript is sent, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// As much as somebody usually does.
    Usual,
    /// All of it.
    All,
    /// All of it, and it says so.
    Whole,
}

const WORDS: [&str; 3] = ["a", "b", "c"];
const QUESTIONS: [&str; 2] = ["where?", "when?"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        6 => (0..QUESTIONS.len()).prop_map(End::Asks),
        2 => Just(End::Ends),
        1 => Just(End::Fails),
        1 => Just(End::Leaves),
        1 => Just(End::Refused),
        1 => Just(End::Dies),
    ];
    let (who, word) = (0usize..4, 0..WORDS.len());
    let step = prop_oneof![
        3 => (who.clone(), word.clone(), end.clone()).prop_map(|(who, word, end)| Step::Begin { who, word, end }),
        6 => (who.clone(), word.clone(), end.clone()).prop_map(|(who, word, end)| Step::Say { who, word, end }),
        2 => (who.clone(), word.clone(), end.clone()).prop_map(|(who, word, end)| Step::SayTwice { who, word, end }),
        1 => (2usize..4, word.clone(), end).prop_map(|(who, word, end)| Step::SayAlone { who, word, end }),
        2 => (who.clone(), any::<Index>(), word).prop_map(|(who, turn, word)| Step::Again { who, turn, word }),
        1 => who.prop_map(|who| Step::SayMuch { who }),
        1 => (1u64..30).prop_map(|hours| Step::Wait { hours }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A question that was asked.
#[derive(Clone, Debug)]
struct Asked {
    /// What was said up to it, and under which name.
    after: (Option<String>, Vec<String>),
    at: u64,
    answered: bool,
}

/// Everything that happens, and what has to hold of it.
struct World {
    client: Client,
    now: u64,
    asked: BTreeMap<String, Asked>,
    /// What each has said and heard. The last two have a name; the first of
    /// them says only what is new.
    said: [Vec<String>; 4],
}

impl World {
    fn new() -> Self {
        let client = client().elsewhere(|space| space.kind = "workflow");
        Self { client, now: 1_800_000_000, asked: BTreeMap::new(), said: Default::default() }
    }

    fn name(who: usize) -> Option<&'static str> {
        [None, None, Some("n"), Some("m")][who]
    }

    /// Whether somebody says only what is new.
    fn says_little(who: usize) -> bool {
        who == 2
    }

    async fn begin(&self, who: usize, texts: &[String], new: usize, how: How) -> Begun {
        let name = Self::name(who).map(|name| Name::parse(name).unwrap());
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut prompt = said(&texts);
        if how == How::Usual && Self::says_little(who) {
            prompt.messages.drain(..texts.len() - new);
            prompt.question = Some(new - 1);
        }
        // Whatever follows the last answer is the user's.
        let count = prompt.messages.len();
        for message in &mut prompt.messages[count - new..] {
            message.role = Role::User;
        }
        let (space, name, now) = (self.client.space, name.as_ref(), self.now);
        let whole = how == How::Whole;
        let wanted = Wanted { space, name, whole, prompt: &prompt, history_rounds: 100, now };
        self.client.memory.begin(&wanted).await.unwrap()
    }

    /// Whether a question under a name still waits for its answer.
    fn waits(&self, name: Option<&str>) -> bool {
        let waits = |asked: &Asked| !asked.answered && self.now - asked.at < DAY;
        self.asked.values().any(|asked| asked.after.0.as_deref() == name && waits(asked))
    }

    /// What becomes of a request whose last `new` texts are new; checks that
    /// it may be so.
    async fn request(&mut self, who: usize, texts: &[String], new: usize, how: How) -> Option<Box<Thread>> {
        let before = (Self::name(who).map(str::to_owned), texts[..texts.len() - new].to_vec());
        match self.begin(who, texts, new, how).await {
            Begun::Planned { plan: Plan::Resume { place, new: range, .. }, thread } => {
                let asked = &self.asked[&place.conversation];
                assert!(!asked.answered, "answered twice: {asked:?}");
                assert_eq!(asked.after.0, before.0, "under another name");
                assert!(
                    (how == How::Usual && Self::says_little(who)) || asked.after == before,
                    "another question: {asked:?}, {texts:?}"
                );
                assert!(self.now - asked.at < DAY, "too late: {asked:?}");
                assert_eq!((new, range.len()), (1, 1));
                let asked = self.asked.get_mut(&place.conversation).unwrap();
                asked.answered = true;
                Some(thread)
            }
            Begun::Planned { plan: Plan::Fresh, thread } => {
                // What may have been an answer begins no run: without a name
                // it never does, however long ago the question was answered.
                let open = |asked: &Asked| {
                    let waits = !asked.answered && self.now - asked.at < DAY;
                    asked.after == before && (waits || before.0.is_none())
                };
                assert!(!self.asked.values().any(open), "{texts:?} began a run: {:?}", self.asked);
                // Under a name whatever comes meanwhile may be an answer, but
                // for what says that it is all.
                let waits = before.0.is_some() && self.waits(before.0.as_deref());
                assert!(how == How::Whole || !waits, "{texts:?} began a run: {:?}", self.asked);
                Some(thread)
            }
            Begun::Planned { plan: Plan::Lost { frees }, thread } => {
                self.check_lost(&before);
                let frees = frees && before.0.is_some();
                let waits = self.waits(before.0.as_deref());
                assert!(!frees || !waits, "{texts:?} ended a question: {:?}", self.asked);
                thread.end(if frees { Ending::Forgotten } else { Ending::Refused }).store().await.unwrap();
                if frees {
                    // Who is told to start again does.
                    self.said[who].clear();
                }
                None
            }
            Begun::Lost => {
                self.check_lost(&before);
                None
            }
            Begun::Busy(_) => None,
            other => panic!("{other:?}"),
        }
    }

    /// What is refused without a name has a question just before it.
    fn check_lost(&self, before: &(Option<String>, Vec<String>)) {
        let stood = self.asked.values().any(|asked| asked.after == *before);
        assert!(before.0.is_some() || stood, "nothing was asked at the end of {before:?}: {:?}", self.asked);
    }

    async fn end(
        &mut self,
        who: usize,
        texts: Vec<String>,
        mut thread: Box<Thread>,
        resumed: Option<String>,
        end: End,
    ) {
        // Under a name there is one at most.
        if let (Some(name), End::Asks(_) | End::Ends | End::Dies) = (Self::name(who), end) {
            let under_it = |asked: &&mut Asked| asked.after.0.as_deref() == Some(name);
            self.asked.values_mut().filter(under_it).for_each(|asked| asked.answered = true);
        }
        let ending = match end {
            End::Asks(which) => {
                let event = format!("event {}", self.asked.len());
                let text = QUESTIONS[which].to_owned();
                thread.hear(&Text::Plain(text.clone().into()));
                thread.ask(Question { run: true, asked_at: self.now, ..Question::default() });
                let chat = Chat { conversation: &event, section: None, id: &event };
                thread.end(Ending::Answered { chat, asked: true }).store().await.unwrap();
                let mut after = texts;
                after.push(text);
                let asked = (Self::name(who).map(str::to_owned), after.clone());
                self.asked.insert(event, Asked { after: asked, at: self.now, answered: false });
                self.said[who] = after;
                return;
            }
            End::Ends => {
                thread.hear(&Text::Plain("done".into()));
                let mut after = texts;
                after.push("done".to_owned());
                self.said[who] = after;
                Ending::Ran
            }
            End::Fails => Ending::Failed,
            End::Leaves => {
                self.said[who] = texts;
                self.said[who].push("hm".to_owned());
                Ending::Cut(None)
            }
            End::Refused => {
                // Then it waits as before.
                if let Some(event) = resumed {
                    self.asked.get_mut(&event).unwrap().answered = false;
                }
                Ending::Refused
            }
            End::Dies => {
                // The lease is never given back.
                std::mem::forget(thread);
                return;
            }
        };
        thread.end(ending).store().await.unwrap();
    }

    /// The question that a turn has just answered.
    fn answered(&self, before: &BTreeMap<String, Asked>) -> Option<String> {
        self.asked
            .iter()
            .find(|(event, asked)| asked.answered && !before[*event].answered)
            .map(|(event, _)| event.clone())
    }

    async fn step(&mut self, step: Step) {
        let known = self.asked.clone();
        match step {
            Step::Wait { hours } => self.now += hours * 3600,
            Step::Begin { who, word, end } => {
                let texts = vec![WORDS[word].to_owned()];
                if Self::name(who).is_some() && !self.said[who].is_empty() {
                    return;
                }
                if let Some(thread) = self.request(who, &texts, 1, How::Usual).await {
                    self.end(who, texts, thread, None, end).await;
                }
            }
            Step::Say { who, word, end } | Step::SayTwice { who, word, end } => {
                let mut texts = self.said[who].clone();
                texts.push(WORDS[word].to_owned());
                let first = self.request(who, &texts, 1, How::Usual).await;
                let resumed = self.answered(&known);
                if matches!(step, Step::SayTwice { .. }) {
                    // Checks that it resumes nothing again.
                    if let Some(second) = self.request(who, &texts, 1, How::Usual).await {
                        second.end(Ending::Failed).store().await.unwrap();
                    }
                }
                if let Some(thread) = first {
                    self.end(who, texts, thread, resumed, end).await;
                }
            }
            Step::Again { who, turn, word } => {
                let questions = self.said[who].len() / 2;
                if questions == 0 {
                    return;
                }
                let mut texts = self.said[who][..2 * (turn.index(questions) + 1)].to_vec();
                texts.push(WORDS[word].to_owned());
                if let Some(thread) = self.request(who, &texts, 1, How::All).await {
                    thread.end(Ending::Failed).store().await.unwrap();
                }
            }
            Step::SayAlone { who, word, end } => {
                let texts = vec![WORDS[word].to_owned()];
                if let Some(thread) = self.request(who, &texts, 1, How::Whole).await {
                    self.end(who, texts, thread, None, end).await;
                }
            }
            Step::SayMuch { who } => {
                let mut texts = self.said[who].clone();
                texts.extend(["x".to_owned(), "y".to_owned()]);
                if let Some(thread) = self.request(who, &texts, 2, How::Usual).await {
                    thread.end(Ending::Failed).store().await.unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_answer_goes_to_the_wrong_question_and_none_twice(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
        });
    }
}

#[tokio::test]
async fn a_question_that_waits_no_more_is_in_the_way_of_none() {
    let mut world = World::new();
    world.now = 1_800_000_000 / DAY * DAY + 23 * 3600;
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let answer = texts(&["a", "where?", "b"]);
    // Two in the same words, on one day, are nobody's.
    for who in [0, 1] {
        world.step(Step::Begin { who, word: 0, end: End::Asks(0) }).await;
    }
    assert!(matches!(world.begin(0, &answer, 1, How::Usual).await, Begun::Lost));
    // So are two of different days.
    world.now += 2 * DAY;
    world.step(Step::Begin { who: 0, word: 0, end: End::Asks(0) }).await;
    world.now += 2 * 3600;
    world.step(Step::Begin { who: 1, word: 0, end: End::Asks(0) }).await;
    for _ in 0..2 {
        assert!(matches!(world.begin(0, &answer, 1, How::Usual).await, Begun::Lost));
    }
    // But once the one waits no more, the other is answered.
    world.now += DAY - 3600;
    let thread = world.request(0, &answer, 1, How::Usual).await.expect("resumed");
    assert_eq!(thread.note().to_string(), "resumed");
    assert!(world.asked["event 3"].answered);
    thread.end(Ending::Ran).store().await.unwrap();
    // And the late answer to the first begins no run.
    assert!(matches!(world.begin(1, &answer, 1, How::Usual).await, Begun::Lost));
}

#[tokio::test]
async fn the_one_question_that_waits_is_resumed() {
    let mut world = World::new();
    for who in [0, 2] {
        world.step(Step::Begin { who, word: who / 2, end: End::Asks(0) }).await;
        world.step(Step::Say { who, word: 1, end: End::Asks(1) }).await;
        world.step(Step::Say { who, word: 2, end: End::Ends }).await;
    }
    assert_eq!(world.asked.values().filter(|asked| asked.answered).count(), 4);
}

#[tokio::test]
async fn a_question_that_coze_has_forgotten_or_that_led_to_another_was_asked_all_the_same() {
    let mut world = World::new();
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    world.step(Step::Begin { who: 0, word: 0, end: End::Asks(0) }).await;
    world.step(Step::Say { who: 0, word: 1, end: End::Asks(1) }).await;
    let (first, second) = (texts(&["a", "where?", "b"]), texts(&["a", "where?", "b", "when?", "c"]));
    assert!(matches!(world.begin(0, &first, 1, How::Usual).await, Begun::Lost));
    let thread = world.request(0, &second, 1, How::Usual).await.expect("resumed");
    thread.end(Ending::Forgotten).store().await.unwrap();
    for late in [first, second] {
        assert!(matches!(world.begin(0, &late, 1, How::Usual).await, Begun::Lost), "{late:?}");
    }
}

#[tokio::test]
async fn a_question_that_was_cut_stands_where_its_client_was_told_it() {
    let world = World::new();
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let Begun::Planned { mut thread, .. } = world.begin(0, &texts(&["a"]), 1, How::Usual).await else {
        panic!("planned")
    };
    thread.hear(&Text::Plain("where? here".into()));
    thread.cut("where?".len());
    thread.ask(Question { run: true, asked_at: world.now, ..Question::default() });
    let chat = Chat { conversation: "event", section: None, id: "event" };
    thread.end(Ending::Answered { chat, asked: true }).store().await.unwrap();
    assert!(matches!(world.begin(0, &texts(&["a", "where?", "b"]), 1, How::Usual).await, Begun::Lost));
    let other = world.begin(0, &texts(&["a", "who?", "b"]), 1, How::Usual).await;
    assert!(matches!(other, Begun::Planned { plan: Plan::Fresh, .. }), "{other:?}");
}
