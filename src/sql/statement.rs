//! The engine's own statements: insert heads, roles, checks of settings. All of them are ours whole.

use super::{Sql, UserSql};
use crate::name::{ColumnName, Physical};

/// The head of a streaming insert; the rows follow as bytes, never as text.
pub fn insert_native<'a>(table: &Physical, columns: impl IntoIterator<Item = &'a ColumnName>) -> Sql {
    let mut sql = Sql::new("INSERT INTO ");
    sql.table(table).push(" (").join(columns, ", ", |sql, it| _ = sql.column(it)).push(")");
    sql
}

/// What every connection of ours has, to whatever engine.
pub const SESSION: &[(&str, &str)] = &[
    ("implicit_select", "0"),
    ("session_timezone", "UTC"),
    ("http_max_tries", "1"),
    ("http_connection_timeout", "2"),
    ("http_receive_timeout", "10"),
    ("async_insert", "0"),
    // What projects do and older engines took: JSON values in keys, subqueries in joins without a name.
    ("allow_suspicious_types_in_group_by", "1"),
    ("allow_suspicious_types_in_order_by", "1"),
    ("joined_subquery_requires_alias", "0"),
    ("date_time_input_format", "best_effort"),
    // What it keeps of one caller's filter it took for another's: rows were missing.
    ("use_query_condition_cache", "0"),
];

/// The same for tables on the shards of a cluster: an insert returns when every shard has its part, and what is joined
/// is read from all of them. What a query gives is spread by the target's key: by itself the engine would run some
/// INSERT .. SELECT on each shard alone, which makes an aggregate of each shard.
pub const OVER_CLUSTER: &[(&str, &str)] = &[
    ("distributed_foreground_insert", "1"),
    ("distributed_product_mode", "global"),
    ("parallel_distributed_insert_select", "0"),
];

/// What makes an insert whole and safe to repeat: one block, and, with a token, one time. Values that somebody else
/// wrote are read as values and never as expressions, which would run under the role that inserts. Defaults of the
/// engine have changed before, so none is relied on.
pub const WHOLE_INSERT: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("input_format_skip_unknown_fields", "0"),
    ("max_insert_block_size", "1000000000"),
    ("min_insert_block_size_rows", "0"),
    ("min_insert_block_size_bytes", "0"),
    ("max_partitions_per_insert_block", "0"),
    ("input_format_parallel_parsing", "0"),
    ("input_format_values_interpret_expressions", "0"),
    ("date_time_input_format", "best_effort"),
    ("deduplicate_insert_select", "enable_when_possible"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
];

/// Whether identical inserts are one. Without a token a table with a window would take two for one.
pub fn deduplicates(token: Option<&str>) -> (&'static str, &'static str) {
    ("deduplicate_insert", if token.is_some() { "enable" } else { "disable" })
}

pub const DEDUPLICATION_TOKEN: &str = "insert_deduplication_token";

/// An insert's head with [`WHOLE_INSERT`] and its token.
pub fn insert_settings(head: &Sql, token: Option<&str>) -> Sql {
    let mut sql = head.clone();
    sql.push(" SETTINGS ");
    for (name, value) in WHOLE_INSERT.iter().copied().chain([deduplicates(token)]) {
        sql.push(name).push(" = ").string(value).push(", ");
    }
    sql.push(DEDUPLICATION_TOKEN).push(" = ").string(token.unwrap_or_default());
    sql
}

/// A table in memory with another one's columns.
pub fn create_in_memory(table: &Physical, like: &Physical) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    sql.table(table).push(" AS ").table(like).push(" ENGINE = Memory");
    sql
}

/// Rows of one table into another, as [`insert_settings`] says.
pub fn insert_from<'a>(
    table: &Physical,
    from: &Physical,
    columns: impl Iterator<Item = &'a ColumnName> + Clone,
    token: Option<&str>,
) -> Sql {
    let mut sql = insert_settings(&insert_native(table, columns.clone()), token);
    sql.push(" SELECT ").join(columns, ", ", |sql, it| _ = sql.column(it)).push(" FROM ").table(from);
    sql
}

/// Prints a text as the engine would; null where it does not parse.
pub fn format_query(text: &str) -> Sql {
    let mut sql = Sql::new("SELECT formatQueryOrNull(");
    sql.string(text).push(") AS formatted");
    sql
}

