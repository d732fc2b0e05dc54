//! Uploads that fail, and ids that Coze knows no more.

use std::time::Duration;

use cozeway::simulator::{Head, Script, Step, UploadTrouble};
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{chats, inline, text, uploads, user};
use crate::support::gateway::config;
use crate::support::{Between, Coze, Gateway, Mishap, SCRIPTED, Talk};

/// What an unknown `file_id` is answered with.
fn lost() -> Script {
    let data = r#"{"code":103100001,"msg":"code=104000008 message=upload system error : file not found\nstack=/app/x.go:1\n"}"#;
    Script::new(Head::event_stream(), [Step::Send(format!("event:error\ndata:{data}\n\n").into())])
}

#[tokio::test]
async fn a_failed_upload_is_told_before_anything_is_sent() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "upload_timeout = \"300ms\"\n").await;
    let answered = |status: StatusCode, body: &str| UploadTrouble::Answered(status, body.to_owned());
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_eq!(talk.says(&["one"]).await.note(), "new");
    let mut tried = 0;
    for (trouble, expected) in [
        (UploadTrouble::Refused(104_000_004), (400, "coze_104000004")),
        (UploadTrouble::Refused(4301), (400, "coze_4301")),
        (UploadTrouble::Refused(104_000_008), (502, "upstream_error")),
        (UploadTrouble::Refused(700_012_006), (502, "upstream_auth_failed")),
        (UploadTrouble::Refused(4013), (429, "upstream_rate_limited")),
        (UploadTrouble::Refused(4200), (502, "upstream_model_unavailable")),
        (answered(StatusCode::PAYLOAD_TOO_LARGE, "<html>"), (400, "coze_400")),
        (answered(StatusCode::OK, "{\"code\":0,\"data\":{}}"), (502, "upstream_error")),
        (answered(StatusCode::OK, "{\"code\":0,\"data\":{\"id\":\"../x\"}}"), (502, "upstream_error")),
        (answered(StatusCode::BAD_GATEWAY, "{}"), (502, "upstream_error")),
        (UploadTrouble::Waits(CancellationToken::new()), (504, "upstream_timeout")),
        (UploadTrouble::Reset, (502, "upstream_error")),
    ] {
        let before = chats(&coze);
        coze.simulator.trouble_upload(trouble.clone());
        let two = user(&[text("two"), inline("a")]);
        let said =
            talk.sends(json!([user(&[text("one")]), {"role": "assistant", "content": "one"}, two])).await;
        assert_eq!(said.error(), expected, "{trouble:?}: {}", said.body);
        let message = said.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("(image/png, 9 bytes)"), "{message}");
        let param = if expected.0 == 400 { json!("messages[2].content[1]") } else { json!(null) };
        assert_eq!(said.body["error"]["param"], param, "{trouble:?}");
        assert_eq!(chats(&coze), before, "{trouble:?}");
        tried += 1;
        assert!(uploads(&coze) >= tried);
    }
    assert_eq!(gateway.logged_lines("image.png"), 0, "its name is the client's word");
    // What was claimed was put back: nothing has happened to it.
    let said = talk.says(&["one", "one", "two"]).await;
    said.assert("continued", "one [one] two");
}

#[tokio::test]
async fn what_coze_says_of_a_file_is_logged_without_its_name() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let body =
        json!({"code": 5000, "msg": "no room for \"my merger \"plan\".pdf\" (my merger %22plan%22.pdf)"});
    coze.simulator.trouble_upload(UploadTrouble::Answered(StatusCode::OK, body.to_string()));
    let file =
        json!({"type": "file", "file": {"filename": "my merger \"plan\".pdf", "file_data": "JVBERi0xLjc="}});
    let said = Talk::new(&gateway, &coze, "echo").sends(json!([user(&[text("read"), file])])).await;
    assert_eq!(said.error(), (502, "upstream_error"), "{}", said.body);
    let logged = gateway.logged(said.header("x-request-id").unwrap()).await.to_string();
    assert!(logged.contains("no room for"), "{logged}");
    assert!(
        !logged.contains("merger") && !said.body.to_string().contains("merger"),
        "{logged} {}",
        said.body
    );
}

