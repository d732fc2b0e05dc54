//! A simulated Coze that is a cloud, and an OAuth app of it.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub(crate) use cozeway::simulator::cloud::Cloud;
use cozeway::simulator::cloud::{App, Space};
use cozeway::simulator::demo_bots;

use super::{Coze, Gateway, KEY};

/// The id of the app.
pub(crate) const APP: &str = "1180000000000001";

/// What its public key is called.
pub(crate) const KEY_ID: &str = "finger-print-of-the-key";

/// A private key as a PEM text.
pub(crate) struct Pem(pub(crate) String);

/// A new key, and its public half.
pub(crate) fn new_key() -> (Pem, Vec<u8>) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    (Pem(pem), pair.public_key().as_ref().to_vec())
}

/// A cloud with one app of this key, and one workspace with every bot.
pub(crate) fn cloud(public_key: Vec<u8>) -> Cloud {
    let app = App { id: APP.to_owned(), key_id: KEY_ID.to_owned(), public_key };
    let bots = demo_bots().iter().map(|bot| bot.bot_id.to_owned()).collect();
    let space = Space { id: "7530512345678950001".to_owned(), name: "Demo".to_owned(), bots };
    Cloud {
        audience: "127.0.0.1".to_owned(),
        apps: vec![app],
        spaces: vec![space],
        lifetime: Duration::from_secs(900),
        clock: 0,
        page: 50,
    }
}

/// The deployment of a cloud that takes its tokens from the app.
pub(crate) fn oauth(coze: &Coze) -> String {
    format!(
        "[coze.cloud]\nbase_url = \"http://127.0.0.1:{}\"\nkind = \"cloud\"\n\
         [coze.cloud.oauth]\napp_id = \"{APP}\"\nkey_id = \"{KEY_ID}\"\nprivate_key_file = \"app.pem\"\n",
        coze.port
    )
}

/// A config of such a deployment.
pub(crate) fn config(coze: &Coze, server: &str) -> String {
    let mut text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{server}\n{}", oauth(coze));
    for bot in demo_bots() {
        text += &format!("[models.{}]\nbot_id = \"{}\"\n", bot.name, bot.bot_id);
    }
    text + &format!("[keys.test]\nkey = \"{KEY}\"\n")
}

/// Puts a key file where only its owner can read it.
pub(crate) fn write_key(folder: &Path, pem: &Pem) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("app.pem");
    std::fs::write(&path, &pem.0).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A gateway of a cloud.
pub(crate) async fn gateway(coze: &Coze, pem: &Pem, server: &str) -> Gateway {
    let text = config(coze, server);
    Gateway::in_folder(|folder| {
        std::fs::write(folder.join("cozeway.toml"), text).unwrap();
        write_key(folder, pem);
    })
    .await
}

/// How often a token was asked for.
pub(crate) fn exchanges(coze: &Coze) -> usize {
    let requests = coze.simulator.requests();
    requests.iter().filter(|request| request.path == "/api/permission/oauth2/token").count()
}

/// A step that sends this.
pub(crate) fn send(text: &str) -> cozeway::simulator::Step {
    cozeway::simulator::Step::Send(text.to_owned().into())
}
