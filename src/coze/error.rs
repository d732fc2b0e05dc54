//! What Coze's error numbers and texts mean.
//!
//! In comes a code with its message, from a JSON body or an `error` event;
//! out goes a [`Failure`]. Sources: `conversation`, `agentrun`, `workflow`
//! and `upload` error lists of the community server, the cloud's list as its
//! SDKs know it.

use crate::turn::{Failure, Kind};

/// The longest message of Coze's that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Turns Coze's error into a failure.
///
/// `message` may be the community server's `code=N message=TEXT\nstack=…`
/// (`chat_error_prestream.server.sse`): then N is the real code.
#[must_use]
pub fn failure(code: i64, message: &str) -> Failure {
    let (code, text) = real_cause(code, message);
    let kind = kind(code);
    let shown = for_clients(text);
    let mut failure = Failure::new(kind, sentence(kind, code, &shown));
    failure.coze_code = Some(code);
    // It has run, and asked again it would run once more.
    failure.may_be_running = kind == Kind::Timeout;
    failure.detail = Some(message.trim().chars().take(4000).collect());
    failure
}

/// The code and text inside a message, where the server has wrapped them.
fn real_cause(code: i64, message: &str) -> (i64, &str) {
    let inner = || {
        let rest = message.strip_prefix("code=")?;
        let (number, rest) = rest.split_once(' ')?;
        let text = rest.strip_prefix("message=")?;
        let text = text.split('\n').next().unwrap_or(text);
        Some((number.parse().ok()?, text))
    };
    match inner().unwrap_or((code, message)) {
        // A chatflow's way to say it.
        (777777775, text) if text.contains("conversation not found") => (103000002, text),
        other => other,
    }
}

/// Whether a failure says that a conversation that was sent to is not there,
/// or not the token's user's (protocol 6b; the cloud's 4001, 4002 and 4200).
#[must_use]
pub fn is_forgotten(failure: &Failure) -> bool {
    matches!(failure.coze_code, Some(103000001 | 103000002 | 4001 | 4002 | 4200))
}

/// Whether a failure says that whoever asks has no right to what it asks for,
/// and not that the token is a bad one.
#[must_use]
pub fn is_without_right(failure: &Failure) -> bool {
    matches!(failure.coze_code, Some(4101 | 103000001 | 110000001))
}

/// What kind of failure a code of Coze's is.
fn kind(code: i64) -> Kind {
    match code {
        700012006 | 4100 | 4101 | 103000001 | 110000001 => Kind::Auth,
        4015 | 4200 | 6031 | 720702011 | 720702004 | 100000000 | 103100002 => Kind::ModelUnavailable,
        // `agent not exist` and `agent not authorized` of the bot endpoints
        100000002 | 100000003 => Kind::ModelUnavailable,
        429 | 4009 | 4013 | 4020 => Kind::RateLimited(None),
        4008 | 4011 | 4019 | 4027 | 4028 => Kind::Quota,
        4010 => Kind::TooLong,
        4016 => Kind::Busy,
        6023 | 720702085 | 777777776 => Kind::Timeout,
        400
        | 4000..=4006
        | 4012
        | 4014
        | 4300..=4304
        | 6039
        | 103000000
        | 103000002
        | 103200001
        | 103200003
        | 104000000..=104000007
        | 104000009..=104000010
        | 720702001
        | 720702002
        | 720702078
        | 720702200
        | 720702201
        | 720702250
        | 720712014
        | 720712033
        | 702093204 => Kind::Rejected,
        _ => Kind::Broken,
    }
}

/// The sentence that a client reads.
fn sentence(kind: Kind, code: i64, text: &str) -> String {
    let what = match kind {
        Kind::Auth => {
            return format!(
                "Coze refused the gateway's token for this model (code {code}). \
                 Its operator has to check the token and who owns the bot."
            );
        }
        Kind::ModelUnavailable => {
            "Coze does not offer this bot: it must exist and be published to the API channel"
        }
        Kind::RateLimited(_) => "Coze limits the rate of requests",
        Kind::Quota => "The quota or balance at Coze is used up",
        Kind::TooLong => {
            return format!(
                "context_length_exceeded: the conversation is too long for the bot's model (Coze code {code})."
            );
        }
        Kind::Busy => "Another chat is still running in this Coze conversation",
        Kind::Rejected => "Coze refused the request",
        Kind::Timeout => "The bot ran into a time limit at Coze",
        _ => "Coze failed while it answered",
    };
    if text.is_empty() { format!("{what} (code {code}).") } else { format!("{what} (code {code}): {text}") }
}

