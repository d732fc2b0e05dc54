//! `POST /v1/conversation/create`, `DELETE /v1/conversations/:id` and
//! `POST /v1/conversations/:id/clear` (protocol 4.1, 4.4, 4.5).

use serde::Deserialize;

use super::Call;
use super::json::Word;

/// The call that makes an empty conversation with a bot.
#[must_use]
pub fn create(bot: &str) -> Call {
    let body = serde_json::json!({ "bot_id": bot }).to_string();
    Call { method: http::Method::POST, path: "/v1/conversation/create".to_owned(), body: Some(body.into()) }
}

/// The call that takes a conversation out of Coze's lists.
#[must_use]
pub fn delete(conversation: &str) -> Call {
    Call { method: http::Method::DELETE, path: path(conversation), body: None }
}

/// The call that begins a new section of a conversation: a bot sees nothing
/// of the ones before.
#[must_use]
pub fn clear(conversation: &str) -> Call {
    let path = format!("{}/clear", path(conversation));
    Call { method: http::Method::POST, path, body: Some("{}".into()) }
}

/// The id of the section that [`clear`] has begun, or of the conversation
/// that [`create`] has made, if the answer says.
#[must_use]
pub fn made(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Section<'a>,
    }
    #[derive(Deserialize)]
    struct Section<'a> {
        #[serde(borrow)]
        id: Word<'a>,
    }
    let Word(id) = serde_json::from_slice::<Answer<'_>>(body).ok()?.data.id;
    (!id.is_empty()).then(|| id.into_owned())
}

fn path(conversation: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(conversation.as_bytes()).collect();
    format!("/v1/conversations/{id}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(super::delete("75").path, "/v1/conversations/75");
        assert_eq!(super::delete("7/../x").path, "/v1/conversations/7%2F..%2Fx");
        assert_eq!(super::clear("7?").path, "/v1/conversations/7%3F/clear");
    }

    #[test]
    fn a_new_section_has_an_id() {
        let server = r#"{"code":0,"msg":"","data":{"id":"7530600000000000003","conversation_id":"1"},"BaseResp":null}"#;
        assert_eq!(super::made(server.as_bytes()).as_deref(), Some("7530600000000000003"));
        assert_eq!(super::made(br#"{"code":0,"data":{"id":12}}"#).as_deref(), Some("12"));
        for other in [r#"{"code":0}"#, r#"{"data":{"id":""}}"#, "x"] {
            assert_eq!(super::made(other.as_bytes()), None);
        }
    }
}
