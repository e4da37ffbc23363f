//! Questions about a quarantine: why its rows are in it.

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
