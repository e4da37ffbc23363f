//! Runs SQL. An enum with few methods; projects and tokens are not known here.
//!
//! In: compiled reads, statements of ours, blocks. Out: rows as byte chunks, statistics, [`EngineError`]s.

mod chdb;
mod error;
mod frame;
pub mod install;
pub mod library;
mod remote;
mod settings;
mod slots;

pub use chdb::prepare_process;
pub use error::{EngineError, EngineErrorKind};
pub use frame::Column;
pub(crate) use remote::{ASKS_COST, EXCEPTION, PROCESS_SETTINGS, SUMMARY};
pub use settings::{
    EngineAddress, EngineCluster, EngineLogin, EnginePassword, EnginePlace, EngineServer, EngineSettings, EngineWire,
    FoundCluster, ReadLimits,
};

use crate::{
    native::Block,
    observe::Sink,
    query::{CompiledQuery, Format},
    sql::{Sql, statement},
};
use bytes::Bytes;
use std::{any::Any, sync::Arc, time::Duration};

/// What runs the SQL.
#[derive(Debug, Clone)]
pub enum Engine {
    Chdb(chdb::Chdb),
    Remote(remote::Remote),
}

/// The rows of a read, as they come. Dropping it ends the query.
#[derive(Debug)]
pub struct Rows {
    answer: Answer,
    columns: Vec<Column>,
    /// A chunk that came before anybody asked for it.
    first: Option<Bytes>,
    end: Option<End>,
}

/// An answer on its way. Dropping it ends the query without waiting.
#[derive(Debug)]
enum Answer {
    Chdb(chdb::Answer),
    Remote(Box<remote::Answer>),
}

/// Under whose role a read runs, and within what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    User(ReadLimits),
    Own,
}

/// What an answer gives next.
enum Part {
    Columns(Vec<Column>),
    Chunk(Bytes),
    End(Box<End>),
}

/// What is known at the end of an answer.
#[derive(Debug, Default)]
struct End {
    statistics: Statistics,
    rows_before_limit: Option<u64>,
    tail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// Seconds in the engine.
    pub elapsed: f64,
    pub rows_read: u64,
    pub bytes_read: u64,
    pub result_rows: u64,
}

/// What a read holds until the engine has let go of it, which may be long after whoever asked has left.
pub type Held = Option<Arc<dyn Any + Send + Sync>>;

const NATIVE: &str = "Native";

/// What a server is and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    pub address: String,
    /// ClickHouse's.
    pub version: String,
    /// Who reads for users.
    pub readers: String,
    /// What will not work, a sentence each.
    pub missing: Vec<String>,
}

/// How an insert is made safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deduplication {
    /// The same token twice is one insert, on a table that has a deduplication window.
    Token(String),
    /// Every insert counts, identical or not.
    Off,
}

/// How far the kernel confines the engine's threads to the engine's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandboxing {
    /// Files and network.
    Full,
    /// An older kernel: files, but not everything that can be done with them, or not the network.
    Partial,
    None,
}

/// What the engine's own parser takes a text for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One statement, which reads.
    Read,
    /// One statement, which does something else.
    Other,
    Several,
    Unparsed,
}

impl Engine {
    /// Opens the engine: on a directory, of which a process can have one open at a time, or on a server.
    pub async fn open(settings: EngineSettings, sink: Sink) -> Result<Engine, EngineError> {
        match settings.place.clone() {
            EnginePlace::Embedded => (),
            EnginePlace::Server(server) => {
                return remote::Remote::open(server, settings, sink).await.map(Engine::Remote);
            }
            EnginePlace::Process(program) => {
                if !settings.library.exists() {
                    return Err(chdb::missing(&settings.library));
                }
                return remote::Remote::open_process(&program, settings, sink).await.map(Engine::Remote);
            }
        }
        let opened = tokio::task::spawn_blocking(move || chdb::Chdb::open(settings, sink)).await;
        let opened = opened.map_err(|error| EngineError::own(EngineErrorKind::Internal, error.to_string()))?;
        opened.map(Engine::Chdb)
    }

    /// Looks at a server that could be an engine.
    pub async fn examine(server: &EngineServer) -> Result<Examined, EngineError> {
        remote::Remote::examine(server).await
    }

