//! Images and files: by URL as they are, by their bytes uploaded once.

mod faults;
mod memory;
mod sound;
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cozeway::simulator::UploadTrouble;
use cozeway::simulator::flows::{APP, GUIDE, POEM};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::gateway::config;
use crate::support::{Coze, Gateway, Talk, eventually};

const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A picture that is another one for each name.
pub(crate) fn picture(name: &str) -> Vec<u8> {
    [MAGIC, name.as_bytes()].concat()
}

/// A part of a message with such a picture in it.
pub(crate) fn inline(name: &str) -> Value {
    let url = format!("data:image/png;base64,{}", STANDARD.encode(picture(name)));
    json!({"type": "image_url", "image_url": {"url": url}})
}

pub(crate) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A user's message of these parts.
pub(crate) fn user(parts: &[Value]) -> Value {
    json!({"role": "user", "content": parts})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// How many uploads were tried.
pub(crate) fn uploads(coze: &Coze) -> usize {
    coze.simulator.requests().iter().filter(|request| request.path == "/v1/files/upload").count()
}

/// How many chats were tried.
pub(crate) fn chats(coze: &Coze) -> usize {
    coze.simulator.requests().iter().filter(|request| request.path.starts_with("/v3/chat")).count()
}

/// The parts of the messages that were sent last; a text is one string.
fn sent(coze: &Coze) -> Vec<Value> {
    let requests = coze.simulator.requests();
    let mut bodies = requests.iter().rev().map(|request| &request.body);
    let messages = bodies.find_map(|body| body["additional_messages"].as_array()).expect("a chat").iter();
    messages
        .map(|message| match message["content_type"].as_str().unwrap() {
            "object_string" => serde_json::from_str(message["content"].as_str().unwrap()).unwrap(),
            _ => message["content"].clone(),
        })
        .collect()
}

async fn usual() -> (Coze, Gateway) {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    (coze, gateway)
}

#[tokio::test]
async fn bytes_are_uploaded_and_urls_go_as_they_are() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let pdf = json!({"type": "file", "file": {
        "filename": "../报告.pdf", "file_data": format!("data:application/pdf;base64,{}", STANDARD.encode("%PDF-1.7"))}});
    let bare = json!({"type": "file", "file": {"file_data": STANDARD.encode("some words")}});
    let by_url = json!({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}});
    let file = json!({"type": "file", "file": {"file_url": "https://example.com/a.pdf"}});
    let said = talk
        .sends(json!([user(&[text("compare"), inline("a"), by_url, inline("b"), pdf, bare, file])]))
        .await;
    assert_eq!(said.status, 200, "{said:?}");
    let files = coze.simulator.uploads();
    let find = |content: &[u8]| files.iter().find(|file| file.content == content).expect("it was uploaded");
    let (a, b, pdf, bare) =
        (find(&picture("a")), find(&picture("b")), find(b"%PDF-1.7"), find(b"some words"));
    assert_eq!((a.name.as_str(), a.content_type.as_str()), ("image.png", "image/png"));
    assert_eq!((pdf.name.as_str(), pdf.content_type.as_str()), ("报告.pdf", "application/pdf"));
    assert_eq!((bare.name.as_str(), bare.content_type.as_str()), ("file.txt", "text/plain"));
    assert_eq!(
        sent(&coze),
        [json!([
            {"type": "text", "text": "compare"},
            {"type": "image", "file_id": a.id},
            {"type": "image", "file_url": "https://example.com/cat.png"},
            {"type": "image", "file_id": b.id},
            {"type": "file", "file_id": pdf.id},
            {"type": "file", "file_id": bare.id},
            {"type": "file", "file_url": "https://example.com/a.pdf"},
        ])]
    );
    assert_eq!(uploads(&coze), 4);
}

#[tokio::test]
async fn an_image_needs_no_text() {
    let (coze, gateway) = usual().await;
    let body = json!({"model": "context", "stream": true, "messages": [user(&[inline("a")])]});
    let streamed = gateway.post(body.to_string()).send().await.unwrap().text().await.unwrap();
    assert!(streamed.contains("data: [DONE]"), "{streamed}");
    let said = Talk::new(&gateway, &coze, "echo").sends(json!([user(&[inline("a")])])).await;
    said.assert("new", &format!(" {}", coze.simulator.uploads()[0].url));
    assert_eq!(uploads(&coze), 1, "one for both");
}

