//! Questions about a quarantine: why its rows are in it; and how some of them leave it.

use super::table::QUARANTINE_COLUMNS;
use crate::{
    name::{ColumnName, Physical},
    sql::Sql,
};

/// `column`, `reason`, `rows`, `first`, `last`, `example` and `source` of the most frequent reasons. Values in a
/// reason are left out, or else each would be its own.
pub fn reasons(quarantine: &Physical) -> Sql {
    let mut sql = Sql::new(
        "SELECT c__error_column[1] AS column, \
         replaceRegexpAll(replaceRegexpOne(c__error[1], '(?s)^value .* on column', 'a value on column'), \
         ' at line [0-9]+ column [0-9]+', '') AS reason, count() AS rows, toString(min(insertion_date)) AS first, \
         toString(max(insertion_date)) AS last, substringUTF8(argMin(c__raw, length(c__raw)), 1, 500) AS example, \
         argMin(c__source, length(c__raw)) AS source FROM ",
    );
    sql.table(quarantine).push(" GROUP BY column, reason ORDER BY rows DESC, reason LIMIT 100");
    sql
}

/// Some `values` of a column among the rows that it is the reason for; null stands for rows without any.
pub fn refused_values(quarantine: &Physical, column: &ColumnName) -> Sql {
    let mut sql = Sql::new("SELECT groupUniqArray(1000)([");
    sql.column(column).push("]) AS values FROM ").table(quarantine);
    sql.push(" WHERE c__error_column[1] = ").string(column.as_str());
    sql
}

/// Tells a refused row from others: the same row of the same request was refused once.
const IDENTITY: &str = "(insertion_date, c__source, cityHash64(c__raw))";

/// A table of the rows of a quarantine that fulfil a condition, numbered.
pub fn gather(gathering: &Physical, quarantine: &Physical, condition: Option<&Sql>) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    sql.table(gathering)
        .push(" ENGINE = MergeTree ORDER BY c__number AS SELECT rowNumberInAllBlocks() AS c__number, * ");
    sql.push("FROM ").table(quarantine);
    if let Some(condition) = condition {
        sql.push(" WHERE ").sql(condition);
    }
    sql
}

/// Gathered rows leave their quarantine.
pub fn forget_replayed(quarantine: &Physical, replay: &Physical) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(quarantine).push(" DELETE WHERE ").push(IDENTITY).push(" IN (SELECT ").push(IDENTITY).push(" FROM ");
    sql.table(replay).push(") SETTINGS mutations_sync = 2");
    sql
}

/// Columns that a data source got since its rows were gathered; every one is text.
pub fn complete_gathered<'a>(replay: &Physical, columns: impl Iterator<Item = &'a ColumnName>) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(replay).push(" ");
    sql.join(columns, ", ", |sql, it| {
        sql.push("ADD COLUMN IF NOT EXISTS ").column(it).push(" Nullable(String)");
    });
    sql
}

/// `raw` (in base64), `source`, `date` (seconds since 1970) and `values` of the gathered rows with these numbers.
pub fn refused_rows<'a>(
    replay: &Physical,
    columns: impl Iterator<Item = &'a ColumnName>,
    numbers: std::ops::Range<u64>,
) -> Sql {
    let mut sql = Sql::new("SELECT base64Encode(c__raw) AS raw, c__source AS source, toUnixTimestamp(insertion_date) ");
    sql.push("AS date, CAST(array(");
    sql.join(columns, ", ", |sql, it| match QUARANTINE_COLUMNS.iter().any(|(name, _)| *name == it.as_str()) {
        true => _ = sql.push("NULL"),
        false => _ = sql.column(it),
    });
    sql.push("), 'Array(Nullable(String))') AS values FROM ").table(replay).push(" WHERE c__number >= ");
    sql.number(numbers.start).push(" AND c__number < ").number(numbers.end).push(" ORDER BY c__number");
    sql
}
