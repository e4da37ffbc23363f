//! Rows that must not come back: what a token with filters sees is what a database with only the visible rows
//! would answer, and errors tell nothing of the others.

use crate::{
    engine::database,
    sql::{Row, access, datasource, pipe, run, set_up},
};
use birdhouse::{
    auth::Access,
    engine::Engine,
    name::{Namespace, ResourceName},
    project::Project,
    query::Request,
};

pub(crate) const SCHEMA: &[&str] = &[
    "CREATE TABLE kafka_audit_log (id UInt32, company_id Int8, event String, author String, n UInt32) ENGINE = \
     MergeTree ORDER BY id",
    "CREATE TABLE companies (company_id Int8, name LowCardinality(String), plan String) ENGINE = MergeTree ORDER BY \
     company_id",
    "CREATE TABLE enriched_events_mv (id UInt32, name String, event String, ver UInt32) ENGINE = \
     ReplacingMergeTree(ver) ORDER BY (name, id)",
    "CREATE TABLE kafka_audit_log_quarantine (company_id Nullable(String), error String) ENGINE = MergeTree ORDER BY \
     tuple()",
];

/// Rows of company 1, then those of others.
pub(crate) const ROWS: &[(&str, &str, &str)] = &[
    (
        "kafka_audit_log",
        "(1, 1, 'created', 'ana', 10), (2, 1, 'deleted', 'bo', 20), (3, 1, 'created', 'bo', 30)",
        "(4, 2, 'HIDDEN', 'HIDDEN cy', 4711), (5, 3, 'created', 'HIDDEN di', 4712)",
    ),
    ("companies", "(1, 'acme', 'pro')", "(2, 'HIDDEN globex', 'HIDDEN'), (3, 'HIDDEN initech', 'pro')"),
    (
        "enriched_events_mv",
        "(1, 'acme', 'created', 1), (2, 'acme', 'deleted', 1)",
        "(4, 'HIDDEN globex', 'HIDDEN', 1), (1, 'HIDDEN initech', 'HIDDEN', 9)",
    ),
    ("kafka_audit_log_quarantine", "('1', 'bad')", "('2', 'HIDDEN')"),
];

const SCOPES: &[&str] = &[
    "PIPES:READ:api_totals",
    "PIPES:READ:api_audit_log",
    "DATASOURCES:READ:kafka_audit_log:company_id=1",
    "DATASOURCES:READ:companies:company_id=1",
    "DATASOURCES:READ:enriched_events_mv:name in (select name from companies where company_id = 1)",
    "DATASOURCES:READ:enriched_events_mv",
];

