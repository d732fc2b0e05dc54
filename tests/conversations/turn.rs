//! One turn of a client: what it sends, and how it is sent.

use std::time::Duration;

use cozeway::http::Service;
use cozeway::simulator::{Simulator, Trouble};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::call::{Call, Reply, call};
use crate::model::{Said, image};
use crate::stage::MODELS;

/// Whose conversations are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) key: &'static str,
    pub(crate) model: usize,
    pub(crate) user: Option<&'static str>,
    pub(crate) hint: Option<&'static str>,
}

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Never,
    /// After so many microseconds, wherever the turn is then.
    Early(u64),
    /// In the middle of the answer.
    Midway,
    /// As soon as the bot has been asked, with its gateway.
    WithItsGateway,
}

/// A turn that is to be taken.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Whose it is.
    pub(crate) chat: usize,
    pub(crate) replica: usize,
    pub(crate) space: Space,
    pub(crate) name: Option<String>,
    /// Whether only new messages are sent.
    pub(crate) delta: bool,
    /// The system text, if it is not part of the transcript.
    pub(crate) system: Option<String>,
    /// What was said before; empty in a delta.
    pub(crate) before: Vec<Said>,
    /// What the user says now.
    pub(crate) new: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) stop: bool,
    pub(crate) leaves: Leaves,
    pub(crate) trouble: Option<Trouble>,
    /// How often the question was asked before.
    pub(crate) asked: usize,
    /// How many answers are asked for.
    pub(crate) choices: usize,
    /// Decides what makes no difference.
    pub(crate) salt: usize,
}

impl Space {
    /// What two spaces are told apart by.
    pub(crate) fn label(&self) -> String {
        let model = &MODELS[self.model];
        let or = |text: Option<&'static str>| text.unwrap_or("-");
        format!("{}/{}@{}/{}/{}", self.key, model.bot, model.coze, or(self.user), or(self.hint))
    }

    pub(crate) fn coze(&self) -> usize {
        MODELS[self.model].coze
    }
}

impl Turn {
    pub(crate) fn question(&self) -> &str {
        self.new.last().map_or("", String::as_str)
    }

    /// The whole transcript as the bot ought to see it.
    pub(crate) fn transcript(&self) -> Vec<Said> {
        let system = self.system.iter().cloned().map(Said::User);
        let new = self.new.iter().cloned().map(Said::User);
        system.chain(self.before.iter().cloned()).chain(new).collect()
    }

    pub(crate) fn is_first(&self) -> bool {
        !self.before.iter().any(|said| matches!(said, Said::Bot { .. }))
    }

    /// Whether nothing of it is remembered, whatever becomes of it.
    pub(crate) fn is_apart(&self) -> bool {
        let memory = MODELS[self.space.model].memory;
        self.choices > 1 || memory == "off" || (memory == "explicit" && self.name.is_none())
    }

    fn messages(&self) -> Vec<Value> {
        let user = |text: &String| {
            let role = if text.starts_with("later ") { "system" } else { "user" };
            match image(text) {
                None => json!({"role": role, "content": text}),
                Some(image) => json!({"role": role, "content": [
                    {"type": "text", "text": text},
                    {"type": "image_url", "image_url": {"url": image.url()}},
                ]}),
            }
        };
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let before = self.before.iter().map(|said| match said {
            Said::User(text) => user(text),
            Said::Bot { words, .. } => json!({"role": "assistant", "content": words}),
            Said::Unheard(_) => json!(null),
        });
        system.chain(before).chain(self.new.iter().map(user)).collect()
    }

    fn call(&self) -> Call {
        let mut headers = vec![("authorization", format!("Bearer {}-0123456789abcdef", self.space.key))];
        let mut body = json!({
            "model": MODELS[self.space.model].name,
            "messages": self.messages(),
            "stream": self.stream,
        });
        if let Some(user) = self.space.user {
            body["user"] = user.into();
        }
        if let Some(hint) = self.space.hint {
            headers.push(("x-openwebui-chat-id", hint.to_owned()));
        }
        if self.choices > 1 {
            body["n"] = self.choices.into();
        }
        if self.stop {
            body["stop"] = json!(["STOP"]);
        }
        // Each of the three places is as good as the others.
        match (&self.name, self.salt % 3) {
            (None, _) => {}
            (Some(name), 0) => headers.push(("x-conversation-id", name.clone())),
            (Some(name), 1) => body["conversation_id"] = name.as_str().into(),
            (Some(name), _) => body["metadata"] = json!({"conversation_id": name}),
        }
        if self.name.is_some() && !self.delta && (self.is_first() || self.salt.is_multiple_of(2)) {
            headers.push(("x-conversation-mode", "transcript".to_owned()));
        }
        Call { headers, body }
    }

    /// Takes the turn.
    ///
    /// # Errors
    /// If the answer makes no sense.
    pub(crate) async fn take(
        &self,
        service: Service,
        coze: &Simulator,
        killed: impl FnOnce(),
    ) -> Result<Reply, String> {
        if let Some(trouble) = &self.trouble {
            coze.trouble(self.question(), trouble.clone());
        }
        let speaks_first = MODELS[self.space.model].name != "ask";
        let hears = self.leaves == Leaves::Midway && self.stream && speaks_first;
        let calling = call(service, self.call(), hears);
        match self.leaves {
            Leaves::Never => calling.await,
            Leaves::Midway if hears => calling.await,
            Leaves::Early(micros) => {
                let left = tokio::time::timeout(Duration::from_micros(micros), calling).await;
                left.unwrap_or_else(|_| Ok(Reply::left()))
            }
            Leaves::Midway | Leaves::WithItsGateway => {
                let begun = async {
                    while coze.asked(self.question()).len() <= self.asked {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // Before the call is dropped, which would be a hang-up.
                    if self.leaves == Leaves::WithItsGateway {
                        killed();
                    }
                };
                tokio::select! {
                    reply = calling => reply,
                    () = begun => Ok(Reply::left()),
                }
            }
        }
    }

    /// The token that lets a waiting bot go on.
    pub(crate) fn gate(&self) -> Option<&CancellationToken> {
        match &self.trouble {
            Some(Trouble::Waits(until, _)) => Some(until),
            _ => None,
        }
    }

    /// One line of the history.
    pub(crate) fn line(&self) -> String {
        let way = match (&self.name, self.delta) {
            (None, _) => "unnamed".to_owned(),
            (Some(name), true) => format!("delta of {name}"),
            (Some(name), false) => format!("whole of {name}"),
        };
        let mut line = format!(
            "chat {} [{}] {way} via {}: {} before, says {:?}",
            self.chat,
            self.space.label(),
            self.replica,
            self.before.len(),
            self.new
        );
        for (is, what) in [
            (self.system.is_some(), format!(", system {:?}", self.system)),
            (self.stop, ", stop".to_owned()),
            (self.stream, ", stream".to_owned()),
            (self.choices > 1, format!(", {} choices", self.choices)),
            (self.leaves != Leaves::Never, format!(", leaves {:?}", self.leaves)),
        ] {
            if is {
                line += &what;
            }
        }
        match &self.trouble {
            None => {}
            Some(Trouble::Waits(_, fails)) => line += &format!(", the bot waits (fails: {fails})"),
            Some(trouble) => line += &format!(", {trouble:?}"),
        }
        line
    }
}
