//! Rows of JSON or CSV, and Kafka messages, become typed columns; rows that do not fit are kept with the reason.
//!
//! In: a data source's [`Schema`] and bytes. Out: [`Decoded`]: blocks of good rows, and [`Rejected`] ones.
//! Nothing here does I/O or reads the clock: the same bytes give the same blocks.

mod schema;

pub use schema::{Schema, SchemaError};

use crate::native::Block;

/// A row that was not taken, with everything it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The row as it came.
    pub raw: Vec<u8>,
    /// What could be read of it, by the place of the column in [`Schema::columns`].
    pub values: Vec<Option<String>>,
    pub errors: Vec<Problem>,
    /// Where it came from: partition and offset, file and line, request.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The column's name, empty where the whole row is wrong.
    pub column: String,
    pub message: String,
}

/// What a run of rows became. Rows that leave different columns to the engine's defaults are in blocks of
/// their own, for a block either has a column or does not.
#[derive(Debug, Default)]
pub struct Decoded {
    pub blocks: Vec<Block>,
    pub rows: usize,
    pub rejected: Vec<Rejected>,
}

/// One Kafka message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub value: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub headers: &'a [(String, Vec<u8>)],
}
