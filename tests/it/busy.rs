//! A conversation that Coze still runs a chat in (4016): waited for, and put
//! back where it was if that takes too long; and transcripts as one text.

use cozeway::simulator::{Script, Trouble};
use http::StatusCode;
use serde_json::Value;

use crate::support::gateway::config;
use crate::support::talk::Talk;
use crate::support::{Coze, Gateway, SCRIPTED};

fn busy() -> Script {
    Script::json(StatusCode::OK, r#"{"code":4016,"msg":"Conversation occupied"}"#.to_owned())
}

fn chats(coze: &Coze) -> usize {
    coze.simulator.requests().iter().filter(|request| request.path.starts_with("/v3/chat")).count()
}

#[tokio::test]
async fn a_busy_conversation_is_waited_for() {
    let coze = Coze::start().await;
    let gateway = Gateway::start(&coze).await;
    let talk = Talk::new(&gateway, &coze, "context");
    let first = talk.says(&["hi"]).await;
    let (place, answer) = (first.place().to_owned(), first.text().to_owned());
    for _ in 0..3 {
        coze.simulator.trouble("again", Trouble::Refused(4016));
    }
    let before = chats(&coze);
    let second = talk.says(&["hi", &answer, "again"]).await;
    assert_eq!((second.note(), second.place()), ("continued", place.as_str()));
    assert_eq!(chats(&coze) - before, 4);
}

#[tokio::test]
async fn one_that_stays_busy_is_a_409_and_goes_on_later() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "conversation_wait = \"400ms\"").await;
    let talk = Talk::new(&gateway, &coze, "context");
    let first = talk.says(&["hi"]).await;
    let (place, answer) = (first.place().to_owned(), first.text().to_owned());
    for _ in 0..100 {
        coze.simulator.trouble("again", Trouble::Refused(4016));
    }
    let locked = talk.says(&["hi", &answer, "again"]).await;
    assert_eq!(locked.error(), (409, "conversation_locked"));
    assert!(locked.header("retry-after").is_some());
    let asked = chats(&coze);
    assert!((3..8).contains(&asked), "pauses grow: {asked}");
    // Nothing has happened there: the claim was given back as it was.
    coze.simulator.no_trouble();
    let second = talk.says(&["hi", &answer, "again"]).await;
    assert_eq!((second.note(), second.place()), ("continued", place.as_str()));
}

#[tokio::test]
async fn a_refusal_within_a_stream_and_one_of_a_flow_are_waited_out_as_well() {
    let coze = Coze::start().await;
    let flows = format!(
        "[models.flow]\nchatflow_id = \"{SCRIPTED}\"\nbot_id = \"{SCRIPTED}\"\n\
         [models.work]\nworkflow_id = \"{SCRIPTED}\"\ninput = \"x\"\nstream = false\n"
    );
    let gateway = Gateway::with(&config(&coze, "", &flows)).await;
    let event = "event:error\ndata:{\"code\":4016,\"msg\":\"Conversation occupied\"}\n\n";
    let answer = "event:conversation.chat.created\ndata:{\"id\":\"3\",\"conversation_id\":\"2\"}\n\n\
                  event:conversation.message.completed\n\
                  data:{\"id\":\"1\",\"type\":\"answer\",\"content\":\"hm\",\"content_type\":\"text\"}\n\n\
                  event:conversation.chat.completed\ndata:{\"id\":\"3\",\"conversation_id\":\"2\"}\n\n\
                  event:done\ndata:[DONE]\n\n";
    let whole = r#"{"code":0,"msg":"","data":"{\"output\":\"hm\"}","debug_url":""}"#;
    for (model, last) in [("scripted", answer), ("flow", answer), ("work", whole)] {
        coze.simulator.unscript(SCRIPTED);
        let stream = |text: &str| Script::stream([crate::support::cloud::send(text)]);
        coze.simulator.script(SCRIPTED, busy());
        if model != "work" {
            coze.simulator.script(SCRIPTED, stream(event));
            coze.simulator.script(SCRIPTED, stream(last));
        } else {
            coze.simulator.script(SCRIPTED, Script::json(StatusCode::OK, last.to_owned()));
        }
        let answer = gateway.answer(model, "hi").await;
        assert_eq!(answer["choices"][0]["message"]["content"], "hm", "{model}: {answer}");
    }
}

#[tokio::test]
async fn a_flat_history_is_one_text_with_the_last_message_whole() {
    let coze = Coze::start().await;
    let bot = cozeway::simulator::bots::ECHO;
    let model = format!("[models.flat]\nbot_id = \"{bot}\"\nhistory = \"flatten\"\n");
    let gateway = Gateway::with(&config(&coze, "", &model)).await;
    let talk = Talk::new(&gateway, &coze, "flat");
    let sent = |index: usize| -> Vec<Value> {
        let requests = coze.simulator.requests();
        let chats = requests.iter().filter(|request| request.path.starts_with("/v3/chat"));
        let chat = chats.collect::<Vec<_>>()[index];
        chat.body["additional_messages"].as_array().unwrap().clone()
    };
    let replayed = talk.says(&["one", "two", "three"]).await;
    assert_eq!(replayed.status, 200, "{}", replayed.body);
    let [message] = &sent(0)[..] else { panic!("one message") };
    assert_eq!(message["role"], "user");
    let text = message["content"].as_str().unwrap();
    assert!(
        text.contains("assistant, message 2 of 3\ntwo\n") && text.ends_with("message 3 of 3\nthree"),
        "{text}"
    );
    // What goes on is sent as it is, and by itself.
    let answer = replayed.text().to_owned();
    let continued = talk.says(&["one", "two", "three", &answer, "four"]).await;
    assert_eq!((continued.note(), continued.place()), ("continued", replayed.place()));
    let [message] = &sent(1)[..] else { panic!("one message") };
    assert_eq!(message["content"], "four");
}

#[tokio::test]
async fn a_cloud_is_told_whether_to_keep_a_chat() {
    let coze = Coze::start().await;
    let bot = cozeway::simulator::bots::ECHO;
    let more = format!("[models.off]\nbot_id = \"{bot}\"\nmemory = \"off\"\nauto_save_history = false\n");
    let cloud = config(&coze, "", &more).replace("[coze.local]", "[coze.local]\nkind = \"cloud\"");
    let gateway = Gateway::with(&cloud).await;
    gateway.answer("echo", "kept").await;
    gateway.answer("off", "not kept").await;
    let said: Vec<Value> = coze
        .simulator
        .requests()
        .iter()
        .filter(|request| request.path == "/v3/chat")
        .map(|request| request.body["auto_save_history"].clone())
        .collect();
    assert_eq!(said, [true, false]);
}