pub fn set_role(role: &str) -> Sql {
    let mut sql = Sql::new("SET ROLE ");
    sql.ident(role);
    sql
}

pub fn use_database(database: &str) -> Sql {
    let mut sql = Sql::new("USE ");
    sql.ident(database);
    sql
}

pub fn create_database(database: &str) -> Sql {
    let mut sql = Sql::new("CREATE DATABASE IF NOT EXISTS ");
    sql.ident(database);
    sql
}

/// What a connection stands in: its roles, its database, the time zone, and its settings by name.
pub fn session<'a>(settings: impl IntoIterator<Item = &'a str>) -> Sql {
    let mut sql = Sql::new("SELECT currentRoles() AS roles, currentDatabase() AS database, timezone() AS zone, [");
    sql.join(settings, ", ", |sql, it| _ = sql.push("toString(getSetting(").string(it).push("))"));
    sql.push("] AS settings");
    sql
}

/// Before a read: how the engine would run it. No user's text begins so, as it would be refused.
pub const PLAN: &str = "EXPLAIN indexes = 1 ";

/// Over an endpoint: all that it answers.
pub const WHOLE_PIPE: &str = "SELECT * FROM _";

/// Ends whatever runs on the connections that carry one of these comments. It does not wait: `SYNC` would wait
/// for those connections' next statements.
pub fn kill<'a>(log_comments: impl IntoIterator<Item = &'a str>) -> Sql {
    let mut sql = Sql::new("KILL QUERY WHERE Settings['log_comment'] IN (");
    sql.join(log_comments, ", ", |sql, it| _ = sql.string(it)).push(") ASYNC");
    sql
}

/// Which of these settings an engine knows, as `name`.
pub fn known_settings<'a>(names: impl IntoIterator<Item = &'a str>) -> Sql {
    let mut sql = Sql::new("SELECT name FROM system.settings WHERE name IN (");
    sql.join(names, ", ", |sql, it| _ = sql.string(it)).push(")");
    sql
}

pub fn drop_database(database: &str) -> Sql {
    let mut sql = Sql::new("DROP DATABASE IF EXISTS ");
    sql.ident(database).push(" SYNC");
    sql
}

/// A table in a database that users must not see.
pub fn create_probe(database: &str) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    sql.ident(database).push(".probe (k UInt8) ENGINE = Memory");
    sql
}

/// What a user's read must be denied, and how to try it: it does no harm where it is not.
pub fn probes(database: &str) -> [(&'static str, Sql); 4] {
    let mut foreign = Sql::new("SELECT count() FROM ");
    foreign.ident(database).push(".probe");
    [
        ("tables of other databases can be read", foreign),
        ("files can be read", Sql::new("SELECT count() FROM file('birdhouse-probe', 'LineAsString')")),
        ("addresses can be opened", Sql::new("SELECT count() FROM url('http://127.0.0.1:1/', 'LineAsString')")),
        ("other servers can be read", Sql::new("SELECT count() FROM remote('127.0.0.1:1', system.one)")),
    ]
}

/// Ends a request to a server by its name. It does not wait.
pub fn kill_request(query_id: &str) -> Sql {
    let mut sql = Sql::new("KILL QUERY WHERE query_id = ");
    sql.string(query_id).push(" ASYNC");
    sql
}

/// The rows that follow come in this format.
pub fn in_format(head: &Sql, format: &'static str) -> Sql {
    let mut sql = head.clone();
    sql.push(" FORMAT ").push(format);
    sql
}

/// What a text parses to, as a tree in lines (`explain`).
pub fn explain_ast(text: &UserSql) -> Sql {
    let mut sql = Sql::new("EXPLAIN AST ");
    sql.user(text);
    sql
}

/// The columns (`name`, `type`) that the engine sees in a text of a format.
pub fn describe_text(text: &str, format: &'static str) -> Sql {
    let mut sql = Sql::new("DESCRIBE TABLE format(");
    sql.push(format).push(", ").string(text).push(") SETTINGS schema_inference_make_columns_nullable = 'auto'");
    sql
}

/// The first rows of such a text.
pub fn preview_text(text: &str, format: &'static str, rows: u64) -> Sql {
    let mut sql = Sql::new("SELECT * FROM format(");
    sql.push(format).push(", ").string(text).push(") LIMIT ").number(rows);
    sql.push(" SETTINGS schema_inference_make_columns_nullable = 'auto'");
    sql
}

/// The part of the rows of such a text that have a value, by column, as `present`.
pub fn presence_in_text<'a>(text: &str, format: &'static str, columns: impl IntoIterator<Item = &'a str>) -> Sql {
    let mut sql = Sql::new("SELECT [");
    sql.join(columns, ", ", |sql, it| _ = sql.push("avg(isNotNull(").ident(it).push("))"));
    sql.push("] AS present FROM format(").push(format).push(", ").string(text);
    sql.push(") SETTINGS schema_inference_make_columns_nullable = 'auto'");
    sql
}

