//! What survives a restart: the data directory, and in it a SQLite file with the deployed sources, tokens,
//! connections and Kafka positions.
//!
//! In: plain records. Out: the same records after any stop. Secrets are kept encrypted under a key that lies
//! beside the database, not in it. Types that are derived from the sources are not known here.

use crate::{auth::Token, diagnostic::Source};
use std::{fmt, path::PathBuf};

/// A data directory that is ours: made where it was missing, its format known, locked for this process.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
}

/// The database of a data directory. Calls block for a disk write at most.
#[derive(Debug)]
pub struct Store {}

/// A text that must not be shown: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRecord {
    pub id: String,
    pub name: String,
    /// The engine's database, its name a role's prefix and random characters.
    pub database: String,
}

/// A static token with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub token: Token,
    pub value: Secret,
    /// `2026-01-31 12:00:00.000000`, in UTC, as replies show it.
    pub created_at: String,
    pub updated_at: String,
}

/// A Kafka connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConnection {
    pub id: String,
    pub name: String,
    pub bootstrap_servers: String,
    /// `SASL_SSL`, `SASL_PLAINTEXT`, `SSL`, `PLAINTEXT`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    pub key: Option<String>,
    pub secret: Option<Secret>,
    pub ssl_ca_pem: Option<String>,
    pub created_at: String,
}

/// How far a data source has read one partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaPosition {
    pub datasource: String,
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    /// Rises when a topic was made anew, so that tokens of its inserts never meet older ones.
    pub ingest_epoch: u32,
    /// What was about to be inserted, in the writer's own form; nothing when all is done.
    pub intent: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data directory {path} is in use by process {pid}", path = .path.display())]
    Locked { path: PathBuf, pid: String },
    #[error(
        "the data directory {path} has format {found}, and this birdhouse knows formats up to {known}: use a newer birdhouse",
        path = .path.display()
    )]
    NewerFormat { path: PathBuf, found: String, known: u32 },
    #[error("{path} is not the key of this data directory", path = .path.display())]
    WrongKey { path: PathBuf },
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("the store cannot be read or written: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the store holds what it should not: {0}")]
    Damaged(String),
}

impl Store {
    /// The positions of a data source on a topic, in the order of partitions.
    pub fn kafka_positions(
        &self,
        workspace: &str,
        datasource: &str,
        topic: &str,
    ) -> Result<Vec<KafkaPosition>, StoreError> {
        let _ = (workspace, datasource, topic);
        Ok(vec![])
    }

    /// Writes positions, all or none, and returns when they are on the disk.
    pub fn save_kafka_positions(&self, workspace: &str, positions: &[KafkaPosition]) -> Result<(), StoreError> {
        let _ = (workspace, positions);
        Ok(())
    }

    pub fn sources(&self, workspace: &str) -> Result<Vec<Source>, StoreError> {
        let _ = workspace;
        Ok(vec![])
    }
}

impl DataDirectory {
    /// Where the engine keeps its tables.
    pub fn engine_path(&self) -> PathBuf {
        self.path.join("engine")
    }
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
