//! Heads and bodies: what is taken, what is not, and hyper as the oracle.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::coze::Call;

/// An answer as it is read: status, headers, payload, and whether the
/// connection could serve again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whole {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
    persistent: bool,
}

/// Why there is none: what was wrong, or that something is missing.
type Bad = Option<Malformed>;

/// What we make of pieces, behind which the connection closes.
fn ours<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Whole, Bad> {
    let mut reader = HeadReader::default();
    let mut whole = Whole { status: 0, headers: Vec::new(), payload: Vec::new(), persistent: false };
    let mut body = None;
    let mut surplus = false;
    for mut piece in pieces {
        if body.is_none() {
            let header = |name: &str, value: &[u8]| {
                whole.headers.push((name.to_ascii_lowercase(), value.to_vec()));
            };
            let Some((head, used)) = reader.push(piece, header)? else { continue };
            piece = &piece[used..];
            whole.status = head.status.as_u16();
            whole.persistent = head.persistent;
            body = Some(head.body);
        }
        let body = body.as_mut().expect("set above");
        let used = body.push(piece, |payload| whole.payload.extend_from_slice(payload))?;
        surplus |= used < piece.len();
    }
    let mut body = body.ok_or(None)?;
    whole.persistent &= body.is_over() && !surplus;
    if body.close() { Ok(whole) } else { Err(None) }
}

/// What hyper's client makes of them.
fn hypers(bytes: &[u8]) -> Option<Whole> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(http::Request::new(Empty::new()));
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut request).await.unwrap();
        }
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let (parts, body) = response.await.ok()?.into_parts();
        let payload = body.collect().await.ok()?.to_bytes().to_vec();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Some(Whole { status: parts.status.as_u16(), headers: headers.collect(), payload, persistent: false })
    })
}

/// What both can tell.
fn comparable(mut whole: Whole) -> Whole {
    whole.headers.sort();
    whole.persistent = false;
    whole
}

fn head(lines: &str) -> Result<Whole, Bad> {
    ours([format!("{lines}\r\n\r\n").as_bytes()])
}

#[test]
fn an_answer_is_as_long_as_it_says() {
    for (text, payload, persistent) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
        ("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", "", true),
        ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", "hi", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n02 \r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
            "hi",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi", "hi", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
        ("HTTP/1.1 200 OK\r\n\r\nhi", "hi", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
        ("HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi", "hi", false),
        // What comes behind the end belongs to nobody.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", "hi", false),
    ] {
        let whole = ours([text.as_bytes()]).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
        assert_eq!((whole.payload.as_slice(), whole.persistent), (payload.as_bytes(), persistent), "{text}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_no_answer() {
    for (lines, bad) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", Malformed::Length),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", Malformed::Length),
        ("Content-Length: 1\r\nContent-Length: 1", Malformed::Length),
        ("Content-Length: 1, 1", Malformed::Length),
        ("Content-Length: +1", Malformed::Length),
        ("Content-Length: 0x1", Malformed::Length),
        ("Content-Length: ", Malformed::Length),
        ("Content-Length: 99999999999999999999", Malformed::Length),
        ("Transfer-Encoding: gzip, chunked", Malformed::Coding),
        ("Transfer-Encoding: chunked, gzip", Malformed::Coding),
        ("Transfer-Encoding: identity", Malformed::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Malformed::Coding),
        ("Content-Length : 1", Malformed::Head),
        ("X-Folded: a\r\n b", Malformed::Head),
        ("X\0Y: 1", Malformed::Head),
    ] {
        assert_eq!(head(&format!("HTTP/1.1 200 OK\r\n{lines}")), Err(Some(bad)), "{lines}");
    }
    for (lines, bad) in [
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", Malformed::Coding),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x", Malformed::Upgrade),
        ("HTTP/2 200 OK", Malformed::Head),
        ("SSH-2.0-x", Malformed::Head),
        ("HTTP/1.1 20 OK", Malformed::Head),
    ] {
        assert_eq!(head(lines), Err(Some(bad)), "{lines}");
    }
}

