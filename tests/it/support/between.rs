//! What goes wrong between the gateway and Coze: passes calls on to a
//! simulated Coze, or does what a test has asked for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use cozeway::simulator::Simulator;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Coze;

/// The end of a chat that failed while it ran (protocol 3.6, shape C).
const FAILURE: &str = "event:error\ndata:{\"code\":103200002,\"msg\":\"Internal Server Error\"}\n\n\
     event:conversation.stream.done\ndata:\n\n";

/// What becomes of one call.
#[derive(Clone, Debug)]
pub(crate) enum Mishap {
    /// It goes its way.
    None,
    /// It is answered so, and Coze never sees it.
    Answer(u16, &'static str, String),
    /// It waits, and then this becomes of it.
    Late(CancellationToken, Box<Mishap>),
    /// The chat runs, but its stream fails before the bot has said a word.
    FailsAtOnce,
    /// The chat runs, but its stream fails after the bot's words.
    FailsLate,
    /// It is sent to a conversation that Coze does not know.
    Elsewhere,
}

/// Stands between a gateway and a simulated Coze.
pub(crate) struct Between {
    /// As the gateway sees it: the port is this one's.
    pub(crate) coze: Coze,
    mishaps: Arc<Mutex<Mishaps>>,
}

/// What becomes of the next calls, by path.
type Mishaps = Vec<(&'static str, VecDeque<Mishap>)>;

impl Between {
    pub(crate) async fn start(coze: &Coze) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mishaps = Arc::new(Mutex::new(Mishaps::new()));
        let (there, kept) = (coze.port, Arc::clone(&mishaps));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, kept) = (client.clone(), Arc::clone(&kept));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (client, mishap) = (client.clone(), next(&kept, request.uri().path()));
                    async move { Ok::<_, Infallible>(pass(&client, there, mishap, request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let simulator: Simulator = coze.simulator.clone();
        Self { coze: Coze { simulator, port }, mishaps }
    }

    /// What becomes of the next call of this path, behind those that were
    /// asked for before.
    pub(crate) fn next(&self, path: &'static str, mishap: Mishap) {
        let mut mishaps = self.mishaps.lock().unwrap();
        match mishaps.iter_mut().find(|(known, _)| *known == path) {
            Some((_, queue)) => queue.push_back(mishap),
            None => mishaps.push((path, [mishap].into())),
        }
    }

    /// What becomes of the next chat.
    pub(crate) fn next_chat(&self, mishap: Mishap) {
        self.next("/v3/chat", mishap);
    }

    /// Whether everything that was asked for has happened.
    pub(crate) fn is_done(&self) -> bool {
        self.mishaps.lock().unwrap().iter().all(|(_, queue)| queue.is_empty())
    }
}

fn next(mishaps: &Mutex<Mishaps>, path: &str) -> Mishap {
    let mut mishaps = mishaps.lock().unwrap();
    let queue = mishaps.iter_mut().find(|(known, _)| *known == path);
    queue.and_then(|(_, queue)| queue.pop_front()).unwrap_or(Mishap::None)
}

async fn pass(
    client: &reqwest::Client,
    there: u16,
    mut mishap: Mishap,
    request: Request<Incoming>,
) -> Response<Body> {
    let answer = |status: u16, kind: &str, body: Body| {
        Response::builder().status(status).header("content-type", kind).body(body).unwrap()
    };
    while let Mishap::Late(until, then) = mishap {
        until.cancelled().await;
        mishap = *then;
    }
    if let Mishap::Answer(status, kind, body) = mishap {
        return answer(status, kind, body.into());
    }
    let (parts, body) = request.into_parts();
    let mut path = parts.uri.path_and_query().unwrap().to_string();
    if matches!(mishap, Mishap::Elsewhere) {
        let (before, _) = path.split_once("conversation_id=").expect("it goes on in a conversation");
        path = format!("{before}conversation_id=42");
    }
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let url = format!("http://127.0.0.1:{there}{path}");
    let request = client.request(parts.method, url).headers(headers).body(body);
    let Ok(response) = request.send().await else { return answer(502, "text/plain", Body::empty()) };
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let until = match mishap {
        Mishap::FailsAtOnce => "event:conversation.message.",
        Mishap::FailsLate => "event:conversation.message.completed",
        _ => return answer(status, &kind, Body::from_stream(response.bytes_stream())),
    };
    let whole = response.text().await.unwrap();
    let (before, _) = whole.split_once(until).expect("the bot says something");
    answer(status, &kind, format!("{before}{FAILURE}").into())
}
