//! A workspace as ClickHouse's clients see it: `system.databases`, `system.tables`, `system.columns`, SHOW, DESCRIBE.
//!
//! In: a project, an [`Access`], the columns of endpoints. Out: a [`Catalog`], which holds only what that access may read,
//! as rows that are spliced in where a text names a table of `system`. Running anything is not known here.

use super::QueryError;
use crate::{
    auth::Access,
    project::{ColumnDefault, Datasource, Project, service},
    sql::{
        Sql,
        scan::client::{Like, Statement, TableName},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// What a caller may know of a workspace.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// How the workspace's database is called.
    pub database: String,
    /// Settings that may be named: name, value, whether it has to be so.
    pub settings: Vec<(&'static str, &'static str, bool)>,
    tables: Vec<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    database: String,
    name: String,
    engine: &'static str,
    partition_key: String,
    sorting_key: String,
    comment: String,
    create: String,
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    column_type: String,
    default_kind: &'static str,
    default_expression: String,
}

/// The columns of endpoints by name, as the engine describes them.
pub type Described = BTreeMap<String, Vec<(String, String)>>;

/// What a column of a table of `system` is.
#[derive(Clone, Copy)]
enum Cell {
    Text,
    UInt8,
    UInt64,
}

/// A name that means the workspace's own database in every workspace.
pub const DEFAULT_DATABASE: &str = "default";
const SERVICE: &str = "tinybird";
const SYSTEM: &str = "system";

impl Catalog {
    pub fn new(database: &str) -> Catalog {
        Catalog { database: database.to_owned(), ..Catalog::default() }
    }

    /// With every data source and endpoint that this access reads.
    pub fn with_tables(mut self, project: &Project, access: &Access, described: &Described) -> Catalog {
        let database = self.database.clone();
        let readable = |it: &&std::sync::Arc<Datasource>| access.read(&it.name).is_ok();
        for it in project.datasources.values().filter(readable) {
            self.tables.push(Table::of_datasource(&database, it.name.as_str(), it));
        }
        for pipe in project.pipes.values().filter(|it| it.is_endpoint() && access.enter(&it.name).is_ok()) {
            // A name that two have means the data source.
            if project.datasource(pipe.name.as_str()).is_none() {
                let columns = described.get(pipe.name.as_str()).map_or(&[][..], Vec::as_slice);
                let comment = pipe.description.as_deref().unwrap_or_default();
                self.tables.push(Table::of_endpoint(&database, pipe.name.as_str(), comment, columns));
            }
        }
        for it in project.shared.values().filter(|it| access.read(&it.datasource.name).is_ok()) {
            let full = it.datasource.name.as_str();
            let workspace = full.split_once('.').map_or("", |it| it.0);
            self.tables.push(Table::of_datasource(workspace, it.name.as_str(), &it.datasource));
        }
        for it in service().values().filter(readable) {
            let name = it.name.as_str();
            let name = name.strip_prefix("tinybird.").unwrap_or(name);
            self.tables.push(Table::of_datasource(SERVICE, name, it));
        }
        self
    }

    /// Whether a client may name this database.
    pub fn has_database(&self, name: &str) -> bool {
        let is_own = name == self.database || [DEFAULT_DATABASE, SYSTEM, SERVICE].contains(&name);
        is_own || self.tables.iter().any(|it| it.database == name)
    }

    /// A statement about what there is, as the query that answers it; nothing where there is nothing to answer.
    /// `database` is the one that names without one are in.
    pub fn show(&self, statement: &Statement, database: &str) -> Result<Option<String>, QueryError> {
        let mut sql = Sql::default();
        match statement {
            Statement::Databases { like } => {
                sql.push("SELECT name FROM system.databases");
                filter(&mut sql, " WHERE ", like.as_ref());
                sql.push(" ORDER BY name");
            }
            Statement::Tables { database: named, like, full } => {
                let database = self.own(named.as_deref().unwrap_or(database));
                if !self.has_database(database) {
                    return Err(QueryError::NoSuchDatabase(database.to_owned()));
                }
                sql.push("SELECT name");
                if *full {
                    sql.push(", if(engine = 'View', 'VIEW', 'BASE TABLE') AS table_type");
                }
                sql.push(" FROM system.tables WHERE database = ").string(database);
                filter(&mut sql, " AND ", like.as_ref());
                sql.push(" ORDER BY name");
            }
            Statement::Describe(name) => {
                let table = self.table(name, database)?;
                sql.push("SELECT name, type, default_kind AS default_type, default_expression, comment, ");
                sql.push("compression_codec AS codec_expression, '' AS ttl_expression FROM system.columns ");
                sql.push("WHERE database = ").string(&table.database).push(" AND table = ").string(&table.name);
                sql.push(" ORDER BY position");
            }
            Statement::Create(name) => {
                sql.push("SELECT ").string(&self.table(name, database)?.create).push(" AS statement");
            }
            Statement::Exists(name) => {
                let found = self.table(name, database).is_ok();
                sql.push(if found { "SELECT toUInt8(1) AS result" } else { "SELECT toUInt8(0) AS result" });
            }
            Statement::ExistsDatabase(name) => {
                let found = self.has_database(name);
                sql.push(if found { "SELECT toUInt8(1) AS result" } else { "SELECT toUInt8(0) AS result" });
            }
            Statement::Use(name) => {
                return match self.has_database(name) {
                    true => Ok(None),
                    false => Err(QueryError::NoSuchDatabase(name.clone())),
                };
            }
        }
        Ok(Some(sql.as_str().to_owned()))
    }

    fn own<'a>(&'a self, database: &'a str) -> &'a str {
        if database == DEFAULT_DATABASE || database.is_empty() { &self.database } else { database }
    }

    fn table(&self, name: &TableName, database: &str) -> Result<&Table, QueryError> {
        let database = self.own(name.database.as_deref().unwrap_or(database));
        let found = self.tables.iter().find(|it| it.database == database && it.name == name.name);
        found.ok_or_else(|| QueryError::Denied(name.name.clone()))
    }

    /// What stands for a table of `system`; nothing for those that nobody is to see.
    pub(super) fn system(&self, name: &str) -> Option<Sql> {
        use Cell::{Text, UInt8, UInt64};
        Some(match name {
            "databases" => {
                let used = self.tables.iter().map(|it| it.database.as_str());
                let databases: BTreeSet<_> = used.chain([self.database.as_str(), SYSTEM]).collect();
                let rows = databases.into_iter().map(|it| vec![it.to_owned(), "Atomic".to_owned()]);
                let columns = [("name", Text), ("engine", Text)];
                rows_as(&columns, "'' AS data_path, '' AS metadata_path, '' AS uuid, '' AS comment", rows)
            }
            "tables" => {
                let columns = [
                    ("database", Text),
                    ("name", Text),
                    ("engine", Text),
                    ("partition_key", Text),
                    ("sorting_key", Text),
                    ("primary_key", Text),
                    ("comment", Text),
                    ("create_table_query", Text),
                ];
                let rows = self.tables.iter().map(|it| {
                    let texts = [&it.database, &it.name, it.engine, &it.partition_key, &it.sorting_key];
                    let more = [it.sorting_key.as_str(), &it.comment, &it.create];
                    texts.into_iter().chain(more).map(str::to_owned).collect()
                });
                let more = "toUUID('00000000-0000-0000-0000-000000000000') AS uuid, engine AS engine_full, \
                            toUInt8(0) AS is_temporary, '' AS as_select, '' AS sampling_key, '' AS storage_policy, \
                            CAST(NULL, 'Nullable(UInt64)') AS total_rows, \
                            CAST(NULL, 'Nullable(UInt64)') AS total_bytes, toUInt8(1) AS has_own_data";
                rows_as(&columns, more, rows)
            }
            "columns" => {
                let columns = [
                    ("database", Text),
                    ("table", Text),
                    ("name", Text),
                    ("type", Text),
                    ("position", UInt64),
                    ("default_kind", Text),
                    ("default_expression", Text),
                    ("is_in_sorting_key", UInt8),
                ];
                let row = |table: &Table, index: usize, it: &Column| {
                    let key = table.sorting_key.split(',').any(|part| part.trim().trim_matches('`') == it.name);
                    let texts = [&table.database, &table.name, &it.name, &it.column_type];
                    let mut row: Vec<String> = texts.into_iter().cloned().collect();
                    row.extend([(index + 1).to_string(), it.default_kind.to_owned(), it.default_expression.clone()]);
                    row.push(u8::from(key).to_string());
                    row
                };
                let rows = self.tables.iter().flat_map(|table| {
                    table.columns.iter().enumerate().map(move |(index, column)| row(table, index, column))
                });
                let more = "'' AS comment, toUInt8(0) AS is_in_partition_key, is_in_sorting_key AS is_in_primary_key, \
                            toUInt8(0) AS is_in_sampling_key, '' AS compression_codec, \
                            CAST(NULL, 'Nullable(UInt64)') AS numeric_precision, \
                            CAST(NULL, 'Nullable(UInt64)') AS numeric_scale, \
                            CAST(NULL, 'Nullable(UInt64)') AS character_octet_length";
                rows_as(&columns, more, rows)
            }
            "settings" => {
                let columns = [("name", Text), ("value", Text), ("readonly", UInt8)];
                let rows = self.settings.iter().map(|(name, value, fixed)| {
                    vec![(*name).to_owned(), (*value).to_owned(), u8::from(*fixed).to_string()]
                });
                let more = "toUInt8(0) AS changed, '' AS description, 'String' AS type, value AS default";
                rows_as(&columns, more, rows)
            }
            // Clients ask, and live without an answer.
            "functions" => {
                let columns = [("name", Text), ("is_aggregate", UInt8), ("case_insensitive", UInt8)];
                rows_as(&columns, "'' AS alias_to, '' AS description, '' AS syntax, '' AS categories", [].into_iter())
            }
            "clusters" => rows_as(&[("cluster", Text), ("host_name", Text)], "", [].into_iter()),
            "dictionaries" | "macros" | "table_engines" | "data_type_families" | "formats" | "table_functions"
            | "keywords" => rows_as(&[("name", Text)], "", [].into_iter()),
            _ => return None,
        })
    }
}

fn filter(sql: &mut Sql, before: &'static str, like: Option<&Like>) {
    if let Some(Like { pattern, not, any_case }) = like {
        sql.push(before).push("name");
        sql.push(if *not { " NOT" } else { "" }).push(if *any_case { " ILIKE " } else { " LIKE " }).string(pattern);
    }
}

/// A query that gives these rows, each column by its name, and `more` beside them.
fn rows_as(columns: &[(&'static str, Cell)], more: &'static str, rows: impl Iterator<Item = Vec<String>>) -> Sql {
    let mut sql = Sql::new("SELECT ");
    for (index, (name, cell)) in columns.iter().enumerate() {
        let (before, after) = match cell {
            Cell::Text => ("", ""),
            Cell::UInt8 => ("toUInt8(", ")"),
            Cell::UInt64 => ("toUInt64(", ")"),
        };
        sql.push(if index > 0 { ", " } else { "" });
        sql.push(before).push("tupleElement(row, ").number(index as u64 + 1).push(")").push(after);
        sql.push(" AS ").ident(name);
    }
    if !more.is_empty() {
        sql.push(", ").push(more);
    }
    sql.push(" FROM (SELECT arrayJoin(CAST([");
    sql.join(rows, ", ", |sql, row| {
        sql.push("tuple(").join(row, ", ", |sql, it| _ = sql.string(&it)).push(")");
    });
    sql.push("], 'Array(Tuple(").join(columns, ", ", |sql, _| _ = sql.push("String"));
    sql.push("))')) AS row)");
    sql
}

impl Table {
    fn of_datasource(database: &str, name: &str, datasource: &Datasource) -> Table {
        let columns = datasource.columns.iter().map(|it| {
            let (default_kind, default_expression) = match &it.default {
                None => ("", String::new()),
                Some(ColumnDefault::Default(sql)) => ("DEFAULT", sql.text().to_owned()),
                Some(ColumnDefault::Materialized(sql)) => ("MATERIALIZED", sql.text().to_owned()),
            };
            Column {
                name: it.name.as_str().to_owned(),
                column_type: it.column_type.to_string(),
                default_kind,
                default_expression,
            }
        });
        let columns: Vec<_> = columns.collect();
        let text = |key: &Option<crate::sql::UserSql>| key.as_ref().map_or(String::new(), |it| it.text().to_owned());
        let (engine, sorting_key) = (datasource.engine.family.name(), text(&datasource.engine.sorting_key));
        let create = create("CREATE TABLE", database, name, &columns);
        let ordered = if sorting_key.is_empty() { String::new() } else { format!(" ORDER BY ({sorting_key})") };
        Table {
            database: database.to_owned(),
            name: name.to_owned(),
            engine,
            partition_key: text(&datasource.engine.partition_key),
            sorting_key,
            comment: datasource.description.clone().unwrap_or_default(),
            create: format!("{create} ENGINE = {engine}{ordered}"),
            columns,
        }
    }

    fn of_endpoint(database: &str, name: &str, comment: &str, columns: &[(String, String)]) -> Table {
        let columns = columns.iter().map(|(name, column_type)| Column {
            name: name.clone(),
            column_type: column_type.clone(),
            default_kind: "",
            default_expression: String::new(),
        });
        let columns: Vec<_> = columns.collect();
        Table {
            database: database.to_owned(),
            name: name.to_owned(),
            engine: "View",
            partition_key: String::new(),
            sorting_key: String::new(),
            comment: comment.to_owned(),
            create: create("CREATE VIEW", database, name, &columns),
            columns,
        }
    }
}

/// For people and programs to read; it is never run.
fn create(verb: &str, database: &str, name: &str, columns: &[Column]) -> String {
    let quoted = |name: &str| {
        let mut sql = Sql::default();
        sql.ident(name);
        sql.as_str().to_owned()
    };
    let columns = columns.iter().map(|it| {
        let default = match it.default_kind {
            "" => String::new(),
            kind => format!(" {kind} {}", it.default_expression),
        };
        format!("{} {}{default}", quoted(&it.name), it.column_type)
    });
    format!("{verb} {}.{} ({})", quoted(database), quoted(name), columns.collect::<Vec<_>>().join(", "))
}
