//! What every engine does, wherever it runs: each function is a case over one that is open.

use super::database_of;
use birdhouse::{
    engine::{Deduplication, Engine, EngineError, EngineErrorKind, ReadLimits, Rows, Verdict},
    name::{ColumnName, Namespace, Physical, ResourceName},
    native::{Block, Buffer},
    query::Format,
    sql::{ColumnType, Sql, statement},
};
use std::time::{Duration, Instant};

pub(crate) async fn all(mut rows: Rows) -> Result<(String, Rows), EngineError> {
    let mut text = Vec::new();
    while let Some(chunk) = rows.next().await {
        text.extend_from_slice(&chunk?);
    }
    Ok((String::from_utf8(text).unwrap(), rows))
}

pub(crate) async fn read(engine: &Engine, sql: &'static str, format: Format) -> Result<String, EngineError> {
    all(engine.read_as_user(&Sql::new(sql), format).await?).await.map(|(text, _)| text)
}

pub(crate) async fn answers_in_each_format(engine: &Engine) {
    let sql = "SELECT number AS n, 'a\nb' AS s FROM numbers(2)";
    for (format, wanted) in [
        (Format::Csv, "0,\"a\nb\"\n1,\"a\nb\"\n"),
        (Format::CsvWithNames, "\"n\",\"s\"\n0,\"a\nb\"\n1,\"a\nb\"\n"),
        (Format::Tsv, "0\ta\\nb\n1\ta\\nb\n"),
        (Format::TsvWithNames, "n\ts\n0\ta\\nb\n1\ta\\nb\n"),
        (Format::JsonEachRow, "{\"n\":0,\"s\":\"a\\nb\"}\n{\"n\":1,\"s\":\"a\\nb\"}\n"),
        (
            Format::Json,
            "\t\t{\n\t\t\t\"n\": 0,\n\t\t\t\"s\": \"a\\nb\"\n\t\t},\n\t\t{\n\t\t\t\"n\": 1,\n\t\t\t\"s\": \"a\\nb\"\n\t\t}",
        ),
    ] {
        assert_eq!(read(engine, sql, format).await.unwrap(), wanted, "{format:?}");
    }
    assert!(read(engine, sql, Format::PrettyCompact).await.unwrap().contains("─"));
}

pub(crate) async fn json_tells_columns_and_statistics(engine: &Engine) {
    let rows =
        engine.read_as_user(&Sql::new("SELECT number AS n FROM numbers(10) WHERE 0"), Format::Json).await.unwrap();
    let columns: Vec<_> = rows.columns().iter().map(|it| (it.name.as_str(), it.column_type.as_str())).collect();
    assert_eq!(columns, [("n", "UInt64")]);
    let (text, _) = all(rows).await.unwrap();
    assert_eq!(text, "");
    let rows = engine.read_as_user(&Sql::new("SELECT sum(number) FROM numbers(1000)"), Format::Json).await.unwrap();
    let (_, rows) = all(rows).await.unwrap();
    let statistics = rows.statistics();
    assert_eq!((statistics.rows_read, statistics.bytes_read, statistics.result_rows), (1000, 8000, 1));
    assert!(statistics.elapsed > 0.0);
}

pub(crate) async fn errors_have_number_kind_and_place(engine: &Engine) {
    let error = read(engine, "SELECT 1 FRO", Format::Json).await.map(drop);
    assert_eq!(error, Ok(()), "an alias");
    let error = read(engine, "SELECT 1 +", Format::Json).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Query, 62));
    assert!(error.position().is_some(), "{error}");
    let error = read(engine, "SELECT nonsense(1)", Format::Json).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Query, 46));
    assert!(!error.message.contains("version"), "{error}");
}

/// A table of one test with a column `k UInt64`.
pub(crate) async fn table(engine: &Engine, namespace: &Namespace, rest: &'static str) -> Physical {
    let table = namespace.table(&ResourceName::new("t").unwrap());
    let mut sql = Sql::new("CREATE TABLE ");
    sql.table(&table).push(" (k UInt64) ").push(rest);
    engine.command(&sql).await.unwrap();
    table
}

