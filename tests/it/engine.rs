//! The engine, the real one: what every arm of [`Engine`] must do. Also the engine that all tests share.

use birdhouse::{
    engine::{Deduplication, Engine, EngineError, EngineErrorKind, EngineSettings, Rows, Verdict, library},
    name::{ColumnName, Namespace, Physical, ResourceName},
    native::Block,
    observe::Sink,
    query::Format,
    sql::{ColumnType, Sql, statement},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// The engine of the test process: chDB has one data path per process. It is closed when the process exits.
pub(crate) async fn engine() -> &'static Engine {
    static ENGINE: OnceCell<Engine> = OnceCell::const_new();
    let open = async || {
        let settings = EngineSettings {
            max_result_bytes: 400_000_000,
            max_execution_time: Duration::from_secs(10),
            ..EngineSettings::new(directory(), library_path())
        };
        Engine::open(settings, Sink::default()).await.unwrap()
    };
    ENGINE.get_or_init(open).await
}

/// A database of one test, which users may read.
pub(crate) async fn database() -> (&'static Engine, Namespace) {
    let engine = engine().await;
    let name = Engine::database_name(&format!("{:016x}", rand::random::<u64>()));
    engine.command(&statement::create_database(&name)).await.unwrap();
    (engine, Namespace::new(&name))
}

/// The library that tests open: the one that is named, or the installed one.
pub(crate) fn library_path() -> PathBuf {
    if let Some(path) = env::var_os("BIRDHOUSE_LIBCHDB") {
        return path.into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cache"));
    library::installed(&cache.join("birdhouse"))
}

/// A directory for this process; those of processes that are gone are removed.
fn directory() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine");
    fs::create_dir_all(&root).unwrap();
    for entry in fs::read_dir(&root).unwrap().flatten() {
        let alive = Path::new("/proc").join(entry.file_name()).exists();
        if !alive {
            _ = fs::remove_dir_all(entry.path());
        }
    }
    root.join(std::process::id().to_string())
}

async fn all(mut rows: Rows) -> Result<(String, Rows), EngineError> {
    let mut text = Vec::new();
    while let Some(chunk) = rows.next().await {
        text.extend_from_slice(&chunk?);
    }
    Ok((String::from_utf8(text).unwrap(), rows))
}

async fn read(engine: &Engine, sql: &'static str, format: Format) -> Result<String, EngineError> {
    all(engine.read_as_user(&Sql::new(sql), format).await?).await.map(|(text, _)| text)
}

#[tokio::test]
async fn answers_in_each_format() {
    let engine = engine().await;
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

#[tokio::test]
async fn json_tells_columns_and_statistics() {
    let engine = engine().await;
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

#[tokio::test]
async fn errors_have_number_kind_and_place() {
    let engine = engine().await;
    let error = read(engine, "SELECT 1 FRO", Format::Json).await.map(drop);
    assert_eq!(error, Ok(()), "an alias");
    let error = read(engine, "SELECT 1 +", Format::Json).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Query, 62));
    assert!(error.position().is_some(), "{error}");
    let error = read(engine, "SELECT nonsense(1)", Format::Json).await.unwrap_err();
    assert_eq!((error.kind, error.code), (EngineErrorKind::Query, 46));
    assert!(!error.message.contains("version"), "{error}");
}
