//! When each deployed file came and last changed. The clock is the caller's.

use super::{Store, StoreError};
use rusqlite::params;

/// Where a file is renamed it is a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTimes {
    pub path: String,
    pub created_at: String,
    pub updated_at: String,
}

/// The text is the one that the times are of.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS source_times (
    workspace TEXT NOT NULL, path TEXT NOT NULL, text TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (workspace, path)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// Takes note of the deployed files as they are at `now`; gives the times of all of them.
    pub fn note_times(&self, workspace: &str, now: &str) -> Result<Vec<SourceTimes>, StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM source_times WHERE workspace = ?1 AND path NOT IN \
                 (SELECT path FROM sources WHERE workspace = ?1 AND pending = 0)",
                params![workspace],
            )?;
            transaction.execute(
                "INSERT INTO source_times (workspace, path, text, created_at, updated_at) \
                 SELECT workspace, path, text, ?2, ?2 FROM sources WHERE workspace = ?1 AND pending = 0 \
                 ON CONFLICT (workspace, path) DO UPDATE SET text = excluded.text, updated_at = ?2 \
                 WHERE text <> excluded.text",
                params![workspace, now],
            )?;
            Ok(())
        })?;
        let connection = self.connection();
        let mut statement = connection
            .prepare("SELECT path, created_at, updated_at FROM source_times WHERE workspace = ?1 ORDER BY path")?;
        let rows = statement.query_map([workspace], |row| {
            Ok(SourceTimes { path: row.get(0)?, created_at: row.get(1)?, updated_at: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
