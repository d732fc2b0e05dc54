//! What a large image takes of memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{MAGIC, user};
use crate::support::{Coze, Gateway};

/// The most memory that it has ever had, in KiB.
fn most_kib(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_large_image_is_held_twice_at_most() {
    const SIZE: usize = 20_000_000;
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "max_body = \"30MB\"\n").await;
    gateway.assert_well().await;
    let idle = most_kib(&gateway);
    let mut image = MAGIC.to_vec();
    image.extend((0..SIZE - MAGIC.len()).map(|at| (at * at % 256) as u8));
    let url = format!("data:image/png;base64,{}", STANDARD.encode(&image));
    let body = json!({"model": "echo", "messages": [user(&[
        json!({"type": "text", "text": "look"}), json!({"type": "image_url", "image_url": {"url": url}})])]});
    let body = body.to_string();
    // As some clients write it.
    let escaped = body.replace('/', "\\/");
    for body in [body, escaped] {
        let response = gateway.post(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let [upload] = &coze.simulator.uploads()[..] else { panic!("it is one") };
    assert_eq!(upload.content, image);
    let above = most_kib(&gateway) - idle;
    assert!(above < 64 * 1024, "{above} KiB above idle");
}
