//! What a transcript is recognised by.
//!
//! In come the messages that a bot has seen or would be sent, out come keyed
//! hashes: of messages nothing else is ever stored. A [`Chain`] hashes round
//! by round, each on top of the one before, so that a turn that brings only
//! the new messages arrives at the same head as one that brings all.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::normal::normal;
use crate::store::Key;
use crate::turn::{Attachment, Media, Message, Role, Source};

/// Makes keyed hashes.
#[derive(Clone)]
pub struct Fingerprints {
    /// SHA-256 with the store's secret taken in: as long as one block, so
    /// that it costs nothing again. Shared, since each chain has it.
    keyed: Arc<Sha256>,
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(***)")
    }
}

/// Whose conversations are meant. Two spaces never see each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space<'a> {
    /// Who calls: the name of a key, or a token's hash.
    pub caller: &'a str,
    /// The deployment's name.
    pub deployment: &'a str,
    /// What kind of thing the target is.
    pub kind: &'static str,
    /// The target's id.
    pub target: &'a str,
    /// The caller's user.
    pub user: Option<&'a str>,
    /// The value of the first hint header.
    pub hint: Option<&'a [u8]>,
}

impl Space<'_> {
    /// Whether the target is a workflow: it has no conversations, only
    /// questions in the middle of a run.
    #[must_use]
    pub fn is_run(&self) -> bool {
        self.kind == "workflow"
    }
}

impl Fingerprints {
    /// Hashes under this secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut keyed = Sha256::new();
        keyed.update(secret);
        keyed.update([0; 32]);
        Self { keyed: Arc::new(keyed) }
    }

    /// The key of a space.
    #[must_use]
    pub fn space(&self, space: &Space<'_>) -> Key {
        let mut hash = self.begin(b"space");
        let texts = [space.caller, space.deployment, space.kind, space.target];
        texts.iter().for_each(|text| framed(&mut hash, text.as_bytes()));
        for optional in [space.user.map(str::as_bytes), space.hint] {
            hash.update([u8::from(optional.is_some())]);
            framed(&mut hash, optional.unwrap_or_default());
        }
        key(hash)
    }

    /// The key of a name in a space.
    #[must_use]
    pub fn name(&self, space: Key, name: &str) -> Key {
        let mut hash = self.begin(b"name");
        hash.update(space);
        framed(&mut hash, name.as_bytes());
        key(hash)
    }

    /// A head as the question that waits there is found by on a day.
    #[must_use]
    pub fn on_day(&self, head: Key, day: u64) -> Key {
        let mut hash = self.begin(b"day");
        hash.update(head);
        hash.update(day.to_le_bytes());
        key(hash)
    }

    /// The key of a system text.
    #[must_use]
    pub fn system(&self, text: &str) -> Key {
        let mut hash = self.begin(b"system");
        framed(&mut hash, text.as_bytes());
        key(hash)
    }

    /// The beginning of every transcript of a space.
    #[must_use]
    pub fn chain(&self, space: Key) -> Chain {
        self.chain_after(space)
    }

    /// The end of a transcript of which only the head is known.
    #[must_use]
    pub fn chain_after(&self, head: Key) -> Chain {
        Chain { prints: self.clone(), closed: head, open: None, last: None }
    }

    fn begin(&self, what: &[u8]) -> Sha256 {
        let mut hash = Sha256::clone(&self.keyed);
        framed(&mut hash, what);
        hash
    }
}

/// A transcript being read. A round (what the user said, then what the
/// assistant did) is closed by the next message that is not the assistant's.
#[derive(Clone, Debug)]
pub struct Chain {
    prints: Fingerprints,
    closed: Key,
    open: Option<Sha256>,
    last: Option<Role>,
}

impl Chain {
    /// Reads a message.
    pub fn push(&mut self, message: &Message) {
        let text = match message.role {
            Role::User => message.text.as_str().into(),
            Role::Assistant => normal(&message.text),
        };
        let hash = self.begin(message.role);
        framed(hash, text.as_bytes());
        message.attachments.iter().for_each(|attachment| attached(hash, attachment));
    }

    /// Reads an answer as a bot has said it. One that is empty a client does
    /// not send back.
    pub fn push_answer(&mut self, text: &str) {
        let text = normal(text);
        if !text.is_empty() {
            framed(self.begin(Role::Assistant), text.as_bytes());
        }
    }

    /// The head: the key of all that was read.
    #[must_use]
    pub fn head(&self) -> Key {
        self.open.clone().map_or(self.closed, key)
    }

    fn begin(&mut self, role: Role) -> &mut Sha256 {
        if role == Role::User && self.last == Some(Role::Assistant) {
            self.closed = self.head();
            self.open = None;
        }
        self.last = Some(role);
        let hash = self.open.get_or_insert_with(|| {
            let mut hash = self.prints.begin(b"round");
            hash.update(self.closed);
            hash
        });
        hash.update(match role {
            Role::User => b"u",
            Role::Assistant => b"a",
        });
        hash
    }
}

