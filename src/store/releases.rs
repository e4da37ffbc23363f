//! Which commit of its files' repository a workspace has, as git's users tell.

use super::{Store, StoreError};
use rusqlite::{OptionalExtension, params};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelease {
    pub commit: String,
    pub semver: String,
    /// `2026-01-31 12:00:00.000000`, in UTC.
    pub created_at: String,
}

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS releases (
    workspace TEXT PRIMARY KEY, hash TEXT NOT NULL, semver TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

impl Store {
    pub fn kept_release(&self, workspace: &str) -> Result<Option<StoredRelease>, StoreError> {
        let release = "SELECT hash, semver, created_at FROM releases WHERE workspace = ?1";
        let connection = self.connection();
        let release = connection.query_row(release, [workspace], |row| {
            Ok(StoredRelease { commit: row.get(0)?, semver: row.get(1)?, created_at: row.get(2)? })
        });
        Ok(release.optional()?)
    }

    pub fn put_release(&self, workspace: &str, it: &StoredRelease) -> Result<(), StoreError> {
        self.connection().execute(
            "INSERT OR REPLACE INTO releases (workspace, hash, semver, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![workspace, it.commit, it.semver, it.created_at],
        )?;
        Ok(())
    }
}
