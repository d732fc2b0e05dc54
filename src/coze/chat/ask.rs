//! A prompt as the body of `/v3/chat` (protocol 3.1, 3.2).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::messages::{object_string, with_messages};
use crate::coze::{Call, Kind};
use crate::turn::{Extras, Message, Prompt, escape};

/// What the community server can store of one request's text: its column
/// holds 65,535 bytes, and this leaves room for what it adds.
const STUDIO_TEXT_BYTES: usize = 61_440;

/// What each message is reckoned to cost beside its text, in bytes.
const BYTES_PER_MESSAGE: usize = 200;

/// What an entry beside the messages costs beyond its text: quotes, a colon, a
/// comma.
const BYTES_PER_ENTRY: usize = 6;

/// What a byte of text becomes at most, in bytes.
const LONGEST_ESCAPE: usize = 6;

/// The longest `user_id`, in characters (the server's column).
const MAX_USER_ID_CHARS: usize = 60;

/// Even without the messages that may be left out, a prompt is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the conversation needs {needed} bytes of the {limit} that Coze can store")]
pub struct TooLong {
    /// What it takes, in bytes as Coze counts them.
    pub needed: usize,
    /// What there is.
    pub limit: usize,
}

#[derive(Serialize)]
struct Body<'a> {
    bot_id: &'a str,
    user_id: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_save_history: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    custom_variables: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortcut_command: Option<Command<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra_params: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'a str, Box<RawValue>>,
}

/// A command that is run ahead of the model.
#[derive(Serialize)]
struct Command<'a> {
    command_id: &'a str,
    parameters: &'a BTreeMap<String, String>,
}

/// The call that starts a chat of this bot with these messages, in a
/// conversation of its own, or in this one. (Only the query names it: in the
/// body it would be ignored, protocol 3.1.)
///
/// Coze is always asked to stream: only its stream shows every failure
/// (protocol 3.8). `saved` is whether it keeps the chat, where it has the
/// choice.
#[must_use]
pub fn call(
    bot_id: &str,
    user_id: &str,
    prompt: &Prompt,
    extras: &Extras,
    conversation: Option<&str>,
    saved: Option<bool>,
) -> Call {
    let variables = extras.variables.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let system = prompt.variable.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let body = Body {
        bot_id,
        user_id,
        stream: true,
        auto_save_history: saved,
        custom_variables: variables.chain(system).collect(),
        shortcut_command: extras
            .shortcut
            .as_ref()
            .map(|shortcut| Command { command_id: &shortcut.command, parameters: &shortcut.parameters }),
        extra_params: &extras.params,
        parameters: extras.parameters.iter().map(|(name, json)| (name.as_str(), raw(json))).collect(),
    };
    Call {
        method: http::Method::POST,
        path: match conversation {
            Some(id) => {
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("conversation_id", id)
                    .finish();
                format!("/v3/chat?{query}")
            }
            None => "/v3/chat".to_owned(),
        },
        body: Some(with_messages(&body, &prompt.messages)),
    }
}

/// A value that is JSON already.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("it has been read as JSON before")
}

/// Leaves out the oldest messages of a prompt until Coze can store the rest;
/// gives how many that were. Pinned messages, the user's last one and the last
/// of all always stay.
///
/// # Errors
/// If what has to stay is too long by itself; the prompt is unchanged then.
pub fn fit(prompt: &mut Prompt, extras: &Extras, kind: Kind) -> Result<usize, TooLong> {
    let limit = match kind {
        Kind::Studio => STUDIO_TEXT_BYTES,
        Kind::Cloud => return Ok(0),
    };
    if most(prompt) + beside(prompt, extras) <= limit {
        return Ok(0);
    }
    let sizes: Vec<usize> = prompt.messages.iter().map(size).collect();
    let mut needed = sizes.iter().sum::<usize>() + beside(prompt, extras);
    let optional = prompt.pinned..sizes.len().saturating_sub(1);
    // Where the messages that stay begin, the question aside.
    let mut start = prompt.pinned;
    let mut left_out = 0;
    for (index, size) in sizes.iter().enumerate().take(optional.end).skip(optional.start) {
        if needed <= limit {
            break;
        }
        start = index + 1;
        if prompt.question != Some(index) {
            needed -= size;
            left_out += 1;
        }
    }
    if needed > limit {
        return Err(TooLong { needed, limit });
    }
    let (pinned, question) = (prompt.pinned, prompt.question);
    let mut index = 0;
    prompt.messages.retain(|_| {
        let stays = !(pinned..start).contains(&index) || question == Some(index);
        index += 1;
        stays
    });
    prompt.question = question.map(|index| if index < start { pinned } else { index - left_out });
    Ok(left_out)
}