fn block(name: &str, values: &[u64]) -> (ColumnName, Block) {
    let name = ColumnName::new(name).unwrap();
    let column_type = ColumnType::parse("UInt64").unwrap();
    let mut buffer = Buffer::new(&column_type);
    for value in values {
        buffer.push(&value.to_le_bytes());
    }
    let block = Block::encode([(&name, &column_type, buffer)]);
    (name, block)
}

pub(crate) async fn insert(
    engine: &Engine,
    table: &Physical,
    name: &str,
    values: &[u64],
    deduplication: Deduplication,
) -> Result<u64, EngineError> {
    let (name, block) = block(name, values);
    engine.insert(&statement::insert_native(table, [&name]), block, deduplication).await
}

/// The columns of an insert may be more than an address holds.
pub(crate) async fn inserts_into_many_columns(engine: &Engine) {
    let namespace = database_of(engine).await;
    let table = namespace.table(&ResourceName::new("wide").unwrap());
    let names = || (0..2_000).map(|it| format!("a_column_with_a_long_name_that_takes_its_room_{it}"));
    let mut sql = Sql::new("CREATE TABLE ");
    sql.table(&table)
        .push(" (")
        .join(names(), ", ", |sql, it| _ = sql.ident(&it).push(" UInt8"))
        .push(") ENGINE = Memory");
    engine.command(&sql).await.unwrap();
    let names: Vec<_> = names().map(|it| ColumnName::new(&it).unwrap()).collect();
    let head = statement::insert_native(&table, &names);
    assert!(head.as_str().len() > 100_000);
    let row = format!("{{\"{}\": 7}}\n", names[1_999]);
    let inserted = engine.insert_written(&head, Format::JsonEachRow, vec![row.into()], Deduplication::Off).await;
    assert_eq!(inserted, Ok(1));
    let mut sql = Sql::new("SELECT ");
    sql.column(&names[1_999]).push(" AS n FROM ").table(&table);
    assert_eq!(engine.command(&sql).await.unwrap(), "{\"n\":7}\n");
}

pub(crate) async fn count(engine: &Engine, table: &Physical) -> String {
    let mut sql = Sql::new("SELECT count() AS n, sum(k) AS s FROM ");
    sql.table(table);
    String::from_utf8(engine.command(&sql).await.unwrap().to_vec()).unwrap()
}

pub(crate) async fn inserts_whole_blocks(engine: &Engine) {
    let namespace = database_of(engine).await;
    let table = table(engine, &namespace, "ENGINE = MergeTree ORDER BY k").await;
    assert_eq!(insert(engine, &table, "k", &[1, 2, 3], Deduplication::Off).await, Ok(3));
    // The same again counts again, and a column that the table does not have is an error.
    assert_eq!(insert(engine, &table, "k", &[1, 2, 3], Deduplication::Off).await, Ok(3));
    assert!(insert(engine, &table, "nothing", &[1], Deduplication::Off).await.is_err());
    let many: Vec<u64> = (0..300_000).collect();
    assert_eq!(insert(engine, &table, "k", &many, Deduplication::Off).await, Ok(300_000));
    assert_eq!(count(engine, &table).await, "{\"n\":300006,\"s\":44999850012}\n");
    // A block that ends in the middle inserts nothing.
    let (name, mut broken) = block("k", &many);
    let last = broken.parts.last_mut().unwrap();
    last.truncate(last.len() - 5);
    let head = statement::insert_native(&table, [&name]);
    assert!(engine.insert(&head, broken, Deduplication::Off).await.is_err());
    assert_eq!(count(engine, &table).await, "{\"n\":300006,\"s\":44999850012}\n");
}

pub(crate) async fn a_token_makes_an_insert_safe_to_repeat(engine: &Engine) {
    let namespace = database_of(engine).await;
    let rest = "ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 1000";
    let table = table(engine, &namespace, rest).await;
    let token = |it: &str| Deduplication::Token(it.to_owned());
    for token in [token("a"), token("a"), token("b"), Deduplication::Off, Deduplication::Off] {
        insert(engine, &table, "k", &[1, 2], token).await.unwrap();
    }
    assert_eq!(count(engine, &table).await, "{\"n\":8,\"s\":12}\n");
}

