//! The engine's own statements: insert heads, roles, checks of settings. All of them are ours whole.

use super::Sql;
use crate::name::{ColumnName, Physical};

/// The head of a streaming insert in Native format; the rows follow as bytes, never as text.
pub fn insert_native<'a>(table: &Physical, columns: impl IntoIterator<Item = &'a ColumnName>) -> Sql {
    let mut sql = Sql::new("INSERT INTO ");
    sql.table(table).push(" (").join(columns, ", ", |sql, it| _ = sql.column(it)).push(")");
    sql
}
