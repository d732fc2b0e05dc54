//! The id of a request, which every answer carries and every log line names.

use http::HeaderMap;

/// The client's own id if it is fit to be shown, else a new one.
pub(super) fn of(headers: &HeaderMap) -> String {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_fit(id))
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
}