/// Queries of a caller who looks for more than its own rows.
pub(crate) const SHAPES: &[&str] = &[
    "SELECT * FROM kafka_audit_log ORDER BY id",
    "SELECT count(), sum(n), max(n), uniq(author) FROM kafka_audit_log",
    "SELECT * FROM kafka_audit_log WHERE company_id = 2",
    "SELECT * FROM kafka_audit_log WHERE 1 OR company_id = 2 ORDER BY id",
    "SELECT k.* FROM kafka_audit_log AS k ORDER BY id",
    "SELECT kafka_audit_log.author FROM kafka_audit_log ORDER BY 1",
    "SELECT 2 AS company_id, author FROM kafka_audit_log ORDER BY author",
    "WITH 2 AS company_id SELECT author FROM kafka_audit_log ORDER BY author",
    "SELECT name FROM companies ORDER BY name",
    "SELECT * FROM enriched_events_mv ORDER BY id",
    // The filter names `companies`: a CTE of that name must not answer for it.
    "WITH companies AS (SELECT 'HIDDEN globex' AS name, 1 AS company_id) SELECT * FROM enriched_events_mv ORDER BY id",
    "WITH companies AS (SELECT * FROM numbers(9)) SELECT count() FROM enriched_events_mv, companies",
    "SELECT id FROM enriched_events_mv FINAL ORDER BY id",
    "SELECT id, argMax(event, ver) FROM enriched_events_mv GROUP BY id ORDER BY id",
    "SELECT e.id FROM enriched_events_mv AS e FINAL ORDER BY e.id",
    "SELECT count() FROM kafka_audit_log PREWHERE company_id = 2",
    "SELECT count() FROM kafka_audit_log PREWHERE n > 4000 OR 1 WHERE 1 OR 1",
    "SELECT k.author, c.name FROM kafka_audit_log k LEFT JOIN companies c USING (company_id) ORDER BY ALL",
    "SELECT k.author, c.name FROM companies c RIGHT JOIN kafka_audit_log k ON 1 = 1 ORDER BY ALL",
    "SELECT count() FROM kafka_audit_log, companies, enriched_events_mv",
    "SELECT count() FROM (kafka_audit_log JOIN companies USING company_id)",
    "SELECT author FROM kafka_audit_log WHERE author IN (SELECT author FROM kafka_audit_log) ORDER BY author",
    "SELECT count() FROM numbers(10) WHERE number IN (SELECT id FROM kafka_audit_log)",
    "SELECT in(4, (SELECT id FROM kafka_audit_log))",
    "SELECT (1, 'acme', 'pro') IN companies, (2, 'HIDDEN globex', 'HIDDEN') IN companies",
    "SELECT in((2, 'HIDDEN globex', 'HIDDEN'), companies)",
    "SELECT (2, 'HIDDEN globex', 'HIDDEN') IN (companies)",
    "SELECT (SELECT arraySort(groupArray(name)) FROM companies)",
    "SELECT author, rank() OVER (ORDER BY n DESC), count() OVER () FROM kafka_audit_log ORDER BY n",
    "SELECT max(n) OVER (PARTITION BY (SELECT count() FROM companies)) FROM kafka_audit_log ORDER BY n",
    "SELECT * FROM (SELECT author FROM kafka_audit_log UNION ALL SELECT name FROM companies) ORDER BY 1",
    "SELECT company_id FROM kafka_audit_log EXCEPT SELECT company_id FROM companies",
    "SELECT author FROM kafka_audit_log GROUP BY author WITH TOTALS ORDER BY author",
    "SELECT event, count() FROM kafka_audit_log GROUP BY CUBE(event) ORDER BY ALL",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < (SELECT max(id) FROM kafka_audit_log)) \
     SELECT max(x) FROM r",
    "SELECT arrayMap(x -> x + (SELECT max(n) FROM kafka_audit_log), [1])",
    "SELECT EXISTS (SELECT 1 FROM kafka_audit_log WHERE company_id = 3)",
    "SELECT count() FROM kafka_audit_log WHERE EXISTS (SELECT 1 FROM companies WHERE plan = 'HIDDEN')",
    "SELECT any(k) FROM (SELECT author AS k FROM kafka_audit_log ORDER BY n DESC LIMIT 1)",
    "FROM kafka_audit_log SELECT max(n)",
    "SELECT max(n) FROM `kafka_audit_log`",
    "SELECT max(n) FROM \"kafka\\x5faudit_log\"",
    "SELECT max(n) FROM/**/kafka_audit_log-- WHERE company_id = 1",
    "SELECT * FROM _ ORDER BY 1",
    // Conditions that fail on hidden rows alone: an answer must come, as if those rows were not there.
    "SELECT count() FROM kafka_audit_log WHERE throwIf(company_id != 1) = 0",
    "SELECT throwIf(n > 4000) FROM kafka_audit_log",
    "SELECT count() FROM kafka_audit_log PREWHERE throwIf(author LIKE 'HIDDEN%') = 0",
    "SELECT count() FROM kafka_audit_log WHERE intDiv(1, company_id - 2) < 9",
    "SELECT count() FROM kafka_audit_log k JOIN companies c ON k.company_id = c.company_id AND throwIf(c.company_id = 2) = 0",
    "SELECT author FROM kafka_audit_log GROUP BY author HAVING throwIf(author = 'HIDDEN cy') = 0 ORDER BY author",
    "SELECT toUInt8(substring(author, 1, 6)) FROM kafka_audit_log",
    "SELECT count() FROM kafka_audit_log WHERE toUInt8(author) = 1",
    "SELECT count() FROM kafka_audit_log WHERE CAST(event, 'Enum8(\\'created\\' = 1, \\'deleted\\' = 2)') = 'created'",
    "SELECT toDate(name) FROM companies",
    "SELECT name + 1 FROM companies",
    "SELECT nope FROM companies",
    "SELECT count() FROM kafka_audit_log WHERE",
    "SELECT accurateCast(n, 'UInt8') FROM kafka_audit_log ORDER BY n",
];

/// What no token may do, and this one neither.
pub(crate) const REFUSED: &[&str] = &[
    "SELECT * FROM kafka_audit_log_quarantine",
    "SELECT count() FROM events_per_company",
    "SELECT count() FROM secret_source",
    "SELECT 1 IN secret_source",
    "SELECT * FROM merge('.*')",
    "SELECT * FROM (SELECT * FROM kafka_audit_log SETTINGS additional_table_filters = {})",
    "SELECT _database FROM kafka_audit_log",
    "SELECT _table FROM kafka_audit_log SETTINGS readonly = 0",
    "SELECT * FROM system.parts",
    "SELECT * FROM mergeTreeIndex(currentDatabase(), kafka_audit_log)",
    "SELECT joinGet('kafka_audit_log', 'author', 4)",
    "SELECT 1; SELECT * FROM secret_source",
    "SELECT * FROM kafka_audit_log INTO OUTFILE '/tmp/x'",
    "EXPLAIN SELECT * FROM kafka_audit_log",
];

