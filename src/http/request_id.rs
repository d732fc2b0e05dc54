//! The id of a request, which every answer carries and every log line names.

use http::HeaderMap;

/// The header's name.
const NAME: &str = "x-request-id";

/// The client's own id if it is fit to be shown, else a new one.
pub(super) fn of(headers: &HeaderMap) -> String {
    kept_or_new(headers.get(NAME).and_then(|value| value.to_str().ok()))
}

/// The same for a head of HTTP/1 that nobody parses, whole or its beginning.
pub(super) fn among(head: &[u8]) -> String {
    let lines = head.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii);
    let fields = lines.take_while(|line| !line.is_empty()).filter_map(|line| std::str::from_utf8(line).ok());
    let mut named = fields.filter_map(|field| field.split_once(':'));
    let own = named.find(|(name, _)| name.eq_ignore_ascii_case(NAME)).map(|(_, value)| value.trim());
    kept_or_new(own)
}

/// The client's own id if it is fit to be shown, else a new one.
fn kept_or_new(own: Option<&str>) -> String {
    own.filter(|id| is_fit(id))
        .map_or_else(|| format!("req_{}", uuid::Uuid::now_v7().simple()), str::to_owned)
}

/// 1 to 128 of `A-Za-z0-9._:-`: nothing that could forge a log line.
fn is_fit(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_id_of_the_client_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "trace-1.a_b:c".replace('_', "-").parse().unwrap());
        assert_eq!(of(&headers), "trace-1.a-b:c");
    }

    #[test]
    fn any_other_is_replaced() {
        for id in ["", "a b", "a\"b", "a/b", &"x".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", id.parse().unwrap());
            assert!(of(&headers).starts_with("req_"), "{id}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }

    #[test]
    fn an_id_is_found_in_an_unparsed_head() {
        for head in
            ["GET / HTTP/1.1\r\nhost: h\r\nX-Request-Id:  mine \r\n\r\n", "GET /\nx-request-id:mine\n\n"]
        {
            assert_eq!(among(head.as_bytes()), "mine");
        }
        for head in [
            "",
            "x-request-id: mine\r\n",
            "GET /\r\n\r\nx-request-id: body\r\n",
            "GET /\r\nx-request-id: b d\r\n",
        ] {
            assert!(among(head.as_bytes()).starts_with("req_"), "{head}");
        }
    }
}
