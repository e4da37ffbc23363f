//! What is left to be done for a file whose rows are on the disk: kept before the first of them goes in, and again
//! after each chunk.

use super::{Upload, spool::Spooled};
use crate::ingest::{
    batch::{Cuts, Written},
    decode::Schema,
};
use serde::{Deserialize, Serialize};

/// What a file's rows do to those that are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Append,
    /// They take the place of all of them, at once. Views of the table do not see them.
    Replace,
    /// Those that fulfil a condition take the place of those that do.
    ReplaceWhere {
        condition: String,
        /// Also where the file has no rows: those that fulfil the condition are gone then.
        when_empty: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Stands in the quarantine's `c__import_id`, and is the job's.
    pub id: String,
    pub datasource: String,
    pub mode: Mode,
    pub upload: Upload,
    /// When the file was there, in seconds since 1970: the quarantine's `insertion_date`.
    pub started: u32,
    pub chunks: u64,
    /// The file's rows as they were read; some of the good ones may be refused by the engine yet.
    pub rows: u64,
    pub quarantined: u64,
    pub bytes: u64,
    /// Chunks that are in, and where the next one begins.
    pub done: u64,
    pub at: u64,
    pub(super) written: (u64, u64),
    #[serde(default)]
    pub(super) cuts: Cuts,
    /// The id of the table that is about to take the place of the data source's.
    #[serde(default)]
    pub swap: Option<String>,
    /// [`Schema::text`] of what its rows were read by; empty in those that came before it was kept.
    #[serde(default)]
    pub(super) reading: String,
}

impl Intent {
    pub fn new(
        id: String,
        datasource: String,
        mode: Mode,
        upload: Upload,
        schema: &Schema,
        spooled: &Spooled,
    ) -> Intent {
        Intent {
            id,
            datasource,
            mode,
            upload,
            started: crate::ingest::batch::now(),
            chunks: spooled.chunks,
            rows: spooled.rows,
            quarantined: spooled.quarantined,
            bytes: spooled.bytes,
            done: 0,
            at: 0,
            written: (0, 0),
            cuts: Cuts::default(),
            swap: None,
            reading: schema.text().to_owned(),
        }
    }

    /// Rows that are in by now.
    pub fn written(&self) -> Written {
        Written { rows: self.written.0, quarantined: self.written.1 }
    }

    pub fn read(text: &str) -> Result<Intent, String> {
        serde_json::from_str(text).map_err(|error| format!("what is left of a file cannot be read: {error}"))
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::files::{Dialect, FileFormat};

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let upload = Upload { name: "a.csv".to_owned(), format: FileFormat::Csv, dialect: Dialect::default() };
        let mode = Mode::ReplaceWhere { condition: "a = 1".to_owned(), when_empty: true };
        let mut it = Intent::new("i".to_owned(), "d".to_owned(), mode, upload, &Schema::default(), &Spooled::default());
        it.cuts.insert("b0.1", "too large");
        it.swap = Some("x".to_owned());
        assert_eq!(Intent::read(&it.write()), Ok(it));
        assert!(Intent::read("{").is_err());
    }
}
