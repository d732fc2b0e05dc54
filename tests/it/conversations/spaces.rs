//! Whose conversations are whose: key, deployment, bot, user and hint each
//! part them, by name, by id and by transcript; a model's name does not.

use cozeway::simulator::bots::{ECHO, STORYTELLER};
use cozeway::simulator::{Behaviour, Bot, Options};

use super::{usual, with};
use crate::support::gateway::config;
use crate::support::{Coze, Gateway, KEY, Talk};

const OTHER_KEY: &str = "sk-other-0123456789abcdef";

/// One conversation with a name and one without; gives the latter's.
async fn begin(talk: &Talk<'_>) -> String {
    talk.named("n").says(&["a"]).await.assert("new", "a");
    let first = talk.says(&["a"]).await;
    first.assert("new", "a");
    first.name().to_owned()
}

/// Both clients are in one space.
async fn assert_same(one: &Talk<'_>, other: &Talk<'_>) {
    let id = begin(one).await;
    other.named("n").says(&["b"]).await.assert("continued", "a [a] b");
    one.says(&["a", "a", "x"]).await.assert("continued", "a [a] x");
    other.named(&id).says(&["b"]).await.assert("continued", "a [a] x [x] b");
}

/// The second client finds nothing of what the first has begun, and leaves
/// it alone.
async fn assert_apart(one: &Talk<'_>, other: &Talk<'_>) {
    let id = begin(one).await;
    assert_eq!(other.named(&id).says(&["b"]).await.error(), (404, "conversation_not_found"));
    other.says(&["a", "a", "b"]).await.assert("replayed; reason=unknown", "a [a] b");
    other.named("n").says(&["b"]).await.assert("new", "b");
    one.named("n").says(&["c"]).await.assert("continued", "a [a] c");
    one.says(&["a", "a", "c"]).await.assert("continued", "a [a] c");
    one.named(&id).says(&["d"]).await.assert("continued", "a [a] c [c] d");
    other.named("n").says(&["d"]).await.assert("continued", "b [b] d");
}

#[tokio::test]
async fn keys_never_see_each_others_conversations() {
    let more = format!("[keys.other]\nkey = \"{OTHER_KEY}\"\n");
    let (coze, gateway) = with(&more).await;
    let talk = Talk::new(&gateway, &coze, "echo").field("user", "ann");
    assert_apart(&talk, &talk.key(OTHER_KEY)).await;
}

#[tokio::test]
async fn users_never_see_each_others_conversations() {
    let more = format!("[keys.other]\nkey = \"{OTHER_KEY}\"\nuser_headers = [\"x-openwebui-user-id\"]\n");
    let (coze, gateway) = with(&more).await;
    let nobody = Talk::new(&gateway, &coze, "echo");
    assert_apart(&nobody.field("user", "ann"), &nobody.field("user", "bob")).await;
    assert_apart(&nobody, &nobody.field("user", "eve")).await;
    let trusted = nobody.key(OTHER_KEY);
    let ann = trusted.with("x-openwebui-user-id", "ann");
    assert_apart(&ann, &trusted.with("x-openwebui-user-id", "bob")).await;
    // However it is said who that is.
    assert_same(&trusted.with("x-openwebui-user-id", "joe"), &trusted.field("user", "joe")).await;
}

#[tokio::test]
async fn a_users_header_that_is_not_trusted_parts_nothing() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_same(&talk, &talk.with("x-openwebui-user-id", "ann")).await;
}

#[tokio::test]
async fn hints_never_see_each_others_conversations() {
    let (coze, gateway) = usual().await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let hint = |name: &str, value: &str| talk.with(name, value);
    assert_apart(&talk, &hint("x-openwebui-chat-id", "1")).await;
    assert_apart(&hint("x-openwebui-chat-id", "2"), &hint("x-openwebui-chat-id", "3")).await;
    // The first one counts that is there, and of that the value alone.
    let first = hint("x-openwebui-chat-id", "4");
    assert_same(&first.with("x-session-id", "a"), &first.with("x-session-id", "b")).await;
    assert_same(&hint("x-openwebui-chat-id", "5"), &hint("chatui-conversation-id", "5")).await;
    assert_same(&talk.field("user", "u"), &talk.field("user", "u").with("x-other-hint", "x")).await;
}

#[tokio::test]
async fn the_config_says_which_headers_are_hints() {
    let coze = Coze::start().await;
    let gateway = Gateway::with_server(&coze, "conversation_hints = [\"x-my-chat\"]").await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_apart(&talk.with("x-my-chat", "1"), &talk.with("x-my-chat", "2")).await;
    assert_same(&talk, &talk.with("x-openwebui-chat-id", "2")).await;
}

