//! Row filters spliced into other people's SQL: every public case, its tables, its refusals, and the rows that
//! the engine returns.

use crate::engine::database;
use birdhouse::{
    auth::{Access, Limits, Scope, ScopeKind, Token},
    diagnostic::{Mapped, Place, Span},
    engine::Engine,
    name::{ColumnName, Namespace, ResourceName},
    project::{Column, ColumnDefault, Datasource, Node, NodeSql, Pipe, PipeKind, Project, TableEngine},
    query::{self, Catalog, Client, Format, Request, Target},
    sql::{
        ColumnType, Sql, UserSql,
        scan::{self, Judged, Position},
    },
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, sync::Arc};

#[derive(Deserialize)]
struct Case {
    id: String,
    sql: String,
    resources: Resources,
    #[serde(default)]
    filters: BTreeMap<String, String>,
    expect: Expect,
    columns: Option<Vec<String>>,
    rows: Option<Vec<Value>>,
    #[serde(default)]
    ordered: bool,
}

#[derive(Deserialize)]
struct Resources {
    tables: Vec<String>,
    #[serde(default)]
    nodes: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Expect {
    tables: Option<Vec<String>>,
    refused: Option<String>,
}

fn cases() -> (Vec<String>, Vec<Case>) {
    let text = std::fs::read_to_string(crate::vectors::folder().join("sql/rewrite-public.jsonl")).unwrap();
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let schema = head["schemas"]["base"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    (schema, lines.map(|it| serde_json::from_str(it).unwrap()).collect())
}

/// The scan alone: the tables of a case, through its nodes.
fn tables(case: &Case) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut todo = vec![(case.sql.clone(), 0)];
    while let Some((sql, depth)) = todo.pop() {
        if depth > 10 {
            return Err("cycle".to_owned());
        }
        for table in scan::scan(&sql).map_err(|error| error.to_string())?.tables {
            match case.resources.nodes.get(&table.name) {
                Some(node) => todo.push((node.as_str().unwrap().to_owned(), depth + 1)),
                None if case.resources.tables.contains(&table.name) => found.push(table.name),
                None if table.position == Position::In => (),
                None => return Err(format!("unknown table {}", table.name)),
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

#[test]
fn the_scan_finds_the_tables_of_every_case() {
    let (_, cases) = cases();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|it| it.expect.refused.is_none()) {
        let found = tables(case);
        if found.as_ref().ok() != case.expect.tables.as_ref() {
            failures.push(format!("{}: {found:?}, expected {:?}\n  {}", case.id, case.expect.tables, case.sql));
        }
    }
    assert!(cases.len() >= 394, "cases are missing");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_scan_refuses_what_no_name_can_excuse() {
    let (_, cases) = cases();
    // Whether `IN nothere` is a column only the engine knows: it refuses that one.
    let left = ["refuse-unknown_table-04"];
    let accepted = cases.iter().filter(|it| it.expect.refused.is_some() && tables(it).is_ok());
    let accepted: Vec<_> = accepted.map(|it| it.id.as_str()).collect();
    assert_eq!(accepted, left);
}

/// Columns that `*` leaves out, as the schema of the vectors has them.
const MATERIALIZED: &[(&str, &str)] = &[("metrics", "dbl"), ("metrics", "lab")];

/// Cases about names that no data source or node can have, here as in the original: names are letters, digits and
/// underscores. Nobody can have granted what they read.
const NO_RESOURCES: &[&str] = &["with space", "dash-name", "ключ", "tick`name", "my-node"];

fn place() -> Place {
    Place { path: "test".into(), span: Span::default() }
}

pub(crate) fn datasource(name: &str, materialized: &[&str]) -> Arc<Datasource> {
    let column = |name: &&str| Column {
        name: ColumnName::new(name).unwrap(),
        column_type: ColumnType::parse("UInt32").unwrap(),
        default: Some(ColumnDefault::Materialized(UserSql::expression("1", Span::default()).unwrap())),
        codec: None,
        jsonpath: None,
        kafka_meta: None,
        place: place(),
    };
    Arc::new(Datasource {
        version: None,
        name: ResourceName::new(name).unwrap(),
        description: None,
        columns: materialized.iter().map(column).collect(),
        indexes: vec![],
        engine: TableEngine::plain(),
        tokens: vec![],
        tags: vec![],
        kafka: None,
        place: place(),
    })
}

pub(crate) fn pipe(name: &str, nodes: &[(&str, &str)]) -> Arc<Pipe> {
    let node = |(name, sql): &(&str, &str)| Node {
        name: ResourceName::new(name).unwrap(),
        description: None,
        sql: NodeSql::Plain(Mapped::whole(*sql, 0)),
        reads: vec![],
        place: place(),
    };
    Arc::new(Pipe {
        version: None,
        name: ResourceName::new(name).unwrap(),
        description: None,
        nodes: nodes.iter().map(node).collect(),
        kind: PipeKind::Endpoint,
        output: nodes.len() - 1,
        tokens: vec![],
        tags: vec![],
        place: place(),
    })
}

pub(crate) fn access(scopes: &[String]) -> Access {
    Access::of(&Token {
        id: "1".to_owned(),
        name: "test".to_owned(),
        description: String::new(),
        origin: "C".to_owned(),
        scopes: scopes.iter().map(|it| Scope::parse(it).unwrap()).collect(),
        limits: Limits::default(),
    })
}

/// A row with its columns in order, as JSONEachRow has it.
pub(crate) struct Row(pub(crate) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    row.push(entry);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}

/// Runs a request and gives its rows, or the error as a caller sees it.
pub(crate) async fn run(
    engine: &Engine,
    project: &Project,
    namespace: &Namespace,
    access: &Access,
    request: Request,
) -> Result<Vec<Row>, String> {
    let request = Request { format: Format::JsonEachRow, ..request };
    let compiled = query::compile(project, namespace, access, &request);
    same_at_the_door(project, namespace, access, &request, compiled.as_ref().ok());
    let compiled = compiled.map_err(|error| format!("refused: {error}"))?;
    let public = |error: birdhouse::engine::EngineError| compiled.names().public(&error.message);
    let mut rows = engine.query(&compiled, engine.settings().read_limits(), None).await.map_err(public)?;
    let mut text = Vec::new();
    while let Some(chunk) = rows.next().await {
        text.extend_from_slice(&chunk.map_err(public)?);
    }
    let text = String::from_utf8(text).unwrap();
    Ok(text.lines().map(|it| serde_json::from_str(it).unwrap()).collect())
}

/// A text means the same when one of ClickHouse's clients sends it, and is refused where it is refused here, but for
/// what those may say besides.
fn same_at_the_door(
    project: &Project,
    namespace: &Namespace,
    access: &Access,
    request: &Request,
    compiled: Option<&query::CompiledQuery>,
) {
    let Target::Sql(text) = &request.target else { return };
    let client = Client { catalog: Catalog::new("house"), ..Client::default() };
    let request = Request { client: Some(Arc::new(client)), ..request.clone() };
    let there = query::compile(project, namespace, access, &request);
    match (compiled, there) {
        (Some(here), Ok(there)) => assert_eq!(here.sql(), there.sql(), "{text}"),
        (Some(_), Err(error)) => assert!(text.trim_start().starts_with('%'), "{text}: {error}"),
        (None, Ok(_)) => assert!(["system", "default", "house"].iter().any(|it| text.contains(it)), "{text}"),
        (None, Err(_)) => (),
    }
}

/// Runs statements of a test; `names` are the tables in them, which get their database.
pub(crate) async fn set_up(engine: &Engine, namespace: &Namespace, statements: &[String]) {
    for statement in statements {
        let mut text = statement.clone();
        for (head, name) in [("CREATE TABLE ", ""), ("INSERT INTO ", ""), (" FROM ", "events ")] {
            if let Some(at) = text.find(&format!("{head}{name}")) {
                text.insert_str(at + head.len(), &format!("{}.", namespace.database()));
            }
        }
        engine.command(&Sql::new(Box::leak(text.into_boxed_str()))).await.unwrap();
    }
}

#[tokio::test]
async fn the_rows_of_every_case_are_the_visible_ones() {
    let (schema, cases) = cases();
    let (engine, namespace) = database().await;
    set_up(engine, &namespace, &schema.into_iter().filter(|it| !it.starts_with("SET ")).collect::<Vec<_>>()).await;
    let mut failures = Vec::new();
    let mut names = Vec::new();
    let mut right = 0;
    let (mut unrun, mut unnameable) = (Vec::new(), Vec::new());
    for case in &cases {
        let unnamed = |it: &&str| !NO_RESOURCES.contains(it);
        let mut read = case.expect.tables.iter().flatten();
        let closed = read.any(|it| NO_RESOURCES.contains(&it.as_str()));
        if let Some(node) = case.resources.nodes.keys().find(|it| NO_RESOURCES.contains(&it.as_str())) {
            assert!(ResourceName::new(node).is_err(), "{node}");
            unnameable.push(case.id.as_str());
            continue;
        }
        let only_named = case.expect.refused.is_none() && case.rows.is_none();
        let mut project = Project::default();
        for table in case.resources.tables.iter().map(String::as_str).filter(unnamed) {
            let materialized: Vec<_> = MATERIALIZED.iter().filter(|it| it.0 == table).map(|it| it.1).collect();
            let datasource = datasource(table, &materialized);
            project.datasources.insert(datasource.name.clone(), datasource);
        }
        let scopes = case.resources.tables.iter().map(String::as_str).filter(unnamed).map(|table| {
            let filter = case.filters.get(table).map_or(String::new(), |it| format!(":{it}"));
            format!("DATASOURCES:READ:{table}{filter}")
        });
        let scopes: Vec<_> = scopes.chain(["PIPES:READ:case_pipe".to_owned()]).collect();
        let access = access(&scopes);
        let request = if case.resources.nodes.is_empty() {
            Request::sql(case.sql.as_str())
        } else {
            let mut nodes: Vec<_> =
                case.resources.nodes.iter().map(|(name, sql)| (name.as_str(), sql.as_str().unwrap())).collect();
            nodes.push(("case_output", &case.sql));
            let pipe = pipe("case_pipe", &nodes);
            let name = pipe.name.clone();
            project.pipes.insert(name.clone(), pipe);
            Request::pipe(name, Default::default())
        };
        let result = run(engine, &project, &namespace, &access, request).await;
        if only_named {
            // What it reads is in another test; there are no rows to compare.
            unrun.push(case.id.as_str());
            continue;
        }
        if closed {
            match result {
                Err(error) if error.starts_with("refused: ") || error.contains("UNKNOWN_IDENTIFIER") => {
                    unnameable.push(case.id.as_str())
                }
                other => failures.push(format!("{}: {:?}\n  {}", case.id, other.map(|it| it.len()), case.sql)),
            }
            continue;
        }
        if let Some(category) = &case.expect.refused {
            match result {
                Err(_) => right += 1,
                Ok(rows) => failures.push(format!("{}: {} rows, not {category}\n  {}", case.id, rows.len(), case.sql)),
            }
            continue;
        }
        let rows = match result {
            Ok(rows) => rows,
            Err(error) => {
                failures.push(format!("{}: {error}\n  {}", case.id, case.sql));
                continue;
            }
        };
        let found_columns: Vec<_> = rows.first().map_or(vec![], |row| row.0.iter().map(|it| it.0.clone()).collect());
        if !rows.is_empty() && case.columns.as_ref() != Some(&found_columns) {
            names.push(format!("{} {:?} {:?}", case.id, found_columns, case.columns));
        }
        let text = |values: Vec<Value>| Value::Array(values).to_string();
        let mut found: Vec<_> = rows.into_iter().map(|row| text(row.0.into_iter().map(|it| it.1).collect())).collect();
        let mut wanted: Vec<_> = case.rows.iter().flatten().map(Value::to_string).collect();
        // Two kinds of as many rows: which of them is first is the engine's choice.
        if case.id == "param-02" {
            found = found.iter().map(|it| it.replace("\"view\",\"buy\"", "\"buy\",\"view\"")).collect();
        }
        if !case.ordered {
            found.sort();
            wanted.sort();
        }
        // PASTE JOIN puts rows side by side as they come, and the engine may drop an ORDER BY of its sides: which of
        // the visible rows meet is its choice.
        if case.id == "join-32" {
            let mut visible = Vec::new();
            for side in ["SELECT event_id FROM events", "SELECT user_id FROM users"] {
                let rows = run(engine, &project, &namespace, &access, Request::sql(side)).await.unwrap();
                visible.push(rows.into_iter().flat_map(|row| row.0).map(|it| it.1.to_string()).collect::<Vec<_>>());
            }
            let shortest = visible.iter().map(Vec::len).min().unwrap();
            assert!(shortest == wanted.len() && found.len() == shortest, "{found:?}");
            let columns = by_column(&found);
            let outside =
                |(column, visible): (&Vec<String>, &Vec<String>)| column.iter().any(|it| !visible.contains(it));
            assert!(!columns.iter().zip(&visible).any(outside), "{found:?} of {visible:?}");
            assert!(columns.iter().all(|column| column.windows(2).all(|it| it[0] != it[1])), "{found:?}");
            right += 1;
        } else if found == wanted {
            right += 1;
        } else {
            failures.push(format!("{}: {found:?}\n  expected {wanted:?}\n  {}", case.id, case.sql));
        }
    }
    println!("{right} right, {unnameable:?} cannot be named, {unrun:?} without rows, {} wrong", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(right + unnameable.len() + unrun.len(), cases.len());
    assert_eq!(unrun.len(), 1);
    // The engine numbers the subqueries that have no name in the order in which it meets them, and a filtered table
    // is one: `AS` keeps a column's name.
    let names: Vec<_> = names.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(names, ["subquery-02", "subquery-20"]);
}

/// The values of each column, sorted.
fn by_column(rows: &[String]) -> Vec<Vec<String>> {
    let rows: Vec<Vec<Value>> = rows.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let column = |at: usize| {
        let mut values: Vec<_> = rows.iter().map(|row| row[at].to_string()).collect();
        values.sort();
        values
    };
    (0..columns).map(column).collect()
}

/// A function that nobody judged must not come in with a new engine.
#[tokio::test]
async fn every_function_of_the_engine_is_judged() {
    #[derive(Deserialize)]
    struct Function {
        name: String,
    }
    let (engine, _) = database().await;
    let bytes = engine.command(&Sql::new("SELECT name FROM system.functions")).await.unwrap();
    let functions: Vec<Function> = bytes
        .split(|it| *it == b'\n')
        .filter(|it| !it.is_empty())
        .map(|it| serde_json::from_slice(it).unwrap())
        .collect();
    assert!(functions.len() > 1000);
    let unknown: Vec<_> =
        functions.iter().map(|it| it.name.as_str()).filter(|it| scan::function(it) == Judged::Unknown).collect();
    assert_eq!(unknown, [] as [&str; 0]);
    assert_eq!(ScopeKind::parse("DATASOURCE:READ"), Some(ScopeKind::DatasourcesRead));
}

/// A small generator, so that a failure can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    pub(crate) fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

/// What an attacker would try to bring in, and what could hide it.
const BAIT: &[&str] = &[
    "zz_secret",
    "zz_db.zz_secret",
    ", zz_secret",
    ", zz_db.zz_secret",
    "FROM zz_secret",
    "FROM zz_db.zz_secret",
    "JOIN zz_secret",
    "IN zz_secret",
    "IN zz_db.zz_secret",
    "(SELECT 1 FROM zz_secret)",
    "file('x')",
    "`file`('x')",
    "SETTINGS max_threads = 1",
    "FORMAT CSV",
    "INTO OUTFILE 'x'",
    "UNION ALL SELECT 1 FROM zz_secret",
    "in(1, zz_secret)",
    "url('x')",
    "(EXPLAIN SELECT 1)",
];

const HIDING: &[&str] = &[
    "AS",
    "ON",
    "USING",
    "(",
    ")",
    ",",
    "where",
    "limit",
    "array",
    "ARRAY",
    "JOIN",
    "join",
    "WITH",
    "x AS (SELECT 1)",
    "FINAL",
    "SAMPLE 1/2",
    "PREWHERE",
    "=",
    "*",
    ".",
    "'",
    "`",
    "\"",
    "--",
    "/*",
    "*/",
    "$$",
    "order",
    "BY",
    "INTERVAL",
    "DAY",
    "CASE",
    "WHEN",
    "END",
    "FILL",
    "FROM",
    "SELECT",
    "DISTINCT",
    "IS",
    "NOT",
    "EXCEPT",
    "UNION",
    "extract(DAY",
    "APPLY",
    "->",
    "::",
    "{",
    "}",
    "[",
    "]",
    "1",
    "'x'",
    "a",
    "OVER",
    "GROUP",
    "window",
    "AND",
    "IN",
    "offset",
    "settings",
    "format",
    "#",
    "\\",
    "LEFT",
    "ANY",
    "GLOBAL",
    "RECURSIVE",
    "MATERIALIZED",
    "INTERSECT",
    "ALL",
    "qualify",
    "having",
    "union",
    "select",
    "by",
];

/// A text cut where it could be cut in two words, with some words changed.
pub(crate) fn mutated(text: &str, random: &mut Random) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| (c.is_alphanumeric() || c == '_') == (first.is_alphanumeric() || first == '_');
        let single = !(first.is_alphanumeric() || first == '_' || first.is_whitespace());
        let end = if single { first.len_utf8() } else { rest.find(|c| !same(c)).unwrap_or(rest.len()) };
        words.push(&rest[..end]);
        rest = &rest[end..];
    }
    for _ in 0..=random.below(3) {
        let at = random.below(words.len() + 1);
        match random.below(6) {
            0 if at < words.len() => _ = words.remove(at),
            1 if at < words.len() => words[at] = random.of(HIDING),
            2 | 3 => words.splice(at..at, [" ", random.of(HIDING), " "]).for_each(drop),
            _ => words.splice(at..at, [" ", random.of(BAIT), " "]).for_each(drop),
        }
    }
    words.concat()
}

/// The engine's parser and the scan read every text alike: what the scan accepts holds no table that it did
/// not report, no function that it refuses, no setting.
#[tokio::test]
async fn the_engine_sees_no_table_that_the_scan_does_not() {
    let (engine, _) = database().await;
    let (_, cases) = cases();
    let seed = std::env::var_os("SCAN_SEED").map_or(7, |it| it.to_str().unwrap().parse().unwrap());
    let rounds = std::env::var_os("SCAN_ROUNDS").map_or(10_000, |it| it.to_str().unwrap().parse().unwrap());
    let mut random = Random(seed);
    let (mut accepted, mut parsed, mut baited) = (0, 0, 0);
    for _ in 0..rounds {
        let case = &cases[random.below(cases.len())];
        if case.sql.len() > 600 {
            continue;
        }
        let text = mutated(&case.sql, &mut random);
        let Ok(scan) = scan::scan(&text) else { continue };
        accepted += 1;
        if !text.contains("zz_") && !text.contains("file") && accepted % 4 > 0 {
            continue;
        }
        let explain = format!("EXPLAIN AST {}", &text[..scan.end]);
        let Ok(tree) = engine.command(&Sql::new(Box::leak(explain.into_boxed_str()))).await else { continue };
        parsed += 1;
        let tree = String::from_utf8_lossy(&tree);
        for line in tree.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok()) {
            let line = line["explain"].as_str().unwrap_or_default().trim().to_owned();
            if let Some(name) = line.strip_prefix("TableIdentifier ") {
                let name = name.split(" (alias").next().unwrap();
                if name == "zz_secret" {
                    baited += 1;
                    // A CTE may be called so by then.
                    let cte = text.to_ascii_lowercase().contains("zz_secret  as ");
                    let found = scan.tables.iter().any(|it| it.name == name);
                    assert!(found || cte, "{name} in {text}\n{scan:?}");
                }
                assert!(name != "zz_db.zz_secret", "{text}");
            }
            let function = line.strip_prefix("Function ").map(|it| it.split(' ').next().unwrap());
            assert!(!matches!(function, Some("file" | "url" | "viewExplain")), "{text}");
            assert!(line != "Set" && !line.starts_with("Explain "), "{text}");
        }
    }
    println!("{accepted} accepted, {parsed} parsed by the engine, {baited} tables among them");
    assert!(parsed * 50 > rounds && baited * 300 > rounds, "{accepted} {parsed} {baited}");
}
