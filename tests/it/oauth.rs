//! Tokens of an OAuth app: got, kept, made anew, and what goes wrong.

use std::time::Duration;

use cozeway::simulator::Trouble;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::cloud::{self, KEY_ID, exchanges, new_key, write_key};
use crate::support::{Between, Coze, Gateway, Mishap, Talk, eventually};

const TOKEN: &str = "/api/permission/oauth2/token";

/// A cloud, and a gateway with its app's key.
async fn start() -> (Coze, Gateway) {
    let (pem, public) = new_key();
    let coze = Coze::start().await;
    coze.simulator.become_cloud(cloud::cloud(public));
    let gateway = cloud::gateway(&coze, &pem, "").await;
    (coze, gateway)
}

/// Status, code and message of an error.
async fn refused(gateway: &Gateway) -> (u16, String, String) {
    let response = gateway.ask("echo", "hi", json!({})).await;
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn a_token_is_got_once_and_kept() {
    let (coze, gateway) = start().await;
    let answers = futures_util::future::join_all((0..20).map(|_| gateway.answer("echo", "hi"))).await;
    assert_eq!(answers.len(), 20);
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 1);
    let requests = coze.simulator.requests();
    let asked = requests.iter().find(|request| request.path == TOKEN).unwrap();
    assert_eq!(asked.body["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(asked.body["duration_seconds"], 3600);
    let token = &coze.simulator.good_tokens()[0];
    let chat = requests.iter().find(|request| request.path == "/v3/chat").unwrap();
    assert_eq!(chat.headers["authorization"], format!("Bearer {token}").as_str());
    let log = gateway.log().join("\n");
    assert!(!log.contains(token.as_str()) && !log.contains("eyJ"));
}

#[tokio::test]
async fn a_token_is_made_anew_ahead_of_its_end_and_nobody_waits() {
    let (pem, public) = new_key();
    let coze = Coze::start().await;
    let lifetime = Duration::from_secs(3);
    coze.simulator.become_cloud(cloud::Cloud { lifetime, ..cloud::cloud(public) });
    let gateway = cloud::gateway(&coze, &pem, "").await;
    // Each answer is a success, whatever token it was asked with.
    while exchanges(&coze) < 3 {
        gateway.assert_well().await;
    }
    let refusals = gateway.logged_lines("upstream_auth_failed");
    assert_eq!(refusals, 0);
}

#[tokio::test]
async fn a_token_that_is_refused_is_made_anew_once() {
    let (coze, gateway) = start().await;
    gateway.assert_well().await;
    coze.simulator.revoke_tokens();
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 2);
    // Again, before long: it is not the token, then.
    coze.simulator.revoke_tokens();
    let (status, code, _) = refused(&gateway).await;
    assert_eq!((status, code.as_str()), (502, "upstream_auth_failed"));
    assert_eq!(exchanges(&coze), 2);
}

#[tokio::test]
async fn a_bot_that_is_not_the_apps_costs_no_token() {
    let (coze, gateway) = start().await;
    gateway.assert_well().await;
    for code in [4101, 103_000_001, 110_000_001] {
        coze.simulator.trouble("hi", Trouble::Refused(code));
        let (status, code, _) = refused(&gateway).await;
        assert_eq!((status, code.as_str()), (502, "upstream_auth_failed"));
    }
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 1);
}

#[tokio::test]
async fn who_is_refused_takes_the_token_from_nobody_else() {
    let (coze, gateway) = start().await;
    gateway.assert_well().await;
    let hold = CancellationToken::new();
    coze.simulator.hold_tokens(hold.clone());
    coze.simulator.trouble("hi", Trouble::Refused(4100));
    let (answer, ()) = tokio::join!(gateway.answer("echo", "hi"), async {
        eventually("a token is asked for", || exchanges(&coze) == 2).await;
        tokio::time::timeout(Duration::from_secs(5), gateway.assert_well()).await.expect("nobody waits");
        hold.cancel();
    });
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    assert_eq!(exchanges(&coze), 2);
}

#[tokio::test]
async fn a_refusal_while_coze_gives_no_token_is_one_requests_alone() {
    let (pem, public) = new_key();
    let coze = Coze::start().await;
    coze.simulator.become_cloud(cloud::cloud(public));
    let between = Between::start(&coze).await;
    let gateway = cloud::gateway(&between.coze, &pem, "").await;
    gateway.assert_well().await;
    between.next(TOKEN, Mishap::Answer(502, "text/html", "<html>".to_owned()));
    coze.simulator.trouble("hi", Trouble::Refused(4100));
    let (status, code, _) = refused(&gateway).await;
    assert_eq!((status, code.as_str()), (502, "upstream_error"));
    assert!(between.is_done());
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 1);
    // A refused token is made anew once Coze gives some again.
    coze.simulator.revoke_tokens();
    loop {
        if gateway.ask("echo", "hi", json!({})).await.status() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(exchanges(&coze), 2);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_stream_ends_nothing() {
    let (coze, gateway) = start().await;
    let hold = CancellationToken::new();
    coze.simulator.trouble("hi", Trouble::Waits(hold.clone(), false));
    let body = json!({"model": "storyteller", "messages": [{"role": "user", "content": "hi"}]});
    let asking = gateway.post(body.to_string()).send();
    let (response, ()) = tokio::join!(asking, async {
        eventually("the chat runs", || coze.simulator.running() == 1).await;
        coze.simulator.revoke_tokens();
        hold.cancel();
    });
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert!(body["usage"]["total_tokens"].is_number(), "{body}");
    assert_eq!(exchanges(&coze), 1);
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 2);
}

