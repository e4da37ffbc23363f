//! Questions about a quarantine: why its rows are in it; and how some of them leave it.

use super::{
    Layout,
    table::{self, QUARANTINE_COLUMNS, on},
};
use crate::{
    name::{ColumnName, Physical},
    project::Datasource,
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

/// The same in two numbers, which a statement can have many of.
const NUMBERS: &str = "(toUnixTimestamp(insertion_date), cityHash64(c__source, c__raw))";

/// A table of the rows of a quarantine that fulfil a condition, numbered. Over a cluster it is on every server, and its
/// rows are with the one that is asked and the replicas of that.
pub fn gather(
    layout: &Layout,
    gathering: &Physical,
    datasource: &Datasource,
    quarantine: &Physical,
    condition: Option<&Sql>,
) -> Vec<Sql> {
    let mut res = Vec::new();
    let mut sql = match layout.cluster() {
        None => {
            let mut sql = Sql::new("CREATE TABLE ");
            sql.table(gathering).push(" ENGINE = MergeTree ORDER BY c__number AS SELECT");
            sql.push(" rowNumberInAllBlocks() AS c__number, * FROM ").table(quarantine);
            sql
        }
        Some(cluster) => {
            res.push(table::create_gathering(cluster, datasource, gathering));
            let columns = || table::quarantine_columns(datasource);
            let mut sql = Sql::new("INSERT INTO ");
            sql.table(gathering).push(" (c__number, ").join(columns(), ", ", |sql, it| _ = sql.ident(it));
            // Numbered above what the shards give: each of them would begin with 0.
            sql.push(") SELECT rowNumberInAllBlocks(), ").join(columns(), ", ", |sql, it| _ = sql.ident(it));
            sql.push(" FROM (SELECT ").join(columns(), ", ", |sql, it| _ = sql.ident(it));
            sql.push(" FROM ").table(quarantine);
            sql
        }
    };
    if let Some(condition) = condition {
        sql.push(" WHERE ").sql(condition);
    }
    if layout.cluster().is_some() {
        sql.push(")");
    }
    res.push(sql);
    res
}

/// Gathered rows leave their quarantine, on one server.
pub fn forget_replayed(quarantine: &Physical, replay: &Physical) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    sql.table(quarantine).push(" DELETE WHERE ").push(IDENTITY).push(" IN (SELECT ").push(IDENTITY).push(" FROM ");
    sql.table(replay).push(") SETTINGS mutations_sync = 2");
    sql
}

/// `date` and `hash` of gathered rows: what [`forget_these`] knows them by.
pub fn identities(layout: &Layout, replay: &Physical, numbers: std::ops::Range<u64>) -> Sql {
    let mut sql =
        Sql::new("SELECT toUnixTimestamp(insertion_date) AS date, cityHash64(c__source, c__raw) AS hash FROM ");
    numbered(layout, &mut sql, replay, numbers);
    sql
}

/// Gathered rows leave their quarantine on every shard of a cluster: a statement that runs there cannot see the table
/// that they are in, so it has to name them.
pub fn forget_these(layout: &Layout, quarantine: &Physical, identities: impl IntoIterator<Item = (u32, u64)>) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    on(sql.table(&layout.rows(quarantine)), layout.cluster()).push(" DELETE WHERE ").push(NUMBERS).push(" IN (");
    sql.join(identities, ", ", |sql, (date, hash)| {
        sql.push("(").number(u64::from(date)).push(", ").number(hash).push(")");
    });
    sql.push(") SETTINGS mutations_sync = 2");
    sql
}

/// Columns that a data source got since its rows were gathered; every one is text.
pub fn complete_gathered<'a>(layout: &Layout, replay: &Physical, columns: impl Iterator<Item = &'a ColumnName>) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    on(sql.table(replay), layout.cluster()).push(" ");
    sql.join(columns, ", ", |sql, it| {
        sql.push("ADD COLUMN IF NOT EXISTS ").column(it).push(" Nullable(String)");
    });
    sql
}

/// `raw` (in base64), `source`, `date` (seconds since 1970) and `values` of the gathered rows with these numbers.
pub fn refused_rows<'a>(
    layout: &Layout,
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
    sql.push("), 'Array(Nullable(String))') AS values FROM ");
    numbered(layout, &mut sql, replay, numbers);
    sql.push(" ORDER BY c__number");
    sql
}

/// Gathered rows, on whichever shard they are.
fn numbered(layout: &Layout, sql: &mut Sql, replay: &Physical, numbers: std::ops::Range<u64>) {
    match layout.cluster().filter(|it| it.is_sharded()) {
        None => sql.table(replay),
        Some(cluster) => {
            sql.push("cluster(").string(cluster.name()).push(", ").string(replay.database()).push(", ");
            sql.string(replay.table()).push(")")
        }
    };
    sql.push(" WHERE c__number >= ").number(numbers.start).push(" AND c__number < ").number(numbers.end);
}
