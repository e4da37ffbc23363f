//! Tables: a data source's own, the one for what it refuses, and the one a file is loaded into before it
//! takes the place of the rows that are there.

use super::Cluster;
use crate::{
    name::{ColumnName, Namespace, Physical},
    project::{Column, ColumnDefault, Datasource, EngineFamily, TableEngine},
    sql::{Sql, UserSql},
};

/// What a quarantine has besides the columns of its data source.
pub const QUARANTINE_COLUMNS: [(&str, &str); 6] = [
    ("c__error_column", "Array(String)"),
    ("c__error", "Array(String)"),
    ("c__import_id", "Nullable(String)"),
    ("c__raw", "String"),
    ("c__source", "String"),
    ("insertion_date", "DateTime"),
];

/// Whether an AggregatingMergeTree may have columns that are neither in its key nor aggregates.
const DIMENSIONS: &str = "allow_dimensions_outside_sorting_key";

/// How many inserts a table remembers. It makes an insert that is tried again count once; whoever inserts must
/// send a token of its own or switch this off, or else two equal blocks would be one.
const WINDOW: &str = "non_replicated_deduplication_window";
const INSERTS: u64 = 1000;
/// Where a table has partitions, what it remembers is the part that an insert put into each of them. A crash
/// repeats up to four batches of a consumer, so each of them may fill 2,500 partitions.
const INSERTED_PARTS: u64 = 10_000;
/// The same for tables with replicas, which share what they remember; and for how many seconds.
const REPLICATED_WINDOW: &str = "replicated_deduplication_window";
const REPLICATED_SECONDS: &str = "replicated_deduplication_window_seconds";
const WEEK: u64 = 7 * 24 * 3600;

pub fn drop_database(namespace: &Namespace) -> Sql {
    drop_database_on(None, namespace)
}

pub(super) fn drop_database_on(cluster: Option<&Cluster>, namespace: &Namespace) -> Sql {
    let mut sql = Sql::new("DROP DATABASE IF EXISTS ");
    on(sql.ident(namespace.database()), cluster).push(" SYNC");
    sql
}

pub fn drop_table(table: &Physical) -> Sql {
    drop_table_on(None, table)
}

pub(super) fn drop_table_on(cluster: Option<&Cluster>, table: &Physical) -> Sql {
    let mut sql = Sql::new("DROP TABLE IF EXISTS ");
    on(sql.table(table), cluster).push(" SYNC");
    sql
}

/// The table of a data source, with everything its file says.
pub fn create_table(datasource: &Datasource, table: &Physical) -> Sql {
    create_table_on(None, datasource, table)
}

pub(super) fn create_table_on(cluster: Option<&Cluster>, datasource: &Datasource, table: &Physical) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    on(sql.table(table), cluster).push(" (").join(&datasource.columns, ", ", column);
    for index in &datasource.indexes {
        sql.push(", INDEX ").ident(&index.name).push(" ").user(&index.expression);
        sql.push(" TYPE ").user(&index.kind).push(" GRANULARITY ").number(index.granularity);
    }
    sql.push(") ENGINE = ");
    engine(&mut sql, &datasource.engine, cluster);
    sql
}

/// Every column as the text that came, and why it was refused. What is in it is gone after 30 days.
pub fn create_quarantine(datasource: &Datasource, table: &Physical) -> Sql {
    create_quarantine_on(None, datasource, table)
}

pub(super) fn create_quarantine_on(cluster: Option<&Cluster>, datasource: &Datasource, table: &Physical) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    on(sql.table(table), cluster).push(" (");
    for column in datasource.columns.iter().filter(|it| is_quarantined(it)) {
        sql.column(&column.name).push(" Nullable(String), ");
    }
    sql.join(QUARANTINE_COLUMNS, ", ", |sql, (name, column_type)| {
        sql.ident(name).push(" ").push(column_type);
    });
    sql.push(") ENGINE = ");
    family(&mut sql, EngineFamily::MergeTree, &[], cluster);
    sql.push(" PARTITION BY toYYYYMM(`insertion_date`) ORDER BY (`insertion_date`) ");
    sql.push("TTL `insertion_date` + INTERVAL 30 DAY SETTINGS ");
    window(&mut sql, INSERTS, cluster);
    sql
}

/// Where rows of a quarantine are gathered over a cluster: with replicas, for they are nowhere else for a while.
pub(super) fn create_gathering(cluster: &Cluster, datasource: &Datasource, table: &Physical) -> Sql {
    let mut sql = Sql::new("CREATE TABLE ");
    on(sql.table(table), Some(cluster)).push(" (`c__number` UInt64, ");
    sql.join(quarantine_columns(datasource), ", ", |sql, it| {
        let own = QUARANTINE_COLUMNS.iter().find(|(name, _)| *name == it);
        sql.ident(it).push(" ").push(own.map_or("Nullable(String)", |it| it.1));
    });
    sql.push(") ENGINE = ");
    family(&mut sql, EngineFamily::MergeTree, &[], Some(cluster));
    sql.push(" ORDER BY `c__number`");
    sql
}

