//! The walls one by one: what each of them stops when the others are down.
//!
//! The compiler (wall 1) is passed by giving the engine texts of ours; the reader's role and its gate (walls 2 and
//! 3) by the admin's role; the kernel's (wall 4) cannot be passed, so a plain thread shows what it stops.

use crate::{
    cli::{Folder, Server},
    engine::{database, engine},
};
use birdhouse::{
    auth::Access,
    engine::{Engine, Sandboxing},
    project::Project,
    query::{self, Request},
    sql::{Sql, statement},
};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// Under the admin's role: neither scan, nor role, nor gate.
async fn bare(engine: &Engine, sql: String) -> Result<String, String> {
    let answer = engine.command(&Sql::new(Box::leak(sql.into_boxed_str()))).await;
    answer.map(|it| String::from_utf8(it.to_vec()).unwrap()).map_err(|error| error.to_string())
}

/// As a user whose text passed the compiler by mistake.
async fn unscanned(engine: &Engine, sql: &str) -> Result<(), String> {
    let sql = Sql::new(Box::leak(sql.to_owned().into_boxed_str()));
    let mut rows = engine.read_as_user(&sql, query::Format::JsonEachRow).await.map_err(|error| error.to_string())?;
    while let Some(chunk) = rows.next().await {
        chunk.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What the compiler alone says, to an administrator: nobody may do more.
fn compiled(sql: &str, namespace: &birdhouse::name::Namespace) -> Result<(), String> {
    let compiled = query::compile(&Project::default(), namespace, &Access::owner(), &Request::sql(sql));
    compiled.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_kernel_alone_keeps_files_closed() {
    let engine = engine().await;
    if engine.sandboxing() == Sandboxing::None {
        // The start has said so; there is no such wall here.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("key");
    fs::write(&secret, "MARKER").unwrap();
    let secret = secret.display();
    for (file, what) in [("/etc/passwd", "root:"), ("/proc/self/environ", "PATH="), (&*secret.to_string(), "MARKER")] {
        // Without the wall it is there to be read.
        assert!(String::from_utf8_lossy(&fs::read(file).unwrap()).contains(what), "{file}");
        let error = bare(engine, format!("SELECT file('{file}')")).await.unwrap_err();
        assert!(!error.contains(what) && error.contains("errno: 13"), "{file}: {error}");
        for source in [format!("file('{file}', 'LineAsString')"), format!("default.`{file}`")] {
            let error = bare(engine, format!("SELECT * FROM {source}")).await.unwrap_err();
            assert!(!error.contains(what), "{source}: {error}");
        }
    }
    let written = folder.path().join("written");
    for sql in [
        format!("SELECT 1 INTO OUTFILE '{}'", written.display()),
        format!("INSERT INTO FUNCTION file('{}', 'CSV', 'a Int8') VALUES (1)", written.display()),
    ] {
        assert!(bare(engine, sql.clone()).await.is_err(), "{sql}");
        assert!(!written.exists(), "{sql}");
    }
}

#[tokio::test]
async fn the_kernel_alone_keeps_the_network_closed() {
    let engine = engine().await;
    if engine.sandboxing() != Sandboxing::Full {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for source in [
        format!("url('http://127.0.0.1:{port}/', 'LineAsString')"),
        format!("remote('127.0.0.1:{port}', system.one)"),
        format!("s3('http://127.0.0.1:{port}/b/x.csv', 'CSV', 'a String')"),
    ] {
        let error = bare(engine, format!("SELECT * FROM {source}")).await.unwrap_err();
        assert!(listener.accept().is_err(), "{source}: somebody has connected: {error}");
    }
}

/// Answers as a kernel that was built without Landlock does, then becomes the program that follows.
const WITHOUT_LANDLOCK: &str = "
import ctypes, os, struct, sys
# BPF: the system calls 444 to 446 are ENOSYS, all others go on.
code = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7fff0000)]
filters = b''.join(struct.pack('HBBI', *it) for it in code)
buffer = ctypes.create_string_buffer(filters)
program = struct.pack('HxxxxxxP', len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

#[cfg(target_os = "linux")]
#[test]
fn a_kernel_without_landlock_is_told_of_or_refused() {
    let folder = Folder::new();
    let command = |arguments: &[&str]| {
        let inner = folder.command(arguments);
        let mut outer = Command::new("python3");
        outer.args(["-c", WITHOUT_LANDLOCK]).arg(inner.get_program()).args(inner.get_args());
        outer.current_dir(folder.path()).env_clear();
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
        outer
    };
    let server = Server::start(command(&["serve", "--port", "0"]));
    let said = server.seen.iter().find(|it| it.contains("confines the engine")).cloned().unwrap_or_default();
    assert!(said.contains("WARN") && said.contains("not at all"), "{said}");
    assert_eq!(server.stop(), Some(0));
    let refused = Server::begin(command(&["serve", "--port", "0", "--require-sandbox"]));
    let said = refused.map(drop).expect_err("it serves");
    assert!(said.contains("confines the engine") && !said.contains("panicked"), "{said}");
}

/// What two walls stop: each of them stops it alone.
#[tokio::test]
async fn each_of_two_walls_stops_it_alone() {
    let (engine, namespace) = database().await;
    let other = format!("other_{:016x}", rand::random::<u64>());
    engine.command(&statement::create_database(&other)).await.unwrap();
    bare(engine, format!("CREATE TABLE {other}.t (a Int8) ENGINE = MergeTree ORDER BY a")).await.unwrap();
    let outfile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("outfile-{}", std::process::id()));
    for sql in [
        // Files and the network: the compiler; the role.
        "SELECT * FROM file('/etc/passwd', 'LineAsString')".to_owned(),
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')".to_owned(),
        "SELECT * FROM (SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString') SETTINGS readonly = 0)".to_owned(),
        "SELECT * FROM s3('http://127.0.0.1:1/b/x', 'CSV', 'a String')".to_owned(),
        "SELECT * FROM remote('127.0.0.1', system.one)".to_owned(),
        "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')".to_owned(),
        "SELECT * FROM executable('x', 'CSV', 'a String')".to_owned(),
        "SELECT * FROM loop(system.one)".to_owned(),
        "SELECT * FROM default.`/etc/passwd`".to_owned(),
        // The scalar function, which no grant stops: the compiler; the kernel.
        "SELECT file('/etc/passwd')".to_owned(),
        "SELECT arrayMap(`file`, ['/etc/passwd'])".to_owned(),
        "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')".to_owned(),
        // Other databases, by their names: the compiler; the role.
        format!("SELECT * FROM {other}.t"),
        format!("SELECT 1 IN {other}.t"),
        format!("SELECT * FROM (SELECT * FROM {other}.t SETTINGS readonly = 0)"),
        format!("SELECT * FROM merge('{other}', 't')"),
        // What is no read: the compiler; the gate.
        "SELECT 1; SELECT 2".to_owned(),
        format!("SELECT 1 INTO OUTFILE '{}'", outfile.display()),
        "SET ROLE ALL".to_owned(),
        "KILL QUERY WHERE 1".to_owned(),
        "SYSTEM FLUSH LOGS".to_owned(),
        format!("INSERT INTO {other}.t VALUES (1)"),
        format!("DROP TABLE {other}.t"),
        // A table that nobody prefixed: the compiler; the empty database.
        "SELECT * FROM t".to_owned(),
        "SELECT * FROM `/etc/passwd`".to_owned(),
        // Limits: the compiler refuses the words, the connection the loosening.
        "SELECT 1 SETTINGS max_execution_time = 0".to_owned(),
        "SELECT 1 SETTINGS readonly = 0".to_owned(),
    ] {
        assert!(compiled(&sql, &namespace).is_err(), "the compiler lets through {sql}");
        assert!(unscanned(engine, &sql).await.is_err(), "nothing but the compiler stops {sql}");
    }
    assert!(!outfile.exists());
    // The role shows nobody's statements, settings or tables: no error, and no rows.
    for table in ["processes", "settings", "tables", "columns", "parts", "functions", "users", "errors", "grants"] {
        let sql = format!("SELECT count() FROM system.{table} HAVING count() > 0");
        assert!(compiled(&sql, &namespace).is_err(), "{sql}");
        let sql = Sql::new(Box::leak(sql.into_boxed_str()));
        let rows = engine.read_as_user(&sql, query::Format::Tsv).await;
        if let Ok(mut rows) = rows {
            assert!(rows.next().await.is_none_or(|it| it.is_ok_and(|it| it.is_empty())), "{table} shows rows");
        }
    }
}

/// Tables of the engine that hold numbers alone, or nothing that depends on this server.
const OPEN_SYSTEM_TABLES: &[&str] =
    &["one", "numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generate_series", "generateSeries"];

/// A table of the engine's own that nobody has closed must not come in with a new version.
#[tokio::test]
async fn no_table_of_the_engine_shows_a_row() {
    let (engine, _) = database().await;
    let names =
        bare(engine, "SELECT name FROM system.tables WHERE database = 'system' ORDER BY name FORMAT TSV".to_owned());
    let names = names.await.unwrap();
    assert!(names.lines().count() > 90, "{names}");
    let mut open = Vec::new();
    // Reading `models` can hold a connection for minutes.
    for name in names.lines().filter(|it| !OPEN_SYSTEM_TABLES.contains(it) && *it != "models") {
        let sql = Sql::new(Box::leak(format!("SELECT * FROM system.`{name}` LIMIT 1").into_boxed_str()));
        if let Ok(mut rows) = engine.read_as_user(&sql, query::Format::JsonEachRow).await
            && rows.next().await.is_some_and(|it| it.is_ok_and(|it| !it.is_empty()))
        {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
