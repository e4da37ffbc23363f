//! Runs SQL. An enum with few methods; projects and tokens are not known here.
//!
//! In: compiled reads, statements of ours, blocks. Out: rows as byte chunks, statistics, [`EngineError`]s.

use crate::{native::Block, query::CompiledQuery, sql::Sql};
use bytes::Bytes;

/// What runs the SQL.
#[derive(Debug, Clone)]
pub enum Engine {}

/// The rows of a read, as they come. Dropping it ends the query.
#[derive(Debug)]
pub struct Rows {}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    pub elapsed: f64,
    pub rows_read: u64,
    pub bytes_read: u64,
    pub result_rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: EngineErrorKind,
    /// ClickHouse's own number, 0 when the error is not the engine's.
    pub code: i32,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The statement is wrong: the asker's fault.
    Query,
    Timeout,
    TooMuchMemory,
    /// A limit on rows, bytes or results.
    Limit,
    Cancelled,
    DiskFull,
    /// The library is not there; the message names the command that gets it.
    Missing,
    /// Another process has the data directory; the message names it.
    Locked,
    Closed,
    Internal,
}

/// How an insert is made safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deduplication {
    /// The same token twice is one insert.
    Token(String),
    /// Every insert counts, identical or not.
    Off,
}

impl EngineError {
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, EngineErrorKind::TooMuchMemory | EngineErrorKind::DiskFull | EngineErrorKind::Timeout)
            || self.code == 252
    }
}

impl Engine {
    /// Runs a read under the reader's role; limits are the pool's.
    pub async fn query(&self, query: &CompiledQuery) -> Result<Rows, EngineError> {
        let _ = query;
        match *self {}
    }

    /// Runs one statement of ours under the admin's role and gives its whole answer as JSONEachRow bytes
    /// (empty for DDL).
    pub async fn command(&self, sql: &Sql) -> Result<Bytes, EngineError> {
        let _ = sql;
        match *self {}
    }

    /// Inserts one block. `Ok` gives the number of rows written, views included.
    pub async fn insert(&self, head: &Sql, block: Block, deduplication: Deduplication) -> Result<u64, EngineError> {
        let _ = (head, block, deduplication);
        match *self {}
    }

    pub async fn ping(&self) -> Result<(), EngineError> {
        match *self {}
    }

    /// Ends running queries, closes every connection. The engine cannot be opened again by this process.
    pub async fn close(&self) {
        match *self {}
    }
}

impl Rows {
    /// The next chunk in the query's format, `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        None
    }

    /// What the query read; known when `next` has given `None`.
    pub fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}
