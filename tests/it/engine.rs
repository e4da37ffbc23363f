//! The embedded engine, the real one. Also the engine that all tests share.

pub(crate) mod conformance;

use birdhouse::{
    engine::{Engine, EngineErrorKind, EngineSettings, library},
    name::Namespace,
    observe::Sink,
    query::Format,
    sql::{Sql, statement},
};
use conformance::{running, until};
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
            // A busy machine takes its time; who tries a limit of time sets one.
            max_execution_time: Duration::from_secs(60),
            ..EngineSettings::new(directory(), library_path())
        };
        Engine::open(settings, Sink::default()).await.unwrap()
    };
    ENGINE.get_or_init(open).await
}

/// A database of one test, which users may read.
pub(crate) async fn database() -> (&'static Engine, Namespace) {
    let engine = engine().await;
    (engine, database_of(engine).await)
}

pub(crate) async fn database_of(engine: &Engine) -> Namespace {
    let name = Engine::database_name(0, &format!("{:016x}", rand::random::<u64>()));
    engine.command(&statement::create_database(&name)).await.unwrap();
    engine.admit(&name).await.unwrap();
    Namespace::new(&name)
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

/// A test for each case, over the engine in this process.
macro_rules! embedded {
    ($($case:ident,)*) => { $(
        #[tokio::test]
        async fn $case() {
            conformance::$case(engine().await).await;
        }
    )* };
}

embedded! {
    answers_in_each_format,
    json_tells_columns_and_statistics,
    errors_have_number_kind_and_place,
    inserts_whole_blocks,
    inserts_into_many_columns,
    a_token_makes_an_insert_safe_to_repeat,
    large_answers_come_in_chunks,
    an_error_after_rows_is_an_error,
    dropping_the_rows_ends_the_query,
    slow_readers_leave_their_place_to_others,
    users_read_and_do_nothing_else,
    users_see_databases_of_their_slot_alone,
    texts_are_judged,
    it_knows_itself,
    work_is_limited_and_waiting_is_not,
    a_limit_tells_what_it_cut,
    parameters_are_values,
    limits_hold_for_one_read,
    statements_that_take_too_long_are_ended,
}

#[tokio::test]
async fn a_process_has_one_engine() {
    let engine = engine().await;
    let again = Engine::open(engine.settings().clone(), Sink::default()).await.map(drop);
    assert_eq!(again.unwrap_err().kind, EngineErrorKind::Locked);
    let absent = EngineSettings::new(directory(), "/nonexistent/libchdb.so");
    let error = Engine::open(absent, Sink::default()).await.map(drop).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Missing);
    assert!(error.message.contains("`birdhouse engine install`") && error.message.contains("BIRDHOUSE_LIBCHDB"));
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok()).map(|it| it.trim().to_owned()).collect()
}

/// In a process of its own, since it closes the engine: run twice, as parent and as child.
#[tokio::test]
async fn closing_ends_everything() {
    const CHILD: &str = "BIRDHOUSE_TEST_CLOSING";
    if env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(env::current_exe().unwrap())
            .args(["engine::closing_ends_everything", "--exact"])
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let engine = engine().await;
    let endless = Sql::new("SELECT count() FROM system.numbers WHERE NOT ignore(number)");
    let working = tokio::spawn(async move { engine.read_as_user(&endless, Format::Json).await.map(drop) });
    let endless = Sql::new("SELECT number, 'mark-closing' FROM system.numbers");
    let mut waiting = engine.read_as_user(&endless, Format::Json).await.unwrap();
    until("both run", async || running(engine, "system.numbers").await >= 2).await;
    let start = Instant::now();
    engine.close().await;
    // By themselves they would go on for a minute.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(working.await.unwrap().unwrap_err().kind, EngineErrorKind::Closed);
    while let Some(Ok(_)) = waiting.next().await {}
    assert_eq!(engine.ping().await.unwrap_err().kind, EngineErrorKind::Closed);
    assert!(!threads().iter().any(|it| it.starts_with("birdhouse-")), "{:?}", threads());
    // It can be opened again.
    let again = Engine::open(engine.settings().clone(), Sink::default()).await.unwrap();
    again.ping().await.unwrap();
    // The second directory lock is another process's business: this one has it.
    assert!(fs::exists(engine.settings().directory.join("data/status")).unwrap());
}

/// Again twice, as parent and as child: the child tries the parent's directory.
#[tokio::test]
async fn a_directory_has_one_process() {
    const CHILD: &str = "BIRDHOUSE_TEST_LOCKED";
    if let Some(taken) = env::var_os(CHILD) {
        let error = Engine::open(EngineSettings::new(taken, library_path()), Sink::default()).await.map(drop);
        let error = error.unwrap_err();
        assert_eq!(error.kind, EngineErrorKind::Locked, "{error}");
        let parent = std::os::unix::process::parent_id();
        assert!(error.message.ends_with(&format!("is in use by process {parent}")), "{error}");
        return;
    }
    let engine = engine().await;
    let status = std::process::Command::new(env::current_exe().unwrap())
        .args(["engine::a_directory_has_one_process", "--exact"])
        .env(CHILD, &engine.settings().directory)
        .status();
    assert!(status.unwrap().success());
}