#[tokio::test]
async fn the_same_bytes_are_uploaded_once() {
    let (coze, mut gateway) = usual().await;
    for (text_of, parts) in [("one", 1), ("two", 3)] {
        let parts: Vec<Value> = [text(text_of)].into_iter().chain((0..parts).map(|_| inline("a"))).collect();
        let said = Talk::new(&gateway, &coze, "echo").sends(json!([user(&parts)])).await;
        assert_eq!(said.status, 200, "{said:?}");
    }
    assert_eq!(uploads(&coze), 1);
    gateway.restart("-KILL").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_eq!(talk.sends(json!([user(&[text("three"), inline("a")])])).await.status, 200);
    assert_eq!(uploads(&coze), 1, "a restart does not matter");
    let several = talk.field("n", 3).sends(json!([user(&[text("four"), inline("b")])])).await;
    assert_eq!(several.status, 200, "{several:?}");
    assert_eq!(uploads(&coze), 2, "nor how many answers are wanted");
}

#[tokio::test]
async fn the_same_bytes_at_the_same_time_are_uploaded_once() {
    let (coze, gateway) = usual().await;
    let until = CancellationToken::new();
    coze.simulator.trouble_upload(UploadTrouble::Waits(until.clone()));
    let talk = Talk::new(&gateway, &coze, "echo");
    let ask = async |name: &str| talk.sends(json!([user(&[text(name), inline("a")])])).await.status;
    let let_go = async {
        eventually("one is uploaded", || uploads(&coze) == 1).await;
        // Both are there, and one more that gives up.
        let gone = talk.sends(json!([user(&[text("gone"), inline("a")])]));
        let left = tokio::time::timeout(std::time::Duration::from_millis(200), gone).await;
        assert!(left.is_err());
        assert_eq!((uploads(&coze), chats(&coze)), (1, 0));
        until.cancel();
    };
    let (one, two, ()) = tokio::join!(ask("one"), ask("two"), let_go);
    assert_eq!((one, two, uploads(&coze)), (200, 200, 1));
}

#[tokio::test]
async fn who_leaves_does_not_take_the_upload_of_others_along() {
    let (coze, gateway) = usual().await;
    let until = CancellationToken::new();
    coze.simulator.trouble_upload(UploadTrouble::Waits(until.clone()));
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.sends(json!([user(&[text("first"), inline("a")])]));
    let second = async {
        eventually("one is uploaded", || uploads(&coze) == 1).await;
        talk.sends(json!([user(&[text("second"), inline("a")])])).await
    };
    let leaving = tokio::time::timeout(std::time::Duration::from_millis(500), first);
    let (left, second) = tokio::join!(leaving, second);
    assert!(left.is_err());
    second.assert("new", &format!("second {}", coze.simulator.uploads()[0].url));
    assert_eq!(uploads(&coze), 2, "the first was broken off");
    until.cancel();
}

#[tokio::test]
async fn a_conversation_goes_on_with_the_new_images_alone() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = user(&[text("one"), inline("a")]);
    assert_eq!(talk.sends(json!([first])).await.note(), "new");
    let second = user(&[text("two"), inline("b")]);
    let said = talk.sends(json!([first, assistant("one"), second])).await;
    let [a, b] = &coze.simulator.uploads()[..] else { panic!() };
    said.assert("continued", &format!("one {} [one] two {}", a.url, b.url));
    assert_eq!(sent(&coze), [json!([{"type": "text", "text": "two"}, {"type": "image", "file_id": b.id}])]);
    assert_eq!(uploads(&coze), 2);

    // Another picture in the same place is another chat, and is replayed.
    let other = user(&[text("one"), inline("c")]);
    let said = talk.sends(json!([other, assistant("one"), user(&[text("three")])])).await;
    let c = &coze.simulator.uploads()[2];
    said.assert("replayed; reason=unknown", &format!("one {} [one] three", c.url));
    assert_eq!(uploads(&coze), 3);
}

#[tokio::test]
async fn a_replayed_transcript_has_its_images() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = user(&[text("one"), inline("a")]);
    let said = talk.sends(json!([first])).await;
    coze.simulator.forget(said.place());
    let said = talk.sends(json!([first, assistant("one"), user(&[text("two"), inline("b")])])).await;
    let [a, b] = &coze.simulator.uploads()[..] else { panic!() };
    said.assert("replayed; reason=forgotten", &format!("one {} [one] two {}", a.url, b.url));
    let roles: Vec<Value> = coze.simulator.requests().pop().unwrap().body["additional_messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].clone())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(uploads(&coze), 2);
}

