//! The secrets of a workspace, sealed: what `tb_secret()` puts into a query.

use super::{Secret, Store, StoreError};
use rusqlite::params;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub name: String,
    pub value: Secret,
    pub created_at: String,
    pub updated_at: String,
}

impl Store {
    /// Every secret, by name.
    pub fn secrets(&self, workspace: &str) -> Result<Vec<StoredSecret>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare("SELECT name, value, created_at, updated_at FROM secrets WHERE workspace = ?1 ORDER BY name")?;
        let mut rows = statement.query([workspace])?;
        let mut res = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let sealed: Vec<u8> = row.get(1)?;
            let value = self.unseal(&purpose(workspace, &name), &sealed)?;
            res.push(StoredSecret { name, value, created_at: row.get(2)?, updated_at: row.get(3)? });
        }
        Ok(res)
    }

    /// Makes a secret, or gives the one of this name its new value.
    pub fn put_secret(&self, workspace: &str, it: &StoredSecret) -> Result<(), StoreError> {
        let value = self.key.seal(&purpose(workspace, &it.name), it.value.reveal());
        self.connection().execute(
            "INSERT INTO secrets (workspace, name, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (workspace, name) DO UPDATE SET value = ?3, updated_at = ?5",
            params![workspace, it.name, value, it.created_at, it.updated_at],
        )?;
        Ok(())
    }

    pub fn delete_secret(&self, workspace: &str, name: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM secrets WHERE workspace = ?1 AND name = ?2", [workspace, name])?;
        Ok(())
    }
}

fn purpose(workspace: &str, name: &str) -> String {
    format!("secret {workspace} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DataDirectory;

    #[test]
    fn a_secret_is_sealed_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let now = "2026-01-31 12:00:00.000000".to_owned();
        let secret = |name: &str, value: &str| StoredSecret {
            name: name.to_owned(),
            value: Secret::new(value),
            created_at: now.clone(),
            updated_at: now.clone(),
        };
        let opened = DataDirectory::open(directory.path()).unwrap();
        let store = opened.store().unwrap();
        for it in [secret("b", "first-value"), secret("a", "other"), secret("b", "hush-value")] {
            store.put_secret("w", &it).unwrap();
        }
        assert_eq!(store.secrets("w").unwrap(), [secret("a", "other"), secret("b", "hush-value")]);
        assert_eq!(store.secrets("v").unwrap(), []);
        for entry in std::fs::read_dir(directory.path()).unwrap().flatten().filter(|it| it.path().is_file()) {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("hush-value"), "{:?}", entry.path());
        }
        store.delete_secret("w", "a").unwrap();
        assert_eq!(store.secrets("w").unwrap().len(), 1);
    }
}