/// Whether Coze can store what has to stay of a prompt, however much is left
/// out.
///
/// # Errors
/// If it cannot.
pub fn fits_at_all(prompt: &Prompt, extras: &Extras, kind: Kind) -> Result<(), TooLong> {
    let limit = match kind {
        Kind::Studio => STUDIO_TEXT_BYTES,
        Kind::Cloud => return Ok(()),
    };
    let last = prompt.messages.len().saturating_sub(1);
    let stays = |index: &usize| *index < prompt.pinned || *index == last || prompt.question == Some(*index);
    let messages = prompt.messages.iter().enumerate().filter(|(index, _)| stays(index));
    let needed = messages.map(|(_, message)| size(message)).sum::<usize>() + beside(prompt, extras);
    if needed > limit { Err(TooLong { needed, limit }) } else { Ok(()) }
}

/// What goes beside the messages is stored with them.
fn beside(prompt: &Prompt, extras: &Extras) -> usize {
    let Extras { variables, shortcut, params, parameters } = extras;
    let command = shortcut.as_ref().map(|shortcut| &shortcut.parameters);
    let maps = [variables, params, parameters].into_iter().chain(command);
    let entries = maps.flatten().chain(prompt.variable.as_ref().map(|(name, text)| (name, text)));
    entries.map(|(name, text)| escaped_len(name) + escaped_len(text) + BYTES_PER_ENTRY).sum()
}

/// No less than what the messages come to, without a look at their texts.
fn most(prompt: &Prompt) -> usize {
    let most = |message: &Message| match message.attachments.as_slice() {
        [] => message.text.len() * LONGEST_ESCAPE + BYTES_PER_MESSAGE,
        _ => size(message),
    };
    prompt.messages.iter().map(most).sum()
}

fn size(message: &Message) -> usize {
    let content = if message.attachments.is_empty() {
        escaped_len(&message.text)
    } else {
        escaped_len(&object_string(message))
    };
    content + BYTES_PER_MESSAGE
}