pub(crate) async fn large_answers_come_in_chunks(engine: &Engine) {
    let sql = "SELECT number AS n, repeat('x', 50) AS s FROM numbers(1000000)";
    for format in [Format::Json, Format::CsvWithNames, Format::JsonEachRow] {
        let mut rows = engine.read_as_user(&Sql::new(sql), format).await.unwrap();
        let (mut text, mut largest) = (Vec::new(), 0);
        while let Some(chunk) = rows.next().await {
            let chunk = chunk.unwrap();
            largest = largest.max(chunk.len());
            text.extend_from_slice(&chunk);
        }
        assert!(largest < text.len() / 4, "{format:?}: {largest} of {}", text.len());
        assert_eq!(rows.statistics().result_rows, 1_000_000);
        match format {
            Format::Json => {
                let text = [b"[".as_slice(), &text, b"]"].concat();
                let values: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
                assert_eq!((values.len(), values[999_999]["n"].as_u64()), (1_000_000, Some(999_999)));
            }
            Format::CsvWithNames => assert_eq!(text.split(|it| *it == b'\n').count(), 1_000_002),
            _ => assert_eq!(text.split(|it| *it == b'\n').count(), 1_000_001),
        }
    }
}

pub(crate) async fn an_error_after_rows_is_an_error(engine: &Engine) {
    let sql = Sql::new("SELECT number, throwIf(number = 400000) FROM numbers(1000000)");
    let mut rows = engine.read_as_user(&sql, Format::Json).await.unwrap();
    let mut seen = 0;
    let error = loop {
        match rows.next().await {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => break error,
            None => panic!("the answer ended well"),
        }
    };
    assert!(seen > 1);
    assert_eq!(error.code, 395);
    assert!(rows.next().await.is_none());
}

/// What runs on the engine now whose text holds `mark`.
pub(crate) async fn running(engine: &Engine, mark: &str) -> usize {
    let mut sql = Sql::new("SELECT query FROM system.processes WHERE position(query, ");
    sql.string(mark).push(") > 0 AND position(query, 'system.processes') = 0");
    engine.command(&sql).await.unwrap().split(|it| *it == b'\n').count() - 1
}

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(40), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn dropping_the_rows_ends_the_query(engine: &Engine) {
    // One that streams for ever, one that works for ever.
    let streaming = Sql::new("SELECT number, 'mark-streaming' FROM system.numbers");
    let rows = engine.read_as_user(&streaming, Format::JsonEachRow).await.unwrap();
    assert_eq!(running(engine, "mark-streaming").await, 1);
    drop(rows);
    until("the stream ended", async || running(engine, "mark-streaming").await == 0).await;
    let working = Sql::new("SELECT count(), 'mark-working' FROM system.numbers WHERE NOT ignore(number)");
    let own = engine.clone();
    let read = tokio::spawn(async move { own.read_as_user(&working, Format::Json).await.map(drop) });
    until("it works", async || running(engine, "mark-working").await == 1).await;
    read.abort();
    until("the work ended", async || running(engine, "mark-working").await == 0).await;
    // Nothing of a killed answer comes out with the next one, on any connection.
    for _ in 0..20 {
        assert_eq!(read_text(engine, "SELECT 7 AS n").await, "7\n");
    }
}

pub(crate) async fn read_text(engine: &Engine, sql: &'static str) -> String {
    read(engine, sql, Format::Tsv).await.unwrap()
}

pub(crate) async fn slow_readers_leave_their_place_to_others(engine: &Engine) {
    let many = engine.settings().readers * 3;
    let mut slow = Vec::new();
    for _ in 0..many {
        let sql = Sql::new("SELECT number, 'mark-slow' FROM system.numbers");
        slow.push(engine.read_as_user(&sql, Format::JsonEachRow).await.unwrap());
    }
    let quick = tokio::time::timeout(Duration::from_secs(40), read_text(engine, "SELECT 1"));
    assert_eq!(quick.await.unwrap(), "1\n");
    drop(slow);
    until("all ended", async || running(engine, "mark-slow").await == 0).await;
}

