//! Which types of values a column takes without loss: what a view's columns are compared with its target by.

use crate::sql::ColumnType;

/// Whether every value of `from` can be stored as `to`.
pub fn fits(from: &ColumnType, to: &ColumnType) -> bool {
    from == to
}
