//! Every transcript of `/v3/chat`, read in one piece, byte by byte and cut
//! anywhere: the same events, the expected text, valid chunks and completion.

mod support;

#[path = "golden/transcripts.rs"]
mod transcripts;