/// The columns of what refuses rows, in their order.
pub(super) fn quarantine_columns(datasource: &Datasource) -> impl Iterator<Item = &str> + Clone {
    let own = QUARANTINE_COLUMNS.iter().map(|(name, _)| *name);
    datasource.columns.iter().filter(|it| is_quarantined(it)).map(|it| it.name.as_str()).chain(own)
}

/// A column called like one of the quarantine's own is not kept there twice.
pub(super) fn is_quarantined(column: &Column) -> bool {
    !QUARANTINE_COLUMNS.iter().any(|(name, _)| *name == column.name.as_str())
}

pub(super) fn add_column(
    cluster: Option<&Cluster>,
    table: &Physical,
    added: &Column,
    after: Option<&ColumnName>,
) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    on(sql.table(table), cluster).push(" ADD COLUMN ");
    column(&mut sql, added);
    place(&mut sql, after);
    sql
}

pub(super) fn add_quarantine_column(
    cluster: Option<&Cluster>,
    table: &Physical,
    added: &Column,
    after: Option<&ColumnName>,
) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    on(sql.table(table), cluster).push(" ADD COLUMN ").column(&added.name).push(" Nullable(String)");
    let after = after.filter(|it| !QUARANTINE_COLUMNS.iter().any(|(name, _)| *name == it.as_str()));
    place(&mut sql, after);
    sql
}

pub(super) fn drop_column(cluster: Option<&Cluster>, table: &Physical, column: &Column) -> Sql {
    let mut sql = Sql::new("ALTER TABLE ");
    on(sql.table(table), cluster).push(" DROP COLUMN IF EXISTS ").column(&column.name);
    sql
}

fn place(sql: &mut Sql, after: Option<&ColumnName>) {
    match after {
        Some(after) => sql.push(" AFTER ").column(after),
        None => sql.push(" FIRST"),
    };
}

/// An empty table like another one.
pub fn create_side_table(side: &Physical, like: &Physical) -> Sql {
    let mut sql = Sql::new("CREATE TABLE IF NOT EXISTS ");
    sql.table(side).push(" AS ").table(like);
    sql
}

/// Does nothing where there is no such table.
pub(super) fn rename_on(cluster: Option<&Cluster>, from: &Physical, to: &Physical) -> Sql {
    let mut sql = Sql::new("RENAME TABLE IF EXISTS ");
    on(sql.table(from).push(" TO ").table(to), cluster);
    sql
}

/// Gives a view another name and its own again. One whose query was changed tells its target about inserts under
/// another id than before, and after a restart under the first: what is repeated over that would be taken twice. A
/// name that is given to it makes that right, and no insert misses it meanwhile.
pub(super) fn turn_on(cluster: Option<&Cluster>, namespace: &Namespace, view: &Physical) -> Sql {
    let turned = namespace.turned(view);
    let mut sql = Sql::new("RENAME TABLE ");
    sql.table(view).push(" TO ").table(&turned).push(", ").table(&turned).push(" TO ").table(view);
    on(&mut sql, cluster);
    sql
}

/// How many `rows` fulfil a condition.
pub fn count_rows(table: &Physical, condition: &Sql) -> Sql {
    let mut sql = Sql::new("SELECT count() AS rows FROM ");
    sql.table(table).push(" WHERE ").sql(condition);
    sql
}

/// The rows of a composed SELECT, by the names of its columns. `mark` is what the statement is found by while it
/// runs.
pub fn insert_select<'a>(
    table: &Physical,
    columns: impl IntoIterator<Item = &'a str> + Clone,
    select: &Sql,
    mark: &str,
) -> Sql {
    let mut sql = Sql::new("INSERT INTO ");
    sql.table(table).push(" (").join(columns.clone(), ", ", |sql, it| _ = sql.ident(it));
    sql.push(") SETTINGS log_comment = ").string(mark).push(" SELECT ");
    sql.join(columns, ", ", |sql, it| _ = sql.ident(it)).push(" FROM (").sql(select).push(")");
    sql
}

/// The `name`s of databases that begin so.
pub fn databases(prefix: &str) -> Sql {
    let mut sql = Sql::new("SELECT name FROM system.databases WHERE startsWith(name, ");
    sql.string(prefix).push(")");
    sql
}

/// The `name`s of tables with partitions that remember as few inserts as tables without: they were made when all did.
pub fn forgetful(namespace: &Namespace) -> Sql {
    let mut sql = Sql::new("SELECT name FROM system.tables WHERE partition_key != '' AND database = ");
    sql.string(namespace.database()).push(" AND has(splitByRegexp('[^a-z0-9_ =]', engine_full), ");
    sql.string(&format!(" {WINDOW} = {INSERTS}")).push(")");
    sql
}

