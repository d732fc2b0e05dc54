//! What bots are given beside the messages, and what they show beside the
//! answer.

use serde_json::{Value, json};

use cozeway::simulator::{Behaviour, Bot, Options};

use crate::support::gateway::config;
use crate::support::sse::Streamed;
use crate::support::{Coze, Gateway, Talk};

const TOOLS: &str = "7530512345678909001";
const ECHO: &str = cozeway::simulator::bots::ECHO;
const ASK: &str = cozeway::simulator::bots::ASK;
const TRUSTED: &str = "sk-trusted-0123456789";

async fn start() -> (Coze, Gateway) {
    let mut options = Options::instant();
    options.bots.push(Bot::new(TOOLS, "tools", Behaviour::Tools));
    let coze = Coze::with(options).await;
    let given = "custom_variables = { persona = 'a pirate', place = 'sea' }\n\
                 shortcut_command = { command_id = '77', parameters = { city = 'Paris' } }\n\
                 extra_params = { trace = '1' }\nparameters = { n = 1, deep = { list = [1, 'x'] } }\n";
    let models = format!(
        "[models.given]\nbot_id = '{ECHO}'\n{given}\
         [models.given-ask]\nbot_id = '{ASK}'\n{given}\
         [models.named]\nbot_id = '{ECHO}'\nsystem = {{ variable = 'persona' }}\n\
         [models.hidden]\nbot_id = '{TOOLS}'\n\
         [models.thinks]\nbot_id = '{TOOLS}'\nsteps = 'reasoning'\n\
         [models.tags]\nbot_id = '{TOOLS}'\nsteps = 'reasoning'\nreasoning = 'think'\n\
         [models.lists]\nbot_id = '{TOOLS}'\nsteps = 'coze'\n\
         [models.flow]\nworkflow_id = '{}'\ninput = 'topic'\n\
         [keys.trusted]\nkey = '{TRUSTED}'\nallow_coze_fields = true\n",
        cozeway::simulator::flows::POEM
    );
    let gateway = Gateway::with(&config(&coze, "", &models)).await;
    (coze, gateway)
}

/// The body of the last chat that Coze was sent.
fn sent(coze: &Coze) -> Value {
    coze.simulator.requests().into_iter().rfind(|sent| sent.path.starts_with("/v3/chat")).unwrap().body
}

fn given(body: &Value) -> [&Value; 4] {
    ["custom_variables", "shortcut_command", "extra_params", "parameters"].map(|name| &body[name])
}

#[tokio::test]
async fn what_the_config_gives_goes_with_every_message() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "given");
    let expected = [
        json!({"persona": "a pirate", "place": "sea"}),
        json!({"command_id": "77", "parameters": {"city": "Paris"}}),
        json!({"trace": "1"}),
        json!({"n": 1, "deep": {"list": [1, "x"]}}),
    ];
    talk.says(&["one"]).await.assert("new", "one");
    assert_eq!(given(&sent(&coze)).map(Clone::clone), expected);
    let second = talk.says(&["one", "one", "two"]).await;
    second.assert("continued", "one [one] two");
    assert_eq!(given(&sent(&coze)).map(Clone::clone), expected);
    // Forgotten, it is replayed with the same.
    coze.simulator.forget(second.place());
    let third = talk.says(&["one", "one", "two", "two", "three"]).await;
    assert_eq!(third.note(), "replayed; reason=forgotten");
    assert_eq!(given(&sent(&coze)).map(Clone::clone), expected);
    // A bot without any is sent none.
    gateway.answer("echo", "hi").await;
    assert_eq!(given(&sent(&coze)), [&Value::Null; 4]);
}

#[tokio::test]
async fn what_answers_a_question_comes_without_a_command() {
    let (coze, gateway) = start().await;
    let talk = Talk::new(&gateway, &coze, "given-ask");
    let asked = talk.says(&["weather?"]).await;
    assert_eq!(sent(&coze)["shortcut_command"]["command_id"], "77");
    let answered = talk.says(&["weather?", asked.text(), "Paris"]).await;
    assert_eq!(answered.note(), "resumed");
    let body = sent(&coze);
    assert_eq!((&body["shortcut_command"], &body["extra_params"]), (&Value::Null, &json!({"trace": "1"})));
}