/// Takes in what goes with a message: bytes by what they are, a URL whole.
fn attached(hash: &mut Sha256, attachment: &Attachment) {
    hash.update(match attachment.media {
        Media::Image => b"i",
        Media::File => b"f",
        Media::Audio => b"s",
    });
    match &attachment.source {
        Source::Url(url) => framed(hash, url.as_bytes()),
        Source::Inline(inline) => {
            // No URL is empty.
            framed(hash, b"");
            hash.update(inline.digest());
            // An image's name nobody sees.
            if attachment.media == Media::File {
                framed(hash, inline.name().as_bytes());
            }
        }
        Source::Kept(id) => {
            framed(hash, b"");
            framed(hash, id.as_bytes());
        }
    }
}

/// Takes in bytes with their length: no two lists of texts are alike.
fn framed(hash: &mut Sha256, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hash.update(length.to_le_bytes());
    hash.update(bytes);
}

/// The first half of a hash: of a keyed one that is as good as whole.
fn key(hash: Sha256) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    key
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::turn::Inline;

    fn prints() -> Fingerprints {
        Fingerprints::new(&[7; 32])
    }

    fn head(messages: &[Message]) -> Key {
        let prints = prints();
        let mut chain = prints.chain([0; 16]);
        messages.iter().for_each(|message| chain.push(message));
        chain.head()
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn assistant(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    #[test]
    fn a_turn_on_top_of_a_head_arrives_where_the_whole_transcript_does() {
        let prints = prints();
        let first = head(&[user("a"), user("b"), assistant("c")]);
        let mut chain = prints.chain_after(first);
        chain.push(&user("d"));
        chain.push_answer(" e\r\n");
        let whole = [user("a"), user("b"), assistant("c"), user("d"), assistant("e")];
        assert_eq!(chain.head(), head(&whole));
    }

    #[test]
    fn other_messages_have_another_head() {
        let mut image = user("look");
        image.attachments.push(Attachment::image("https://x/1"));
        let with =
            |media, source| Message { attachments: vec![Attachment { media, source }], ..user("look") };
        let inline = |bytes: &'static [u8], name: &str| {
            Source::Inline(Arc::new(Inline::new(bytes.into(), "image/png", name)))
        };
        let transcripts = [
            vec![],
            vec![user("ab")],
            vec![user("a"), user("b")],
            vec![user("a"), assistant("b")],
            vec![assistant("ab")],
            vec![user(" ab")],
            vec![user("a"), assistant("b"), assistant("c")],
            vec![user("a"), assistant("bc")],
            vec![user("a"), assistant("b"), user("c")],
            vec![user("look")],
            vec![image],
            vec![with(Media::Image, Source::Url("https://x/2".into()))],
            vec![with(Media::File, Source::Url("https://x/2".into()))],
            vec![with(Media::Image, inline(b"1", "a"))],
            vec![with(Media::Image, inline(b"2", "a"))],
            vec![with(Media::File, inline(b"1", "a"))],
            vec![with(Media::File, inline(b"1", "b"))],
            vec![with(Media::Audio, inline(b"1", "a"))],
            vec![with(Media::Image, Source::Kept("1".into()))],
        ];
        let heads: std::collections::HashSet<Key> = transcripts.iter().map(|t| head(t)).collect();
        assert_eq!(heads.len(), transcripts.len());
    }

    #[test]
    fn an_image_is_its_bytes_and_not_its_name() {
        let named = |name: &str| {
            let inline = Inline::new(b"bytes".as_slice().into(), "image/png", name);
            let image = Attachment { media: Media::Image, source: Source::Inline(Arc::new(inline)) };
            head(&[Message { attachments: vec![image], ..user("look") }])
        };
        assert_eq!(named("a.png"), named("b.png"));
    }

    #[test]
    fn an_empty_answer_is_one_that_clients_do_not_send_back() {
        let prints = prints();
        let mut chain = prints.chain([0; 16]);
        chain.push(&user("a"));
        chain.push_answer(" \n");
        assert_eq!(chain.head(), head(&[user("a")]));
    }

    #[test]
    fn spaces_differ_in_every_part() {
        let base = Space { caller: "a", deployment: "b", kind: "bot", target: "c", user: None, hint: None };
        let spaces = [
            base,
            Space { caller: "ab", deployment: "", ..base },
            Space { deployment: "x", ..base },
            Space { kind: "workflow", ..base },
            Space { target: "x", ..base },
            Space { user: Some(""), ..base },
            Space { user: Some("x"), ..base },
            Space { hint: Some(b"x"), ..base },
            Space { user: Some("x"), hint: Some(b"x"), ..base },
        ];
        let prints = prints();
        let keys: std::collections::HashSet<Key> = spaces.iter().map(|s| prints.space(s)).collect();
        assert_eq!(keys.len(), spaces.len());
    }

    #[test]
    fn another_secret_makes_other_keys() {
        let space = Space { caller: "a", deployment: "b", kind: "bot", target: "c", user: None, hint: None };
        assert_ne!(Fingerprints::new(&[1; 32]).space(&space), Fingerprints::new(&[2; 32]).space(&space));
    }
}
