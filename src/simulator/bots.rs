//! The bots that live here: what each says to what it is given.
//!
//! In comes a context, out comes what to do, act by act. Touches no wire and no clock.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::book::Content;
use super::wire::Id;

/// The id of the `echo` bot.
pub const ECHO: &str = "7530512345678900001";
/// The id of the `storyteller` bot.
pub const STORYTELLER: &str = "7530512345678900002";
/// The id of the `context` bot.
pub const CONTEXT: &str = "7530512345678900003";
/// The id of the `broken` bot.
pub const BROKEN: &str = "7530512345678900004";
/// The id of the `slow` bot.
pub const SLOW: &str = "7530512345678900005";
/// The id of the `ask` bot.
pub const ASK: &str = "7530512345678900006";

/// A bot of the demonstration, as a model list needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoBot {
    /// The public model name.
    pub name: &'static str,
    /// The bot's id.
    pub bot_id: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
    behaviour: Behaviour,
}

/// The bots of the demonstration.
#[must_use]
pub fn demo_bots() -> &'static [DemoBot] {
    &[
        DemoBot {
            name: "echo",
            bot_id: ECHO,
            description: "Says what you said.",
            behaviour: Behaviour::Echo,
        },
        DemoBot {
            name: "storyteller",
            bot_id: STORYTELLER,
            description: "Thinks, then tells a short story and suggests what to ask next.",
            behaviour: Behaviour::Storyteller,
        },
        DemoBot {
            name: "context",
            bot_id: CONTEXT,
            description: "Lists the messages that the bot was given.",
            behaviour: Behaviour::Context,
        },
        DemoBot {
            name: "broken",
            bot_id: BROKEN,
            description: "Says a few words, then fails.",
            behaviour: Behaviour::Broken,
        },
        DemoBot {
            name: "slow",
            bot_id: SLOW,
            description: "Stays silent for a long time, then answers.",
            behaviour: Behaviour::Slow,
        },
        DemoBot { name: "ask", bot_id: ASK, description: "Asks a question back.", behaviour: Behaviour::Ask },
    ]
}

/// What a bot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Says the user's last text.
    Echo,
    /// Thinks, tells a story, suggests three questions.
    Storyteller,
    /// Lists what it was given: `role: text` line by line, each text cut at
    /// 4,000 characters.
    Context,
    /// Fails after a few words (failure shape C, protocol 3.6).
    Broken,
    /// Is silent for `Options::silence`, then answers.
    Slow,
    /// Asks a question back; the next message answers it (protocol 3.9).
    Ask,
    /// Cannot start, for it has no model (failure shape B, protocol 3.6).
    NoModel,
    /// Looks something up, calls a tool with the user's last text, and says
    /// what that gave.
    Tools,
    /// Says something else every time, in one answer.
    Signed,
    /// The same in two answers.
    Double,
}

/// How a bot stands to the tokens' users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Theirs, and published to the API channel.
    Published,
    /// Theirs, but not published.
    Unpublished,
    /// Published, but another user's.
    Foreign,
}

/// A bot of the simulated server.
#[derive(Clone, Debug)]
pub struct Bot {
    /// Its id: decimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it says about itself.
    pub description: String,
    /// What it does.
    pub behaviour: Behaviour,
    /// Whether it may be used.
    pub standing: Standing,
    /// How many rounds of history it is given; the server's default is 100
    /// (protocol 3.3).
    pub rounds: usize,
    /// The time between its deltas; `None` takes `Options::pace`.
    pub pace: Option<Duration>,
}

impl Bot {
    /// A published bot with the server's defaults.
    #[must_use]
    pub fn new(id: &str, name: &str, behaviour: Behaviour) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            description: String::new(),
            behaviour,
            standing: Standing::Published,
            rounds: 100,
            pace: None,
        }
    }
}

impl From<&DemoBot> for Bot {
    fn from(demo: &DemoBot) -> Self {
        let description = demo.description.to_owned();
        Self { description, ..Self::new(demo.bot_id, demo.name, demo.behaviour) }
    }
}