pub(crate) async fn users_read_and_do_nothing_else(engine: &Engine) {
    for sql in [
        "SELECT 1; SELECT 2",
        "SET ROLE ALL",
        "USE default",
        "SET max_threads = 3",
        "set role all; garbage (",
        "KILL QUERY WHERE 1 ASYNC",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "SELECT 1 INTO OUTFILE '/tmp/birdhouse-test-outfile'",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM default.`/etc/passwd`",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM (SELECT * FROM file('/etc/passwd', 'LineAsString') SETTINGS readonly = 0)",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    ] {
        let error = read(engine, sql, Format::JsonEachRow).await.expect_err(sql);
        assert_eq!(error.kind, EngineErrorKind::Query, "{sql}: {error}");
    }
    for sql in ["SELECT * FROM system.processes", "SELECT * FROM system.settings", "SELECT * FROM system.tables"] {
        assert_eq!(read(engine, sql, Format::JsonEachRow).await.unwrap(), "", "{sql}");
    }
    assert_eq!(read_text(engine, "SELECT currentDatabase(), currentRoles()").await, "nowhere\t['w00']\n");
}

pub(crate) async fn users_see_databases_of_their_slot_alone(engine: &Engine) {
    let namespace = database_of(engine).await;
    let own = table(engine, &namespace, "ENGINE = MergeTree ORDER BY k").await;
    let other = Namespace::new(&format!("x_{:016x}", rand::random::<u64>()));
    engine.command(&statement::create_database(other.database())).await.unwrap();
    let foreign = table(engine, &other, "ENGINE = MergeTree ORDER BY k").await;
    for (table, wanted) in [(own, None), (foreign, Some(497))] {
        let mut sql = Sql::new("SELECT count() FROM ");
        sql.table(&table);
        let res = engine.read_as_user(&sql, Format::Tsv).await.map(drop);
        assert_eq!(res.err().map(|it| it.code), wanted);
    }
}

pub(crate) async fn texts_are_judged(engine: &Engine) {
    for (text, wanted) in [
        ("SELECT 1", Verdict::Read),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Verdict::Read),
        ("EXPLAIN SELECT 1", Verdict::Read),
        ("1 + 1", Verdict::Unparsed),
        ("", Verdict::Unparsed),
        ("SELECT 1; SELECT 2", Verdict::Several),
        ("DROP TABLE x", Verdict::Other),
        ("SET ROLE adm", Verdict::Other),
    ] {
        assert_eq!(engine.classify(text).await, Ok(wanted), "{text}");
    }
}

pub(crate) async fn it_knows_itself(engine: &Engine) {
    engine.ping().await.unwrap();
    assert!(engine.version().await.unwrap().starts_with("26."));
}

pub(crate) async fn work_is_limited_and_waiting_is_not(engine: &Engine) {
    // This one waits for its reader all the time that the other works.
    let within =
        |seconds| ReadLimits { execution_time: Duration::from_secs(seconds), ..engine.settings().read_limits() };
    let slow = Sql::new("SELECT number FROM numbers(1000000)");
    let mut slow = engine.read_within(&slow, &[], Format::Json, within(4)).await.unwrap();
    let endless = Sql::new("SELECT count() FROM system.numbers WHERE NOT ignore(number)");
    let error = engine.read_within(&endless, &[], Format::Json, within(5)).await.map(drop).unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Timeout, 159), "{error}");
    while let Some(chunk) = slow.next().await {
        chunk.unwrap();
    }
    assert_eq!(slow.statistics().result_rows, 1_000_000);
    let error = read(engine, "SELECT groupArray(number) FROM numbers(1000000000)", Format::Json).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::TooMuchMemory, 241), "{error}");
    assert!(!error.message.contains("Stack trace"));
}

pub(crate) async fn a_limit_tells_what_it_cut(engine: &Engine) {
    let sql = Sql::new("SELECT number FROM (SELECT number FROM numbers(1000) ORDER BY number DESC) LIMIT 3");
    let (text, rows) = all(engine.read_as_user(&sql, Format::Json).await.unwrap()).await.unwrap();
    assert!(text.contains("\"number\": 997"), "{text}");
    assert_eq!(rows.rows_before_limit(), Some(1000));
    let sql = Sql::new("SELECT number % 2 AS k, count() AS n FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k");
    let (_, rows) = all(engine.read_as_user(&sql, Format::Json).await.unwrap()).await.unwrap();
    assert_eq!(rows.tail(), "\"totals\":\n\t{\n\t\t\"k\": 0,\n\t\t\"n\": 10\n\t}");
    for sql in [
        "SELECT number % 2 AS k, count() AS n FROM numbers(10) GROUP BY k WITH TOTALS HAVING n > 10",
        "SELECT number % 2 AS k, count() AS n FROM numbers(0) GROUP BY k WITH TOTALS ORDER BY k LIMIT 5",
    ] {
        let (text, rows) = all(engine.read_as_user(&Sql::new(sql), Format::Json).await.unwrap()).await.unwrap();
        assert_eq!((text.as_str(), rows.columns().len()), ("", 2), "{sql}");
        assert!(rows.tail().starts_with("\"totals\":\n\t{\n\t\t\"k\": 0,"), "{}", rows.tail());
    }
}

