//! What only the clouds have: OAuth apps, workspaces, lists of bots (protocol
//! 2, 9).
//!
//! A simulated server becomes a cloud when a test says so. Its tokens are
//! given for signed JWTs, end, and can be taken back; its clock can be wrong.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bots::Standing;
use super::server::{Query, json_response};
use super::wire::Id;
use super::{Simulator, lock, now};

/// How many tokens and JWTs are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// How many seconds of the future a JWT may be of.
const TOLERANCE: u64 = 60;

/// What makes a cloud of a simulated server.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The host name that a JWT has to be for.
    pub audience: String,
    /// Its OAuth apps.
    pub apps: Vec<App>,
    /// Its workspaces.
    pub spaces: Vec<Space>,
    /// How long its tokens are good, at most.
    pub lifetime: Duration,
    /// How many seconds its clock is ahead of this machine's.
    pub clock: i64,
    /// The most entries of a page, whatever is asked for.
    pub page: usize,
}

/// An OAuth app.
#[derive(Clone, Debug)]
pub struct App {
    /// Its id.
    pub id: String,
    /// What its public key is called.
    pub key_id: String,
    /// That key, as DER.
    pub public_key: Vec<u8>,
}

/// A workspace.
#[derive(Clone, Debug)]
pub struct Space {
    /// Its id: decimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The ids of its bots.
    pub bots: Vec<String>,
}

/// A cloud with what it has given out.
#[derive(Debug)]
pub(super) struct State {
    cloud: Cloud,
    /// Tokens with their ends.
    tokens: Vec<(String, Instant)>,
    /// The `jti` of each JWT that was taken.
    used: HashSet<String>,
    /// Until when nobody is given a token.
    hold: Option<CancellationToken>,
}

impl Simulator {
    /// Makes a cloud of the server, or another one.
    pub fn become_cloud(&self, cloud: Cloud) {
        *lock(&self.0.cloud) = Some(State { cloud, tokens: Vec::new(), used: HashSet::new(), hold: None });
    }

    /// The tokens that were given out and are good by now.
    #[must_use]
    pub fn good_tokens(&self) -> Vec<String> {
        let state = lock(&self.0.cloud);
        let tokens = state.iter().flat_map(|state| &state.tokens);
        tokens.filter(|(_, end)| Instant::now() < *end).map(|(token, _)| token.clone()).collect()
    }

    /// Takes back every token that was given out.
    pub fn revoke_tokens(&self) {
        if let Some(state) = &mut *lock(&self.0.cloud) {
            state.tokens.clear();
        }
    }

    /// Gives nobody a token until this is cancelled.
    pub fn hold_tokens(&self, until: CancellationToken) {
        if let Some(state) = &mut *lock(&self.0.cloud) {
            state.hold = Some(until);
        }
    }

    /// Whether it is one.
    pub(super) fn is_cloud(&self) -> bool {
        lock(&self.0.cloud).is_some()
    }

    /// Whether a token was given out, and is good.
    pub(super) fn has_given(&self, token: &str) -> bool {
        self.good_tokens().iter().any(|known| known == token)
    }

    /// What its clock says, where that is not what this machine's says.
    pub(super) fn wrong_date(&self) -> Option<HeaderValue> {
        let ahead =
            lock(&self.0.cloud).as_ref().map(|state| state.cloud.clock).filter(|ahead| *ahead != 0)?;
        let date = UNIX_EPOCH + Duration::from_secs(now().saturating_add_signed(ahead));
        HeaderValue::try_from(httpdate::fmt_http_date(date)).ok()
    }
}

/// The cloud's error envelope.
pub(super) fn refused(status: StatusCode, code: u32, msg: &str) -> Response<Body> {
    let body = json!({ "code": code, "msg": msg, "detail": { "logid": "20240101000000000000000000000000" } });
    let mut response = json_response(&body.to_string());
    *response.status_mut() = status;
    response
}

/// `POST /api/permission/oauth2/token`.
pub(super) async fn token(simulator: &Simulator, headers: &HeaderMap, body: &Value) -> Response<Body> {
    let hold = lock(&simulator.0.cloud).as_ref().and_then(|state| state.hold.clone());
    if let Some(hold) = hold {
        hold.cancelled().await;
    }
    let jwt =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let mut state = lock(&simulator.0.cloud);
    let Some(state) = &mut *state else {
        return refused(StatusCode::NOT_FOUND, 4200, "not found");
    };
    match state.exchange(jwt.unwrap_or_default(), body) {
        Ok(given) => json_response(&given.to_string()),
        Err(why) => {
            let body = json!({ "error_code": "invalid_request", "error_message": why });
            let mut response = json_response(&body.to_string());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

impl State {
    /// # Errors
    /// Why there is no token.
    fn exchange(&mut self, jwt: &str, body: &Value) -> Result<Value, &'static str> {
        let now = now().saturating_add_signed(self.cloud.clock);
        if text(body, "grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return Err("grant_type is not supported");
        }
        let id = self.cloud.check(jwt, now)?;
        if self.used.len() >= MAX_REMEMBERED || !self.used.insert(id) {
            return Err("the JWT was used before");
        }
        let wanted = body.get("duration_seconds").and_then(Value::as_u64).map(Duration::from_secs);
        let lifetime = wanted.unwrap_or(self.cloud.lifetime).min(self.cloud.lifetime);
        let token = format!("czs_{}", uuid::Uuid::now_v7().simple());
        self.tokens.push((token.clone(), Instant::now() + lifetime));
        if self.tokens.len() > MAX_REMEMBERED {
            self.tokens.remove(0);
        }
        // A point in time, whatever the name says.
        let end = now + lifetime.as_secs();
        Ok(json!({ "access_token": token, "expires_in": end, "token_type": "Bearer" }))
    }
}

impl Cloud {
    /// What a JWT calls itself, if it is an app's and good now.
    ///
    /// # Errors
    /// Why it is not.
    fn check(&self, jwt: &str, now: u64) -> Result<String, &'static str> {
        let (signed, signature) = jwt.rsplit_once('.').ok_or("there is no JWT")?;
        let (head, claims) = signed.split_once('.').ok_or("the JWT has no claims")?;
        let part = |text: &str| serde_json::from_slice::<Value>(&decoded(text)?).ok();
        let (head, claims) = part(head).zip(part(claims)).ok_or("the JWT cannot be read")?;
        if (text(&head, "alg"), text(&head, "typ")) != ("RS256", "JWT") {
            return Err("alg or typ is wrong");
        }
        let app = self.apps.iter().find(|app| text(&head, "kid") == app.key_id);
        let app = app.ok_or("the public key is not known")?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.public_key);
        let signature = decoded(signature).unwrap_or_default();
        key.verify(signed.as_bytes(), &signature).map_err(|_| "the signature is wrong")?;
        if text(&claims, "iss") != app.id || text(&claims, "aud") != self.audience {
            return Err("iss or aud is wrong");
        }
        let time = |name: &str| claims.get(name).and_then(Value::as_u64).ok_or("iat or exp is missing");
        if time("iat")? > now + TOLERANCE || time("exp")? <= now {
            return Err("the JWT is expired, or not valid yet");
        }
        let id = Some(text(&claims, "jti")).filter(|id| !id.is_empty()).ok_or("jti is missing")?;
        Ok(id.to_owned())
    }
}

