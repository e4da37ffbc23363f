//! What a replay of refused rows must remember: how they are read, and of a batch that the engine did not take as a
//! whole.

use super::{Store, StoreError};
use rusqlite::{OptionalExtension, params};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS replays (
    workspace TEXT NOT NULL, replay TEXT NOT NULL, batch INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (workspace, replay, batch)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The record of a batch, in its owner's form; nothing for one that has none.
    pub fn replay(&self, workspace: &str, replay: &str, batch: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT record FROM replays WHERE workspace = ?1 AND replay = ?2 AND batch = ?3";
        let connection = self.connection();
        Ok(connection.query_row(sql, params![workspace, replay, batch as i64], |row| row.get(0)).optional()?)
    }

    pub fn put_replay(&self, workspace: &str, replay: &str, batch: u64, record: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO replays (workspace, replay, batch, record) VALUES (?1, ?2, ?3, ?4)";
        self.connection().execute(sql, params![workspace, replay, batch as i64, record])?;
        Ok(())
    }

    /// Of every batch.
    pub fn forget_replay(&self, workspace: &str, replay: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM replays WHERE workspace = ?1 AND replay = ?2";
        self.connection().execute(sql, params![workspace, replay])?;
        Ok(())
    }
}
