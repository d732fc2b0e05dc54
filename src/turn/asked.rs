//! What a bot or a flow waits for, once it has asked something.

/// A question of a bot's, beside its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What it wants to hear.
    pub wants: Wants,
    /// What Coze has to be told to resume, where the conversation alone does
    /// not say it.
    pub resume: Option<Resume>,
}

/// What an answer to a question looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// Any text.
    #[default]
    Text,
    /// One of these.
    Choice(Vec<String>),
    /// A value for each of these.
    Form(Vec<Field>),
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The type of its value, in Coze's word for it.
    pub kind: Option<String>,
    /// Whether it has to be filled in.
    pub required: bool,
}

/// What Coze calls a question that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The id of the event.
    pub event: String,
    /// Coze's number for the kind of question.
    pub kind: i64,
}

impl Wants {
    /// Its name in a client's eyes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text => "question",
            Self::Choice(_) => "choice",
            Self::Form(_) => "form",
        }
    }
}