/// Values as HTTP has them: tab-separated, escaped.
pub(crate) async fn parameters_are_values(engine: &Engine) {
    let sql = Sql::new("SELECT {a:String} AS a, {b:Array(UInt8)} AS b, {c:Nullable(Int8)} AS c, {t:Identifier}");
    let mut sql = sql;
    sql.push(" FROM numbers(3) WHERE number >= {n:UInt64}");
    let parameters = [("a", "it's\\n ? {x} \u{1F426}"), ("b", "[1,2]"), ("c", "\\N"), ("t", "number"), ("n", "2")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let limits = engine.settings().read_limits();
    let rows = engine.read_within(&sql, &parameters, Format::JsonEachRow, limits).await.unwrap();
    let (text, _) = all(rows).await.unwrap();
    assert_eq!(text, "{\"a\":\"it's\\n ? {x} \u{1F426}\",\"b\":[1,2],\"c\":null,\"number\":2}\n");
    let missing = engine.read_within(&sql, &parameters[..1], Format::Tsv, limits).await.map(drop).unwrap_err();
    assert_eq!((missing.kind, missing.code), (EngineErrorKind::Query, 456), "{missing}");
}

pub(crate) async fn limits_hold_for_one_read(engine: &Engine) {
    let given = engine.settings().read_limits();
    let sql = Sql::new("SELECT sum(number) FROM numbers(1000000)");
    let read = async |limits: ReadLimits| all(engine.read_within(&sql, &[], Format::Tsv, limits).await?).await;
    let (text, _) = read(given).await.unwrap();
    assert_eq!(text, "499999500000\n");
    for (limits, code) in [
        (ReadLimits { rows_to_read: 1000, ..given }, 158),
        (ReadLimits { bytes_to_read: 1000, ..given }, 307),
        (ReadLimits { memory_usage: 1, ..given }, 241),
    ] {
        let error = read(limits).await.map(drop).unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
    let threads = Sql::new("SELECT getSetting('max_threads'), getSetting('readonly')");
    let rows = engine.read_within(&threads, &[], Format::Tsv, ReadLimits { threads: 1, ..given }).await.unwrap();
    assert_eq!(all(rows).await.unwrap().0, "1\t1\n");
}

pub(crate) async fn statements_that_take_too_long_are_ended(engine: &Engine) {
    let sql = Sql::new("SELECT count(), 'mark-within' FROM system.numbers WHERE NOT ignore(number)");
    let error = engine.command_within(&sql, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Timeout, 159), "{error}");
    until("it ended", async || running(engine, "mark-within").await == 0).await;
}

/// All cases, one after another.
pub(crate) async fn everything(engine: &Engine) {
    answers_in_each_format(engine).await;
    json_tells_columns_and_statistics(engine).await;
    errors_have_number_kind_and_place(engine).await;
    inserts_whole_blocks(engine).await;
    inserts_into_many_columns(engine).await;
    a_token_makes_an_insert_safe_to_repeat(engine).await;
    large_answers_come_in_chunks(engine).await;
    an_error_after_rows_is_an_error(engine).await;
    dropping_the_rows_ends_the_query(engine).await;
    slow_readers_leave_their_place_to_others(engine).await;
    users_read_and_do_nothing_else(engine).await;
    users_see_databases_of_their_slot_alone(engine).await;
    texts_are_judged(engine).await;
    it_knows_itself(engine).await;
    work_is_limited_and_waiting_is_not(engine).await;
    a_limit_tells_what_it_cut(engine).await;
    parameters_are_values(engine).await;
    limits_hold_for_one_read(engine).await;
    statements_that_take_too_long_are_ended(engine).await;
}
