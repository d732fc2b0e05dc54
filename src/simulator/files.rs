//! `POST /v1/files/upload` and the files that it keeps (protocol 4.7).
//!
//! In comes a multipart body, out comes JSON in the form of
//! `files_upload.server.json`. Bounded: the oldest files are forgotten.

use std::collections::VecDeque;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use memchr::memmem;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::Simulator;
use super::records::Answered;
use super::server::{Connection, coded, json_response, with_status};
use super::wire::{self, Id};

/// How many files are kept.
const MAX_FILES: usize = 1_000;

/// How much they hold in all, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id: decimal digits, for `file_id`.
    pub id: String,
    /// The name that it came with.
    pub name: String,
    /// The content type of its part; empty if it had none.
    pub content_type: String,
    /// Where a model would fetch it; nothing is served there.
    pub url: String,
    /// What is in it.
    pub content: Bytes,
}

/// What goes wrong with an upload, once.
#[derive(Clone, Debug)]
pub enum UploadTrouble {
    /// It is refused with this code.
    Refused(u32),
    /// It is answered with this status and body, which are not the server's.
    Answered(StatusCode, String),
    /// It is taken, and answered only after this is cancelled.
    Waits(CancellationToken),
    /// The connection is reset.
    Reset,
}

/// The files, oldest first.
#[derive(Debug, Default)]
pub(super) struct Files {
    kept: VecDeque<Upload>,
    bytes: usize,
    troubles: VecDeque<UploadTrouble>,
}

impl Files {
    /// All that are still kept.
    pub(super) fn all(&self) -> Vec<Upload> {
        self.kept.iter().cloned().collect()
    }

    /// The address of a file.
    pub(super) fn url(&self, id: &str) -> Option<String> {
        self.kept.iter().find(|file| file.id == id).map(|file| file.url.clone())
    }

    /// What the next upload meets.
    pub(super) fn trouble(&mut self, trouble: UploadTrouble) {
        if self.troubles.len() < MAX_FILES {
            self.troubles.push_back(trouble);
        }
    }

    pub(super) fn take_trouble(&mut self) -> Option<UploadTrouble> {
        self.troubles.pop_front()
    }

    /// Forgets all files: their ids are known no more.
    pub(super) fn forget(&mut self) {
        (self.kept, self.bytes) = (VecDeque::new(), 0);
    }

    fn keep(&mut self, file: Upload) {
        self.bytes += file.content.len();
        self.kept.push_back(file);
        while self.kept.len() > MAX_FILES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.content.len();
        }
    }
}

/// Answers an upload, with the trouble that it meets.
pub(super) async fn answer(
    simulator: &Simulator,
    connection: &Connection,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response<Body> {
    let trouble = simulator.files().take_trouble();
    match trouble {
        Some(UploadTrouble::Refused(code)) => return coded(code, "refused"),
        Some(UploadTrouble::Answered(status, text)) => return with_status(status, json_response(&text)),
        Some(UploadTrouble::Waits(until)) => until.cancelled().await,
        Some(UploadTrouble::Reset) => return connection.reset().await,
        None => {}
    }
    upload(simulator, headers, body)
}

/// Stands for the server's random name of a file, so that who looks at an
/// address knows what is there.
fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn upload(simulator: &Simulator, headers: &HeaderMap, body: &Bytes) -> Response<Body> {
    #[derive(Serialize)]
    struct Uploaded<'a> {
        uri: &'a str,
        bytes: usize,
        #[serde(rename = "CreatedAt")]
        created_at: u64,
        file_name: &'a str,
        url: &'a str,
        id: Id,
    }
    let Some(boundary) = boundary(headers) else { return coded(104_000_003, "invalid content type") };
    let Some(parts) = parts(body, boundary) else { return coded(104_000_005, "parse form data failed") };
    let mut files = parts.into_iter().filter(|part| part.field == "file");
    let Some(part) = files.next() else { return coded(104_000_006, "file is required") };
    if files.next().is_some() {
        return coded(104_000_007, "only one file is allowed");
    }
    let id = simulator.book().next_id();
    let uri = format!("bot_files/{}/{}", digest(&part.content), part.name);
    let url = format!(
        "http://localhost:8888/local_storage/opencoze/{uri}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=604800"
    );
    let data = Uploaded {
        uri: &uri,
        bytes: part.content.len(),
        created_at: super::now(),
        file_name: &part.name,
        url: &url,
        id,
    };
    let answer = wire::json(&Answered::new(data));
    simulator.files().keep(Upload {
        id: id.to_string(),
        name: part.name,
        content_type: part.content_type,
        url,
        content: part.content,
    });
    json_response(&answer)
}

fn boundary(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.strip_prefix("multipart/form-data")?.split_once("boundary=")?.1;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

struct Part {
    field: String,
    name: String,
    content_type: String,
    content: Bytes,
}

/// The parts of a multipart body; `None` if it cannot be read.
fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.clone();
    // The first delimiter has no line break before it.
    if !rest.starts_with(delimiter.trim_start().as_bytes()) {
        return None;
    }
    let mut rest = rest.split_off(delimiter.len() - 2);
    let mut parts = Vec::new();
    while rest.starts_with(b"\r\n") {
        let end = memmem::find(&rest, delimiter.as_bytes())?;
        let part = rest.split_to(end);
        let _delimiter = rest.split_to(delimiter.len());
        let at = memmem::find(&part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(part.get(2..at.max(2))?).into_owned();
        parts.push(read_part(&head, part.slice(at + 4..)));
    }
    rest.starts_with(b"--").then_some(parts)
}

fn read_part(head: &str, content: Bytes) -> Part {
    let mut part = Part { field: String::new(), name: String::new(), content_type: String::new(), content };
    for line in head.split("\r\n") {
        let Some((header, value)) = line.split_once(':') else { continue };
        if header.eq_ignore_ascii_case("content-type") {
            part.content_type = value.trim().to_owned();
        } else if header.eq_ignore_ascii_case("content-disposition") {
            for (key, value) in value.split(';').filter_map(|field| field.trim().split_once('=')) {
                let value = value.trim_matches('"').to_owned();
                match key {
                    "name" => part.field = value,
                    "filename" => part.name = value,
                    _ => {}
                }
            }
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\r\nPNG--\r\n";

    #[test]
    fn a_part_keeps_its_bytes_name_and_type() {
        let body = Bytes::from(format!("{FILE}\r\n--b--\r\n"));
        let parts = parts(&body, "b").unwrap();
        let [part] = &parts[..] else { panic!("{}", parts.len()) };
        assert_eq!((part.field.as_str(), part.name.as_str()), ("file", "a.png"));
        assert_eq!((part.content_type.as_str(), &part.content[..]), ("image/png", &b"\r\nPNG--\r\n"[..]));
    }

    #[test]
    fn what_is_no_form_is_not_read() {
        for body in ["", "--b", "--b\r\n", "--b\r\n\r\n", FILE, "x--b--", "--b\r\n\r\n--b--"] {
            assert!(parts(&Bytes::from(body), "b").is_none(), "{body:?}");
        }
        assert!(parts(&Bytes::from("--b--"), "b").unwrap().is_empty());
        assert_eq!(parts(&Bytes::from(format!("{FILE}\r\n{FILE}\r\n--b--")), "b").unwrap().len(), 2);
    }
}
