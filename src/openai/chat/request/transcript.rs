//! The messages: in comes OpenAI's array, out comes what a bot is told.
//!
//! Each message is turned into its neutral form as it is read, so that a
//! transcript is never held twice. The first fault is kept and the rest then
//! only skipped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::calls::{Call, Calls, Function};
use super::content::{Attached, Content, MAX_INLINE, too_many};
use super::fault::{Fault, quoted};
use super::json::{Given, Map, Object, Text};
use crate::turn::{Ask, Message, Role, Source};

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Transcript<'a> {
    system: Option<String>,
    messages: Vec<Message>,
    /// Which message is the last that the user wrote.
    answered: bool,
    question: Option<usize>,
    /// Where each attachment stands: message and part.
    attached_at: Vec<(usize, usize)>,
    /// How many of them are bytes.
    inline: usize,
    /// The functions that the assistant called, by the ids of the calls.
    called: HashMap<Cow<'a, str>, Cow<'a, str>>,
    /// How many messages were read, empty ones too.
    read: usize,
    last: Last,
    fault: Option<Fault>,
}

/// What the last message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// There is none.
    #[default]
    None,
    /// Something to answer to.
    Question,
    /// The user's or a tool's, but it says nothing.
    Empty,
    /// Of another role.
    Other,
}

impl<'a> Transcript<'a> {
    /// What a bot is asked by it.
    pub(super) fn finish(self) -> Result<Ask, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let last = format!("messages[{}]", self.read.saturating_sub(1));
        match self.last {
            Last::None => Err(Fault::new("empty_array", "messages", "must hold at least one message")),
            Last::Empty => {
                let says = "is empty: the last message must ask the bot something";
                Err(Fault::invalid("content", says).within(&last))
            }
            Last::Other => {
                let says = "must be 'user', 'tool' or 'function': a bot answers the last message, and only \
                            those can be answered";
                Err(Fault::invalid("role", says).within(&last))
            }
            Last::Question => Ok(Ask {
                system: self.system,
                messages: self.messages,
                question: self.question,
                attached_at: self.attached_at,
                answered: self.answered,
                ..Ask::default()
            }),
        }
    }

    fn take(&mut self, message: Wire<'a>) -> Result<(), Fault> {
        let Some(Text(role)) = message.role else { return Err(Fault::missing("role")) };
        match &*role {
            "system" | "developer" => {
                let text = required(message.content)?.into_text(&role).map_err(in_content)?;
                self.last = Last::Other;
                self.instruct(&text);
            }
            "user" => {
                let (text, mut attached) = required(message.content)?.into_parts().map_err(in_content)?;
                self.note(&mut attached)?;
                self.ask(text.into_owned(), attached);
                if self.last == Last::Question {
                    self.question = self.messages.len().checked_sub(1);
                }
            }
            "assistant" => {
                let text = message.content.unwrap_or_default().into_text(&role).map_err(in_content)?;
                let calls = message.tool_calls.map_or_else(|| Ok(Vec::new()), Calls::into_vec)?;
                let deprecated = message.function_call.map(|Object(function)| function.into_call());
                let deprecated = deprecated.transpose().map_err(|fault| fault.within("function_call"))?;
                self.last = Last::Other;
                self.recall(text, message.refusal, calls.into_iter().chain(deprecated));
            }
            "tool" => {
                let text = required(message.content)?.into_text(&role).map_err(in_content)?;
                let id = message.tool_call_id.map(|Text(id)| id);
                let called = id.as_ref().and_then(|id| self.called.get(id));
                let name = message.name.as_ref().map(|Text(name)| name);
                let Some(name) = [called, name, id.as_ref()].into_iter().flatten().find(|n| !n.is_empty())
                else {
                    return Err(Fault::missing("tool_call_id"));
                };
                let text = returned(name, &text);
                self.ask(text, Attached::default());
            }
            "function" => {
                let text = message.content.unwrap_or_default().into_text(&role).map_err(in_content)?;
                let Text(name) = message.name.ok_or_else(|| Fault::missing("name"))?;
                self.ask(returned(&name, &text), Attached::default());
            }
            other => {
                let says = format!(
                    "must be 'system', 'developer', 'user', 'assistant', 'tool' or 'function', not {}",
                    quoted(other)
                );
                return Err(Fault::invalid("role", says));
            }
        }
        Ok(())
    }

    /// Takes a system text: a leading one for itself, a later one in its place.
    fn instruct(&mut self, text: &str) {
        if is_blank(text) {
            return;
        }
        if !self.messages.is_empty() {
            self.messages.push(Message::text(Role::User, text));
        } else if let Some(system) = &mut self.system {
            system.push_str("\n\n");
            system.push_str(text);
        } else {
            self.system = Some(text.to_owned());
        }
    }

    /// Notes where attachments stand.
    fn note(&mut self, attached: &mut Attached) -> Result<(), Fault> {
        let read = self.read;
        self.attached_at.extend(attached.parts.iter().map(|part| (read, *part)));
        for (attachment, part) in attached.attachments.iter_mut().zip(&attached.parts) {
            let Source::Inline(inline) = &mut attachment.source else { continue };
            // Nobody else has it yet.
            if let Some(inline) = Arc::get_mut(inline) {
                inline.place(read, *part);
            }
            self.inline += 1;
            if self.inline > MAX_INLINE {
                return Err(in_content(too_many().within(&format!("[{part}]"))));
            }
        }
        Ok(())
    }

    /// Takes what the bot is asked or told.
    fn ask(&mut self, text: String, Attached { attachments, .. }: Attached) {
        if is_blank(&text) && attachments.is_empty() {
            self.last = Last::Empty;
            return;
        }
        self.last = Last::Question;
        self.messages.push(Message { role: Role::User, text, attachments });
    }

    /// Takes what the bot said, and did, in an earlier turn.
    fn recall(
        &mut self,
        text: Cow<'a, str>,
        refusal: Option<Text<'a>>,
        calls: impl Iterator<Item = Call<'a>>,
    ) {
        self.answered = true;
        let mut all = if is_blank(&text) { String::new() } else { text.into_owned() };
        let mut add = |pieces: &[&str]| {
            if !all.is_empty() {
                all.push('\n');
            }
            all.extend(pieces.iter().copied());
        };
        if let Some(Text(refusal)) = refusal.filter(|Text(refusal)| !is_blank(refusal)) {
            add(&[&refusal]);
        }
        for Call { id, name, arguments } in calls {
            add(&["[called ", &name, "(", &arguments, ")]"]);
            if let Some(id) = id {
                self.called.insert(id, name);
            }
        }
        if !all.is_empty() {
            self.messages.push(Message::text(Role::Assistant, all));
        }
    }
}

