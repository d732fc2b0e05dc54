//! What a Redis is asked for a request, counted by the Redis itself and
//! compared with the table of `docs/scaling.md`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::json;

use cozeway::simulator::{Script, Step};

use crate::replicas::Redis;
use crate::support::sse::Stream;
use crate::support::{Coze, Gateway, KEY, SCRIPTED, Talk, eventually};

/// How often each thing is done: what is not told apart from what another
/// request does is off by less than one then.
const TIMES: u64 = 10;

const REQUESTS: &str = "requests_per_minute = 100000\n";
const ALL: &str = "requests_per_minute = 100000\ntokens_per_minute = 100000000\nconcurrent_requests = 1000\n";

/// The rows of the document: limits of the key, and what is done.
const ROWS: [(&str, &str, Does); 14] = [
    ("a new conversation", "", Does::Begins),
    ("a turn that goes on", "", Does::GoesOn),
    ("a turn of a conversation with a name", "", Does::Names),
    ("`memory = \"off\"`", "", Does::Forgets),
    ("`tools/call` by MCP, a new conversation", "", Does::Calls),
    ("refused: no key, a wrong one", "", Does::HasNoKey),
    ("refused: a field that is wrong", "", Does::IsWrong),
    ("a new conversation, requests limited", REQUESTS, Does::Begins),
    ("refused: a field that is wrong, requests limited", REQUESTS, Does::IsWrong),
    ("a new conversation, all three limits", ALL, Does::Begins),
    ("a turn that goes on, all three limits", ALL, Does::GoesOn),
    ("`memory = \"off\"`, all three limits", ALL, Does::Forgets),
    ("`tools/call` by MCP, all three limits", ALL, Does::Calls),
    ("refused: no key, all three limits", ALL, Does::HasNoKey),
];

#[derive(Clone, Copy, Debug)]
enum Does {
    Begins,
    /// And has begun before, which is not its own.
    GoesOn,
    Names,
    Forgets,
    Calls,
    HasNoKey,
    IsWrong,
}

/// What a Redis has counted.
#[derive(Debug)]
struct Counted {
    /// Scripts that were called, but for those that look how much there is.
    calls: u64,
    /// Commands inside of them.
    inside: u64,
}

/// Its counters.
struct Counters(redis::Connection);

impl Counters {
    fn of(redis: &Redis) -> Self {
        Self(redis::Client::open(redis.0.url()).unwrap().get_connection().unwrap())
    }

    fn reset(&mut self) {
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut self.0).unwrap();
    }

    fn read(&mut self) -> Counted {
        let text: String = redis::cmd("INFO").arg("commandstats").query(&mut self.0).unwrap();
        let each = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name, rest.split(',').next()?.parse().unwrap()))
        });
        let calls: HashMap<&str, u64> = each.collect();
        let of = |name| calls.get(name).copied().unwrap_or(0);
        // Only what looks every few seconds how much there is counts a set.
        let looks = of("scard");
        let others = ["evalsha", "info", "config|resetstat", "script|load"];
        let inside = calls.iter().filter(|(name, _)| !others.contains(name)).map(|(_, calls)| calls);
        // A script that the server did not know yet is called twice.
        let unknown = of("script|load");
        // A look is TIME, GET, ZCARD and SCARD.
        Counted {
            calls: of("evalsha") - unknown - looks,
            inside: inside.sum::<u64>().saturating_sub(4 * looks),
        }
    }

    /// Waits until nothing more is counted.
    async fn settled(&mut self) -> Counted {
        let mut before = self.read();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.read();
            if (now.calls, now.inside) == (before.calls, before.inside) {
                return now;
            }
            before = now;
        }
    }
}

/// A number, or two with what lies between them.
#[derive(Debug)]
struct Told {
    least: f64,
    most: f64,
}

/// The document's table, by what is done.
fn told() -> BTreeMap<String, (Told, f64)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scaling.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = text.split("<!-- commands: begin -->").nth(1).unwrap();
    let table = table.split("<!-- commands: end -->").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (least, most) = cells[1].split_once(" to ").unwrap_or((cells[1], cells[1]));
        let told = Told { least: least.parse().unwrap(), most: most.parse().unwrap() };
        (cells[0].to_owned(), (told, cells[2].parse().unwrap()))
    })
    .collect()
}

