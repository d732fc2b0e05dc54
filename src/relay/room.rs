//! Room for the files of all requests whose chats have not begun.
//!
//! In comes a prompt, out comes the room that its files take until nobody
//! needs them any more; none, if there are too many. Holds no files itself.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::turn::{Prompt, Source};

/// How much there is in all, in KiB: 512 MiB.
const ALL: usize = 512 * 1024;

/// All the room that there is. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    free: Arc<Semaphore>,
    all: usize,
}

/// What the files of one request take up, until its last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct Room {
    _taken: Option<Arc<OwnedSemaphorePermit>>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Rooms {
    fn of(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// Room for the files of a prompt; `None` if there is none now.
    pub(super) fn take(&self, prompt: &Prompt) -> Option<Room> {
        let attachments = prompt.messages.iter().flat_map(|message| &message.attachments);
        let bytes: usize = attachments
            .map(|attachment| match &attachment.source {
                Source::Inline(inline) => inline.content().len(),
                Source::Url(_) | Source::Kept(_) => 0,
            })
            .sum();
        if bytes == 0 {
            return Some(Room::default());
        }
        // What is larger than all of it has to be alone.
        let wanted = u32::try_from(bytes.div_ceil(1024).min(self.all)).ok()?;
        let taken = Arc::clone(&self.free).try_acquire_many_owned(wanted).ok()?;
        Some(Room { _taken: Some(Arc::new(taken)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Attachment, Inline, Media, Message, Role};

    fn prompt(sizes: &[usize]) -> Prompt {
        let mut message = Message::text(Role::User, "look");
        message.attachments = sizes
            .iter()
            .map(|size| {
                let inline = Inline::new(vec![0; *size].into(), "image/png", "a.png");
                Attachment { media: Media::Image, source: Source::Inline(Arc::new(inline)) }
            })
            .collect();
        Prompt { messages: vec![message], ..Prompt::default() }
    }

    #[test]
    fn there_is_room_for_so_much_and_it_comes_back() {
        let rooms = Rooms::of(10);
        let first = rooms.take(&prompt(&[4000, 4000])).unwrap();
        assert!(rooms.take(&prompt(&[3000])).is_none());
        assert!(rooms.take(&prompt(&[])).is_some(), "what has no files needs none");
        let small = rooms.take(&prompt(&[2000])).unwrap();
        let clone = first.clone();
        drop((first, small));
        assert!(rooms.take(&prompt(&[3000])).is_none(), "a clone still needs it");
        drop(clone);
        let large = rooms.take(&prompt(&[1_000_000])).unwrap();
        assert!(rooms.take(&prompt(&[1])).is_none());
        drop(large);
        assert!(rooms.take(&prompt(&[1])).is_some());
    }
}