/// What a tool said, as the bot is told it; nothing if it said nothing.
fn returned(name: &str, text: &str) -> String {
    if is_blank(text) { String::new() } else { format!("[{name} returned] {text}") }
}

fn required(content: Option<Content<'_>>) -> Result<Content<'_>, Fault> {
    content.ok_or_else(|| Fault::missing("content"))
}

fn in_content(fault: Fault) -> Fault {
    fault.within("content")
}

/// Coze swallows messages without a visible character.
fn is_blank(text: &str) -> bool {
    text.trim_start().is_empty()
}

/// One message on the wire.
#[derive(Debug, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Calls<'a>>,
    #[serde(borrow)]
    function_call: Option<Object<Function<'a>>>,
    #[serde(default, rename = "audio")]
    _audio: Given<Map>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Transcript<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Messages<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for Messages<'a> {
            type Value = Transcript<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Transcript<'a>, A::Error> {
                let mut transcript = Transcript::default();
                while let Some(Object(message)) = messages.next_element()? {
                    if let Err(fault) = transcript.take(message) {
                        let place = format!("messages[{}]", transcript.read);
                        transcript.fault = Some(fault.within(&place));
                        while messages.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                    transcript.read += 1;
                }
                Ok(transcript)
            }
        }

        deserializer.deserialize_seq(Messages(PhantomData))
    }
}