/// The longest text that the `context` bot repeats, in characters.
const MAX_LINE: usize = 4_000;

/// A message of the context that a bot was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `user`, `assistant` or `tool`.
    pub role: &'static str,
    /// Its text.
    pub text: String,
    /// The addresses of its images.
    pub images: Vec<String>,
}

impl Seen {
    /// `role: text`, then the images' addresses. A long text is cut: an
    /// answer that holds whole answers would double from turn to turn.
    fn line(&self) -> String {
        let mut line = format!("{}: ", self.role);
        match self.text.char_indices().nth(MAX_LINE) {
            Some((end, _)) => {
                line.extend(self.text.get(..end));
                line.push('…');
            }
            None => line.push_str(&self.text),
        }
        for image in &self.images {
            line.push(' ');
            line.push_str(image);
        }
        line
    }
}

/// One thing that a bot does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A delta of reasoning.
    Think(String),
    /// A delta of the answer.
    Say(String),
    /// The answer is complete.
    EndAnswer,
    /// A suggested question.
    Suggest(String),
    /// Something was found in the bot's knowledge.
    Recall(String),
    /// A tool is called with this and gives that.
    Call(String, String),
    /// A workflow tool asks this back, and the run ends.
    AskBack(String),
    /// Silence.
    Wait(Duration),
    /// Silence until this is cancelled.
    Hold(CancellationToken),
    /// The model fails (failure shape C).
    Fail,
}