#[tokio::test]
async fn what_was_uploaded_is_rebuilt_by_its_id() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo").named("album");
    assert_eq!(talk.sends(json!([user(&[text("one"), inline("a")])])).await.note(), "new");
    coze.simulator.trouble("two", cozeway::simulator::Trouble::Fails);
    assert_eq!(talk.sends(json!([user(&[text("two")])])).await.status, 502);
    let said = talk.sends(json!([user(&[text("three"), inline("b")])])).await;
    let [a, b] = &coze.simulator.uploads()[..] else { panic!() };
    said.assert("rebuilt; reason=failed", &format!("one {} [one] three {}", a.url, b.url));
    assert_eq!(uploads(&coze), 2);
}

#[tokio::test]
async fn what_is_left_out_is_not_uploaded() {
    let (coze, gateway) = usual().await;
    let long = "x".repeat(50_000);
    let messages = json!([
        user(&[text(&long), inline("old")]),
        assistant("hm"),
        user(&[text(&"y".repeat(20_000)), inline("new")]),
    ]);
    let said = Talk::new(&gateway, &coze, "echo").sends(messages).await;
    assert_eq!((said.status, said.header("x-cozeway-trimmed")), (200, Some("1")));
    let files = coze.simulator.uploads();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].content, picture("new"));
}

#[tokio::test]
async fn a_chatflow_takes_images_by_their_bytes_alone() {
    let coze = Coze::start().await;
    let more = format!(
        "[models.guide]\nchatflow_id = '{GUIDE}'\napp_id = '{APP}'\n\
         [models.poem]\nworkflow_id = '{POEM}'\ninput = 'topic'\n"
    );
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    let talk = Talk::new(&gateway, &coze, "guide");
    let said = talk.sends(json!([user(&[text("look"), inline("a")])])).await;
    assert_eq!(said.status, 200, "{said:?}");
    let id = coze.simulator.uploads()[0].id.clone();
    assert_eq!(sent(&coze), [json!([{"type": "text", "text": "look"}, {"type": "image", "file_id": id}])]);

    let by_url = json!({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}});
    let said = talk
        .sends(json!([
            user(&[text("look"), inline("b")]),
            user(&[text("  ")]),
            user(&[text("again"), by_url])
        ]))
        .await;
    assert_eq!(said.error(), (400, "unsupported_content"));
    assert_eq!(said.body["error"]["param"], "messages[2].content[1]");
    let said = Talk::new(&gateway, &coze, "poem").sends(json!([user(&[inline("b")])])).await;
    assert_eq!(said.error(), (400, "unsupported_content"));
    assert_eq!(said.body["error"]["param"], "messages[0].content[0]");
    assert_eq!(uploads(&coze), 1, "nothing more");
}

#[tokio::test]
async fn sound_is_not_for_the_community_server() {
    let (coze, gateway) = usual().await;
    let wav = STANDARD.encode(b"RIFF\x24\0\0\0WAVEfmt ");
    let sound = json!({"type": "input_audio", "input_audio": {"data": wav, "format": "wav"}});
    let said = Talk::new(&gateway, &coze, "echo").sends(json!([user(&[text("listen"), sound])])).await;
    assert_eq!(said.error(), (400, "unsupported_content"));
    assert_eq!(said.body["error"]["param"], "messages[0].content[1]");
    assert_eq!((uploads(&coze), chats(&coze)), (0, 0));
}

#[tokio::test]
async fn each_token_has_uploads_of_its_own() {
    let coze = Coze::with(cozeway::simulator::Options {
        tokens: vec!["pat_demo".to_owned(), "pat_other".to_owned()],
        ..cozeway::simulator::Options::instant()
    })
    .await;
    let bot = cozeway::simulator::bots::ECHO;
    let more = format!("[models.mine]\nbot_id = \"{bot}\"\ntoken = \"pat_other\"\n");
    let gateway = Gateway::with(&config(&coze, "", &more)).await;
    let messages = json!([user(&[text("look"), inline("a")])]);
    for (model, expected) in [("echo", 1), ("mine", 2), ("echo", 2), ("mine", 2)] {
        let said = Talk::new(&gateway, &coze, model).sends(messages.clone()).await;
        assert_eq!((said.status, uploads(&coze)), (200, expected), "{said:?}");
    }
}