pub(crate) fn project() -> Project {
    let mut project = Project::default();
    for name in ["kafka_audit_log", "companies", "enriched_events_mv", "secret_source"] {
        let datasource = datasource(name, &[]);
        project.datasources.insert(datasource.name.clone(), datasource);
    }
    for pipe in [
        pipe(
            "api_totals",
            &[
                ("base", "SELECT event FROM kafka_audit_log"),
                ("totals", "SELECT event, count() AS total FROM base GROUP BY event ORDER BY event -- done"),
            ],
        ),
        pipe("api_audit_log", &[("log", "SELECT author, total FROM kafka_audit_log JOIN api_totals USING event")]),
        pipe("events_per_company", &[("all", "SELECT company_id, count() FROM kafka_audit_log GROUP BY company_id")]),
    ] {
        project.pipes.insert(pipe.name.clone(), pipe);
    }
    project
}

/// A database with all rows, or with the visible ones alone.
async fn fill(engine: &Engine, namespace: &Namespace, hidden: bool) {
    let mut statements: Vec<String> = SCHEMA.iter().map(|it| (*it).to_owned()).collect();
    for (table, visible, others) in ROWS {
        statements.push(format!("INSERT INTO {table} VALUES {visible}"));
        if hidden {
            statements.push(format!("INSERT INTO {table} VALUES {others}"));
        }
    }
    set_up(engine, namespace, &statements).await;
}

