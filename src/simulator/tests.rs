use std::fmt;
use std::net::SocketAddr;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Coze {
    simulator: Simulator,
    address: SocketAddr,
    _serving: tokio::task::JoinSet<()>,
}

#[derive(Debug, Default)]
struct Answer {
    head: String,
    chunks: Vec<Vec<u8>>,
    /// Whether the body came to its proper end.
    whole: bool,
    error: Option<std::io::ErrorKind>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.chunks.concat()).unwrap()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The events with their data.
    fn events(&self) -> Vec<(String, String)> {
        events(&self.text())
    }

    fn names(&self) -> Vec<String> {
        self.events().into_iter().map(|(name, _)| name).collect()
    }

    /// The text of the completed answers.
    fn answer(&self) -> String {
        let completed =
            self.events().into_iter().filter(|(name, _)| name == "conversation.message.completed");
        completed
            .map(|(_, data)| serde_json::from_str::<Value>(&data).unwrap())
            .filter(|message| message["type"] == "answer")
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    }

    fn first(&self, field: &str) -> String {
        let (_, data) = self.events().into_iter().next().unwrap();
        serde_json::from_str::<Value>(&data).unwrap()[field].as_str().unwrap().to_owned()
    }
}

fn events(text: &str) -> Vec<(String, String)> {
    text.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            (name.strip_prefix("event:").unwrap().to_owned(), data.strip_prefix("data:").unwrap().to_owned())
        })
        .collect()
}

/// The keys of an object in their order, those of `meta_data` included.
#[derive(Debug, Default, PartialEq)]
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Keys::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "meta_data" {
                        keys.0.extend(map.next_value::<Keys>()?.0);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    keys.0.push(key);
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Event names, message types and keys; runs of the same are one.
fn shape(text: &str) -> Vec<(String, String, Keys)> {
    let mut shape: Vec<_> = events(text)
        .into_iter()
        .map(|(name, data)| {
            if data.is_empty() {
                return (name, String::new(), Keys::default());
            }
            let value: Value = serde_json::from_str(&data).unwrap();
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            (name, kind, serde_json::from_str(&data).unwrap())
        })
        .collect();
    shape.dedup();
    shape
}

async fn coze(options: Options) -> Coze {
    let simulator = Simulator::new(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = tokio::task::JoinSet::new();
    let served = simulator.clone();
    serving.spawn(async move { served.serve(listener).await });
    Coze { simulator, address, _serving: serving }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text, "content_type": "text"})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "type": "answer", "content": text, "content_type": "text"})
}

fn body(bot: &str, messages: &Value) -> Value {
    json!({"bot_id": bot, "user_id": "u", "additional_messages": messages})
}

impl Coze {
    async fn send(&self, method: &str, path: &str, authorization: &str, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: coze\r\nConnection: close\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        read(self.send(method, path, "Authorization: Bearer pat_demo\r\n", body).await).await
    }

    async fn chat(&self, bot: &str, messages: &Value) -> Answer {
        self.call("POST", "/v3/chat", &body(bot, messages)).await
    }

    async fn go_on(&self, answer: &Answer, bot: &str, messages: &Value) -> Answer {
        let path = format!("/v3/chat?conversation_id={}", answer.first("conversation_id"));
        self.call("POST", &path, &body(bot, messages)).await
    }

    async fn until_closed(&self) {
        for _ in 0..500 {
            if self.simulator.open_streams() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a stream stayed open");
    }
}

async fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.err().map(|error| error.kind());
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer { error, ..Answer::default() };
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut rest = &bytes[end + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return Answer { head, chunks: vec![rest.to_vec()], whole: true, error };
    }
    let mut chunks = Vec::new();
    let mut whole = false;
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            whole = true;
            break;
        }
        if rest.len() < at + 4 + size {
            break;
        }
        chunks.push(rest[at + 2..at + 2 + size].to_vec());
        rest = &rest[at + 4 + size..];
    }
    Answer { head, chunks, whole, error }
}