/// What a run comes to.
#[derive(Clone, Debug)]
pub(super) enum Play {
    /// It ends without an answer: nothing was asked (protocol 3.7).
    NoAnswer,
    /// It ends with this error before the bot can begin (failure shape B).
    CannotStart(&'static str),
    /// The bot does this.
    Acts(Vec<Act>),
}

/// What a bot does with a query.
pub(super) fn play(
    behaviour: Behaviour,
    query: &Content,
    context: &[Seen],
    waiting: bool,
    silence: Duration,
    chat: Id,
) -> Play {
    let answer = match behaviour {
        Behaviour::NoModel => {
            // `chat_error_start.server.sse`.
            return Play::CannotStart(
                "code=100000013 message=there is no llm model in use, please config a model first\n",
            );
        }
        Behaviour::Echo if query.text.is_empty() => query.images.join(" "),
        Behaviour::Echo => query.text.clone(),
        Behaviour::Context => context.iter().map(Seen::line).collect::<Vec<_>>().join("\n"),
        Behaviour::Storyteller => return Play::Acts(story()),
        Behaviour::Tools => {
            let city = query.text.trim();
            let weather = format!("{city}: sunny & <warm>");
            let mut acts = vec![
                Act::Recall("The company was founded in 2012.".to_owned()),
                Act::Think("Somebody wants to know the weather.".to_owned()),
                Act::Call(format!(r#"{{"city":"{city}"}}"#), weather.clone()),
            ];
            acts.extend(said(&weather));
            return Play::Acts(acts);
        }
        Behaviour::Signed => signed(chat),
        Behaviour::Double => {
            let answers = [signed(chat), format!("{chat} once more.")];
            return Play::Acts(answers.iter().flat_map(|answer| said(answer)).collect());
        }
        Behaviour::Broken => {
            let words = ["Once ", "upon ", "a "].map(|word| Act::Say(word.to_owned()));
            return Play::Acts(words.into_iter().chain([Act::Fail]).collect());
        }
        Behaviour::Slow => {
            let mut acts = vec![Act::Wait(silence)];
            acts.extend(said("Good things take time."));
            return Play::Acts(acts);
        }
        Behaviour::Ask if waiting => format!("The weather in {} will be sunny.", query.text.trim()),
        Behaviour::Ask => {
            return Play::Acts(vec![Act::AskBack(
                "Which city would you like to know the weather of?".to_owned(),
            )]);
        }
    };
    Play::Acts(said(&answer))
}

/// What only one chat says, in a form that clients like to change when they
/// send it back.
fn signed(chat: Id) -> String {
    format!("{chat}: Caf\u{e9}, one.\r\nSTOP two; three \u{1f600} four.\n")
}

/// A text in four deltas, then its end.
fn said(text: &str) -> Vec<Act> {
    let size = text.chars().count().div_ceil(4).max(1);
    let mut acts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.char_indices().nth(size).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(cut);
        acts.push(Act::Say(piece.to_owned()));
        rest = after;
    }
    acts.push(Act::EndAnswer);
    acts
}

const THOUGHT: &str = "They want a story. Short, then, with a lighthouse in it, and an end that is kind.";

const STORY: &str = "On the last rock before the open sea stood a lighthouse that had not been lit for years. \
Every evening a girl named Mara rowed out to it with a lantern, climbed the hundred and twelve steps, and set \
the lantern in the window.\n\n\"Nobody sails here any more,\" her grandfather said.\n\n\"Then nobody minds,\" \
said Mara, and rowed.\n\nOne night the fog came in as thick as wool. In the middle of it, somebody had lost the \
shore: a fishing boat from the next bay, three tired men and a dog. They saw one small yellow point, steered \
for it, and found the harbour.\n\nSince then two lanterns burn in the window. The second one the fishermen \
bring, each evening, in turn.";

fn story() -> Vec<Act> {
    let words = |text: &'static str| text.split_inclusive(' ').map(str::to_owned);
    let mut acts: Vec<Act> = words(THOUGHT).map(Act::Think).collect();
    acts.extend(words(STORY).map(Act::Say));
    acts.push(Act::EndAnswer);
    for question in
        ["What was the dog's name?", "What did her grandfather say then?", "Tell me another story."]
    {
        acts.push(Act::Suggest(question.to_owned()));
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(play: Play) -> String {
        let Play::Acts(acts) = play else { panic!("{play:?}") };
        acts.iter()
            .filter_map(|act| match act {
                Act::Say(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn query(text: &str) -> Content {
        Content { text: text.to_owned(), ..Content::default() }
    }

    #[test]
    fn an_echo_is_the_text_in_pieces_of_whole_characters() {
        for text in ["", "a", "你好，世界！", "exactly eight."] {
            let play = play(Behaviour::Echo, &query(text), &[], false, Duration::ZERO, Id(1));
            assert_eq!(text_of(play), text);
        }
        assert_eq!(said("abcdefgh").len(), 5);
    }

    #[test]
    fn the_context_is_listed_line_by_line() {
        let context = [
            Seen { role: "user", text: "hi".to_owned(), images: vec!["http://h/i.png".to_owned()] },
            Seen { role: "assistant", text: "hello".to_owned(), images: Vec::new() },
        ];
        let play = play(Behaviour::Context, &query("x"), &context, false, Duration::ZERO, Id(1));
        assert_eq!(text_of(play), "user: hi http://h/i.png\nassistant: hello");
    }

    #[test]
    fn a_long_text_is_cut_in_the_list() {
        let seen = |length| Seen { role: "user", text: "好".repeat(length), images: Vec::new() };
        assert_eq!(seen(MAX_LINE).line(), format!("user: {}", "好".repeat(MAX_LINE)));
        assert_eq!(seen(MAX_LINE + 1).line(), format!("user: {}…", "好".repeat(MAX_LINE)));
    }

    #[test]
    fn the_answer_to_a_question_back_resumes() {
        let asked = play(Behaviour::Ask, &query("weather?"), &[], false, Duration::ZERO, Id(1));
        assert!(matches!(asked, Play::Acts(acts) if matches!(acts[..], [Act::AskBack(_)])));
        let answered = play(Behaviour::Ask, &query("Paris"), &[], true, Duration::ZERO, Id(1));
        assert_eq!(text_of(answered), "The weather in Paris will be sunny.");
    }
}