fn company_1() -> Access {
    access(&SCOPES.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
}

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

/// Names that would tell of the splice or of rows.
pub(crate) fn assert_tells_nothing(text: &str, namespace: &Namespace, shape: &str) {
    for secret in ["HIDDEN", "4711", "4712", namespace.database(), "PREWHERE (", "company_id=1", "company_id = 1)"] {
        assert!(!text.contains(secret), "{shape}: {secret} in {text}");
    }
}

#[tokio::test]
async fn a_filtered_token_sees_what_a_database_of_its_rows_would_show() {
    let (engine, all) = database().await;
    let (_, visible) = database().await;
    fill(engine, &all, true).await;
    fill(engine, &visible, false).await;
    let (project, access, owner) = (project(), company_1(), Access::owner());
    let (mut answered, mut failed) = (0, 0);
    for shape in SHAPES {
        let request = |shape: &str| match shape.contains("FROM _ ") {
            true => Request { over: Some(shape.to_owned()), ..Request::pipe(name("api_totals"), Default::default()) },
            false => Request::sql(shape),
        };
        let seen = run(engine, &project, &all, &access, request(shape)).await;
        // The filter's own table is read whole, so the rows of the other side are those of company 1 anyway.
        let wanted = run(engine, &project, &visible, &owner, request(shape)).await;
        match (seen, wanted) {
            (Ok(seen), Ok(wanted)) => {
                // The engine numbers subqueries, and a splice is one.
                let text = |rows: Vec<Row>| {
                    let text = rows.iter().map(|it| format!("{:?}\n", it.0)).collect::<String>();
                    (1..9).fold(text, |text, it| text.replace(&format!("_subquery_{it}"), "_subquery"))
                };
                let seen = text(seen);
                assert_eq!(seen, text(wanted), "{shape}");
                assert!(shape.contains("HIDDEN") || !seen.contains("HIDDEN"), "{shape}: {seen}");
                answered += 1;
            }
            (Err(seen), Err(_)) => {
                assert_tells_nothing(&seen, &all, shape);
                failed += 1;
            }
            (seen, wanted) => panic!("{shape}: {:?}, {:?}", seen.map(|it| it.len()), wanted.map(|it| it.len())),
        }
    }
    println!("{answered} answered, {failed} failed alike");
    assert!(answered >= 45, "{answered}");
}

#[tokio::test]
async fn endpoints_are_filtered_however_deep_they_read() {
    let (engine, namespace) = database().await;
    fill(engine, &namespace, true).await;
    let (project, access) = (project(), company_1());
    let rows = async |pipe: &str, access: &Access| {
        let rows = run(engine, &project, &namespace, access, Request::pipe(name(pipe), Default::default())).await;
        rows.map(|rows| rows.iter().map(|it| format!("{:?}", it.0)).collect::<Vec<_>>().join("\n"))
    };
    let totals = rows("api_totals", &access).await.unwrap();
    assert!(totals.contains("Number(2)") && totals.contains("Number(1)") && !totals.contains("HIDDEN"), "{totals}");
    let log = rows("api_audit_log", &access).await.unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(!log.contains("HIDDEN"), "{log}");
    assert!(rows("api_totals", &Access::owner()).await.unwrap().contains("HIDDEN"));
    assert!(rows("events_per_company", &access).await.unwrap_err().starts_with("refused: "));
}

#[tokio::test]
async fn what_the_token_may_not_read_is_refused() {
    let (engine, namespace) = database().await;
    fill(engine, &namespace, true).await;
    let (project, access) = (project(), company_1());
    for shape in REFUSED {
        let error =
            run(engine, &project, &namespace, &access, Request::sql(*shape)).await.map(|it| it.len()).unwrap_err();
        assert_tells_nothing(&error, &namespace, shape);
    }
    // The same words for what is closed and for what is not there.
    let words = async |table: &str| {
        let request = Request::sql(format!("SELECT 1 FROM {table}"));
        run(engine, &project, &namespace, &access, request).await.map(|it| it.len()).unwrap_err().replace(table, "x")
    };
    assert_eq!(words("secret_source").await, words("no_such_thing").await);
    // Without a filter the quarantine comes with its source.
    let whole = self::access(&["DATASOURCES:READ:kafka_audit_log".to_owned()]);
    let request = Request::sql("SELECT count() FROM kafka_audit_log_quarantine");
    assert!(run(engine, &project, &namespace, &whole, request).await.is_ok());
}

/// The engine chooses parts by their partitions' values, before it looks at any row.
#[tokio::test]
async fn partitions_of_hidden_rows_are_not_looked_at() {
    let (engine, namespace) = database().await;
    let statements = [
        "CREATE TABLE companies (company_id Int8, plan LowCardinality(String), INDEX plans plan TYPE set(100) \
         GRANULARITY 1) ENGINE = MergeTree PARTITION BY plan ORDER BY company_id SETTINGS index_granularity = 1",
        "INSERT INTO companies VALUES (1, 'pro'), (2, 'HIDDEN'), (3, 'pro'), (4, 'HIDDEN')",
    ];
    set_up(engine, &namespace, &statements.map(str::to_owned)).await;
    let (project, access) = (project(), access(&["DATASOURCES:READ:companies:company_id=1".to_owned()]));
    let ask = async |shape: &str| {
        let rows = run(engine, &project, &namespace, &access, Request::sql(shape)).await;
        rows.map(|rows| rows.iter().map(|it| format!("{:?}", it.0)).collect::<String>())
    };
    // These fail on a plan of six letters, which the caller's own is not.
    for condition in ["intDiv(12, length(plan) - 6) < 0", "throwIf(length(plan) = 6) = 0"] {
        let shape = format!("SELECT company_id FROM companies WHERE {condition}");
        let seen = ask(&shape).await.unwrap();
        assert!(seen.contains("Number(1)") && !seen.contains("Number(3)"), "{shape}: {seen}");
    }
    for function in ["toIPv4(plan)", "toUUID(plan)", "toDate(plan)", "toDateTime(plan)", "toInt8(plan)"] {
        let shape = format!("SELECT count() FROM companies WHERE {function} = {function}");
        let error = ask(&shape).await.unwrap_err();
        assert_tells_nothing(&error, &namespace, &shape);
        assert!(!error.contains("pro"), "{shape}: {error}");
    }
}

/// What a pipe leaves out stays hidden from the conditions that a caller lays over it.
#[tokio::test]
async fn conditions_over_a_pipe_are_tried_on_its_rows_alone() {
    let (engine, namespace) = database().await;
    fill(engine, &namespace, true).await;
    let mut project = project();
    let shown = pipe("shown", &[("all", "SELECT author, n FROM kafka_audit_log WHERE company_id = 1 -- done")]);
    project.pipes.insert(shown.name.clone(), shown);
    let token = access(&["PIPES:READ:shown".to_owned()]);
    let conditions = [
        "throwIf(author LIKE 'HIDDEN%') = 0",
        "intDiv(12, n - 4711) < 12",
        "toUInt8(if(author LIKE 'HIDDEN%', author, '1')) = 1",
    ];
    for condition in conditions {
        let over = Request {
            over: Some(format!("SELECT author FROM _ WHERE {condition}")),
            ..Request::pipe(name("shown"), Default::default())
        };
        let sql = Request::sql(format!("SELECT author FROM shown WHERE {condition}"));
        for request in [over, sql] {
            let rows = run(engine, &project, &namespace, &token, request).await.map(|it| it.len());
            assert_eq!(rows, Ok(3), "{condition}");
        }
    }
}