/// A field of an object; empty if it is no text.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// `GET /v1/users/me`.
pub(super) fn me() -> Response<Body> {
    answered(&json!({ "user_id": "7530512345678940001", "user_name": "demo", "nick_name": "demo" }))
}

/// `GET /v1/workspaces`.
pub(super) fn spaces(simulator: &Simulator, query: &Query) -> Response<Body> {
    let state = lock(&simulator.0.cloud);
    let spaces: Vec<Value> = state
        .iter()
        .flat_map(|state| &state.cloud.spaces)
        .map(|space| {
            let Space { id, name, bots: _ } = space;
            json!({ "id": id, "name": name, "role_type": "owner", "workspace_type": "team" })
        })
        .collect();
    let most = state.as_ref().map_or(1, |state| state.cloud.page);
    let page = page(&spaces, query, most, &["page_num"]);
    answered(&json!({ "workspaces": page, "total_count": spaces.len() }))
}

/// `GET /v1/bots`: those that are published, with `published_online`.
pub(super) fn bots(simulator: &Simulator, query: &Query) -> Response<Body> {
    let wanted = query.get("workspace_id").unwrap_or_default();
    let found = {
        let state = lock(&simulator.0.cloud);
        let mut spaces =
            state.iter().flat_map(|State { cloud, .. }| cloud.spaces.iter().map(|space| (space, cloud.page)));
        spaces.find(|(space, _)| space.id == wanted).map(|(space, most)| (space.bots.clone(), most))
    };
    let Some((ids, most)) = found else {
        return refused(StatusCode::FORBIDDEN, 4101, "you have no access to the workspace");
    };
    let online = query.get("publish_status") == Some("published_online");
    let bots: Vec<Value> = ids
        .iter()
        .filter_map(|id| simulator.bot(id))
        .filter(|bot| !online || bot.standing == Standing::Published)
        .map(|bot| {
            let published = bot.standing == Standing::Published;
            json!({ "id": bot.id, "name": bot.name, "description": bot.description, "icon_url": "",
                "is_published": published, "updated_at": now(), "owner_user_id": "7530512345678940001" })
        })
        .collect();
    // The docs of this route have the one name, the SDKs the other.
    let page = page(&bots, query, most, &["page_num", "page_index"]);
    answered(&json!({ "items": page, "total": bots.len() }))
}

/// `GET /v1/bots/:bot_id`; `None` where the answer is as the server's.
pub(super) fn bot(simulator: &Simulator, id: Id) -> Option<Response<Body>> {
    let Some(bot) = simulator.bot(&id.to_string()) else {
        return Some(refused(StatusCode::NOT_FOUND, 4200, "Requested resource bot_id does not exist."));
    };
    match bot.standing {
        Standing::Published => None,
        Standing::Foreign => Some(refused(StatusCode::FORBIDDEN, 4101, "no permission to access the bot")),
        Standing::Unpublished => {
            Some(refused(StatusCode::BAD_REQUEST, 4015, "The bot_id has not been published to Agent As API."))
        }
    }
}

/// `GET /v1/workflows/:id`.
pub(super) fn workflow(simulator: &Simulator, id: Id) -> Response<Body> {
    let id = id.to_string();
    match simulator.options().flows.iter().find(|flow| flow.id == id) {
        Some(flow) if flow.standing == Standing::Published => {
            answered(&json!({ "workflow_detail": { "workflow_id": flow.id } }))
        }
        _ => refused(StatusCode::NOT_FOUND, 4200, "workflow not exists or not published"),
    }
}

/// A page of a list, of `most` entries; its number has one of these names.
fn page<'v>(all: &'v [Value], query: &Query, most: usize, names: &[&str]) -> Vec<&'v Value> {
    let read = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let size = read("page_size").unwrap_or(20).clamp(1, most.max(1));
    let number = names.iter().find_map(|name| read(name)).unwrap_or(1).max(1);
    all.iter().skip((number - 1).saturating_mul(size)).take(size).collect()
}

fn answered(data: &Value) -> Response<Body> {
    json_response(&json!({ "data": data, "code": 0, "msg": "" }).to_string())
}
