//! `POST /v1/workflows/chat` (protocol 5.4): a prompt as a call. Its answer
//! is read as a chat's.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::{Asking, Refused};
use super::chat::with_messages;
use super::flow::Flow;
use super::workflow::{Unfit, object};
use super::{Call, Kind, Within, attached};
use crate::turn::Prompt;

/// How many messages one call may bring (the documents' limit).
pub const MAX_MESSAGES: usize = 50;

/// The start parameter by which a conversation is found, or made.
const CONVERSATION_NAME: &str = "CONVERSATION_NAME";

/// Start parameters that are Coze's own.
pub const OWN: [&str; 2] = [CONVERSATION_NAME, "USER_INPUT"];

/// A chatflow, and how it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Chatflow {
    /// Its id: decimal digits.
    pub id: String,
    /// What it is run in the name of.
    pub within: Within,
    /// Start parameters that are always the same.
    pub parameters: BTreeMap<String, Value>,
    /// Which of its versions is run.
    pub version: Option<String>,
    /// Whether clients are told where Coze's own page of the run is.
    pub show_debug_url: bool,
    /// Whether the next questions are suggested.
    pub follow_ups: FollowUps,
}

/// Whether a chatflow suggests the next questions, which it does only where it
/// is asked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FollowUps {
    /// It does not.
    #[default]
    None,
    /// As Coze does it.
    Usual,
    /// As this prompt says.
    Prompted(String),
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    flow: Flow<'a>,
    parameters: BTreeMap<&'a str, Parameter<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggest_reply_info: Option<Suggest<'a>>,
}

/// What asks for suggestions, with the server's number for the way.
#[derive(Serialize)]
struct Suggest<'a> {
    suggest_reply_mode: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    customized_suggest_prompt: Option<&'a str>,
}

