//! What a consumer is about to insert, written down before it does: after a crash exactly this is repeated.
//!
//! In: a batch. Out: an [`Intent`], kept as JSON beside the partition's offset. Where it is kept is not known.

use super::pending::Batch;
use crate::ingest::{
    batch::{Cuts, Rows},
    decode::{DECODER_VERSION, Decoded},
};

/// A range of one partition's offsets and what it was when it was first read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Intent {
    /// The first message's offset, and the one that follows the last message.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Stands in the quarantine: seconds since 1970.
    pub(super) started: u32,
    pub(super) messages: u64,
    pub(super) rows: u64,
    pub(super) quarantined: u64,
    /// Of the messages' offsets, keys and values.
    pub(super) digest: u32,
    /// What the columns were, and how values were read.
    pub(super) schema: u64,
    pub(super) decoder: u32,
    #[serde(default)]
    pub(super) cuts: Cuts,
    /// [`Schema::text`](crate::ingest::decode::Schema::text); empty in those that came before it was kept.
    #[serde(default)]
    pub(super) reading: String,
    /// The name of the connection that it was read by; empty in those that came before it was kept.
    #[serde(default)]
    pub(super) connection: String,
    /// What its last message was, as a position keeps it.
    #[serde(default)]
    pub(super) last: Option<u32>,
}

impl Intent {
    pub(super) fn new(batch: &Batch, decoded: &Decoded, started: u32) -> Intent {
        let (from, to) = batch.range();
        Intent {
            from,
            to,
            started,
            messages: batch.len() as u64,
            rows: decoded.rows as u64,
            quarantined: decoded.rejected.len() as u64,
            digest: batch.digest(),
            schema: batch.schema().fingerprint(),
            decoder: DECODER_VERSION,
            cuts: Cuts::default(),
            reading: batch.schema().text().to_owned(),
            connection: batch.connection().to_owned(),
            last: batch.last(),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Intent, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("an intent cannot be read: {error}"))
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts are JSON")
    }

    /// What is not as it was, in words: messages that the broker no longer has, columns that changed.
    pub(super) fn differs(&self, again: &Intent) -> Option<String> {
        let Intent { from, to, .. } = self;
        if (self.messages, self.digest) != (again.messages, again.digest) {
            return Some(format!(
                "offsets {from} to {to} were {} messages when they were first read and are {} others now: what is \
                 not on the broker any more may be lost",
                self.messages, again.messages
            ));
        }
        let (before, now) = ((self.schema, self.decoder), (again.schema, again.decoder));
        (before != now).then(|| format!("offsets {from} to {to} are inserted again, with columns that have changed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent {
            from: 3,
            to: 9,
            started: 1,
            messages: 6,
            rows: 5,
            quarantined: 1,
            digest: 77,
            schema: 1,
            decoder: 1,
            cuts: Cuts::default(),
            reading: String::new(),
            connection: "c".to_owned(),
            last: Some(5),
        }
    }

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let mut it = intent();
        it.cuts.insert("b0.1", "too large");
        assert_eq!(Intent::read(&it.write()), Ok(it));
        assert!(Intent::read(b"{").is_err());
    }

    #[test]
    fn what_changed_is_said() {
        assert_eq!(intent().differs(&intent()), None);
        let fewer = Intent { messages: 4, ..intent() };
        assert!(intent().differs(&fewer).is_some_and(|it| it.contains("offsets 3 to 9 were 6 messages")));
        let other = Intent { schema: 2, ..intent() };
        assert!(intent().differs(&other).is_some_and(|it| it.contains("columns")));
    }
}
