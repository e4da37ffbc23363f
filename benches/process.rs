//! The engine in a process of its own, against the one in this process: the same work through the same methods.

use crate::{Table, library_path};
use birdhouse::{
    engine::{Deduplication, Engine, EnginePlace, EngineSettings},
    name::{ColumnName, Namespace, ResourceName},
    native::{Block, Buffer},
    observe::Sink,
    query::Format,
    sql::{ColumnType, Sql, statement},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const ROWS: u64 = 1_000_000;
const READS: usize = 500;
const INSERTS: usize = 200;
const RUNS: usize = 5;

/// What one engine does.
struct Figures {
    /// In ms, the median.
    point: f64,
    /// In rows/s, the best.
    out: f64,
    /// In rows/s, blocks of 100,000, the best.
    blocks: f64,
    /// In ms, of one row, the median.
    single: f64,
}

pub(crate) async fn measure(table: &mut Table, embedded: &Engine, folder: &Path) {
    let place = EnginePlace::Process(env!("CARGO_BIN_EXE_birdhouse").into());
    let settings = EngineSettings { place, ..EngineSettings::new(folder.join("process"), library_path()) };
    let process = Engine::open(settings, Sink::default()).await.unwrap();
    let (own, theirs) = (figures(&process).await, figures(embedded).await);
    process.close().await;
    table.add("engine in its own process, a point query: p50", own.point, "ms", Some(theirs.point));
    table.add("engine in its own process, 1,000,000 rows of Native out", own.out, "rows/s", Some(theirs.out));
    table.add("engine in its own process, blocks of 100,000 rows in", own.blocks, "rows/s", Some(theirs.blocks));
    table.add("engine in its own process, one row in: p50", own.single, "ms", Some(theirs.single));
}

async fn figures(engine: &Engine) -> Figures {
    let namespace = Namespace::new(&Engine::database_name(0, "bench_of_processes"));
    engine.command(&statement::create_database(namespace.database())).await.unwrap();
    let rows = namespace.table(&ResourceName::new("rows").unwrap());
    let mut create = Sql::new("CREATE TABLE ");
    create.table(&rows).push(" (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.command(&create).await.unwrap();
    let block = |count: u64| {
        let (name, column_type) = (ColumnName::new("k").unwrap(), ColumnType::parse("UInt64").unwrap());
        let mut buffer = Buffer::new(&column_type);
        (0..count).for_each(|it| buffer.push(&it.to_le_bytes()));
        Block::encode([(&name, &column_type, buffer)])
    };
    let head = statement::insert_native(&rows, [&ColumnName::new("k").unwrap()]);
    let large = block(100_000);
    let mut blocks = 0.0f64;
    for _ in 0..RUNS * 2 {
        let began = Instant::now();
        engine.insert(&head, large.clone(), Deduplication::Off).await.unwrap();
        blocks = blocks.max(100_000.0 / began.elapsed().as_secs_f64());
    }
    let mut point = Sql::new("SELECT k FROM ");
    point.table(&rows).push(" WHERE k = 77777 LIMIT 1");
    let mut times = Vec::new();
    for _ in 0..READS {
        let began = Instant::now();
        drain(engine, &point, Format::Json).await;
        times.push(began.elapsed());
    }
    let point = median(times);
    let long = Sql::new("SELECT number, toString(number) AS text, number % 97 AS part FROM numbers(1000000)");
    let mut out = 0.0f64;
    for _ in 0..RUNS {
        let began = Instant::now();
        assert!(drain(engine, &long, Format::parse_wire("Native").unwrap()).await > 10_000_000);
        out = out.max(ROWS as f64 / began.elapsed().as_secs_f64());
    }
    let small = block(1);
    let mut times = Vec::new();
    for _ in 0..INSERTS {
        let began = Instant::now();
        engine.insert(&head, small.clone(), Deduplication::Off).await.unwrap();
        times.push(began.elapsed());
    }
    Figures { point, out, blocks, single: median(times) }
}

async fn drain(engine: &Engine, sql: &Sql, format: Format) -> usize {
    let mut rows = engine.read_as_user(sql, format).await.unwrap();
    let mut size = 0;
    while let Some(chunk) = rows.next().await {
        size += chunk.unwrap().len();
    }
    size
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
