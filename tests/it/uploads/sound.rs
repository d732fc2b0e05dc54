//! Bots of the cloud that are spoken to, and speak.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cozeway::simulator::Script;
use serde_json::{Value, json};

use super::{sent, text, uploads, user};
use crate::shared::golden;
use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, SCRIPTED, Talk};

const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt ";

/// What the transcript says aloud.
const SAID: &str = "KgAxAC8ALgAvAC0A";

fn sound() -> Value {
    json!({"type": "input_audio", "input_audio": {"data": STANDARD.encode(WAV), "format": "wav"}})
}

/// A bot of the cloud that says aloud what the transcript does.
async fn cloud() -> (Coze, Gateway) {
    let coze = Coze::start().await;
    coze.simulator.script(SCRIPTED, Script::transcript(golden::transcript("chat_audio.cloud.sse")));
    let gateway =
        Gateway::with(&config(&coze, "", "").replace("[coze.local]\n", "[coze.local]\nkind = \"cloud\"\n"))
            .await;
    (coze, gateway)
}

async fn refusal(gateway: &Gateway, more: Value) -> Value {
    let response = gateway.ask("scripted", "hi", more).await;
    assert_eq!(response.status(), 400);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn sound_is_uploaded_and_answered_aloud() {
    let (coze, gateway) = cloud().await;
    let talk = Talk::new(&gateway, &coze, "scripted")
        .field("modalities", json!(["text", "audio"]))
        .field("audio", json!({"voice": "alloy", "format": "pcm16"}));
    let messages = json!([user(&[text("listen"), sound()])]);
    let said = talk.sends(messages.clone()).await;
    assert_eq!(said.status, 200, "{said:?}");
    let file = &coze.simulator.uploads()[0];
    assert_eq!(
        (file.name.as_str(), file.content_type.as_str(), &file.content[..]),
        ("audio.wav", "audio/wav", WAV)
    );
    assert_eq!(
        sent(&coze),
        [json!([{"type": "text", "text": "listen"}, {"type": "audio", "file_id": file.id}])]
    );
    assert_eq!(said.header("x-cozeway-ignored"), Some("audio.voice"));
    let message = &said.body["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["audio"]["transcript"]),
        (&json!("delta text"), &json!("delta text"))
    );
    assert_eq!(message["audio"]["data"], SAID);
    assert_eq!(message["audio"]["expires_at"], said.body["created"]);

    let body = json!({"model": "scripted", "messages": messages, "stream": true, "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "pcm16"}});
    let stream = Streamed::of(gateway.post(body.to_string()).send().await.unwrap()).await;
    let audio: Vec<Value> = stream
        .chunks()
        .map(|chunk| chunk["choices"][0]["delta"]["audio"].clone())
        .filter(|audio| !audio.is_null())
        .collect();
    let [first, last] = &audio[..] else { panic!("{audio:?}") };
    assert!(first["id"].as_str().unwrap().starts_with("audio_"));
    assert_eq!(first["data"], SAID);
    assert_eq!(last["transcript"], "delta text");
    assert!(last["expires_at"].is_number() && last.get("id").is_none());
    assert_eq!(uploads(&coze), 1);
}

#[tokio::test]
async fn who_does_not_want_to_hear_it_is_told_in_words_alone() {
    let (coze, gateway) = cloud().await;
    let messages = json!([user(&[text("listen"), sound()])]);
    let said = Talk::new(&gateway, &coze, "scripted").sends(messages).await;
    assert_eq!(said.text(), "delta text");
    assert!(said.body["choices"][0]["message"].get("audio").is_none());
    let stream = gateway.ask("scripted", "hi", json!({"stream": true})).await.text().await.unwrap();
    assert!(!stream.contains("audio") && stream.contains("data: [DONE]"), "{stream}");
}

#[tokio::test]
async fn what_no_bot_can_say_is_refused() {
    let (coze, gateway) = cloud().await;
    let aloud = json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "mp3"}});
    let error = refusal(&gateway, aloud).await;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["param"]),
        (&json!("unsupported_parameter"), &json!("audio.format"))
    );
    let studio = Gateway::start(&coze).await;
    let error = refusal(&studio, json!({"modalities": ["audio"]})).await;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["param"]),
        (&json!("unsupported_parameter"), &json!("modalities"))
    );
    assert_eq!(super::chats(&coze), 0);
}
