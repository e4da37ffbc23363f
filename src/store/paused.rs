//! Data sources that nothing is read for, and copies that do not run by themselves, until somebody says so.

use super::{Store, StoreError};
use std::collections::BTreeSet;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS paused (
    workspace TEXT NOT NULL, datasource TEXT NOT NULL, PRIMARY KEY (workspace, datasource)
) STRICT, WITHOUT ROWID;
";

impl Store {
    pub fn paused(&self, workspace: &str) -> Result<BTreeSet<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT datasource FROM paused WHERE workspace = ?1")?;
        let rows = statement.query_map([workspace], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn set_paused(&self, workspace: &str, datasource: &str, paused: bool) -> Result<(), StoreError> {
        let change = match paused {
            true => "INSERT OR IGNORE INTO paused (workspace, datasource) VALUES (?1, ?2)",
            false => "DELETE FROM paused WHERE workspace = ?1 AND datasource = ?2",
        };
        self.connection().execute(change, [workspace, datasource])?;
        Ok(())
    }
}