#[tokio::test]
async fn bots_never_see_each_others_conversations() {
    let mut options = Options::instant();
    options.bots.push(Bot::new("7530512345678900077", "twin", Behaviour::Echo));
    let coze = Coze::with(options).await;
    let more = "[models.twin]\nbot_id = \"7530512345678900077\"\n";
    let gateway = Gateway::with(&config(&coze, "", more)).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_apart(&talk, &talk.to("twin")).await;
}

#[tokio::test]
async fn deployments_never_see_each_others_conversations() {
    let coze = Coze::start().await;
    let text = config(&coze, "", "").replace("\nbot_id =", "\ncoze = \"local\"\nbot_id =")
        + &format!(
            "[coze.other]\nbase_url = \"http://127.0.0.1:{}\"\ntoken = \"pat_demo\"\n\
             [models.there]\ncoze = \"other\"\nbot_id = \"{ECHO}\"\n",
            coze.port
        );
    let gateway = Gateway::with(&text).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_apart(&talk, &talk.to("there")).await;
}

#[tokio::test]
async fn another_name_of_the_same_bot_is_the_same() {
    let more = format!("[models.friend]\nbot_id = \"{ECHO}\"\naliases = [\"gpt-*\"]\n");
    let (coze, gateway) = with(&more).await;
    let talk = Talk::new(&gateway, &coze, "friend");
    assert_same(&talk, &talk.to("gpt-4o")).await;
    let ann = talk.field("user", "ann");
    assert_same(&ann, &ann.to("echo")).await;
}

#[tokio::test]
async fn another_bot_under_the_old_name_is_not() {
    let mut options = Options::instant();
    options.bots.push(Bot::new("7530512345678900077", "twin", Behaviour::Echo));
    let coze = Coze::with(options).await;
    let model = |bot: &str| config(&coze, "", &format!("[models.my]\nbot_id = \"{bot}\"\n"));
    let gateway = Gateway::with(&model(ECHO)).await;
    let talk = Talk::new(&gateway, &coze, "my");
    let id = begin(&talk).await;
    gateway.reload(&model("7530512345678900077")).await;
    assert_eq!(talk.named(&id).says(&["b"]).await.error(), (404, "conversation_not_found"));
    talk.named("n").says(&["b"]).await.assert("new", "b");
    talk.says(&["a", "a", "b"]).await.assert("replayed; reason=unknown", "a [a] b");
    gateway.reload(&model(ECHO)).await;
    talk.named("n").says(&["b"]).await.assert("continued", "a [a] b");
    talk.named(&id).says(&["b"]).await.assert("continued", "a [a] b");
}

#[tokio::test]
async fn tokens_that_are_passed_through_never_see_each_others_conversations() {
    let mut options = Options::instant();
    options.tokens = vec!["pat_ann".to_owned(), "pat_bob".to_owned()];
    let coze = Coze::with(options).await;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[auth]\nmode = \"passthrough\"\n\
         [coze.local]\nbase_url = \"http://127.0.0.1:{}\"\n\
         [models.echo]\nbot_id = \"{ECHO}\"\n[models.storyteller]\nbot_id = \"{STORYTELLER}\"\n",
        coze.port
    );
    let gateway = Gateway::with(&text).await;
    let talk = Talk::new(&gateway, &coze, "echo").field("user", "same");
    assert_apart(&talk.key("pat_ann"), &talk.key("pat_bob")).await;
    // A bot by its id is the same bot.
    let ann = talk.field("user", "ann").key("pat_ann");
    assert_same(&ann, &ann.to(ECHO)).await;
}

#[tokio::test]
async fn nobody_gets_into_a_conversation_by_the_id_that_coze_gave_it() {
    let more = format!("[keys.other]\nkey = \"{OTHER_KEY}\"\n");
    let (coze, gateway) = with(&more).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    let first = talk.says(&["a"]).await;
    for talk in [talk.clone(), talk.key(OTHER_KEY)] {
        let said = talk.named(first.place()).says(&["b"]).await;
        said.assert("new", "b");
        assert_ne!(said.place(), first.place());
    }
}

#[tokio::test]
async fn without_keys_everybody_is_one_but_for_the_user() {
    let coze = Coze::start().await;
    let text = config(&coze, "", "")
        .replace(&format!("[keys.test]\nkey = \"{KEY}\"\n"), "[auth]\nmode = \"none\"\n");
    let gateway = Gateway::with(&text).await;
    let talk = Talk::new(&gateway, &coze, "echo");
    assert_same(&talk, &talk.key("whatever")).await;
    assert_apart(&talk.field("user", "ann"), &talk.field("user", "bob")).await;
}
