//! `POST /v1/files/upload` (protocol 4.7): a file as a form, and the answer.
//!
//! The bytes of the file are never copied: the form is what stands before
//! them, they themselves, and what stands behind.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::is_id;
use super::json::Word;
use crate::turn::{Failure, Inline};

/// How long an upload lives where its answer does not say: as long as the
/// community server signs its URL for.
const USUAL_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// So long before its end an upload is not used any more, at most.
const MARGIN: Duration = Duration::from_secs(3600);

/// A file as the body of a request.
#[derive(Clone, Debug)]
pub struct Form {
    /// The content type of the request.
    pub content_type: String,
    /// The body, in pieces.
    pub body: [Bytes; 3],
}

/// A file that Coze has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// What it is called there: decimal digits.
    pub id: String,
    /// How long it can be used from now on.
    pub life: Duration,
}

/// Where files are uploaded.
pub const PATH: &str = "/v1/files/upload";

/// A file as a form with one part, `file`, which says of what type it is: it
/// is stored with that, and who fetches it later goes by it.
#[must_use]
pub fn form(file: &Inline) -> Form {
    let boundary = format!("cozeway-{:032x}", rand::random::<u128>());
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        escaped(file.name()),
        file.media_type()
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    Form {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        body: [head.into(), file.content().clone(), tail.into()],
    }
}

/// A name inside of quotes, as browsers write it.
#[must_use]
pub fn escaped(name: &str) -> String {
    name.replace('\\', "_").replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// What the answer to an upload says; `None` if it makes no sense.
#[must_use]
pub fn read(body: &[u8]) -> Option<Uploaded> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        id: Word<'a>,
        // The cloud gives none.
        #[serde(borrow, default)]
        url: Word<'a>,
    }
    let Data { id: Word(id), url: Word(url) } = serde_json::from_slice::<Answer<'_>>(body).ok()?.data;
    let life = signed_for(&url).unwrap_or(USUAL_LIFE).min(USUAL_LIFE);
    let life = life.saturating_sub(MARGIN.min(life / 10));
    is_id(&id).then(|| Uploaded { id: id.into_owned(), life })
}

/// For how long a URL is signed, if it says.
fn signed_for(url: &str) -> Option<Duration> {
    let url = url::Url::parse(url).ok()?;
    let mut query = url.query_pairs();
    let seconds = query.find(|(name, _)| {
        name.eq_ignore_ascii_case("x-amz-expires") || name.eq_ignore_ascii_case("x-tos-expires")
    });
    seconds?.1.parse().ok().map(Duration::from_secs)
}

/// Whether a failure of a chat says that one of its files is not there (any
/// more). The community server has one code for whatever goes wrong with a
/// file, the cloud has five.
#[must_use]
pub fn is_lost(failure: &Failure) -> bool {
    // A chatflow says it inside of its own message.
    let inside = |detail: &String| detail.contains("code=104000008 ");
    matches!(failure.coze_code, Some(104_000_000..=104_000_010 | 4300..=4304))
        || failure.detail.as_ref().is_some_and(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_the_file_between_its_delimiters() {
        let file = Inline::new(Bytes::from_static(b"\r\n--PNG"), "image/png", "a\"\r\nb.png");
        let Form { content_type, body } = form(&file);
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = body.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect::<String>();
        assert_eq!(
            text,
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22%0D%0Ab.png\"\r\n\
                 Content-Type: image/png\r\n\r\n\r\n--PNG\r\n--{boundary}--\r\n"
            )
        );
        assert_eq!(body[1].as_ptr(), file.content().as_ptr(), "it is not copied");
        assert_ne!(form(&file).content_type, content_type);
    }

    #[test]
    fn an_answer_says_what_the_file_is_called_and_how_long_it_lives() {
        let server = br#"{"data":{"uri":"u","bytes":1,"CreatedAt":1,"file_name":"c.png","url":"http://h/c.png?X-Amz-Algorithm=A\u0026X-Amz-Expires=604800","id":"7530600000000000777"},"code":0,"msg":"","BaseResp":null}"#;
        let cloud = br#"{"code":0,"data":{"bytes":152236,"created_at":1715847583,"file_name":"1120.jpeg","id":"7369410000000000000"},"msg":""}"#;
        let week = Duration::from_secs(7 * 24 * 3600);
        for (answer, id) in [(&server[..], "7530600000000000777"), (cloud, "7369410000000000000")] {
            assert_eq!(read(answer), Some(Uploaded { id: id.to_owned(), life: week - MARGIN }));
        }
        let short = br#"{"data":{"id":"7","url":"http://h/?X-Amz-Expires=100"}}"#;
        assert_eq!(read(short).unwrap().life, Duration::from_secs(90));
        for garbage in
            ["", "<html>", "{}", r#"{"data":null}"#, r#"{"data":{"id":""}}"#, r#"{"data":{"id":"../x"}}"#]
        {
            assert_eq!(read(garbage.as_bytes()), None, "{garbage}");
        }
    }
}