    /// Lets users read a workspace's database, once it is there. The embedded engine knows by its name.
    pub async fn admit(&self, database: &str) -> Result<(), EngineError> {
        match self {
            Engine::Chdb(_) => Ok(()),
            Engine::Remote(remote) => remote.admit(database).await,
        }
    }

    /// How many workspaces can have a reader's role of their own.
    pub const SLOTS: usize = slots::READER_SLOTS;

    /// A name for a workspace's database: the reader's role of this slot sees those that begin so. `random` is
    /// letters, digits and underscores that nobody can guess.
    pub fn database_name(slot: usize, random: &str) -> String {
        format!("{}{random}", slots::database_prefix(slot))
    }

    /// The slot that a database was named for.
    pub fn slot_of(database: &str) -> usize {
        slots::slot_of(database)
    }

    /// The slot that a reader's role is for.
    pub fn slot_of_role(role: &str) -> Option<usize> {
        slots::slot_of_role(role)
    }

    /// Runs a read under the reader's role within these limits. `Ok` means that the engine has given a
    /// first part of the answer or its end.
    pub async fn query(&self, query: &CompiledQuery, limits: ReadLimits, held: Held) -> Result<Rows, EngineError> {
        self.read_under(Reader::User(limits), query.sql(), query.parameters(), query.format(), held).await
    }

    /// Runs a read of ours under the admin's role, without limits.
    pub async fn read(&self, sql: &Sql, format: Format) -> Result<Rows, EngineError> {
        self.read_under(Reader::Own, sql, &[], format, None).await
    }

    /// Runs a statement of ours as if a user had asked: the reader's role, limits and gate. For tests of the
    /// walls, and for whoever wants less than the admin's rights.
    pub async fn read_as_user(&self, sql: &Sql, format: Format) -> Result<Rows, EngineError> {
        self.read_within(sql, &[], format, self.settings().read_limits()).await
    }

    /// The same with parameters, and within limits of one's own.
    pub async fn read_within(
        &self,
        sql: &Sql,
        parameters: &[(String, String)],
        format: Format,
        limits: ReadLimits,
    ) -> Result<Rows, EngineError> {
        self.read_under(Reader::User(limits), sql, parameters, format, None).await
    }

    async fn read_under(
        &self,
        reader: Reader,
        sql: &Sql,
        parameters: &[(String, String)],
        format: Format,
        held: Held,
    ) -> Result<Rows, EngineError> {
        match self {
            Engine::Chdb(chdb) => chdb.read(reader, sql, parameters, format, held).await,
            Engine::Remote(remote) => remote.read(reader, sql, parameters, format, held).await,
        }
    }

    /// Runs one statement of ours under the admin's role and gives its whole answer as JSONEachRow bytes
    /// (empty for DDL).
    pub async fn command(&self, sql: &Sql) -> Result<Bytes, EngineError> {
        match self {
            Engine::Chdb(chdb) => chdb.command(sql).await,
            Engine::Remote(remote) => remote.command(sql).await,
        }
    }

    /// The same for a statement that holds a user's text: what takes longer is ended.
    pub async fn command_within(&self, sql: &Sql, limit: Duration) -> Result<Bytes, EngineError> {
        match self {
            Engine::Chdb(chdb) => chdb.command_within(sql, limit).await,
            Engine::Remote(remote) => remote.command_within(sql, limit).await,
        }
    }

    /// Inserts one block. `Ok` gives the number of rows written, views included.
    pub async fn insert(&self, head: &Sql, block: Block, deduplication: Deduplication) -> Result<u64, EngineError> {
        self.insert_parts(head, NATIVE, block.parts, &deduplication).await
    }

    /// Inserts what somebody wrote in one of the engine's formats: all of it or nothing.
    pub async fn insert_written(
        &self,
        head: &Sql,
        format: Format,
        parts: Vec<Bytes>,
        deduplication: Deduplication,
    ) -> Result<u64, EngineError> {
        self.insert_parts(head, format.engine_name(), parts, &deduplication).await
    }

    async fn insert_parts(
        &self,
        head: &Sql,
        format: &'static str,
        parts: Vec<Bytes>,
        deduplication: &Deduplication,
    ) -> Result<u64, EngineError> {
        match self {
            Engine::Chdb(chdb) => chdb.insert(head, format, parts, deduplication).await,
            Engine::Remote(remote) => remote.insert(head, format, &parts, deduplication).await,
        }
    }

