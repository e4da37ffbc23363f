//! A file's rows go into a table: all of them, each once, whatever happens on the way.
//!
//! In: a file on the disk, a data source. Out: rows in the table and its quarantine.
//!
//! A file is read to its end first (`read`, `unpack`), and what its rows become is put on the disk beside it, typed
//! and in blocks (`spool`): whatever is wrong with the file as a whole is found before a row is in. Then an
//! [`Intent`] is kept, and from there on the blocks go in, one after the other, under tokens of their own (`insert`).
//! After a crash they go on where they were. Who sent the file, and which table of a data source it fills, is not
//! known here.

mod fetch;
mod insert;
mod intent;
mod parquet;
mod read;
mod space;
mod spool;
mod unpack;

pub use fetch::{Rules, fetch, url};
pub use insert::{Loading, Stopped};
pub use intent::{Intent, Mode};
pub use parquet::to_lines;
pub use read::Dialect;
pub use reqwest::Url;
pub use space::{NoSpace, check as check_space};
pub use spool::{Spooled, spool};
pub use unpack::TIGHTEST;

use super::decode::SchemaError;
use crate::engine::EngineError;
use std::path::{Path, PathBuf};

/// What is said of Parquet where the engine is a server.
pub const NO_PARQUET: &str =
    "Parquet is read by the embedded engine alone, and this server has another: send CSV or NDJSON";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    Csv,
    Ndjson,
    /// Its rows are made lines of JSON first, which are read from there on.
    Parquet,
}

/// A file as it came, and how to read it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Upload {
    /// Refused rows say `<name>:<line>`.
    pub name: String,
    pub format: FileFormat,
    #[serde(default)]
    pub dialect: Dialect,
}

impl FileFormat {
    /// What a file's name says that it is.
    pub fn of_name(name: &str) -> Option<FileFormat> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" => Some(FileFormat::Csv),
            "ndjson" | "jsonl" => Some(FileFormat::Ndjson),
            "parquet" => Some(FileFormat::Parquet),
            _ => None,
        }
    }
}

impl Upload {
    fn packing(&self) -> unpack::Packing {
        match self.format {
            FileFormat::Csv | FileFormat::Ndjson => unpack::Packing::Foreign,
            FileFormat::Parquet => unpack::Packing::Own,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was sent is not what it is said to be.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// What a URL gives could not be had. The words name no URL.
    #[error("the file cannot be fetched: {0}")]
    Unreachable(String),
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// A file of ours cannot be written or read.
    #[error("the file cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
    /// Its rows are safe and cannot go in now.
    #[error("the file's rows are safe and go in as soon as they can (job {id}): {message}")]
    Waiting { id: String, message: String },
}

/// The file as it came, in the folder of its load.
pub fn upload_path(folder: &Path) -> PathBuf {
    folder.join("upload")
}

/// What its rows became.
fn spool_path(folder: &Path) -> PathBuf {
    folder.join("rows")
}

/// Reasons for refused rows that are shown to who sent the file.
pub const ERRORS_SHOWN: usize = 10;
