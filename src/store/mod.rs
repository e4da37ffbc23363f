//! What survives a restart: the data directory, and in it a SQLite file with the deployed sources, tokens,
//! connections and Kafka positions.
//!
//! In: plain records. Out: the same records after any stop. Secrets are kept encrypted under a key that lies
//! beside the database, not in it. Types that are derived from the sources are not known here, nor is the
//! clock.

mod directory;
mod files;
mod key;
mod paused;
mod releases;
mod replays;
mod scopes;
mod secrets;
mod shares;
mod tags;
#[cfg(test)]
mod tests;
mod times;
mod workspaces;

pub use directory::DataDirectory;
pub use key::TokenLookup;
pub use releases::StoredRelease;
pub use secrets::StoredSecret;
pub use shares::StoredShare;
pub use times::SourceTimes;

use crate::{auth::Token, diagnostic::Source};
use key::Key;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The database of a data directory. A call blocks for as long as a write to the disk takes.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    key: Key,
}

/// A text that must not be shown: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRecord {
    pub id: String,
    pub name: String,
    /// The id of the workspace that this one is a branch of.
    pub main: Option<String>,
    /// As in tokens; nothing for one that came before it was kept.
    pub created_at: Option<String>,
    /// It is about to be deleted, with all that belongs to it.
    pub leaves: bool,
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
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`.
    pub sasl_mechanism: String,
    pub key: Option<String>,
    pub secret: Option<Secret>,
    pub ssl_ca_pem: Option<String>,
    /// It may hold a password.
    pub schema_registry_url: Option<Secret>,
    /// Where tokens of OAUTHBEARER are asked for, and for what.
    pub oauth_token_url: Option<String>,
    pub oauth_scope: Option<String>,
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
    /// What the message before `next_offset` was, in the reader's own form.
    pub last: Option<u32>,
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
    #[error("{path} is not the key of this data directory: put the right one back", path = .path.display())]
    WrongKey { path: PathBuf },
    #[error(
        "{path} is missing, and what is encrypted under it cannot be read: put it back",
        path = .path.display()
    )]
    MissingKey { path: PathBuf },
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("the store cannot be read or written: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the data directory holds what it should not: {0}")]
    Damaged(String),
}

/// The tables. A change of them is a new number of the data directory's format, or adds only.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS workspaces (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, database TEXT NOT NULL UNIQUE
) STRICT;
-- pending = 1: what a deploy is about to make true; after a crash it says what may have been begun.
CREATE TABLE IF NOT EXISTS sources (
    workspace TEXT NOT NULL, pending INTEGER NOT NULL, path TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (workspace, pending, path)
) STRICT;
CREATE TABLE IF NOT EXISTS pending (workspace TEXT PRIMARY KEY) STRICT;
-- A push whose fixtures are to come: no consumer starts before it says that they are in, or its time is over.
CREATE TABLE IF NOT EXISTS holds (workspace TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace TEXT NOT NULL, name TEXT NOT NULL,
    lookup BLOB NOT NULL UNIQUE, value BLOB NOT NULL, description TEXT NOT NULL, origin TEXT NOT NULL,
    scopes TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (workspace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT, workspace TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL,
    UNIQUE (workspace, id)
) STRICT;
CREATE TABLE IF NOT EXISTS connections (
    id TEXT PRIMARY KEY, workspace TEXT NOT NULL, name TEXT NOT NULL, bootstrap_servers TEXT NOT NULL,
    security_protocol TEXT NOT NULL, sasl_mechanism TEXT NOT NULL, key TEXT, secret BLOB, ssl_ca_pem TEXT,
    created_at TEXT NOT NULL, UNIQUE (workspace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS secrets (
    workspace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kafka_positions (
    workspace TEXT NOT NULL, datasource TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, ingest_epoch INTEGER NOT NULL, intent BLOB,
    PRIMARY KEY (workspace, datasource, topic, partition)
) STRICT, WITHOUT ROWID;
";

/// Columns that came after the first data directories.
const ADDED: &[(&str, &str, &str)] = &[
    ("tokens", "limits", "ALTER TABLE tokens ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'"),
    ("connections", "schema_registry_url", "ALTER TABLE connections ADD COLUMN schema_registry_url BLOB"),
    ("connections", "oauth_token_url", "ALTER TABLE connections ADD COLUMN oauth_token_url TEXT"),
    ("kafka_positions", "last_message", "ALTER TABLE kafka_positions ADD COLUMN last_message INTEGER"),
    ("connections", "oauth_scope", "ALTER TABLE connections ADD COLUMN oauth_scope TEXT"),
];

fn add_columns(connection: &Connection, added: &[(&str, &str, &str)]) -> Result<(), rusqlite::Error> {
    for (table, column, statement) in added {
        let mut known = connection.prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")?;
        if !known.exists([table, column])? {
            connection.execute_batch(statement)?;
        }
    }
    Ok(())
}

const KEY_CHECK: &str = "key check";

impl Store {
    fn open(path: &Path, key_path: &Path, key: Key) -> Result<Store, StoreError> {
        let connection = Connection::open(path)?;
        restrict(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An acknowledged write must survive the loss of power, so every commit waits for the disk.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(times::SCHEMA)?;
        connection.execute_batch(tags::SCHEMA)?;
        connection.execute_batch(releases::SCHEMA)?;
        connection.execute_batch(files::SCHEMA)?;
        connection.execute_batch(paused::SCHEMA)?;
        connection.execute_batch(replays::SCHEMA)?;
        connection.execute_batch(shares::SCHEMA)?;
        add_columns(&connection, ADDED)?;
        add_columns(&connection, workspaces::ADDED)?;
        let check: Option<Vec<u8>> =
            connection.query_row("SELECT value FROM meta WHERE name = ?1", [KEY_CHECK], |row| row.get(0)).optional()?;
        match check {
            Some(sealed) if key.open(KEY_CHECK, &sealed).is_none() => {
                return Err(StoreError::WrongKey { path: key_path.to_owned() });
            }
            Some(_) => {}
            None => {
                let sealed = key.seal(KEY_CHECK, KEY_CHECK);
                connection.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", params![KEY_CHECK, sealed])?;
            }
        }
        Ok(Store { connection: Mutex::new(connection), key })
    }

    pub fn token_lookup(&self) -> TokenLookup {
        self.key.lookup()
    }

    /// The deployed files, by path.
    pub fn sources(&self, workspace: &str) -> Result<Vec<Source>, StoreError> {
        read_sources(&self.connection(), workspace, 0)
    }

    /// What a deploy was about to make true when the process ended in the middle of it.
    pub fn pending_sources(&self, workspace: &str) -> Result<Option<Vec<Source>>, StoreError> {
        let connection = self.connection();
        let pending =
            connection.query_row("SELECT 1 FROM pending WHERE workspace = ?1", [workspace], |_| Ok(())).optional()?;
        pending.map(|()| read_sources(&connection, workspace, 1)).transpose()
    }

    /// Says what is about to be made true, before the first statement of a deploy runs.
    pub fn begin_deploy(&self, workspace: &str, wanted: &[Source]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("INSERT OR REPLACE INTO pending (workspace) VALUES (?1)", [workspace])?;
            write_sources(transaction, workspace, 1, wanted)
        })
    }

    /// Whether a push has fixtures to bring, which consumers wait for.
    pub fn is_held(&self, workspace: &str) -> Result<bool, StoreError> {
        let held = "SELECT 1 FROM holds WHERE workspace = ?1";
        Ok(self.connection().query_row(held, [workspace], |_| Ok(())).optional()?.is_some())
    }

    pub fn hold(&self, workspace: &str) -> Result<(), StoreError> {
        self.connection().execute("INSERT OR IGNORE INTO holds (workspace) VALUES (?1)", [workspace])?;
        Ok(())
    }

    pub fn release(&self, workspace: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM holds WHERE workspace = ?1", [workspace])?;
        Ok(())
    }

    /// The deploy came to nothing, and everything it did was taken back.
    pub fn abandon_deploy(&self, workspace: &str) -> Result<(), StoreError> {
        self.write(|transaction| clear_pending(transaction, workspace))
    }

    /// The deploy is done: its files are the deployed ones from now on, its tokens exist.
    pub fn finish_deploy(
        &self,
        workspace: &str,
        deployed: &[Source],
        tokens: &[StoredToken],
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            write_sources(transaction, workspace, 0, deployed)?;
            for token in tokens {
                self.write_token(transaction, workspace, token)?;
            }
            clear_pending(transaction, workspace)
        })
    }

    /// Every token, in the order they were made.
    pub fn tokens(&self, workspace: &str) -> Result<Vec<StoredToken>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT id, name, value, description, origin, scopes, created_at, updated_at, limits FROM tokens \
             WHERE workspace = ?1 ORDER BY position",
        )?;
        let mut rows = statement.query([workspace])?;
        let mut res = Vec::new();
        while let Some(row) = rows.next()? {
            res.push(self.read_token(row)?);
        }
        Ok(res)
    }

    /// Makes a token, or gives the one of this id its new content.
    pub fn put_token(&self, workspace: &str, token: &StoredToken) -> Result<(), StoreError> {
        self.write(|transaction| self.write_token(transaction, workspace, token))
    }

    pub fn delete_token(&self, workspace: &str, id: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM tokens WHERE workspace = ?1 AND id = ?2", [workspace, id])?;
        Ok(())
    }

    pub fn kafka_connections(&self, workspace: &str) -> Result<Vec<KafkaConnection>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT id, name, bootstrap_servers, security_protocol, sasl_mechanism, key, secret, ssl_ca_pem, created_at, \
             schema_registry_url, oauth_token_url, oauth_scope FROM connections WHERE workspace = ?1 ORDER BY name",
        )?;
        let mut rows = statement.query([workspace])?;
        let mut res = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let unseal = |it: Option<Vec<u8>>| it.map(|it| self.unseal(&format!("connection {id}"), &it)).transpose();
            let (secret, schema_registry_url) = (unseal(row.get(6)?)?, unseal(row.get(9)?)?);
            res.push(KafkaConnection {
                name: row.get(1)?,
                bootstrap_servers: row.get(2)?,
                security_protocol: row.get(3)?,
                sasl_mechanism: row.get(4)?,
                key: row.get(5)?,
                secret,
                ssl_ca_pem: row.get(7)?,
                created_at: row.get(8)?,
                schema_registry_url,
                oauth_token_url: row.get(10)?,
                oauth_scope: row.get(11)?,
                id,
            });
        }
        Ok(res)
    }

    pub fn put_kafka_connection(&self, workspace: &str, it: &KafkaConnection) -> Result<(), StoreError> {
        let purpose = format!("connection {}", it.id);
        let seal = |it: &Option<Secret>| it.as_ref().map(|it| self.key.seal(&purpose, it.reveal()));
        self.connection().execute(
            "INSERT OR REPLACE INTO connections (id, workspace, name, bootstrap_servers, security_protocol, \
             sasl_mechanism, key, secret, ssl_ca_pem, created_at, schema_registry_url, \
             oauth_token_url, oauth_scope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                it.id,
                workspace,
                it.name,
                it.bootstrap_servers,
                it.security_protocol,
                it.sasl_mechanism,
                it.key,
                seal(&it.secret),
                it.ssl_ca_pem,
                it.created_at,
                seal(&it.schema_registry_url),
                it.oauth_token_url,
                it.oauth_scope
            ],
        )?;
        Ok(())
    }

    pub fn delete_kafka_connection(&self, workspace: &str, id: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM connections WHERE workspace = ?1 AND id = ?2", [workspace, id])?;
        Ok(())
    }

    /// The positions of a data source on a topic, in the order of partitions.
    pub fn kafka_positions(
        &self,
        workspace: &str,
        datasource: &str,
        topic: &str,
    ) -> Result<Vec<KafkaPosition>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT datasource, topic, partition, next_offset, ingest_epoch, intent, last_message \
             FROM kafka_positions WHERE workspace = ?1 AND datasource = ?2 AND topic = ?3 ORDER BY partition",
        )?;
        let rows = statement.query_map([workspace, datasource, topic], kafka_position)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Those of a data source, of whatever topic, at which something was about to be inserted.
    pub fn kafka_intents(&self, workspace: &str, datasource: &str) -> Result<Vec<KafkaPosition>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT datasource, topic, partition, next_offset, ingest_epoch, intent, last_message \
             FROM kafka_positions WHERE workspace = ?1 AND datasource = ?2 AND intent IS NOT NULL \
             ORDER BY topic, partition",
        )?;
        let rows = statement.query_map([workspace, datasource], kafka_position)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes positions, all or none, and returns when they are on the disk.
    pub fn save_kafka_positions(&self, workspace: &str, positions: &[KafkaPosition]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO kafka_positions \
                 (workspace, datasource, topic, partition, next_offset, ingest_epoch, intent, last_message) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for it in positions {
                statement.execute(params![
                    workspace,
                    it.datasource,
                    it.topic,
                    it.partition,
                    it.next_offset,
                    it.ingest_epoch,
                    it.intent,
                    it.last
                ])?;
            }
            Ok(())
        })
    }

    /// A data source is gone: one that is made under its name begins its topics anew.
    pub fn forget_kafka_positions(&self, workspace: &str, datasource: &str) -> Result<(), StoreError> {
        self.set_paused(workspace, datasource, false)?;
        let delete = "DELETE FROM kafka_positions WHERE workspace = ?1 AND datasource = ?2";
        self.connection().execute(delete, [workspace, datasource])?;
        Ok(())
    }

    /// Jobs as their owner writes them, oldest first.
    pub fn jobs(&self, workspace: &str) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT record FROM jobs WHERE workspace = ?1 ORDER BY position")?;
        let rows = statement.query_map([workspace], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps a job as it is now, and the latest `kept` of them.
    pub fn put_job(&self, workspace: &str, id: &str, record: &str, kept: u32) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO jobs (workspace, id, record) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (workspace, id) DO UPDATE SET record = ?3",
                params![workspace, id, record],
            )?;
            transaction.execute(
                "DELETE FROM jobs WHERE workspace = ?1 AND position <= \
                 (SELECT position FROM jobs WHERE workspace = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2)",
                params![workspace, kept],
            )?;
            Ok(())
        })
    }

    fn write_token(&self, transaction: &Transaction, workspace: &str, it: &StoredToken) -> Result<(), StoreError> {
        let lookup = self.token_lookup().hash(it.value.reveal());
        let value = self.key.seal(&format!("token {}", it.token.id), it.value.reveal());
        let limits = serde_json::to_string(&it.token.limits).map_err(|error| StoreError::Damaged(error.to_string()))?;
        transaction.execute(
            "INSERT INTO tokens (id, workspace, name, lookup, value, description, origin, scopes, created_at, \
             updated_at, limits) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
             ON CONFLICT (id) DO UPDATE SET name = ?3, lookup = ?4, value = ?5, description = ?6, origin = ?7, \
             scopes = ?8, updated_at = ?10, limits = ?11",
            params![
                it.token.id,
                workspace,
                it.token.name,
                lookup.as_slice(),
                value,
                it.token.description,
                it.token.origin,
                scopes::print(&it.token.scopes),
                it.created_at,
                it.updated_at,
                limits,
            ],
        )?;
        Ok(())
    }

    fn read_token(&self, row: &Row) -> Result<StoredToken, StoreError> {
        let id: String = row.get(0)?;
        let sealed: Vec<u8> = row.get(2)?;
        let value = self.unseal(&format!("token {id}"), &sealed)?;
        let scopes: String = row.get(5)?;
        let limits: String = row.get(8)?;
        let token = Token {
            name: row.get(1)?,
            description: row.get(3)?,
            origin: row.get(4)?,
            scopes: scopes::parse(&scopes).map_err(StoreError::Damaged)?,
            // One that cannot be read is an error: without it a token would do more.
            limits: serde_json::from_str(&limits).map_err(|error| StoreError::Damaged(format!("limits: {error}")))?,
            id,
        };
        Ok(StoredToken { token, value, created_at: row.get(6)?, updated_at: row.get(7)? })
    }

    fn unseal(&self, purpose: &str, sealed: &[u8]) -> Result<Secret, StoreError> {
        let text = self.key.open(purpose, sealed);
        text.map(Secret).ok_or_else(|| StoreError::Damaged(format!("the secret of {purpose} cannot be opened")))
    }

    /// All of `change` or nothing of it, on the disk when this returns.
    fn write(&self, change: impl FnOnce(&Transaction) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        change(&transaction)?;
        Ok(transaction.commit()?)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic cannot leave a half-done change behind: a transaction that is not committed is rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLite makes files with the process's mask; this one is for its owner alone.
fn restrict(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, permissions).map_err(|error| StoreError::file(path, error))
}

fn kafka_position(row: &rusqlite::Row<'_>) -> rusqlite::Result<KafkaPosition> {
    Ok(KafkaPosition {
        datasource: row.get(0)?,
        topic: row.get(1)?,
        partition: row.get(2)?,
        next_offset: row.get(3)?,
        ingest_epoch: row.get(4)?,
        intent: row.get(5)?,
        last: row.get(6)?,
    })
}

fn read_sources(connection: &Connection, workspace: &str, pending: u8) -> Result<Vec<Source>, StoreError> {
    let mut statement =
        connection.prepare("SELECT path, text FROM sources WHERE workspace = ?1 AND pending = ?2 ORDER BY path")?;
    let rows = statement.query_map(params![workspace, pending], |row| {
        Ok(Source::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write_sources(
    transaction: &Transaction,
    workspace: &str,
    pending: u8,
    sources: &[Source],
) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM sources WHERE workspace = ?1 AND pending = ?2", params![workspace, pending])?;
    let mut statement =
        transaction.prepare("INSERT INTO sources (workspace, pending, path, text) VALUES (?1, ?2, ?3, ?4)")?;
    for source in sources {
        statement.execute(params![workspace, pending, &*source.path, &*source.text])?;
    }
    Ok(())
}

fn clear_pending(transaction: &Transaction, workspace: &str) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM pending WHERE workspace = ?1", [workspace])?;
    write_sources(transaction, workspace, 1, &[])
}

impl StoreError {
    fn file(path: &Path, error: std::io::Error) -> StoreError {
        StoreError::File { path: path.to_owned(), error }
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
