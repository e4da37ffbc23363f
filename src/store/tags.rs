//! Tags that stand on nothing: the others are in the deployed files.

use super::{Store, StoreError};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tags (
    workspace TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The names, in their order.
    pub fn tags(&self, workspace: &str) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT name FROM tags WHERE workspace = ?1 ORDER BY name")?;
        let rows = statement.query_map([workspace], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn put_tag(&self, workspace: &str, name: &str) -> Result<(), StoreError> {
        self.connection().execute("INSERT OR IGNORE INTO tags (workspace, name) VALUES (?1, ?2)", [workspace, name])?;
        Ok(())
    }

    pub fn delete_tag(&self, workspace: &str, name: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM tags WHERE workspace = ?1 AND name = ?2", [workspace, name])?;
        Ok(())
    }
}
