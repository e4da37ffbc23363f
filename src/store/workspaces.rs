//! The workspaces, and everything that belongs to one.

use super::{Store, StoreError, WorkspaceRecord};
use rusqlite::params;

/// Columns that came after the first data directories: table, name, statement.
pub(super) const ADDED: &[(&str, &str, &str)] = &[
    ("workspaces", "main", "ALTER TABLE workspaces ADD COLUMN main TEXT"),
    ("workspaces", "created_at", "ALTER TABLE workspaces ADD COLUMN created_at TEXT"),
    ("workspaces", "leaves", "ALTER TABLE workspaces ADD COLUMN leaves INTEGER NOT NULL DEFAULT 0"),
];

impl Store {
    /// In the order in which they were made.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare("SELECT id, name, database, main, created_at, leaves FROM workspaces ORDER BY rowid")?;
        let rows = statement.query_map([], |row| {
            let (name, main): (String, Option<String>) = (row.get(1)?, row.get(3)?);
            let name = match &main {
                Some(main) => name.strip_prefix(&kept_name(main, "")).unwrap_or(&name).to_owned(),
                None => name,
            };
            let (id, database, created_at, leaves) = (row.get(0)?, row.get(2)?, row.get(4)?, row.get(5)?);
            Ok(WorkspaceRecord { id, name, main, created_at, leaves, database })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn add_workspace(&self, it: &WorkspaceRecord) -> Result<(), StoreError> {
        let name = it.main.as_ref().map_or_else(|| it.name.clone(), |main| kept_name(main, &it.name));
        self.connection().execute(
            "INSERT INTO workspaces (id, name, database, main, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![it.id, name, it.database, it.main, it.created_at],
        )?;
        Ok(())
    }

    /// From here on the workspace goes, whatever happens.
    pub fn begin_leaving(&self, workspace: &str) -> Result<(), StoreError> {
        self.connection().execute("UPDATE workspaces SET leaves = 1 WHERE id = ?1", [workspace])?;
        Ok(())
    }

    /// Nothing of it is left.
    pub fn delete_workspace(&self, workspace: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            let tables: Vec<String> = transaction
                .prepare(
                    "SELECT m.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c \
                     WHERE m.type = 'table' AND c.name = 'workspace'",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for table in tables {
                transaction.execute(&format!("DELETE FROM \"{table}\" WHERE workspace = ?1"), [workspace])?;
            }
            transaction.execute("DELETE FROM shares WHERE destination = ?1", [workspace])?;
            transaction.execute("DELETE FROM workspaces WHERE id = ?1", [workspace])?;
            Ok(())
        })
    }
}

/// A branch is called like others of other workspaces: its name is kept with that of its workspace before it.
fn kept_name(main: &str, name: &str) -> String {
    format!("{main}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DataDirectory;

    #[test]
    fn branches_have_names_of_their_own_and_what_goes_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let opened = DataDirectory::open(directory.path()).unwrap();
        let store = opened.store().unwrap();
        let record = |id: &str, name: &str, main: Option<&str>| WorkspaceRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            main: main.map(str::to_owned),
            created_at: Some("2026-01-31 12:00:00.000000".to_owned()),
            leaves: false,
            database: format!("w_{id}"),
        };
        let all = [record("1", "one", None), record("2", "dev", Some("1")), record("3", "dev", None)];
        for it in &all {
            store.add_workspace(it).unwrap();
        }
        assert_eq!(store.workspaces().unwrap(), all);
        assert!(store.add_workspace(&record("4", "dev", Some("1"))).is_err());
        for it in &all {
            store.put_tag(&it.id, "t").unwrap();
            store.hold(&it.id).unwrap();
        }
        store.begin_leaving("2").unwrap();
        assert!(store.workspaces().unwrap()[1].leaves);
        store.delete_workspace("2").unwrap();
        assert_eq!(store.workspaces().unwrap(), [all[0].clone(), all[2].clone()]);
        assert_eq!((store.tags("1").unwrap().len(), store.tags("2").unwrap().len()), (1, 0));
        assert!(store.is_held("3").unwrap() && !store.is_held("2").unwrap());
    }
}
