//! What may go with a message, by what it is sent to.

use super::Kind;
use super::workflow::Unfit;
use crate::turn::{Attachment, Media, Prompt, Source};

/// Why an attachment has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// It goes to a workflow, whose input is text.
    #[error("a workflow takes text alone: leave it out")]
    Workflow,
    /// It goes to a chatflow of the cloud.
    #[error("a chatflow of the Coze cloud takes text alone: leave it out")]
    CloudFlow,
    /// A chatflow takes what was uploaded, and fetches nothing
    /// (protocol 5.4).
    #[error("a chatflow takes no URL: send it by its bytes, as a data: URL or as 'file_data'")]
    Url,
    /// The community server drops it silently (protocol 3.2).
    #[error("audio is for bots of the Coze cloud alone: leave it out")]
    Audio,
}

/// Whether what goes with the messages from `first` on has a place.
///
/// # Errors
/// If something has none: which of all attachments of the prompt, and why.
pub(super) fn check(
    prompt: &Prompt,
    first: usize,
    judge: impl Fn(&Attachment) -> Option<NoPlace>,
) -> Result<(), Unfit> {
    let mut number = 0;
    for (index, message) in prompt.messages.iter().enumerate() {
        for attachment in &message.attachments {
            if let Some(why) = judge(attachment).filter(|_| index >= first) {
                return Err(Unfit::Attachment(number, why));
            }
            number += 1;
        }
    }
    Ok(())
}

/// What a bot does not take.
pub(super) fn of_bot(attachment: &Attachment, kind: Kind) -> Option<NoPlace> {
    (attachment.media == Media::Audio && kind == Kind::Studio).then_some(NoPlace::Audio)
}

/// What a chatflow does not take.
pub(super) fn of_chatflow(attachment: &Attachment, kind: Kind) -> Option<NoPlace> {
    match (kind, attachment.media, &attachment.source) {
        (Kind::Cloud, ..) => Some(NoPlace::CloudFlow),
        (Kind::Studio, Media::Audio, _) => Some(NoPlace::Audio),
        (Kind::Studio, _, Source::Url(_)) => Some(NoPlace::Url),
        (Kind::Studio, _, Source::Inline(_) | Source::Kept(_)) => None,
    }
}
