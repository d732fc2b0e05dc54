//! `GET /v1/bots/{id}`: what Coze says of a published bot (protocol 4.8).

use std::borrow::Cow;

use serde::Deserialize;

use super::Call;

/// The call that asks about a bot.
#[must_use]
pub fn about(bot: &str) -> Call {
    Call { method: http::Method::GET, path: format!("/v1/bots/{bot}"), body: None }
}

/// What a bot is said to be for, from the answer to [`about`]: its
/// description, or else its name; `None` if it has neither.
#[must_use]
pub fn description(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Bot<'a>,
    }
    #[derive(Deserialize)]
    struct Bot<'a> {
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        description: Option<Cow<'a, str>>,
    }
    let Bot { name, description } = serde_json::from_slice::<Envelope<'_>>(body).ok()?.data;
    let said = |text: &Cow<'_, str>| !text.trim().is_empty();
    let text = description.filter(said).or_else(|| name.filter(said))?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_is_what_it_is_described_as() {
        for (body, said) in [
            (
                r#"{"data":{"bot_id":"1","name":"n","description":" books\ntables "},"code":0}"#,
                Some("books\ntables"),
            ),
            (r#"{"data":{"name":"Helper","description":""}}"#, Some("Helper")),
            (r#"{"data":{"name":null}}"#, None),
            (r#"{"code":100000000,"msg":"no"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(description(body.as_bytes()).as_deref(), said, "{body}");
        }
        assert_eq!(about("7").path, "/v1/bots/7");
    }
}
