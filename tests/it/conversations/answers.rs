//! Whatever a bot says: who sends it back goes on.

use std::path::Path;

use cozeway::simulator::Script;
use serde_json::json;

use super::sent;
use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED, Talk};

/// What a server was seen to say, and what becomes of a chat that goes on
/// after it.
const TRANSCRIPTS: [(&str, &str); 12] = [
    ("chat_text.server.sse", "continued"),
    ("chat_text.docs.sse", "continued"),
    ("chat_full.docs.sse", "continued"),
    ("chat_multi_answer.server.sse", "continued"),
    ("chat_reasoning.server.sse", "continued"),
    ("chat_reasoning.docs.sse", "continued"),
    ("chat_tools.server.sse", "continued"),
    ("chat_card.docs.sse", "continued"),
    ("chat_crlf_comments.synthetic.sse", "continued"),
    ("chat_unicode_big.server.sse", "continued"),
    ("chat_interrupt_text.server.sse", "resumed"),
    ("chat_interrupt_card.server.sse", "resumed"),
];

/// A gateway with a model for each way to show thinking.
async fn gateway(coze: &Coze) -> Gateway {
    let model = |name: &str| format!("[models.{name}]\nbot_id = \"{SCRIPTED}\"\nreasoning = \"{name}\"\n");
    let models = ["field", "both", "think", "drop"].map(model).concat();
    Gateway::with(&config(coze, "", &models)).await
}

fn script(coze: &Coze, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bot");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    coze.simulator.unscript(SCRIPTED);
    coze.simulator.script(SCRIPTED, Script::transcript(bytes));
}

#[tokio::test]
async fn an_answer_that_is_sent_back_goes_on() {
    let coze = Coze::start().await;
    let gateway = gateway(&coze).await;
    for (name, note) in TRANSCRIPTS {
        script(&coze, name);
        for model in ["field", "both", "think", "drop"] {
            let talk = Talk::new(&gateway, &coze, model).field("user", format!("{name} {model}"));
            let first = talk.says(&["a"]).await;
            assert_eq!((first.status, first.note()), (200, "new"), "{name}: {}", first.body);
            let second = talk.says(&["a", first.text(), "b"]).await;
            assert_eq!(second.note(), note, "{name} {model} {:?}", first.text());
            assert_eq!(sent(&coze), (Some(first.place().to_owned()), vec!["b".to_owned()]));
        }
    }
}

#[tokio::test]
async fn a_streamed_answer_that_is_sent_back_goes_on() {
    let coze = Coze::start().await;
    let gateway = gateway(&coze).await;
    for (name, note) in TRANSCRIPTS {
        script(&coze, name);
        for model in ["field", "think"] {
            let talk = Talk::new(&gateway, &coze, model).field("user", format!("{name} {model}"));
            let streamed = Streamed::of(talk.streams(&["a"]).await).await;
            let text: String = streamed
                .chunks()
                .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
                .collect();
            let second = talk.streams(&["a", &text, "b"]).await;
            assert_eq!(second.headers()["x-cozeway-conversation"], note, "{name} {model} {text:?}");
            Streamed::of(second).await;
        }
    }
}

#[tokio::test]
async fn a_tool_that_was_called_on_the_way_is_not_said_again() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let tool = json!({"role": "tool", "tool_call_id": "c1", "content": "seen"});
    let mut messages = vec![
        json!({"role": "user", "content": "a"}),
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        tool,
    ];
    let first = talk.sends(json!(messages)).await;
    first.assert("replayed; reason=unknown", "a [[called look({})]] [look returned] seen");
    messages.push(json!({"role": "assistant", "content": first.text()}));
    messages.push(json!({"role": "user", "content": "b"}));
    let seen = "a [[called look({})]] [look returned] seen [[look returned] seen] b";
    talk.sends(json!(messages)).await.assert("continued", seen);
}