#[tokio::test]
async fn a_key_that_may_sets_fields_of_its_own_over_the_configs() {
    let (coze, gateway) = start().await;
    let fields = json!({
        "custom_variables": {"persona": "a monk", "mood": "calm"},
        "shortcut_command": {"command_id": "78"},
        "parameters": {"n": 1.5, "m": null},
    });
    let talk = Talk::new(&gateway, &coze, "given").field("coze", fields.clone());
    let trusted = talk.key(TRUSTED);
    assert_eq!(trusted.says(&["one"]).await.status, 200);
    let body = sent(&coze);
    assert_eq!(body["custom_variables"], json!({"persona": "a monk", "place": "sea", "mood": "calm"}));
    assert_eq!(body["shortcut_command"], json!({"command_id": "78", "parameters": {}}));
    assert_eq!(body["extra_params"], json!({"trace": "1"}));
    assert_eq!(body["parameters"], json!({"n": 1.5, "m": null, "deep": {"list": [1, "x"]}}));
    // The key that may not is told, and nothing is sent.
    let before = coze.simulator.requests().len();
    let refused = talk.says(&["one"]).await;
    assert_eq!(refused.error(), (400, "unsupported_parameter"));
    assert_eq!(refused.body["error"]["param"], "coze");
    // Null is absent.
    assert_eq!(talk.field("coze", Value::Null).says(&["one"]).await.status, 200);
    let wrong = trusted.field("coze", json!({"custom_variables": {"n": 1}})).says(&["one"]).await;
    assert_eq!(wrong.error(), (400, "invalid_type"));
    assert_eq!(wrong.body["error"]["param"], "coze.custom_variables.n");
    let flow = trusted.to("flow").says(&["one"]).await;
    assert_eq!(flow.error(), (400, "unsupported_parameter"));
    let system = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    let taken = trusted.to("named").sends(system).await;
    assert_eq!(taken.error(), (400, "invalid_value"));
    assert_eq!(taken.body["error"]["param"], "coze.custom_variables");
    assert_eq!(coze.simulator.requests().len(), before + 1);
}

#[tokio::test]
async fn what_is_given_counts_among_what_coze_stores() {
    let (_coze, gateway) = start().await;
    let talk = |fields: Value| {
        let body = json!({"model": "given", "messages": [{"role": "user", "content": "x".repeat(40_000)}], "coze": fields});
        gateway
            .client
            .post(gateway.url("/v1/chat/completions"))
            .bearer_auth(TRUSTED)
            .body(body.to_string())
            .send()
    };
    assert_eq!(talk(json!({"custom_variables": {"long": "x".repeat(20_000)}})).await.unwrap().status(), 200);
    let refused = talk(json!({"custom_variables": {"long": "x".repeat(22_000)}})).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("context_length_exceeded"));
}

const ANSWER: &str = "Rome: sunny & <warm>";

#[tokio::test]
async fn steps_are_hidden_or_thinking_or_a_list() {
    let (_coze, gateway) = start().await;
    let message = |answer: &Value| answer["choices"][0]["message"].clone();
    let hidden = gateway.answer("hidden", "Rome").await;
    assert_eq!(message(&hidden)["content"], ANSWER);
    assert_eq!(message(&hidden)["reasoning_content"], "Somebody wants to know the weather.");
    assert!(hidden["coze"].get("steps").is_none());
    let thinks = gateway.answer("thinks", "Rome").await;
    let thinking = "[recalled] The company was founded in 2012.\nSomebody wants to know the weather.\n\
                    [called ts-weather({\"city\":\"Rome\"})]\n[ts-weather returned] Rome: sunny & <warm>\n";
    assert_eq!(message(&thinks)["content"], ANSWER);
    assert_eq!(message(&thinks)["reasoning_content"], thinking);
    let tags = gateway.answer("tags", "Rome").await;
    assert_eq!(message(&tags)["content"], format!("<think>{thinking}</think>\n\n{ANSWER}"));
    let lists = gateway.answer("lists", "Rome").await;
    let steps = json!([
        {"type": "knowledge", "content": "The company was founded in 2012."},
        {"type": "tool_call", "name": "ts-weather", "arguments": "{\"city\":\"Rome\"}"},
        {"type": "tool_result", "name": "ts-weather", "content": ANSWER},
    ]);
    assert_eq!((&message(&lists)["content"], &lists["coze"]["steps"]), (&json!(ANSWER), &steps));
    // Streams say the same.
    let streamed = Streamed::of(gateway.ask("thinks", "Rome", json!({"stream": true})).await).await;
    assert_eq!(streamed.text(0, "reasoning_content"), thinking);
    assert_eq!(streamed.content(), ANSWER);
    let streamed = Streamed::of(gateway.ask("lists", "Rome", json!({"stream": true})).await).await;
    assert_eq!(streamed.content(), ANSWER);
    assert_eq!(streamed.finishing()["coze"]["steps"], steps);
}

#[tokio::test]
async fn a_chat_whose_steps_are_shown_goes_on() {
    let (coze, gateway) = start().await;
    for model in ["thinks", "lists"] {
        let talk = Talk::new(&gateway, &coze, model).field("user", model);
        let first = talk.says(&["Rome"]).await;
        let second = talk.says(&["Rome", first.text(), "Oslo"]).await;
        assert_eq!((second.note(), second.place()), ("continued", first.place()), "{model}");
    }
}