#[test]
fn malformed_chunks_are_no_body() {
    for (chunks, bad) in [
        ("\r\n", Some(Malformed::Chunk)),
        ("x\r\n", Some(Malformed::Chunk)),
        ("-1\r\n", Some(Malformed::Chunk)),
        ("0x1\r\n", Some(Malformed::Chunk)),
        (" 1\r\n", Some(Malformed::Chunk)),
        ("1 1\r\n", Some(Malformed::Chunk)),
        ("1\nh\r\n", Some(Malformed::Chunk)),
        ("1;a\nb\r\n", Some(Malformed::Chunk)),
        ("1\r\nhi\r\n", Some(Malformed::Chunk)),
        ("1\r\nh\n0\r\n\r\n", Some(Malformed::Chunk)),
        ("10000000000000000\r\n", Some(Malformed::Chunk)),
        ("0\r\nno trailer\r\n\r\n", Some(Malformed::Trailers)),
        ("0\r\n: x\r\n\r\n", Some(Malformed::Trailers)),
        ("0\r\na: \0\r\n\r\n", Some(Malformed::Trailers)),
        ("0\r\na: x\n\r\n", Some(Malformed::Trailers)),
        ("1\r\nh\r\n", None),
        ("0\r\n", None),
        ("5\r\nh", None),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(ours([answer.as_bytes()]), Err(bad), "{chunks:?}");
    }
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi";
    assert_eq!(ours([cut.as_bytes()]), Err(None));
}

#[test]
fn every_length_is_bounded() {
    let start = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{start}transfer-encoding: chunked\r\n\r\n");
    for (answer, bad) in [
        (format!("{start}x: {}\r\n\r\n", "y".repeat(70_000)), Malformed::HeadTooLong),
        (format!("{start}x: {}", "y".repeat(70_000)), Malformed::HeadTooLong),
        (format!("{start}{}\r\n", "x: y\r\n".repeat(101)), Malformed::HeadTooLong),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(3000), Malformed::HeadTooLong),
        (format!("{chunked}1;{}\r\nh\r\n", "x".repeat(5000)), Malformed::LineTooLong),
        (format!("{chunked}1{}\r\nh\r\n", " ".repeat(5000)), Malformed::LineTooLong),
        (format!("{chunked}0\r\n{}", "x: y\r\n".repeat(5000)), Malformed::LineTooLong),
        (format!("{chunked}{}1\r\nh\r\n", "0".repeat(16)), Malformed::Chunk),
    ] {
        assert_eq!(ours([answer.as_bytes()]), Err(Some(bad)));
        assert_eq!(ours(answer.as_bytes().chunks(997)), Err(Some(bad)));
    }
    let fits = format!("{start}x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(60_000));
    assert!(ours(fits.as_bytes().chunks(1000)).is_ok());
}

#[test]
fn a_request_is_its_parts() {
    let mut headers = HeaderMap::new();
    headers.insert("x-door", HeaderValue::from_static("open"));
    headers.insert("user-agent", HeaderValue::from_static("another"));
    let requests = Requests::new("/api".to_owned(), "coze.example:8888", &headers);
    let bearer = HeaderValue::from_static("Bearer pat");
    let call = Call { method: Method::POST, path: "/v3/chat".to_owned(), body: Some("{}".into()) };
    let version = env!("CARGO_PKG_VERSION");
    let fixed = format!(
        "host: coze.example:8888\r\nuser-agent: cozeway/{version}\r\n\
         accept: text/event-stream, application/json\r\nx-door: open\r\n"
    );
    assert_eq!(
        String::from_utf8(requests.head(&(&call).into(), &bearer)).unwrap(),
        format!(
            "POST /api/v3/chat HTTP/1.1\r\n{fixed}authorization: Bearer pat\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n"
        )
    );
    let evil = Call { method: Method::GET, path: "/a b\r\nx: y?q=é#%41".to_owned(), body: None };
    assert_eq!(
        String::from_utf8(requests.head(&(&evil).into(), &bearer)).unwrap(),
        format!(
            "GET /api/a%20b%0D%0Ax:%20y?q=%C3%A9%23%41 HTTP/1.1\r\n{fixed}authorization: Bearer pat\r\n\r\n"
        )
    );

    headers.insert("host", HeaderValue::from_static("other.example"));
    let name = HeaderName::from_static("proxy-authorization");
    let value = HeaderValue::from_static("Basic eA==");
    let requests = Requests::new("http://h".to_owned(), "h", &headers).with(&name, Some(&value));
    let text = String::from_utf8(requests.head(&(&call).into(), &bearer)).unwrap();
    assert!(text.starts_with("POST http://h/v3/chat HTTP/1.1\r\nhost: other.example\r\n"), "{text}");
    assert_eq!(text.matches("host:").count(), 1);
    assert!(text.contains("\r\nproxy-authorization: Basic eA==\r\n"), "{text}");
}