#[tokio::test]
async fn a_redis_is_asked_as_the_document_says() {
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let echo = cozeway::simulator::demo_bots().iter().find(|bot| bot.name == "echo").unwrap().bot_id;
    let off = format!("[models.off]\nbot_id = '{echo}'\nmemory = 'off'\n");
    let mut gateways = HashMap::new();
    for limits in ["", REQUESTS, ALL] {
        gateways.insert(limits, redis.gateway(&coze, &format!("{limits}{off}")).await);
    }
    let mut counters = Counters::of(&redis);
    let mut told = told();
    for (row, limits, does) in ROWS {
        let (calls, inside) = told.remove(row).unwrap_or_else(|| panic!("not in the document: {row}"));
        let client = Client { gateway: &gateways[limits], talk: Talk::new(&gateways[limits], &coze, "echo") };
        // The server is told of its scripts, and the name is taken.
        client.does(does, &mut counters).await;
        let counted = client.does(does, &mut counters).await;
        let each = |count: u64| count as f64 / TIMES as f64;
        assert!(
            (calls.least..=calls.most).contains(&each(counted.calls)),
            "{row}: {} calls, in the document {calls:?}",
            each(counted.calls)
        );
        assert!(
            (each(counted.inside) - inside).abs() <= 2.0,
            "{row}: {} commands inside, in the document {inside}",
            each(counted.inside)
        );
    }
    assert!(told.is_empty(), "in the document, but not counted: {told:?}");
}

/// Who asks a gateway.
struct Client<'a> {
    gateway: &'a Gateway,
    talk: Talk<'a>,
}

impl Client<'_> {
    async fn does(&self, does: Does, counters: &mut Counters) -> Counted {
        let run = uuid::Uuid::now_v7();
        let texts = (0..TIMES).map(|number| format!("{run} {number}"));
        let texts: Vec<String> = texts.collect();
        if matches!(does, Does::GoesOn) {
            for text in &texts {
                self.talk.says(&[text]).await;
            }
        }
        counters.settled().await;
        counters.reset();
        for text in &texts {
            self.once(does, text).await;
        }
        counters.settled().await
    }

    async fn once(&self, does: Does, text: &str) {
        let Self { talk, .. } = self;
        match does {
            Does::Begins => assert_eq!(talk.says(&[text]).await.note(), "new"),
            Does::GoesOn => assert_eq!(talk.says(&[text, text, "more"]).await.note(), "continued"),
            Does::Names => assert_eq!(talk.named("n").says(&[text]).await.status, 200),
            Does::Forgets => assert_eq!(talk.to("off").says(&[text]).await.status, 200),
            Does::Calls => self.calls(text).await,
            Does::HasNoKey => assert_eq!(talk.key("").says(&[text]).await.status, 401),
            Does::IsWrong => assert_eq!(talk.field("temperature", "x").says(&[text]).await.status, 400),
        }
    }

    async fn calls(&self, text: &str) {
        let params = json!({"name": "echo", "arguments": {"message": text}});
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let request = self.gateway.client.post(self.gateway.url("/mcp")).bearer_auth(KEY);
        let request = request
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18");
        let answer = request.body(message.to_string()).send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("structuredContent"), "{answer}");
    }
}

/// However many turns go on: their conversations are renewed in one call, and
/// their slots in another.
#[tokio::test]
async fn streams_that_go_on_are_renewed_together() {
    let Some(redis) = Redis::start().await else { return };
    let coze = Coze::start().await;
    let gateway = redis.gateway(&coze, ALL).await;
    let transcript = crate::shared::golden::transcript("chat_text.server.sse");
    let half = transcript.get(..transcript.len() / 2).unwrap().to_vec();
    coze.simulator.script(SCRIPTED, Script::stream([Step::Send(half.into()), Step::Hang]));
    let mut streams = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let talk = Talk::new(&gateway, &coze, "scripted").named(name);
        let mut stream = Stream::new(talk.streams(&["x"]).await);
        stream.content().await;
        streams.push(stream);
    }
    let mut counters = Counters::of(&redis);
    counters.settled().await;
    counters.reset();
    // Long before their leases are over.
    for _ in 0..150 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if counters.read().calls > 0 {
            break;
        }
    }
    assert_eq!(counters.settled().await.calls, 2);
    drop(streams);
    eventually("every stream of Coze is closed", || coze.simulator.open_streams() == 0).await;
}
