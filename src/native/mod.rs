//! Typed columns and ClickHouse's Native bytes.
//!
//! In: values by [`ColumnType`]. Out: a [`Block`] as the engine reads it. Where rows come from is not known.

use crate::{name::ColumnName, sql::ColumnType};

/// Rows as columns, encoded for the engine.
#[derive(Debug, Clone, Default)]
pub struct Block {
    pub columns: Vec<(ColumnName, ColumnType)>,
    pub rows: usize,
    /// The block in Native format.
    pub bytes: Vec<u8>,
}
