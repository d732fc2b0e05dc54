//! What a token can reach: whose it is, the workspaces and bots of a cloud, and
//! one bot or workflow by its id (protocol 2, 4.8).
//!
//! In come ids and bodies, out come calls and what the answers say. Never
//! calls anybody.

use std::borrow::Cow;

use http::Method;
use serde::Deserialize;

use super::Call;
use super::json::Word;

/// How many entries a page has; the clouds give no more than 50.
const PAGE: usize = 50;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What can be used of it.
    pub entries: Vec<T>,
    /// How many entries it has, with those that cannot be used.
    pub count: usize,
    /// How many entries all pages have, if that is said.
    pub total: Option<usize>,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it says about itself; may be empty.
    pub description: String,
}

/// Whose token it is; only the clouds say.
#[must_use]
pub fn me() -> Call {
    get("/v1/users/me".to_owned())
}

/// A page of the workspaces, counted from 1; only the clouds list them.
#[must_use]
pub fn spaces(page: usize) -> Call {
    get(format!("/v1/workspaces?page_num={page}&page_size={PAGE}"))
}

/// A page of the bots of a workspace that are published to the API channel,
/// counted from 1. (What the page's number is called, the docs and Coze's own
/// SDKs do not agree on.)
#[must_use]
pub fn bots(space: &str, page: usize) -> Call {
    let space = escaped(space);
    get(format!(
        "/v1/bots?workspace_id={space}&publish_status=published_online&connector_id=1024&page_num={page}&page_index={page}&page_size={PAGE}"
    ))
}

/// One bot, if it is published to the API channel and the token's.
#[must_use]
pub fn bot(id: &str) -> Call {
    get(format!("/v1/bots/{}", escaped(id)))
}

/// One workflow. (Coze Studio says something of chatflows alone.)
#[must_use]
pub fn workflow(id: &str) -> Call {
    get(format!("/v1/workflows/{}", escaped(id)))
}

fn get(path: String) -> Call {
    Call { method: Method::GET, path, body: None }
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, alias = "bot_id")]
    id: Word<'a>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    description: Option<Cow<'a, str>>,
}

impl Entry<'_> {
    fn listed(self) -> Option<Listed> {
        let Self { id: Word(id), name, description } = self;
        let description = description.unwrap_or_default().into_owned();
        (!id.is_empty()).then(|| Listed { id: id.into_owned(), name: name.into_owned(), description })
    }
}

/// The workspaces on a page; `None` if the answer makes no sense.
#[must_use]
pub fn read_spaces(body: &[u8]) -> Option<Page<Space>> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        workspaces: Vec<Entry<'a>>,
        #[serde(default, alias = "total")]
        total_count: Option<usize>,
    }
    let Data { workspaces, total_count } = serde_json::from_slice::<Answer<Data<'_>>>(body).ok()?.data;
    let Page { entries, count, total } = page(workspaces, total_count);
    let entries = entries.into_iter().map(|Listed { id, name, .. }| Space { id, name }).collect();
    Some(Page { entries, count, total })
}

/// The bots on a page; `None` if the answer makes no sense.
#[must_use]
pub fn read_bots(body: &[u8]) -> Option<Page<Listed>> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        items: Vec<Entry<'a>>,
        #[serde(default, alias = "total_count")]
        total: Option<usize>,
    }
    let Data { items, total } = serde_json::from_slice::<Answer<Data<'_>>>(body).ok()?.data;
    Some(page(items, total))
}

fn page(all: Vec<Entry<'_>>, total: Option<usize>) -> Page<Listed> {
    let count = all.len();
    Page { entries: all.into_iter().filter_map(Entry::listed).collect(), count, total }
}

/// A bot's own answer; `None` if it makes no sense.
#[must_use]
pub fn read_bot(body: &[u8]) -> Option<Listed> {
    serde_json::from_slice::<Answer<Entry<'_>>>(body).ok()?.data.listed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(bot("7/../x").path, "/v1/bots/7%2F..%2Fx");
        assert_eq!(workflow("7?a").path, "/v1/workflows/7%3Fa");
        let bots = bots("1&x=2", 3).path;
        assert!(bots.starts_with("/v1/bots?workspace_id=1%26x%3D2&"));
        assert!(bots.contains("&page_num=3&page_index=3&"), "whichever of them is read");
    }

    #[test]
    fn lists_are_read_in_the_clouds_form() {
        let body = br#"{"code":0,"msg":"","data":{"workspaces":[{"id":"75","name":"Personal","icon_url":"","role_type":"owner","workspace_type":"personal"},{"id":"","name":"none"}],"total_count":2}}"#;
        let space = Space { id: "75".into(), name: "Personal".into() };
        assert_eq!(read_spaces(body), Some(Page { entries: vec![space], count: 2, total: Some(2) }));
        let body = br#"{"data":{"items":[{"id":"7","name":"n\u4f60","description":null,"is_published":true,"updated_at":1}],"total":1},"code":0}"#;
        let bot = Listed { id: "7".into(), name: "n你".into(), description: String::new() };
        assert_eq!(read_bots(body), Some(Page { entries: vec![bot], count: 1, total: Some(1) }));
        for garbage in ["", "<html>", "{}", r#"{"data":null}"#, r#"{"data":{"items":{}}}"#] {
            assert_eq!(read_bots(garbage.as_bytes()), None, "{garbage}");
            assert_eq!(read_spaces(garbage.as_bytes()), None, "{garbage}");
        }
    }

    #[test]
    fn a_bot_is_read_in_the_servers_form() {
        let body = br#"{"data":{"bot_id":"7530","name":"echo","description":"Says it.","icon_url":"x","version":"1"},"code":0,"msg":""}"#;
        let bot = Listed { id: "7530".into(), name: "echo".into(), description: "Says it.".into() };
        assert_eq!(read_bot(body), Some(bot));
        assert_eq!(read_bot(br#"{"code":100000003,"msg":"agent not exist"}"#), None);
    }
}
