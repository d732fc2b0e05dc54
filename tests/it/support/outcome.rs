//! What a client is to be told where Coze does something wrong.

use cozeway::simulator::Script;
use serde_json::{Value, json};

use super::sse::Streamed;
use super::{Coze, Gateway, SCRIPTED};
use crate::shared::schema;

/// What becomes of a fault.
pub(crate) enum Outcome {
    /// The answer is fine: its text.
    Fine(&'static str),
    /// It comes before any word: an HTTP error in both forms.
    Before(u16, &'static str),
    /// It comes after some words: an HTTP error for a whole answer, in band
    /// for a stream.
    After(u16, &'static str),
}

use Outcome::{After, Before, Fine};

/// A model whose Coze does as the script says answers so, in both forms, and
/// nothing is left behind.
pub(crate) async fn assert_answers(
    name: &str,
    coze: &Coze,
    gateway: &Gateway,
    model: &str,
    script: Script,
    outcome: Outcome,
) {
    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, script);
    let whole = gateway.ask(model, "hi", json!({})).await;
    let streamed = gateway.ask(model, "hi", json!({"stream": true})).await;
    match outcome {
        Fine(text) => {
            let answer: Value = serde_json::from_str(&whole.text().await.unwrap()).unwrap();
            assert_eq!(answer["choices"][0]["message"]["content"], text, "{name}: {answer}");
            let streamed = Streamed::of(streamed).await;
            assert!(streamed.is_done(), "{name}");
            assert_eq!(streamed.content(), text, "{name}");
        }
        Before(status, code) => {
            for response in [whole, streamed] {
                assert_fails(name, response, status, code).await;
            }
        }
        After(status, code) => {
            assert_fails(name, whole, status, code).await;
            let streamed = Streamed::of(streamed).await;
            assert!(!streamed.content().is_empty(), "{name}");
            let error = streamed.error().unwrap_or_else(|| panic!("{name}: {streamed:?}"));
            assert_eq!(error["code"], code, "{name}");
        }
    }
    gateway.assert_well().await;
    coze.idle().await;
}

pub(crate) async fn assert_fails(name: &str, response: reqwest::Response, status: u16, code: &str) {
    let (got, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.text().await.unwrap();
    let error: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{name}: {body}"));
    schema::assert_valid(&schema::validator("error"), &error, name);
    assert_eq!((got, error["error"]["code"].as_str()), (status, Some(code)), "{name}: {error}");
    let message = error["error"]["message"].as_str().unwrap();
    for leak in ["stack=", "/app/", "127.0.0.1", "localhost", "pat_demo", "<html"] {
        assert!(!message.contains(leak), "{name}: {message}");
    }
    let never = [
        "upstream_auth_failed",
        "upstream_model_unavailable",
        "upstream_unsupported",
        "upstream_requires_action",
        "insufficient_quota",
    ];
    let final_word = never.contains(&code) || (code == "upstream_timeout");
    assert_eq!(headers.get("x-should-retry").is_some_and(|value| value == "false"), final_word, "{name}");
    assert_eq!(
        headers.contains_key("retry-after"),
        matches!(code, "upstream_rate_limited" | "conversation_locked"),
        "{name}"
    );
    if name == "status 429" {
        assert_eq!(headers["retry-after"], "7");
    }
    if name == "a missing field" {
        assert!(message.contains("'user_id' field is required"), "{message}");
    }
}