/// A table with partitions remembers as many inserts as one that is made now; nothing for one whose file says how many.
pub fn remember_more(datasource: &Datasource, table: &Physical) -> Option<Sql> {
    let engine = &datasource.engine;
    engine.partition_key.as_ref()?;
    if engine.settings.as_ref().is_some_and(|it| tells(it, WINDOW)) {
        return None;
    }
    let mut sql = Sql::new("ALTER TABLE ");
    window(sql.table(table).push(" MODIFY SETTING "), INSERTED_PARTS, None);
    Some(sql)
}

fn column(sql: &mut Sql, column: &Column) {
    sql.column(&column.name).push(" ").column_type(&column.column_type);
    match &column.default {
        Some(ColumnDefault::Default(expression)) => _ = sql.push(" DEFAULT ").user(expression),
        Some(ColumnDefault::Materialized(expression)) => _ = sql.push(" MATERIALIZED ").user(expression),
        None => {}
    }
    if let Some(codec) = &column.codec {
        sql.push(" ").user(codec);
    }
}

/// What a statement runs on: every server of the cluster.
pub(super) fn on<'a>(sql: &'a mut Sql, cluster: Option<&Cluster>) -> &'a mut Sql {
    match cluster {
        Some(cluster) => sql.push(" ON CLUSTER ").ident(cluster.name()),
        None => sql,
    }
}

/// An engine's name and parameters. With replicas, the tables of a shard find each other by the path: it holds the
/// table's own id, which is the same on all servers and stays when a table is renamed, so that a new table of an
/// old name never meets what is left of the old one.
fn family(sql: &mut Sql, family: EngineFamily, parameters: &[UserSql], cluster: Option<&Cluster>) {
    if cluster.is_some() && family != EngineFamily::Null {
        sql.push("Replicated").push(family.name()).push("('/clickhouse/tables/{uuid}/{shard}', '{replica}'");
        if !parameters.is_empty() {
            sql.push(", ");
            list(sql, family, parameters);
        }
        sql.push(")");
        return;
    }
    sql.push(family.name());
    if !parameters.is_empty() && family != EngineFamily::Null {
        sql.push("(");
        list(sql, family, parameters);
        sql.push(")");
    }
}

/// Summed columns are one parameter, a tuple.
fn list(sql: &mut Sql, family: EngineFamily, parameters: &[UserSql]) {
    let (open, close) = match family {
        EngineFamily::SummingMergeTree => ("(", ")"),
        _ => ("", ""),
    };
    sql.push(open).join(parameters, ", ", |sql, it| _ = sql.user(it)).push(close);
}

/// How many inserts are remembered.
fn window(sql: &mut Sql, inserts: u64, cluster: Option<&Cluster>) {
    match cluster {
        Some(_) => {
            sql.push(REPLICATED_WINDOW).push(" = ").number(inserts);
            sql.push(", ").push(REPLICATED_SECONDS).push(" = ").number(WEEK);
        }
        None => _ = sql.push(WINDOW).push(" = ").number(inserts),
    }
}

fn engine(sql: &mut Sql, engine: &TableEngine, cluster: Option<&Cluster>) {
    family(sql, engine.family, &engine.parameters, cluster);
    if engine.family == EngineFamily::Null {
        return;
    }
    key(sql, " PARTITION BY (", engine.partition_key.as_ref());
    match &engine.sorting_key {
        Some(sorting_key) => key(sql, " ORDER BY (", Some(sorting_key)),
        None => _ = sql.push(" ORDER BY tuple()"),
    }
    key(sql, " PRIMARY KEY (", engine.primary_key.as_ref());
    key(sql, " SAMPLE BY (", engine.sampling_key.as_ref());
    // Not in brackets: a TTL may be a list, with DELETE WHERE in it.
    if let Some(ttl) = &engine.ttl {
        sql.push(" TTL ").user(ttl);
    }
    sql.push(" SETTINGS ");
    let inserts = if engine.partition_key.is_some() { INSERTED_PARTS } else { INSERTS };
    let wanted = if cluster.is_some() { REPLICATED_WINDOW } else { WINDOW };
    match &engine.settings {
        Some(settings) if tells(settings, wanted) => _ = sql.user(settings),
        Some(settings) => window(sql.user(settings).push(", "), inserts, cluster),
        None => window(sql, inserts, cluster),
    }
    // The engine has come to refuse what many projects do: their plain columns hang on the key.
    let told = engine.settings.as_ref().is_some_and(|it| it.text().contains(DIMENSIONS));
    if engine.family == EngineFamily::AggregatingMergeTree && !told {
        sql.push(", ").push(DIMENSIONS).push(" = 1");
    }
}

/// Whether settings name one.
fn tells(settings: &UserSql, name: &str) -> bool {
    settings.text().split(|it: char| it != '_' && !it.is_alphanumeric()).any(|it| it == name)
}

fn key(sql: &mut Sql, words: &'static str, expression: Option<&UserSql>) {
    if let Some(expression) = expression {
        sql.push(words).user(expression).push(")");
    }
}
