//! `DELETE /v1/conversations/:id` (protocol 4.4).

use super::Call;

/// The call that takes a conversation out of Coze's lists.
#[must_use]
pub fn delete(conversation: &str) -> Call {
    let id: String = url::form_urlencoded::byte_serialize(conversation.as_bytes()).collect();
    Call { method: http::Method::DELETE, path: format!("/v1/conversations/{id}"), body: None }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(super::delete("75").path, "/v1/conversations/75");
        assert_eq!(super::delete("7/../x").path, "/v1/conversations/7%2F..%2Fx");
    }
}