/// The value of a start parameter.
#[derive(Serialize)]
#[serde(untagged)]
enum Parameter<'a> {
    /// The config's.
    Fixed(&'a Value),
    /// The client's, as it wrote it.
    Given(&'a RawValue),
    Text(&'a str),
}

/// The call that runs a chatflow with these messages, in this conversation or
/// in a fresh one, and how many of them are left out. A fresh one has a name
/// that no other has, since the server only finds or makes conversations by
/// their names.
///
/// # Errors
/// If there are too many messages, or no place for one of them.
pub(super) fn call(
    chatflow: &Chatflow,
    prompt: &mut Prompt,
    asking: Asking<'_>,
) -> Result<(Call, usize), Refused> {
    let Asking { kind, user_id, conversation, given, .. } = asking;
    let parameters = given.parameters.as_deref();
    check(prompt, kind, parameters)?;
    let trimmed = fit(prompt, asking.held)?;
    let given = parameters.map(object).transpose()?.unwrap_or_default();
    let mut all: BTreeMap<&str, Parameter<'_>> =
        chatflow.parameters.iter().map(|(name, value)| (name.as_str(), Parameter::Fixed(value))).collect();
    all.extend(given.iter().map(|(name, value)| (name.as_str(), Parameter::Given(value))));
    if let Some((name, text)) = &prompt.variable {
        all.insert(name, Parameter::Text(text));
    }
    let name = format!("cozeway-{}", uuid::Uuid::now_v7().simple());
    if conversation.is_none() {
        all.insert(CONVERSATION_NAME, Parameter::Text(&name));
    }
    let version = chatflow.version.as_deref();
    let body = Body {
        flow: Flow::new(kind, &chatflow.id, Some(&chatflow.within), version, user_id),
        parameters: all,
        conversation_id: conversation,
        suggest_reply_info: match &chatflow.follow_ups {
            FollowUps::None => None,
            FollowUps::Usual => Some(Suggest { suggest_reply_mode: 1, customized_suggest_prompt: None }),
            FollowUps::Prompted(prompt) => {
                Some(Suggest { suggest_reply_mode: 2, customized_suggest_prompt: Some(prompt) })
            }
        },
    };
    let call = Call {
        method: http::Method::POST,
        path: "/v1/workflows/chat".to_owned(),
        body: Some(with_messages(&body, &prompt.messages)),
    };
    Ok((call, trimmed))
}

/// Leaves out the oldest of what Coze has held itself until the rest is not
/// too many; gives how many that were. A pinned message stays.
///
/// # Errors
/// If the client's own are too many.
pub(super) fn fit(prompt: &mut Prompt, held: usize) -> Result<usize, Refused> {
    let over = prompt.messages.len().saturating_sub(MAX_MESSAGES);
    let spare = held.saturating_sub(prompt.pinned);
    if over > spare {
        return Err(Refused::TooMany(prompt.messages.len() - spare));
    }
    prompt.messages.drain(prompt.pinned..prompt.pinned + over);
    // The user's last words are not Coze's.
    prompt.question = prompt.question.map(|index| index.saturating_sub(over));
    Ok(over)
}

/// Whether there is a place for everything.
///
/// # Errors
/// If there is not.
pub(super) fn check(prompt: &Prompt, kind: Kind, parameters: Option<&str>) -> Result<(), Unfit> {
    attached::check(prompt, 0, |attachment| attached::of_chatflow(attachment, kind))?;
    let given = parameters.map(object).transpose()?.unwrap_or_default();
    let variable = prompt.variable.as_ref().map(|(name, _)| name.as_str());
    let mut taken = OWN.into_iter().chain(variable);
    taken.find(|name| given.contains_key(*name)).map_or(Ok(()), |name| Err(Unfit::Taken(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::coze::NoPlace;
    use crate::turn::{Attachment, Given, Inline, Media, Message, Role, Source};

    fn chatflow() -> Chatflow {
        Chatflow {
            id: "7".to_owned(),
            within: Within::App("8".to_owned()),
            parameters: BTreeMap::from([("city".to_owned(), json!("杭州"))]),
            version: Some("v1".to_owned()),
            show_debug_url: false,
            follow_ups: FollowUps::None,
        }
    }

    fn prompt(count: usize) -> Prompt {
        let messages = (0..count).map(|index| Message::text(Role::User, index.to_string())).collect();
        Prompt { messages, ..Prompt::default() }
    }

    fn asking<'a>(conversation: Option<&'a str>, given: &'a Given) -> Asking<'a> {
        Asking { kind: Kind::Studio, user_id: "team:ann", conversation, answering: None, held: 0, given }
    }

    fn nothing() -> Given {
        Given::default()
    }

    fn body(call: Call) -> Value {
        assert_eq!(call.path, "/v1/workflows/chat");
        serde_json::from_slice(&call.body.unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_that_goes_on_is_named_in_the_body() {
        let given = Given { parameters: Some(r#"{"n": 1}"#.to_owned()), ..Given::default() };
        let call = call(&chatflow(), &mut prompt(1), asking(Some("9"), &given)).unwrap().0;
        assert_eq!(
            body(call),
            json!({
                "workflow_id": "7", "app_id": "8", "conversation_id": "9", "version": "v1",
                "parameters": {"city": "杭州", "n": 1}, "ext": {"user_id": "team:ann"},
                "additional_messages": [{"role": "user", "type": "question", "content": "0", "content_type": "text"}],
            })
        );
    }

    #[test]
    fn each_fresh_conversation_has_a_name_of_its_own() {
        let bot = Chatflow { within: Within::Bot("5".to_owned()), ..chatflow() };
        let names = [(); 2].map(|()| {
            let body = body(call(&bot, &mut prompt(1), asking(None, &nothing())).unwrap().0);
            assert_eq!(body["bot_id"], "5");
            assert!(body.get("app_id").is_none() && body.get("conversation_id").is_none());
            body["parameters"]["CONVERSATION_NAME"].as_str().unwrap().to_owned()
        });
        assert_ne!(names[0], names[1]);
        assert!(names[0].starts_with("cozeway-"));
    }

    #[test]
    fn the_next_questions_are_asked_for_as_the_server_takes_it() {
        for (follow_ups, expected) in [
            (FollowUps::None, Value::Null),
            (FollowUps::Usual, json!({"suggest_reply_mode": 1})),
            (
                FollowUps::Prompted("three, short".to_owned()),
                json!({"suggest_reply_mode": 2, "customized_suggest_prompt": "three, short"}),
            ),
        ] {
            let flow = Chatflow { follow_ups, ..chatflow() };
            let body = body(call(&flow, &mut prompt(1), asking(None, &nothing())).unwrap().0);
            assert_eq!(body["suggest_reply_info"], expected);
        }
    }

    #[test]
    fn of_what_coze_has_held_the_oldest_are_left_out() {
        let mut all = prompt(60);
        (all.pinned, all.question) = (1, Some(59));
        let given = nothing();
        let asking = |held| Asking { held, ..asking(None, &given) };
        assert_eq!(call(&chatflow(), &mut all.clone(), asking(10)), Err(Refused::TooMany(51)));
        let (call, trimmed) = call(&chatflow(), &mut all, asking(11)).unwrap();
        assert_eq!((trimmed, all.question), (10, Some(49)));
        let body = body(call);
        let sent = body["additional_messages"].as_array().unwrap();
        let texts = [0, 1, 49].map(|index: usize| sent[index]["content"].as_str().unwrap());
        assert_eq!((sent.len(), texts), (50, ["0", "11", "59"]));
    }

    #[test]
    fn what_has_no_place_is_refused() {
        assert!(call(&chatflow(), &mut prompt(50), asking(None, &nothing())).is_ok());
        assert_eq!(call(&chatflow(), &mut prompt(51), asking(None, &nothing())), Err(Refused::TooMany(51)));
        let taken = check(&prompt(1), Kind::Studio, Some(r#"{"CONVERSATION_NAME": "x"}"#));
        assert_eq!(taken, Err(Unfit::Taken("CONVERSATION_NAME".to_owned())));
        let mut image = prompt(1);
        image.messages[0].attachments.push(Attachment::image("https://x/1"));
        assert_eq!(check(&image, Kind::Studio, None), Err(Unfit::Attachment(0, NoPlace::Url)));
        let inline = Inline::new(b"1".as_slice().into(), "image/png", "a.png");
        let source = Source::Inline(inline.into());
        image.messages[0].attachments[0] = Attachment { media: Media::Image, source };
        assert_eq!(check(&image, Kind::Studio, None), Ok(()));
        assert_eq!(check(&image, Kind::Cloud, None), Err(Unfit::Attachment(0, NoPlace::CloudFlow)));
        image.messages[0].attachments[0].media = Media::Audio;
        assert_eq!(check(&image, Kind::Studio, None), Err(Unfit::Attachment(0, NoPlace::Audio)));
    }
}
