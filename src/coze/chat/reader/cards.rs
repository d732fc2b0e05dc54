//! Cards among the answers: shown whole, as text.

use std::borrow::Cow;

use super::{Reader, Sink};
use crate::coze::card;
use crate::coze::json::Word;
use crate::turn::{Failure, Kind, Text, Wants};

/// The longest card that is kept, in bytes.
const MAX_CARD_BYTES: usize = 4 * 1024 * 1024;

impl Reader {
    /// Keeps a piece of a card: it can only be shown whole.
    pub(super) fn card_delta(&mut self, id: &Word<'_>, piece: &str, sink: Sink<'_>) -> Result<(), Failure> {
        if self.open_card.as_ref().is_some_and(|(open, _)| **open != *id.0) {
            self.close_card(sink)?;
        }
        let (_, json) = self.open_card.get_or_insert_with(|| (Box::from(&*id.0), String::new()));
        if json.len() + piece.len() > MAX_CARD_BYTES {
            return Err(Failure::new(Kind::Broken, "Coze sent a card that is too large."));
        }
        json.push_str(piece);
        Ok(())
    }

    /// Shows the card whose end has not come.
    pub(super) fn close_card(&mut self, sink: Sink<'_>) -> Result<(), Failure> {
        if let Some((id, json)) = self.open_card.take() {
            self.answer(&Word(Cow::Borrowed(&id)))?.card_shown = true;
            self.card(&id, &json, sink);
        }
        Ok(())
    }

    pub(super) fn card(&mut self, id: &str, json: &str, sink: Sink<'_>) {
        let (text, wants) = card::read(json).unwrap_or_else(|| (json.to_owned(), Wants::Text));
        if !text.is_empty() {
            let id = Word(Cow::Borrowed(id));
            self.text(&id, Text::Plain(Cow::Owned(text)), sink);
        }
        self.wants = wants;
    }
}
