//! Which data sources are shared, and with which workspaces.

use super::{Store, StoreError};
use rusqlite::params;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS shares (
    workspace TEXT NOT NULL, datasource TEXT NOT NULL, destination TEXT NOT NULL,
    PRIMARY KEY (workspace, datasource, destination)
) STRICT, WITHOUT ROWID;
";

/// A data source of `workspace` that may be read in `destination`, both by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredShare {
    pub workspace: String,
    pub datasource: String,
    pub destination: String,
}

impl Store {
    pub fn shares(&self) -> Result<Vec<StoredShare>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT workspace, datasource, destination FROM shares")?;
        let rows = statement.query_map([], |row| {
            Ok(StoredShare { workspace: row.get(0)?, datasource: row.get(1)?, destination: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn put_share(&self, it: &StoredShare) -> Result<(), StoreError> {
        self.connection().execute(
            "INSERT OR IGNORE INTO shares (workspace, datasource, destination) VALUES (?1, ?2, ?3)",
            params![it.workspace, it.datasource, it.destination],
        )?;
        Ok(())
    }

    pub fn delete_share(&self, it: &StoredShare) -> Result<(), StoreError> {
        self.connection().execute(
            "DELETE FROM shares WHERE workspace = ?1 AND datasource = ?2 AND destination = ?3",
            params![it.workspace, it.datasource, it.destination],
        )?;
        Ok(())
    }
}