#[tokio::test]
async fn a_text_answer_has_the_transcripts_head_and_shape() {
    let coze = coze(Options::instant()).await;
    let answer = coze.chat(bots::ECHO, &json!([user("2024 <b> 年 & 月。")])).await;
    assert_eq!(answer.status(), 200);
    for header in
        ["content-type: text/event-stream\r\n", "cache-control: no-cache\r\n", "x-accel-buffering: no\r\n"]
    {
        assert!(format!("{}\r\n", answer.head).contains(header), "{}", answer.head);
    }
    assert!(answer.head.contains("x-log-id: "));
    assert_eq!(shape(&answer.text()), shape(include_str!("../../tests/golden/bot/chat_text.server.sse")));
    assert!(answer.text().contains(r"2024 \u003cb\u003e 年 \u0026 月。"));
    assert_eq!(answer.answer(), "2024 <b> 年 & 月。");
    // One flush, and so one chunk, per event.
    assert_eq!(answer.chunks.len(), answer.events().len());
    assert!(answer.text().ends_with("event:conversation.stream.done\ndata:\n\n") && answer.whole);
}

#[tokio::test]
async fn a_story_is_thought_about_and_followed_by_suggestions_before_the_finish() {
    let coze = coze(Options::instant()).await;
    let answer = coze.chat(bots::STORYTELLER, &json!([user("a story")])).await;
    let text = answer.text();
    let reasoning = shape(include_str!("../../tests/golden/bot/chat_reasoning.server.sse"));
    let mut told = shape(&text);
    told.retain(|(_, kind, _)| kind != "follow_up");
    assert_eq!(told, reasoning);
    let kinds: Vec<String> = answer
        .events()
        .into_iter()
        .filter_map(|(name, data)| {
            let value: Value = serde_json::from_str(&data).ok()?;
            (name == "conversation.message.completed").then(|| value["type"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(kinds, ["answer", "follow_up", "follow_up", "follow_up", "verbose"]);
    let first: Value = serde_json::from_str(&answer.events()[2].1).unwrap();
    assert_eq!((&first["content"], &first["reasoning_content"]), (&json!(""), &json!("They ")));

    let query = format!("conversation_id={}&chat_id={}", answer.first("conversation_id"), answer.first("id"));
    let list = coze.call("GET", &format!("/v3/chat/message/list?{query}"), &Value::Null).await.json();
    assert!(list["Messages"][1]["reasoning_content"].as_str().unwrap().starts_with("They want"));
    let chat = coze.call("GET", &format!("/v3/chat/retrieve?{query}"), &Value::Null).await.json();
    assert_eq!(chat["data"]["status"], "completed");
    assert_eq!(chat["data"]["usage"]["input_count"], "a story".len());
}

#[tokio::test]
async fn a_bot_sees_what_is_stored_and_additional_messages_stay_for_good() {
    let coze = coze(Options::instant()).await;
    let first = coze.chat(bots::CONTEXT, &json!([user("one"), assistant("two"), user("three")])).await;
    let seen = "user: one\nassistant: two\nuser: three";
    assert_eq!(first.answer(), seen);
    assert_eq!(coze.simulator.context_seen(&first.first("id")).unwrap().len(), 3);
    let second = coze.go_on(&first, bots::CONTEXT, &json!([user("four")])).await;
    assert_eq!(second.answer(), format!("{seen}\nassistant: {seen}\nuser: four"));
    assert_eq!(second.first("conversation_id"), first.first("conversation_id"));

    let id = first.first("conversation_id");
    let path = format!("/v1/conversation/message/list?conversation_id={id}");
    let list = coze.call("POST", &path, &json!({"limit": 3})).await.json();
    let contents: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!((contents[1], contents[2], &list["has_more"]), ("four", seen, &json!(true)));

    coze.call("POST", &format!("/v1/conversations/{id}/clear"), &json!({})).await;
    let third = coze.go_on(&first, bots::CONTEXT, &json!([user("five")])).await;
    assert_eq!(third.answer(), "user: five");
}

#[tokio::test]
async fn a_bot_is_given_so_many_rounds_and_no_more() {
    let mut options = Options::instant();
    options.bots = vec![Bot { rounds: 1, ..Bot::new("77", "short", Behaviour::Context) }];
    let coze = coze(options).await;
    let first = coze.chat("77", &json!([user("one")])).await;
    let second = coze.go_on(&first, "77", &json!([user("two")])).await;
    assert_eq!(second.answer(), "user: one\nassistant: user: one\nuser: two");
    let third = coze.go_on(&first, "77", &json!([user("three")])).await;
    assert!(third.answer().starts_with("user: two\n"));
    // A batch of additional messages is a round.
    let fourth = coze.go_on(&first, "77", &json!([user("extra"), user("four")])).await;
    assert_eq!(fourth.answer(), "user: extra\nuser: four");
}

#[tokio::test]
async fn an_unknown_conversation_is_silently_a_new_one() {
    let coze = coze(Options::instant()).await;
    let answer =
        coze.call("POST", "/v3/chat?conversation_id=42", &body(bots::ECHO, &json!([user("x")]))).await;
    assert_ne!(answer.first("conversation_id"), "42");
    let answer =
        coze.call("POST", "/v3/chat?conversation_id=x", &body(bots::ECHO, &json!([user("x")]))).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.json()["msg"].as_str().unwrap().starts_with("unable to decode 'x' as int64: "));
}

#[tokio::test]
async fn tokens_are_refused_under_status_200() {
    let coze = coze(Options::instant()).await;
    let cases = [
        ("", "missing authorization in header"),
        ("Authorization: Basic x\r\n", "missing api_key in request"),
        ("Authorization: Bearer \r\n", "missing api_key in request"),
        ("Authorization: Bearer pat_other\r\n", "CheckPermission failed"),
    ];
    for (header, reason) in cases {
        let answer = read(coze.send("POST", "/v3/chat", header, &json!({})).await).await;
        assert!(answer.head.contains("content-type: application/json; charset=utf-8"));
        let expected = format!(r#"{{"code":700012006,"msg":"authentication failed: {reason}"}}"#);
        assert_eq!((answer.status(), answer.text()), (200, expected));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart_from_bad_tokens() {
    let coze = coze(Options::instant()).await;
    for path in ["/v1/workspaces", "/v1/conversations/abc/clear", "/"] {
        let answer = coze.call("GET", path, &Value::Null).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.text(), r#"{"code":401,"msg":"missing session_key in cookie"}"#);
    }
    let answer = coze.call("GET", "/v3/chat", &Value::Null).await;
    assert_eq!((answer.status(), answer.text().as_str()), (404, "404 page not found"));
}

#[tokio::test]
async fn refusals_are_one_error_event() {
    let mut options = Options::instant();
    options.bots.push(Bot { standing: Standing::Foreign, ..Bot::new("8", "theirs", Behaviour::Echo) });
    let coze = coze(options).await;
    let id = "7530512345678901248";
    let golden = [
        (id, user("x"), include_str!("../../tests/golden/bot/chat_error_not_published.server.sse")),
        ("8", user("x"), include_str!("../../tests/golden/bot/chat_error_prestream.server.sse")),
        (
            bots::ECHO,
            json!({"role": "system", "content": "x", "content_type": "text"}),
            include_str!("../../tests/golden/bot/chat_error_role.server.sse"),
        ),
    ];
    for (bot, message, bytes) in golden {
        let answer = coze.chat(bot, &json!([message])).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, bytes));
    }
}

#[tokio::test]
async fn what_cannot_be_stored_fails_in_the_servers_shapes() {
    let coze = coze(Options::instant()).await;
    let answer = coze.chat(bots::ECHO, &json!([user(&"x".repeat(65_536))])).await;
    assert_eq!((answer.status(), answer.text().as_str(), answer.whole), (200, "", true));
    assert!(answer.head.contains("content-type: text/event-stream"));
    let request =
        json!({"bot_id": bots::ECHO, "user_id": "u".repeat(61), "additional_messages": [user("x")]});
    let answer = coze.call("POST", "/v3/chat", &request).await;
    let expected = shape(include_str!("../../tests/golden/bot/chat_error_start.server.sse"));
    assert_eq!(shape(&answer.text()), expected);
}

#[tokio::test]
async fn no_query_ends_without_an_answer() {
    let coze = coze(Options::instant()).await;
    let golden = shape(include_str!("../../tests/golden/bot/chat_no_answer.server.sse"));
    for messages in
        [json!([]), json!([assistant("x")]), json!([user("")]), json!([{"role": "user", "content": "x"}])]
    {
        assert_eq!(shape(&coze.chat(bots::ECHO, &messages).await.text()), golden, "{messages}");
    }
}

#[tokio::test]
async fn a_failure_on_the_way_is_followed_by_success() {
    let coze = coze(Options::instant()).await;
    let answer = coze.chat(bots::BROKEN, &json!([user("x")])).await;
    let golden = include_str!("../../tests/golden/bot/chat_error_midstream.server.sse");
    assert_eq!(shape(&answer.text()), shape(golden));
    assert!(answer.text().contains("data:{\"code\":103200002,\"msg\":\"Internal Server Error\"}\n\n"));
    let next = coze.go_on(&answer, bots::CONTEXT, &json!([user("y")])).await;
    assert_eq!(next.answer(), "user: x\nuser: y");
}

#[tokio::test]
async fn a_question_back_has_the_transcripts_shape_and_is_resumed() {
    let coze = coze(Options::instant()).await;
    let asked = coze.chat(bots::ASK, &json!([user("weather?")])).await;
    let golden = include_str!("../../tests/golden/bot/chat_interrupt_text.server.sse");
    assert_eq!(shape(&asked.text()), shape(golden));
    let answered = coze.go_on(&asked, bots::ASK, &json!([user("Paris")])).await;
    assert_eq!(answered.answer(), "The weather in Paris will be sunny.");
    let again = coze.go_on(&asked, bots::ASK, &json!([user("weather?")])).await;
    assert!(again.text().contains("interrupt"));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_run() {
    let options = Options { silence: Duration::from_millis(150), ..Options::instant() };
    let coze = coze(options).await;
    let request = body(bots::SLOW, &json!([user("x")]));
    let mut stream = coze.send("POST", "/v3/chat", "Authorization: Bearer pat_demo\r\n", &request).await;
    let mut bytes = vec![0; 4096];
    let size = stream.read(&mut bytes).await.unwrap();
    assert!(size > 0);
    assert_eq!(coze.simulator.open_streams(), 1);
    drop(stream);
    coze.until_closed().await;
    assert_eq!(coze.simulator.running(), 1);
    let conversation = coze.simulator.conversations().remove(0);
    let path = format!("/v1/conversation/message/list?conversation_id={conversation}");
    for _ in 0..500 {
        let list = coze.call("POST", &path, &json!({})).await.json();
        if list["data"].as_array().is_some_and(|messages| messages.len() == 2) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the answer was never stored");
}

#[tokio::test]
async fn a_cancel_only_relabels() {
    let options = Options { silence: Duration::from_millis(200), ..Options::instant() };
    let coze = coze(options).await;
    let request =
        json!({"bot_id": bots::SLOW, "user_id": "u", "stream": false, "additional_messages": [user("x")]});
    let started = coze.call("POST", "/v3/chat", &request).await.json();
    assert_eq!(started["data"]["status"], "in_progress");
    let (chat, conversation) = (&started["data"]["id"], &started["data"]["conversation_id"]);
    let ids = json!({"chat_id": chat, "conversation_id": conversation});
    let cancelled = coze.call("POST", "/v3/chat/cancel", &ids).await.json();
    assert_eq!(cancelled["ChatV3ChatDetail"]["status"], "conversation.chat.cancelled");
    assert!(cancelled.get("code").is_none());
    let late = coze.call("POST", "/v3/chat/cancel", &ids).await;
    assert_eq!(late.status(), 400);
    assert!(late.json()["msg"].as_str().unwrap().starts_with("code=103200005 message="));
    for _ in 0..500 {
        if coze.simulator.chat_status(chat.as_str().unwrap()) == Some("completed") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the run never ended");
}

#[tokio::test]
async fn conversations_are_made_listed_and_deleted() {
    let coze = coze(Options::instant()).await;
    let made = coze.call("POST", "/v1/conversation/create", &json!({"bot_id": bots::ECHO})).await.json();
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["data"]["meta_data"], Value::Null);
    let list = format!("/v1/conversations?bot_id={}&page_num=1&page_size=10", bots::ECHO);
    let listed = coze.call("GET", &list, &Value::Null).await.json();
    assert_eq!(listed["data"]["conversations"][0]["id"], id.as_str());
    let deleted = coze.call("DELETE", &format!("/v1/conversations/{id}"), &Value::Null).await;
    assert_eq!(deleted.text(), r#"{"code":0,"msg":"","BaseResp":null}"#);
    let empty = coze.call("GET", &list, &Value::Null).await;
    let expected = r#"{"code":0,"msg":"","data":{"conversations":null,"has_more":false},"BaseResp":null}"#;
    assert_eq!(empty.text(), expected);
    let gone = coze.call("DELETE", "/v1/conversations/42", &Value::Null).await;
    assert_eq!(gone.text(), r#"{"code":103000002,"msg":"conversation not found"}"#);
}

#[tokio::test]
async fn bots_say_who_they_are() {
    let mut options = Options::instant();
    options.bots.push(Bot { standing: Standing::Unpublished, ..Bot::new("9", "draft", Behaviour::Echo) });
    let coze = coze(options).await;
    let info = coze.call("GET", &format!("/v1/bots/{}", bots::ECHO), &Value::Null).await.json();
    assert_eq!((&info["data"]["name"], &info["code"]), (&json!("echo"), &json!(0)));
    let online = format!("/v1/bot/get_online_info?bot_id={}", bots::ECHO);
    assert_eq!(coze.call("GET", &online, &Value::Null).await.status(), 500);
    let bare = coze.call("GET", &format!("{online}&connector_id=1024"), &Value::Null).await.json();
    assert_eq!(bare, info["data"]);
    assert_eq!(coze.call("GET", "/v1/bots/9", &Value::Null).await.json()["code"], 100_000_000);
    assert_eq!(coze.call("GET", "/v1/bots/10", &Value::Null).await.json()["code"], 100_000_003);
}

#[tokio::test]
async fn scripts_are_played_in_turn_and_the_last_again() {
    let coze = coze(Options::instant()).await;
    coze.simulator.script("5", Script::json(http::StatusCode::OK, r#"{"code":4016,"msg":"busy"}"#));
    coze.simulator.script("5", Script::pieces("event:x\ndata:\n\n", 1));
    assert_eq!(coze.chat("5", &json!([])).await.json()["code"], 4016);
    for _ in 0..2 {
        let answer = coze.chat("5", &json!([])).await;
        assert_eq!((answer.names(), answer.chunks.len()), (vec!["x".to_owned()], 15));
    }
    assert_eq!(coze.simulator.requests().len(), 3);
    assert_eq!(coze.simulator.requests()[0].body["bot_id"], "5");
}

#[tokio::test]
async fn scripts_break_the_wire_in_every_way() {
    let coze = coze(Options::instant()).await;
    let script = |steps: Vec<Step>| Script::stream([Step::Send("abc".into())]).then(steps);
    coze.simulator.script("5", script(vec![Step::Reset]));
    coze.simulator.script("5", script(vec![Step::Cut]));
    coze.simulator.script("5", script(vec![Step::End, Step::Hang]));
    coze.simulator.script("5", Script::reset());
    let reset = coze.chat("5", &json!([])).await;
    assert_eq!((reset.error, reset.whole), (Some(std::io::ErrorKind::ConnectionReset), false));
    assert_eq!(reset.text(), "abc");
    let cut = coze.chat("5", &json!([])).await;
    assert_eq!((cut.text().as_str(), cut.error, cut.whole), ("abc", None, false));
    assert!(coze.chat("5", &json!([])).await.whole);
    let headless = coze.chat("5", &json!([])).await;
    assert_eq!((headless.head.as_str(), headless.error), ("", Some(std::io::ErrorKind::ConnectionReset)));
    coze.until_closed().await;
}

#[tokio::test]
async fn a_hanging_script_ends_when_its_client_leaves() {
    let coze = coze(Options::instant()).await;
    for script in [Script::hang(), Script::stream([Step::Send("a".into()), Step::Hang])] {
        coze.simulator.unscript("5");
        coze.simulator.script("5", script);
        let stream =
            coze.send("POST", "/v3/chat", "Authorization: Bearer pat_demo\r\n", &body("5", &json!([]))).await;
        while coze.simulator.open_streams() == 0 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        coze.until_closed().await;
    }
}

#[tokio::test]
async fn a_huge_event_is_made_as_it_is_sent() {
    let coze = coze(Options::instant()).await;
    let huge = Step::SendRepeated {
        prefix: "data:".into(),
        unit: "x".into(),
        times: 3_000_000,
        suffix: "\n\n".into(),
    };
    let head = Head::event_stream().with(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"));
    coze.simulator.script("5", Script::new(head, [huge]).after(Duration::from_millis(1)));
    let answer = coze.chat("5", &json!([])).await;
    assert_eq!(answer.text().len(), 3_000_007);
    assert!(answer.head.contains("retry-after: 7"));
}

#[tokio::test]
async fn an_uploaded_file_is_seen_by_its_id() {
    let coze = coze(Options::instant()).await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n";
    let mut stream = TcpStream::connect(coze.address).await.unwrap();
    let request = format!(
        "POST /v1/files/upload HTTP/1.1\r\nHost: coze\r\nConnection: close\r\nAuthorization: Bearer pat_demo\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read(stream).await;
    let keys =
        [r#"{"data":{"uri":"#, r#""bytes":3,"CreatedAt":"#, r#""file_name":"a.png","url":"#, r"\u0026"];
    for key in keys {
        assert!(answer.text().contains(key), "{}", answer.text());
    }
    let upload = coze.simulator.uploads().remove(0);
    assert_eq!((upload.content_type.as_str(), upload.content.as_ref()), ("image/png", &b"PNG"[..]));
    let id = answer.json()["data"]["id"].clone();
    let object = json!([{"type": "text", "text": "see"}, {"type": "image", "file_id": id}]).to_string();
    let message = json!({"role": "user", "content": object, "content_type": "object_string"});
    let seen = coze.chat(bots::CONTEXT, &json!([message])).await;
    assert_eq!(seen.answer(), format!("user: see {}", upload.url));
}

#[tokio::test]
async fn the_gateways_own_client_understands_it() {
    use crate::coze::{chat, client, sse};
    use crate::turn;

    let coze = coze(Options::instant()).await;
    let base_url = format!("http://{}", coze.address);
    let client = client::Client::new(client::Settings { base_url, ..client::Settings::default() }).unwrap();
    let prompt = turn::Prompt {
        messages: vec![turn::Message::text(turn::Role::User, "a story")],
        ..turn::Prompt::default()
    };
    let call = chat::call(bots::STORYTELLER, "u", &prompt, &crate::turn::Extras::default(), None, None);
    let mut opened = client.open(&call, &crate::secret::Secret::new(DEMO_TOKEN)).await.unwrap();
    assert!(opened.log_id.is_some());
    let mut decoder = sse::Decoder::default();
    let (mut reader, mut reply) = (chat::Reader::default(), turn::Reply::default());
    while let Some(chunk) = std::future::poll_fn(|cx| opened.bytes.poll_bytes(cx)).await {
        let chunk = chunk.unwrap();
        let read = |event: sse::Event<'_>| reader.read(event, &mut |event| reply.push(event)).unwrap();
        decoder.push(&chunk, read).unwrap();
    }
    reader.end(&mut |event| reply.push(event)).unwrap();
    assert!(reply.text().decode().ends_with("each evening, in turn."));
    assert!(reply.thinking().decode().starts_with("They want a story."));
}
