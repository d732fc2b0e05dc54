//! What a run takes of memory while it is answered.

use cozeway::simulator::{Script, Step};
use serde_json::json;

use crate::support::gateway::config;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, SCRIPTED, eventually};

/// The memory that it has now, in KiB.
fn kib(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_was_sent_is_let_go_of_once_the_answer_begins() {
    const SIZE: usize = 9_000_000;
    const RUNS: usize = 4;
    let coze = Coze::start().await;
    let model = format!("[models.flow]\nworkflow_id = '{SCRIPTED}'\ninput = 'q'\n");
    let gateway = Gateway::with_plain_memory(&config(&coze, "", &model)).await;
    gateway.assert_well().await;
    let idle = kib(&gateway);
    let piece = "id: 0\nevent: Message\ndata: {\"content\":\"hm\",\"node_id\":\"1\",\"node_type\":\"Message\",\
                 \"node_is_finish\":false}\n\n";
    let mut streams = Vec::new();
    for _ in 0..RUNS {
        let steps = [Step::Send(piece.into()), Step::Hang];
        coze.simulator.script(SCRIPTED, Script::stream(steps));
        let text = "x".repeat(SIZE);
        let mut stream = Stream::new(gateway.ask("flow", &text, json!({"stream": true})).await);
        assert_eq!(stream.content().await, "hm");
        streams.push(stream);
    }
    eventually("what was sent is let go of", || kib(&gateway).saturating_sub(idle) < SIZE / 1024).await;
    drop(streams);
}