    /// Asks the engine's parser what a text is; nothing is run. Some microseconds for a short text.
    pub async fn classify(&self, text: &str) -> Result<Verdict, EngineError> {
        match self {
            Engine::Chdb(chdb) => chdb.judge(text).await,
            Engine::Remote(remote) => remote.judge(text).await,
        }
    }

    pub async fn ping(&self) -> Result<(), EngineError> {
        self.command(&statement::ping()).await.map(drop)
    }

    /// The engine's version.
    pub async fn version(&self) -> Result<String, EngineError> {
        #[derive(serde::Deserialize)]
        struct Row {
            version: String,
        }
        if let Engine::Remote(remote) = self {
            return Ok(remote.version().to_owned());
        }
        let bytes = self.command(&statement::version()).await?;
        let row: Result<Row, _> = serde_json::from_slice(&bytes);
        row.map(|it| it.version).map_err(|error| EngineError::own(EngineErrorKind::Internal, error.to_string()))
    }

    /// How far the kernel confines what queries can open; of a server it is not known.
    pub fn sandboxing(&self) -> Sandboxing {
        match self {
            Engine::Chdb(chdb) => chdb.sandboxing(),
            Engine::Remote(_) => Sandboxing::None,
        }
    }

    /// The cluster that tables lie on.
    pub fn cluster(&self) -> Option<&FoundCluster> {
        match self {
            Engine::Chdb(_) => None,
            Engine::Remote(remote) => remote.cluster(),
        }
    }

    /// Whether it can open files in its own directory, which those that are only it can read are put into.
    pub fn opens_files(&self) -> bool {
        match self {
            Engine::Chdb(_) => true,
            Engine::Remote(remote) => remote.opens_files(),
        }
    }

    pub fn settings(&self) -> &EngineSettings {
        match self {
            Engine::Chdb(chdb) => chdb.settings(),
            Engine::Remote(remote) => remote.settings(),
        }
    }

    /// Ends running queries, closes every connection. Must come before the process ends; an exit that forgets
    /// it is caught.
    pub async fn close(&self) {
        let engine = self.clone();
        _ = tokio::task::spawn_blocking(move || engine.close_blocking()).await;
    }

    /// [`Engine::close`] for where nothing can be awaited.
    pub fn close_blocking(&self) {
        match self {
            Engine::Chdb(chdb) => chdb.close(),
            Engine::Remote(remote) => remote.close(),
        }
    }
}

impl Rows {
    /// Waits for the first part, so that what fails at once fails here.
    async fn begin(answer: Answer) -> Result<Rows, EngineError> {
        let mut rows = Rows { answer, columns: Vec::new(), first: None, end: None };
        rows.first = rows.advance().await?;
        Ok(rows)
    }

    /// The columns of the answer; for JSON alone.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next chunk in the query's format, `None` at the end. For JSON a chunk is some of the rows as the
    /// engine writes them, with the commas between them, also those between chunks; the frame around all of
    /// them (`meta`, `data`, `rows`, `statistics`) is the caller's.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.end.is_some() {
            return None;
        }
        self.advance().await.transpose()
    }

    /// What the query read; known when `next` has given `None`.
    pub fn statistics(&self) -> Statistics {
        self.end.as_ref().map(|it| it.statistics).unwrap_or_default()
    }

    /// `"totals": ..` and `"extremes": ..` of a JSON answer, to stand after its rows; known at the end.
    pub fn tail(&self) -> &str {
        self.end.as_ref().map_or("", |it| &it.tail)
    }

    /// How many rows there would be without LIMIT, where the engine says it; known at the end.
    pub fn rows_before_limit(&self) -> Option<u64> {
        self.end.as_ref().and_then(|it| it.rows_before_limit)
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let part = match &mut self.answer {
                Answer::Chdb(answer) => answer.next().await,
                Answer::Remote(answer) => answer.next().await,
            };
            match part {
                Ok(Part::Columns(columns)) => self.columns = columns,
                Ok(Part::Chunk(bytes)) => return Ok(Some(bytes)),
                Ok(Part::End(end)) => {
                    self.end = Some(*end);
                    return Ok(None);
                }
                Err(error) => {
                    self.end = Some(End::default());
                    return Err(error);
                }
            }
        }
    }
}