/// The same for a file in the engine's own folder.
pub fn describe_file(path: &str, format: &'static str) -> Sql {
    let mut sql = Sql::new("DESCRIBE TABLE file(");
    sql.string(path).push(", ").push(format).push(")");
    sql
}

/// Every row of a Parquet file in the engine's own folder. Numbers that JSON has no form for are texts.
pub fn rows_of_parquet(path: &str) -> Sql {
    let mut sql = Sql::new("SELECT * FROM file(");
    sql.string(path).push(", Parquet) SETTINGS output_format_json_quote_denormals = 1, max_threads = 2, ");
    sql.push("output_format_json_quote_64bit_integers = 0");
    sql
}

/// The rows of a data source for who exports them: a text that the server reads and judges as any other.
pub fn export(name: &str, columns: &[String], condition: Option<&str>, limit: Option<u64>, format: &str) -> String {
    let mut sql = Sql::new("SELECT ");
    match columns.is_empty() {
        true => _ = sql.push("*"),
        false => _ = sql.join(columns, ", ", |sql, it| _ = sql.ident(it)),
    }
    sql.push(" FROM ").ident(name);
    let condition = condition.map(|it| format!(" WHERE ({it}\n)")).unwrap_or_default();
    let limit = limit.map(|it| format!(" LIMIT {it}")).unwrap_or_default();
    format!("{}{condition}{limit} FORMAT {format}", sql.as_str())
}

/// The cheapest question that the engine can answer.
pub fn ping() -> Sql {
    Sql::new("SELECT 1")
}

pub fn version() -> Sql {
    Sql::new("SELECT version() AS version")
}

/// Whether a text ends in `LIMIT 100` with at most so many rows, brackets and `OFFSET` aside. It looks at words
/// alone, so it may be wrong: only for choices that change no answer.
pub fn ends_in_limit(sql: &str, at_most: u64) -> bool {
    let mut words = sql.rsplit(|it: char| it.is_whitespace() || it == ')').filter(|it| !it.is_empty());
    let mut last = words.next();
    let mut before = words.next();
    if before.is_some_and(|it| it.eq_ignore_ascii_case("offset")) {
        last = words.next();
        before = words.next();
    }
    let small = last.and_then(|it| it.parse::<u64>().ok()).is_some_and(|it| it <= at_most);
    small && before.is_some_and(|it| it.eq_ignore_ascii_case("limit"))
}

/// `cluster` and `shards` (a number as text) of every cluster that a server knows.
pub fn clusters() -> Sql {
    Sql::new(
        "SELECT cluster, toString(max(shard_num)) AS shards FROM system.clusters GROUP BY cluster ORDER BY cluster",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_limits_are_seen() {
        for sql in ["SELECT 1 LIMIT 5", "select 1\nlimit 100 ", "(SELECT 1 LIMIT 5)\n", "SELECT 1 LIMIT 5 OFFSET 10"] {
            assert!(ends_in_limit(sql, 100), "{sql}");
        }
        for sql in ["SELECT 1", "SELECT 1 LIMIT 101", "LIMIT", "SELECT 5", ""] {
            assert!(!ends_in_limit(sql, 100), "{sql}");
        }
    }

    #[test]
    fn inserts_are_whole_and_say_how_they_repeat() {
        let head = Sql::new("INSERT INTO t (a)");
        assert!(insert_settings(&head, Some("it's")).as_str().ends_with("insert_deduplication_token = 'it\\'s'"));
        let without = "deduplicate_insert = 'disable', insert_deduplication_token = ''";
        assert!(insert_settings(&head, None).as_str().ends_with(without));
    }
}
