//! What a bot does on its way to an answer.

/// One step of a bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it did.
    pub did: Did,
    /// The name of the tool, where Coze says.
    pub name: Option<String>,
    /// What was found, what the tool was called with (JSON, as a rule), or
    /// what it said.
    pub text: String,
}

/// What a bot did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It looked something up in its knowledge.
    Recall,
    /// It called a tool.
    Call,
    /// The tool has answered.
    Return,
}

impl Step {
    /// The step in one line, as tool calls in a transcript are told.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { did, name, text } = self;
        let name = name.as_deref().unwrap_or("tool");
        match did {
            Did::Recall => format!("[recalled] {text}"),
            Did::Call => format!("[called {name}({text})]"),
            Did::Return => format!("[{name} returned] {text}"),
        }
    }
}