#[tokio::test]
async fn a_wrong_key_is_named_and_a_changed_one_is_read() {
    let (coze, gateway) = start().await;
    let (other, public) = new_key();
    // Coze has another public key under this name by now.
    coze.simulator.become_cloud(cloud::cloud(public));
    let (status, code, message) = refused(&gateway).await;
    assert_eq!((status, code.as_str()), (502, "upstream_auth_failed"));
    assert!(message.contains("the signature is wrong") && message.contains("key_id"), "{message}");
    assert!(!message.contains(KEY_ID) && !message.contains("clock"), "{message}");
    write_key(&gateway.folder, &other);
    loop {
        // The last failure is told for a second.
        let response = gateway.ask("echo", "hi", json!({})).await;
        if response.status() == 200 {
            break;
        }
        assert_eq!(response.status(), 502);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_said_to_be() {
    for (clock, says) in [(7200, "behind Coze's"), (-7200, "ahead of Coze's")] {
        let (pem, public) = new_key();
        let coze = Coze::start().await;
        coze.simulator.become_cloud(cloud::Cloud { clock, ..cloud::cloud(public) });
        let gateway = cloud::gateway(&coze, &pem, "").await;
        let (status, code, message) = refused(&gateway).await;
        assert_eq!((status, code.as_str()), (502, "upstream_auth_failed"));
        assert!(message.contains("expired, or not valid yet") && message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn while_coze_gives_no_token_it_is_told_and_not_flooded() {
    let (pem, public) = new_key();
    let coze = Coze::start().await;
    coze.simulator.become_cloud(cloud::cloud(public));
    let between = Between::start(&coze).await;
    between.next(TOKEN, Mishap::Answer(502, "text/html", "<html>".to_owned()));
    let gateway = cloud::gateway(&between.coze, &pem, "").await;
    let answers = futures_util::future::join_all((0..20).map(|_| refused(&gateway))).await;
    for (status, code, _) in answers {
        assert_eq!((status, code.as_str()), (502, "upstream_error"));
    }
    assert!(between.is_done());
    assert_eq!(exchanges(&coze), 0);
    loop {
        if gateway.ask("echo", "hi", json!({})).await.status() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(exchanges(&coze), 1);
}

#[tokio::test]
async fn nobody_is_served_another_way_while_coze_is_slow_to_give_a_token() {
    let (coze, gateway) = start().await;
    let hold = CancellationToken::new();
    coze.simulator.hold_tokens(hold.clone());
    let asking = futures_util::future::join_all((0..10).map(|_| gateway.answer("echo", "hi")));
    let (answers, ()) = tokio::join!(asking, async {
        eventually("a token is asked for", || exchanges(&coze) == 1).await;
        hold.cancel();
    });
    assert_eq!(answers.len(), 10);
    assert_eq!(exchanges(&coze), 1);
}

#[tokio::test]
async fn who_gives_up_waiting_for_a_token_leaves_it_to_the_next() {
    let (coze, gateway) = start().await;
    let hold = CancellationToken::new();
    coze.simulator.hold_tokens(hold.clone());
    {
        let asking = gateway.ask("echo", "hi", json!({}));
        tokio::pin!(asking);
        tokio::select! {
            _ = &mut asking => panic!("there is no token"),
            () = eventually("a token is asked for", || exchanges(&coze) == 1) => {}
        }
    }
    hold.cancel();
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 1);
}

#[tokio::test]
async fn a_reload_keeps_the_token() {
    let (coze, gateway) = start().await;
    gateway.assert_well().await;
    gateway.reload(&cloud::config(&coze, "keepalive = \"14s\"")).await;
    gateway.assert_well().await;
    assert_eq!(exchanges(&coze), 1);
}

#[tokio::test]
async fn a_cloud_without_the_app_or_a_server_without_oauth_says_so() {
    let (pem, _) = new_key();
    let coze = Coze::start().await;
    let gateway = cloud::gateway(&coze, &pem, "").await;
    let (status, code, _) = refused(&gateway).await;
    assert_eq!((status, code.as_str()), (502, "upstream_unsupported"));
}

#[tokio::test]
async fn a_file_is_uploaded_once_whatever_token_it_was_uploaded_with() {
    use crate::uploads::{inline, text, uploads, user};
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let look = |question: &str| json!([user(&[text(question), inline("a")])]);
    assert_eq!(talk.sends(look("one")).await.status, 200);
    // Another token is needed for the chat, and then not even for the upload.
    coze.simulator.revoke_tokens();
    let second = talk.sends(look("two")).await;
    assert_eq!(second.status, 200, "{}", second.body);
    assert_eq!((uploads(&coze), exchanges(&coze)), (1, 2));
}

#[tokio::test]
async fn a_token_that_is_refused_at_an_upload_is_made_anew() {
    use crate::uploads::{inline, text, uploads, user};
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    gateway.assert_well().await;
    coze.simulator.revoke_tokens();
    let said = talk.sends(json!([user(&[text("look"), inline("b")])])).await;
    assert_eq!(said.status, 200, "{}", said.body);
    assert_eq!((uploads(&coze), exchanges(&coze)), (2, 2));
}

#[tokio::test]
async fn a_busy_conversation_is_waited_for_with_files_too() {
    use crate::uploads::{inline, text, uploads, user};
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    for _ in 0..2 {
        coze.simulator.trouble("look", Trouble::Refused(4016));
    }
    let said = talk.sends(json!([user(&[text("look"), inline("c")])])).await;
    assert_eq!(said.status, 200, "{}", said.body);
    assert_eq!((uploads(&coze), said.text()), (1, "look"));
}