/// Coze's text as a client may see it: the first line, no host names,
/// addresses, URLs or source paths, bounded in length.
///
/// A word is what stands between spaces, quotes and other signs that no place
/// has in its name, and between characters beyond ASCII: Chinese text has no
/// spaces.
#[must_use]
pub fn for_clients(text: &str) -> String {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let mut out = String::with_capacity(line.len().min(MAX_MESSAGE_CHARS));
    let mut after_lookup = false;
    let mut rest = line;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !in_place(c)).unwrap_or(rest.len()));
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '[' | ']'));
        if names_a_place(bare) || (after_lookup && !bare.is_empty()) {
            out.push_str(&word.replacen(bare, "…", 1));
        } else {
            out.push_str(word);
        }
        if !bare.is_empty() {
            after_lookup = matches!(bare, "lookup" | "host");
        }
        let (gap, after) = after.split_at(after.find(in_place).unwrap_or(after.len()));
        out.push_str(gap);
        rest = after;
    }
    let out = out.trim();
    match out.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", out.get(..end).unwrap_or_default()),
        None => out.to_owned(),
    }
}

/// Whether a character can be part of the name of a place.
fn in_place(c: char) -> bool {
    c.is_ascii_graphic()
        && !matches!(c, '"' | '\'' | '`' | '(' | ')' | '{' | '}' | '<' | ',' | ';' | '=' | '@' | '|')
}

/// Whether a word looks like a URL, a host name, an address or a path.
fn names_a_place(word: &str) -> bool {
    if word.contains("://") || word.starts_with('/') && word.len() > 1 {
        return true;
    }
    // host:port, file.go:190, [::1]:80, fe80::abcd
    let has_port = word.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.bytes().any(|b| b.is_ascii_alphanumeric())
            && port.bytes().next().is_some_and(|b| b.is_ascii_digit())
    });
    let word = word.split('/').next().unwrap_or(word);
    let labels = || word.split('.');
    let dotted = labels().count() > 1
        && labels().all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    let is_number = word.bytes().all(|b| b.is_ascii_digit() || b == b'.') && labels().count() != 4;
    has_port || word.contains("->") || word.contains("::") || (dotted && !is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_code_inside_a_message_counts() {
        let failure = failure(
            103100001,
            "code=100000000 message=invalid parameter : agent not published, agentID=75 connectorID=1024\nstack=/app/x.go:190 (*a).B\n",
        );
        assert_eq!(failure.kind, Kind::ModelUnavailable);
        assert_eq!(failure.coze_code, Some(100000000));
        assert!(failure.message.contains("agent not published"), "{}", failure.message);
        assert!(!failure.message.contains("stack"), "{}", failure.message);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_the_requests_fault_but_for_trouble_with_the_storage() {
        for code in 104_000_000..=104_000_010 {
            let expected = if code == 104_000_008 { Kind::Broken } else { Kind::Rejected };
            assert_eq!(failure(code, "").kind, expected, "{code}");
        }
    }

    #[test]
    fn an_outer_code_without_a_real_one_is_the_code() {
        let failure = failure(103200002, "Internal Server Error");
        assert_eq!((failure.kind, failure.coze_code), (Kind::Broken, Some(103200002)));
    }

    #[test]
    fn places_never_reach_a_client() {
        for (text, expected) in [
            (
                "dial tcp 10.0.0.5:3306: connect: connection refused",
                "dial tcp …: connect: connection refused",
            ),
            ("lookup mysql on 127.0.0.11: no such host", "lookup … on …: no such host"),
            ("Post \"http://minio:9000/x\": EOF", "Post \"…\": EOF"),
            ("at /app/domain/agent.go:190 (*a).B", "at … (*a).B"),
            ("bad gateway from coze-server.default.svc.cluster.local now", "bad gateway from … now"),
            ("read tcp [::1]:8888->[::1]:5000: reset", "read tcp …: reset"),
            ("first line\nstack=secret", "first line"),
            ("dial addr=10.0.0.5, net 10.0.0.5/24", "dial addr=…, net …"),
            ("as root@mysql.internal via fe80::abcd", "as root@… via …"),
            ("连接10.0.0.5失败，请求minio.local超时", "连接…失败，请求…超时"),
            ("tcp(10.0.0.5:3306)/coze refused", "tcp(…)… refused"),
            ("unable to resolve host: mysql", "unable to resolve host: …"),
        ] {
            let shown = for_clients(text);
            for secret in ["10.0.0.5", "mysql", "127.0.0", "minio", "app/", "cluster", "8888", "secret"] {
                assert!(!shown.contains(secret), "{text} -> {shown}");
            }
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn ordinary_words_and_numbers_stay() {
        for text in [
            "temperature must be between 0.1 and 2.0",
            "'user_id' field is a 'required' parameter, agentID=7530512345678901248",
            "提示词太长了，请缩短。",
            "invalid parameter : bot id is required",
        ] {
            assert_eq!(for_clients(text), text);
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let shown = for_clients(&"说".repeat(10_000));
        assert_eq!(shown.chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
