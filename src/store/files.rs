//! Files on their way into tables, as their loader writes them: what is here is brought to its end at the next
//! start.

use super::{Store, StoreError};
use rusqlite::params;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS file_loads (
    workspace TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The id and the record of every file that is not in yet.
    pub fn file_loads(&self, workspace: &str) -> Result<Vec<(String, String)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT id, record FROM file_loads WHERE workspace = ?1 ORDER BY id")?;
        let rows = statement.query_map([workspace], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn put_file_load(&self, workspace: &str, id: &str, record: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO file_loads (workspace, id, record) VALUES (?1, ?2, ?3)";
        self.connection().execute(sql, params![workspace, id, record])?;
        Ok(())
    }

    pub fn forget_file_load(&self, workspace: &str, id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM file_loads WHERE workspace = ?1 AND id = ?2";
        self.connection().execute(sql, params![workspace, id])?;
        Ok(())
    }
}
