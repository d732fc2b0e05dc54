//! `cozeway chat`, as somebody at a terminal uses it.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{Coze, Gateway, KEY};

async fn chat(gateway: &Gateway, arguments: &[&str], typed: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .arg("chat")
        .args(arguments)
        .args(["--url", &gateway.url("/v1/")])
        .env("COZEWAY_KEY", KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(typed.as_bytes()).await.unwrap();
    drop(input);
    child.wait_with_output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn one_question_one_answer() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let output = chat(&gateway, &["echo", "hello 你好"], "").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "hello 你好\n"));
}

#[tokio::test]
async fn a_conversation_remembers_what_was_said() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let output = chat(&gateway, &["context"], "one\n\ntwo\n").await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "user: one\nuser: one\nassistant: user: one\nuser: two\n");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_told_and_is_exit_code_1() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let output = chat(&gateway, &["broken", "hi"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stdout).trim().is_empty(), "the words so far are shown");
    assert!(text(&output.stderr).contains("Coze failed while it answered"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_failed_turn_of_a_conversation_can_be_tried_again() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let output = chat(&gateway, &["broken"], "one\ntwo\n").await;
    assert_eq!(output.status.code(), Some(0));
    let asked = coze.simulator.requests();
    let last = asked.iter().rfind(|request| request.path == "/v3/chat").unwrap();
    assert_eq!(
        last.body["additional_messages"].as_array().unwrap().len(),
        1,
        "the failed turn is not sent again"
    );
}

#[tokio::test]
async fn a_wrong_model_or_an_unreachable_gateway_is_exit_code_1() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let output = chat(&gateway, &["nothing", "hi"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("`nothing` does not exist"), "{}", text(&output.stderr));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cozeway"))
        .args(["chat", "echo", "hi", "--url", &format!("http://{closed}")])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot reach"), "{}", text(&output.stderr));
}