/// A body with the headers that tell its length.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..40);
    let extension = prop_oneof![3 => Just(""), 1 => Just(";a=b"), 1 => Just(" "), 1 => Just("\t;x")];
    let trailers = prop_oneof![3 => Just(""), 1 => Just("x-sum: 1\r\n"), 1 => Just("a:\r\nb: c d\r\n")];
    let chunks = prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), extension), 0..6);
    prop_oneof![
        1 => payload().prop_map(|payload| [b"\r\n".as_slice(), &payload].concat()),
        2 => payload().prop_map(|payload| {
            [format!("Content-Length: {}\r\n\r\n", payload.len()).as_bytes(), &payload].concat()
        }),
        4 => (chunks, trailers).prop_map(|(chunks, trailers)| {
            let mut body = b"transfer-encoding: chunked\r\n\r\n".to_vec();
            for (chunk, extension) in chunks {
                body.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(format!("0\r\n{trailers}\r\n").bytes());
            body
        }),
    ]
}

/// A whole answer.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let advance = prop_oneof![5 => Just(""), 1 => Just("HTTP/1.1 100 Continue\r\n\r\n")];
    let status = prop_oneof![4 => Just("200 OK"), 1 => Just("404 "), 1 => Just("204 No"), 1 => Just("500")];
    let header = "(X-[A-Za-z]{1,6}: [ -~]{0,12}\r\n|Connection: (close|keep-alive)\r\n)";
    let headers = prop::collection::vec(header, 0..4);
    (advance, status, headers, body()).prop_map(|(advance, status, headers, body)| {
        let mut answer = format!("{advance}HTTP/1.1 {status}\r\n{}", headers.concat()).into_bytes();
        answer.extend(body);
        answer
    })
}

/// What may be done to an answer's bytes.
fn harm() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    let byte = prop_oneof![prop::sample::select(b"\r\n :;,0123456789abcdefx\t\0".to_vec()), any::<u8>(),];
    prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, byte), 1..4)
}

fn harmed(mut bytes: Vec<u8>, harm: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in harm {
        let at = at.index(bytes.len().max(1));
        match how {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(
        answer in answer(),
        harm in prop_oneof![Just(Vec::new()), harm()],
        sizes in prop::collection::vec(1..30_usize, 1..20),
    ) {
        let bytes = harmed(answer, &harm);
        let whole = ours([bytes.as_slice()]);
        prop_assert_eq!(&ours(bytes.chunks(1)), &whole);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(&ours(pieces), &whole);
    }

    #[test]
    fn hyper_reads_the_same_answers(answer in answer()) {
        let ours = ours([answer.as_slice()]).map(comparable);
        prop_assert_eq!(ours.ok(), hypers(&answer).map(comparable));
    }

    /// Where we take what is malformed, hyper does too, and reads the same.
    #[test]
    fn nothing_is_taken_that_hyper_refuses(answer in answer(), harm in harm()) {
        let bytes = harmed(answer, &harm);
        if let Ok(ours) = ours([bytes.as_slice()]) {
            prop_assert_eq!(Some(comparable(ours)), hypers(&bytes).map(comparable));
        }
    }
}
