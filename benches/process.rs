//! The engine in a process of its own, against the one in this process: the same work through the same methods, in
//! turns, so that what the machine does besides is part of both; and how soon it answers when it was killed.

use crate::{Table, library_path};
use birdhouse::{
    engine::{Deduplication, Engine, EnginePlace, EngineSettings},
    name::{ColumnName, Namespace, Physical, ResourceName},
    native::{Block, Buffer},
    observe::Sink,
    query::Format,
    sql::{ColumnType, Sql, statement},
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const ROWS: u64 = 1_000_000;
const BLOCK: u64 = 100_000;
const ROUNDS: usize = 10;
/// In each round.
const READS: usize = 100;
const INSERTS: usize = 20;
const KILLS: usize = 10;

/// An engine, and what it did in all rounds.
struct Side<'e> {
    engine: &'e Engine,
    table: Physical,
    points: Vec<Duration>,
    answers: Vec<Duration>,
    blocks: Vec<Duration>,
    singles: Vec<Duration>,
}

pub(crate) async fn measure(table: &mut Table, embedded: &Engine, folder: &Path) {
    let place = EnginePlace::Process(env!("CARGO_BIN_EXE_birdhouse").into());
    let settings = EngineSettings { place, ..EngineSettings::new(folder.join("process"), library_path()) };
    let process = Engine::open(settings, Sink::default()).await.unwrap();
    let (mut own, mut theirs) = (Side::new(&process).await, Side::new(embedded).await);
    for round in 0..ROUNDS {
        // Neither is always the first.
        if round % 2 == 0 {
            own.round().await;
            theirs.round().await;
        } else {
            theirs.round().await;
            own.round().await;
        }
    }
    let ms = |times: &[Duration]| median(times).as_secs_f64() * 1000.0;
    let rate = |rows: u64, times: &[Duration]| rows as f64 / median(times).as_secs_f64();
    let name = |what: &str| format!("engine in its own process, {what}");
    table.add(name("a point query: p50"), ms(&own.points), "ms", Some(ms(&theirs.points)));
    let [here, there] = [&own, &theirs].map(|it| rate(ROWS, &it.answers));
    table.add(name("1,000,000 rows of Native out"), here, "rows/s", Some(there));
    let [here, there] = [&own, &theirs].map(|it| rate(BLOCK, &it.blocks));
    table.add(name("blocks of 100,000 rows in"), here, "rows/s", Some(there));
    table.add(name("one row in: p50"), ms(&own.singles), "ms", Some(ms(&theirs.singles)));
    let point = own.point();
    let mut times = Vec::new();
    for _ in 0..KILLS {
        kill_child();
        let began = Instant::now();
        drain(&process, &point, Format::Json).await;
        times.push(began.elapsed());
    }
    table.add(name("the next answer when it was killed: p50"), ms(&times), "ms", None);
    let slowest = times.iter().max().copied().unwrap_or_default();
    table.add(name("the next answer when it was killed: slowest"), ms(&[slowest]), "ms", None);
    process.close().await;
}

impl<'e> Side<'e> {
    async fn new(engine: &'e Engine) -> Side<'e> {
        let namespace = Namespace::new(&Engine::database_name(0, "bench_of_processes"));
        engine.command(&statement::create_database(namespace.database())).await.unwrap();
        let table = namespace.table(&ResourceName::new("rows").unwrap());
        let mut create = Sql::new("CREATE TABLE ");
        create.table(&table).push(" (k UInt64) ENGINE = MergeTree ORDER BY k");
        engine.command(&create).await.unwrap();
        Side { engine, table, points: vec![], answers: vec![], blocks: vec![], singles: vec![] }
    }

    fn point(&self) -> Sql {
        let mut sql = Sql::new("SELECT k FROM ");
        sql.table(&self.table).push(" WHERE k = 77777 LIMIT 1");
        sql
    }

    async fn round(&mut self) {
        let head = statement::insert_native(&self.table, [&ColumnName::new("k").unwrap()]);
        let (large, small) = (block(BLOCK), block(1));
        let insert = async |block: &Block| {
            let began = Instant::now();
            self.engine.insert(&head, block.clone(), Deduplication::Off).await.unwrap();
            began.elapsed()
        };
        self.blocks.push(insert(&large).await);
        for _ in 0..INSERTS {
            self.singles.push(insert(&small).await);
        }
        // Or else parts are merged while reads are measured.
        let mut merge = Sql::new("OPTIMIZE TABLE ");
        merge.table(&self.table).push(" FINAL");
        self.engine.command(&merge).await.unwrap();
        let point = self.point();
        for _ in 0..READS {
            let began = Instant::now();
            drain(self.engine, &point, Format::Json).await;
            self.points.push(began.elapsed());
        }
        let long = Sql::new("SELECT number, toString(number) AS text, number % 97 AS part FROM numbers(1000000)");
        let began = Instant::now();
        assert!(drain(self.engine, &long, Format::parse_wire("Native").unwrap()).await > 10_000_000);
        self.answers.push(began.elapsed());
    }
}

fn block(rows: u64) -> Block {
    let (name, column_type) = (ColumnName::new("k").unwrap(), ColumnType::parse("UInt64").unwrap());
    let mut buffer = Buffer::new(&column_type);
    (0..rows).for_each(|it| buffer.push(&it.to_le_bytes()));
    Block::encode([(&name, &column_type, buffer)])
}

async fn drain(engine: &Engine, sql: &Sql, format: Format) -> usize {
    let mut rows = engine.read_as_user(sql, format).await.unwrap();
    let mut size = 0;
    while let Some(chunk) = rows.next().await {
        size += chunk.unwrap().len();
    }
    size
}

/// Kills the engine's process, which is the only one that this process has started: by a thread of its own.
fn kill_child() {
    let mut pids = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(text.split_whitespace().filter_map(|it| it.parse::<i32>().ok()));
    }
    let pid = pids.pop().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