#[tokio::test]
async fn all_files_of_a_request_together_have_their_time() {
    let coze = Coze::start().await;
    let between = Between::start(&coze).await;
    let gateway = Gateway::with_server(&between.coze, "upload_timeout = \"1s\"\n").await;
    let holds: Vec<CancellationToken> = (0..100).map(|_| CancellationToken::new()).collect();
    for hold in &holds {
        between.next("/v1/files/upload", Mishap::Late(hold.clone(), Box::new(Mishap::None)));
    }
    let files: Vec<_> = (0..100).map(|index| inline(&index.to_string())).collect();
    let talk = Talk::new(&gateway, &between.coze, "echo");
    let slow = async {
        // None of them takes its second.
        for hold in &holds {
            tokio::time::sleep(Duration::from_millis(80)).await;
            hold.cancel();
        }
    };
    let began = Instant::now();
    let said = tokio::select! {
        said = talk.sends(json!([user(&files)])) => said,
        () = async { slow.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!(said.error(), (504, "upstream_timeout"), "{}", said.body);
    assert!(said.body["error"]["message"].as_str().unwrap().contains("the files of this request"));
    assert!((5..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(chats(&coze), 0);
}

#[tokio::test]
async fn a_failed_upload_is_an_error_in_a_stream_too() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    coze.simulator.trouble_upload(UploadTrouble::Refused(104_000_004));
    let body = json!({"model": "echo", "stream": true, "messages": [user(&[text("one"), inline("a")])]});
    let response = gateway.post(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("coze_104000004"));
}

#[tokio::test]
async fn an_id_that_coze_knows_no_more_is_had_anew() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = user(&[text("one"), inline("a")]);
    assert_eq!(talk.sends(json!([first])).await.status, 200);
    coze.simulator.forget_files();
    // Of the two only one is known from before.
    let second = user(&[text("two"), inline("a"), inline("b")]);
    let said = talk.sends(json!([first, {"role": "assistant", "content": "one"}, second])).await;
    assert_eq!((said.status, said.note()), (200, "continued"));
    assert!(said.seen().contains("one") && said.seen().contains("two"), "{}", said.seen());
    assert_eq!((uploads(&coze), chats(&coze)), (3, 3));
    let said = talk.sends(json!([user(&[text("three"), inline("a")])])).await;
    assert_eq!((said.status, uploads(&coze), chats(&coze)), (200, 3, 4), "the new id is known");
}

#[tokio::test]
async fn an_id_that_is_refused_again_is_an_error() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let talk = Talk::new(&gateway, &coze, "scripted");
    coze.simulator.script(SCRIPTED, lost());
    let messages = json!([user(&[text("one"), inline("a")])]);
    let said = talk.sends(messages.clone()).await;
    assert_eq!((said.error(), uploads(&coze), chats(&coze)), ((502, "upstream_error"), 1, 1), "it was new");
    let said = talk.sends(messages).await;
    assert_eq!((said.error(), uploads(&coze), chats(&coze)), ((502, "upstream_error"), 2, 3), "once more");
}

#[tokio::test]
async fn a_new_token_has_its_own_uploads() {
    let coze = Coze::start().await;
    let folder =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("upload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("coze");
    std::fs::write(&file, "pat_old\n").unwrap();
    let text_of = config(&coze, "", "")
        .replace("token = \"pat_demo\"", &format!("token_file = {:?}", file.display().to_string()));
    let gateway = Gateway::with(&text_of).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let messages = json!([user(&[text("one"), inline("a")])]);
    let said = talk.sends(messages.clone()).await;
    assert_eq!((said.error(), uploads(&coze), chats(&coze)), ((502, "upstream_auth_failed"), 1, 0));
    std::fs::write(&file, "pat_demo\n").unwrap();
    let said = talk.sends(messages).await;
    assert_eq!((said.status, uploads(&coze), chats(&coze)), (200, 3, 1), "{said:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_unsent() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_body = \"10KB\"\n").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let said = talk.sends(json!([user(&[inline(&"x".repeat(10_000))])])).await;
    assert_eq!(said.error(), (413, "request_too_large"));
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,iVBORw0KGgo="}});
    let said = talk.sends(json!([user(&[text("x")]), user(&[text("look"), url])])).await;
    assert_eq!(said.error(), (400, "unsupported_content"));
    assert_eq!(said.body["error"]["param"], "messages[1].content[1]");
    assert!(said.body["error"]["message"].as_str().unwrap().contains("image/png"), "{}", said.body);
    let id = json!({"type": "file", "file": {"file_id": "file-abc"}});
    let said = talk.sends(json!([user(&[text("look"), id])])).await;
    assert_eq!(said.error(), (400, "unsupported_content"));
    assert_eq!((uploads(&coze), chats(&coze)), (0, 0));
}

#[tokio::test]
async fn a_file_that_is_refused_before_its_end_is_told_as_too_large() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_body = \"60MB\"\n").await;
    // The simulated server reads 32 MiB at most.
    let said =
        Talk::new(&gateway, &coze, "echo").sends(json!([user(&[inline(&"x".repeat(40_000_000))])])).await;
    assert_eq!(said.error(), (400, "coze_400"), "{}", said.body);
    assert!(said.body["error"]["message"].as_str().unwrap().contains("of this size"), "{}", said.body);
    gateway.assert_well().await;
}