/// How long a text is inside the JSON that Go writes, which also escapes
/// `<`, `>`, `&` and the two Unicode line separators.
fn escaped_len(text: &str) -> usize {
    let is_special = |byte: u8| {
        (byte < 0x20)
            | matches!(byte, b'"' | b'\\')
            | matches!(byte, b'<' | b'>' | b'&')
            // How the separators begin, and much else.
            | (byte == 0xe2)
    };
    let mut rest = text.as_bytes();
    let mut length = rest.len();
    loop {
        rest = rest.get(escape::find(rest, is_special)..).unwrap_or_default();
        length += match rest {
            [] => return length,
            [b'"' | b'\\' | b'\n' | b'\r' | b'\t', ..] => 1,
            [0..0x20 | b'<' | b'>' | b'&', ..] => 5,
            [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
            [_, ..] => 0,
        };
        rest = rest.get(1..).unwrap_or_default();
    }
}

/// Coze's `user_id`: `<space>:<user>`, or the one of the two that there is.
/// Longer than 60 characters it keeps its beginning and ends in a hash.
#[must_use]
pub fn user_id(space: Option<&str>, user: Option<&str>) -> String {
    let whole = match (space, user) {
        (Some(space), Some(user)) => format!("{space}:{user}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "anonymous".to_owned(),
    };
    if whole.chars().count() <= MAX_USER_ID_CHARS {
        return whole;
    }
    const HASH_DIGITS: usize = 24;
    let hash: String = Sha256::digest(whole.as_bytes())
        .iter()
        .take(HASH_DIGITS / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let prefix: String = whole.chars().take(MAX_USER_ID_CHARS - HASH_DIGITS - 1).collect();
    format!("{prefix}~{hash}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::turn::{Attachment, Role};

    fn body(prompt: &Prompt) -> Value {
        let call = call("75", "team:ann", prompt, &Extras::default(), None, None);
        assert_eq!((call.method, call.path.as_str()), (http::Method::POST, "/v3/chat"));
        serde_json::from_slice(&call.body.unwrap()).unwrap()
    }

    fn texts(texts: &[&str]) -> Prompt {
        Prompt {
            messages: texts.iter().map(|&text| Message::text(Role::User, text)).collect(),
            ..Prompt::default()
        }
    }

    #[test]
    fn every_message_names_role_type_and_content_type() {
        let mut prompt = texts(&["hi"]);
        prompt.messages.insert(0, Message::text(Role::Assistant, "yes?"));
        assert_eq!(
            body(&prompt),
            json!({"bot_id": "75", "user_id": "team:ann", "stream": true, "additional_messages": [
                {"role": "assistant", "type": "answer", "content": "yes?", "content_type": "text"},
                {"role": "user", "type": "question", "content": "hi", "content_type": "text"},
            ]})
        );
    }

    #[test]
    fn images_go_with_their_text_as_an_object_string() {
        let mut prompt = texts(&["look"]);
        prompt.messages[0].attachments = vec![Attachment::image("https://x/y.png")];
        let body = body(&prompt);
        let message = &body["additional_messages"][0];
        assert_eq!(message["content_type"], "object_string");
        let parts: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
        assert_eq!(
            parts,
            json!([{"type": "text", "text": "look"}, {"type": "image", "file_url": "https://x/y.png"}])
        );
    }

    #[test]
    fn a_conversation_is_named_in_the_query() {
        let call = call("75", "u", &texts(&["hi"]), &Extras::default(), Some("1&2"), None);
        assert_eq!(call.path, "/v3/chat?conversation_id=1%262");
    }

    #[test]
    fn whether_a_chat_is_kept_is_said_where_coze_has_the_choice() {
        for (saved, said) in [(None, Value::Null), (Some(true), json!(true)), (Some(false), json!(false))] {
            let call = call("75", "u", &texts(&["hi"]), &Extras::default(), None, saved);
            let body: Value = serde_json::from_slice(&call.body.unwrap()).unwrap();
            assert_eq!(body["auto_save_history"], said);
        }
    }

    #[test]
    fn a_variable_is_sent_as_a_custom_variable() {
        let mut prompt = texts(&["hi"]);
        prompt.variable = Some(("persona".into(), "be brief".into()));
        assert_eq!(body(&prompt)["custom_variables"], json!({"persona": "be brief"}));
    }

    #[test]
    fn the_oldest_messages_are_left_out_but_never_the_pinned_or_the_last() {
        let long = "x".repeat(20_200);
        let mut prompt = texts(&["system", &long, &long, &long, "last"]);
        prompt.pinned = 1;
        assert_eq!(fit(&mut prompt, &Extras::default(), Kind::Studio), Ok(1));
        let kept: Vec<usize> = prompt.messages.iter().map(|m| m.text.len()).collect();
        assert_eq!(kept, [6, 20_200, 20_200, 4]);
    }

    #[test]
    fn the_users_question_is_not_left_out_for_what_tools_said() {
        let long = "x".repeat(25_200);
        let mut prompt = texts(&["system", "old", "question", &long, &long, "last"]);
        (prompt.pinned, prompt.question) = (1, Some(2));
        assert_eq!(fit(&mut prompt, &Extras::default(), Kind::Studio), Ok(0));
        prompt.messages.insert(4, Message::text(Role::User, long.as_str()));
        assert_eq!(fit(&mut prompt, &Extras::default(), Kind::Studio), Ok(2));
        let kept: Vec<usize> = prompt.messages.iter().map(|m| m.text.len()).collect();
        assert_eq!(kept, [6, 8, 25_200, 25_200, 4]);
        assert_eq!(prompt.question, Some(1));

        let mut prompt = texts(&["old", "question", &"x".repeat(70_000)]);
        prompt.question = Some(1);
        assert!(fit(&mut prompt, &Extras::default(), Kind::Studio).is_err());
    }

    #[test]
    fn what_must_stay_is_too_long_by_itself() {
        let mut prompt = texts(&["old", &"x".repeat(61_241)]);
        let before = prompt.clone();
        assert_eq!(
            fit(&mut prompt, &Extras::default(), Kind::Studio),
            Err(TooLong { needed: 61_441, limit: 61_440 })
        );
        assert_eq!(prompt, before);
        assert_eq!(fit(&mut texts(&[&"x".repeat(61_240)]), &Extras::default(), Kind::Studio), Ok(0));
    }

    #[test]
    fn the_cloud_has_no_such_limit() {
        assert_eq!(fit(&mut texts(&["x", &"x".repeat(100_000)]), &Extras::default(), Kind::Cloud), Ok(0));
    }

    #[test]
    fn text_is_counted_as_go_escapes_it() {
        assert_eq!(escaped_len("<>&\u{2028}"), 24);
        assert_eq!(escaped_len("\"\\\n你\u{1}a"), 2 + 2 + 2 + 3 + 6 + 1);
    }

    proptest! {
        #[test]
        fn blocks_count_as_characters_do(text in r#"([a-z]{0,40}|["\\<>&\n\x00-\x1f\u{2028}\u{2029}\u{2027}]|\PC){0,12}"#) {
            let plain = text.chars().map(|c| match c {
                '"' | '\\' | '\n' | '\r' | '\t' => 2,
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..'\u{20}' => 6,
                _ => c.len_utf8(),
            });
            prop_assert_eq!(escaped_len(&text), plain.sum::<usize>());
            prop_assert!(escaped_len(&text) <= text.len() * LONGEST_ESCAPE);
        }
    }

    #[test]
    fn a_user_id_keeps_keys_apart_and_stays_short() {
        assert_eq!(user_id(Some("team"), Some("ann")), "team:ann");
        assert_eq!(user_id(Some("team"), None), "team");
        assert_eq!(user_id(None, Some("ann")), "ann");
        let long = user_id(Some("team"), Some(&"你".repeat(80)));
        assert_eq!(long.chars().count(), 60);
        assert!(long.starts_with("team:你"));
        assert_ne!(long, user_id(Some("team"), Some(&"你".repeat(81))));
    }
}
