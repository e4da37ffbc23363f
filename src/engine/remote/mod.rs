//! A ClickHouse server over HTTP, or another birdhouse that stands for one.
//!
//! In: settings, reads, statements, blocks. Out: what [`Engine`](super::Engine) promises. Retried is what has not
//! reached the server, what only reads and has begun no answer, and inserts that carry a token: the server takes the
//! second for the first.

mod answer;
mod body;
mod child;
mod cluster;
mod pack;
mod request;
mod walls;

pub(super) use answer::Answer;
pub(crate) use body::{EXCEPTION, SUMMARY};
pub(crate) use child::SETTINGS as PROCESS_SETTINGS;
pub(crate) use request::ASKS_COST;

use super::{
    Deduplication, EngineAddress, EngineError, EngineErrorKind, EngineLogin, EnginePassword, EngineServer,
    EngineSettings, EngineWire, Examined, FoundCluster, Held, ReadLimits, Reader, Rows, Verdict, slots::NOWHERE,
};
use crate::{
    observe::{Level, Observation, Sink},
    query::Format,
    sql::{Sql, UserSql, statement},
};
use bytes::Bytes;
use child::{Keeper, Socket};
use request::{Connection, Request};
use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use walls::Walls;

#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    settings: EngineSettings,
    walls: Walls,
    /// Settings of ours that this server does not know.
    unknown: BTreeSet<&'static str>,
    version: String,
    cluster: Option<FoundCluster>,
    places: Places,
    closing: CancellationToken,
    /// The process that is the server, where it is ours.
    process: Option<(Keeper, Socket)>,
}

/// How much may begin at a time; more waits. An answer that has begun has left its place.
struct Places {
    reads: Semaphore,
    commands: Semaphore,
    inserts: Semaphore,
}

/// The oldest version that is used: that of the formats and settings relied on here.
const OLDEST: (u32, u32) = (25, 8);

const A_BIRDHOUSE: &str = " (if the server is a birdhouse: it must run with --clickhouse-admin, and \
                           BIRDHOUSE_ENGINE_USER is `engine`, with its admin token as password)";

/// How long a request is sent again that did not reach the server.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often an insert is sent whose fate is not known.
const INSERT_ATTEMPTS: u32 = 4;

impl Remote {
    pub(super) async fn open(
        server: EngineServer,
        settings: EngineSettings,
        sink: Sink,
    ) -> Result<Remote, EngineError> {
        Remote::connect(server, settings, sink, None).await
    }

    /// The embedded engine in a process of its own.
    pub(super) async fn open_process(
        program: &Path,
        settings: EngineSettings,
        sink: Sink,
    ) -> Result<Remote, EngineError> {
        let (keeper, socket) = Keeper::start(program, &settings, sink.clone())?;
        let login = EngineLogin { user: "engine".to_owned(), password: EnginePassword::default() };
        let server = EngineServer {
            address: EngineAddress::Socket(socket.path()),
            login,
            reader: None,
            cluster: None,
            authorities: None,
            wire: EngineWire::Plain,
        };
        let ended = keeper.first_end();
        let opened = tokio::select! {
            opened = Remote::connect(server, settings, sink, Some((keeper.clone(), socket))) => opened,
            words = ended => {
                let message = format!("the engine's process {words}");
                Err(EngineError::own(EngineErrorKind::Locked, message))
            }
        };
        if opened.is_err() {
            _ = tokio::task::spawn_blocking(move || keeper.close()).await;
        }
        opened
    }

    async fn connect(
        server: EngineServer,
        settings: EngineSettings,
        sink: Sink,
        process: Option<(Keeper, Socket)>,
    ) -> Result<Remote, EngineError> {
        let connection = Connection::new(&server)?;
        let version = version(&connection).await?;
        if let Some(words) = too_old(&version) {
            return Err(EngineError::own(EngineErrorKind::Query, words));
        }
        let unknown = unknown_settings(&connection).await?;
        make_nowhere(&connection).await?;
        let cluster = match &server.cluster {
            Some(cluster) => Some(cluster::find(&connection, cluster, &settings).await?),
            None => None,
        };
        let walls = Walls::establish(&connection, &server, &settings).await?;
        let warn = |message| sink.observe(Observation::Engine { level: Level::Warning, message });
        for message in complaints(&unknown) {
            warn(message);
        }
        if let Some(missing) = walls.missing() {
            warn(missing.to_owned());
        }
        let places = Places {
            reads: Semaphore::new(settings.readers.max(1) * 4),
            commands: Semaphore::new(8),
            inserts: Semaphore::new(settings.writers.max(1)),
        };
        let closing = CancellationToken::new();
        let shared = Shared { connection, settings, walls, unknown, version, cluster, places, closing, process };
        Ok(Remote { shared: Arc::new(shared) })
    }

    /// What a server is and what it lacks. Nothing is left there.
    pub(super) async fn examine(server: &EngineServer) -> Result<Examined, EngineError> {
        let connection = Connection::new(server)?;
        let version = version(&connection).await?;
        if let Some(words) = too_old(&version) {
            let readers = "not tried".to_owned();
            return Ok(Examined { address: connection.to_string(), version, readers, missing: vec![words] });
        }
        let mut missing = complaints(&unknown_settings(&connection).await?);
        if let Some(cluster) = &server.cluster
            && let Err(error) = cluster::shards(&connection, &cluster.name).await
        {
            missing.push(error.message);
        }
        make_nowhere(&connection).await?;
        let readers = match Walls::examine(&connection, server).await? {
            Ok(readers) => readers,
            Err(words) => {
                missing.push(words);
                "nobody: nothing is read for users".to_owned()
            }
        };
        Ok(Examined { address: connection.to_string(), version, readers, missing })
    }

    /// Lets users read a workspace's database, as far as the server has to be told.
    pub(super) async fn admit(&self, database: &str) -> Result<(), EngineError> {
        self.shared.walls.admit(&self.shared.connection, database).await
    }

    pub(super) async fn read(
        &self,
        reader: Reader,
        sql: &Sql,
        parameters: &[(String, String)],
        format: Format,
        held: Held,
    ) -> Result<Rows, EngineError> {
        let shared = &self.shared;
        shared.running()?;
        let mut request = self.request(sql).with("default_format", format.engine_name());
        let mut limit = None;
        if let Reader::User(limits) = reader {
            request = shared.walls.enter(request, limits.slot)?;
            for (name, value) in limits_of(&shared.settings, limits) {
                request = request.with(name, value);
            }
            limit = Some(limits.execution_time);
        }
        // In other formats they would count rows that filters hide.
        let statistics = if format == Format::Json { "1" } else { "0" };
        request = request.with("output_format_write_statistics", statistics).asks_cost();
        for (name, value) in parameters {
            request = request.with(&format!("param_{name}"), value);
        }
        let _place = shared.places.reads.acquire().await.map_err(|_| EngineError::closed())?;
        let began = Instant::now();
        let kill = Kill::of(&self.shared, request.query_id(), held);
        let response = match self.within(limit, request.send_read(&shared.connection)).await {
            Err(error) if error.kind == EngineErrorKind::Timeout && error.code == 0 => {
                return Err(EngineError::too_long(limit.unwrap_or_default()));
            }
            sent => sent?,
        };
        let answer = Answer::new(response, format, limit, began.elapsed(), kill, shared.closing.clone())?;
        Rows::begin(super::Answer::Remote(Box::new(answer))).await
    }

    pub(super) async fn command(&self, sql: &Sql) -> Result<Bytes, EngineError> {
        let (request, _place) = self.statement(sql).await?;
        self.within(None, request.send_whole(&self.shared.connection)).await
    }

    async fn statement(&self, sql: &Sql) -> Result<(Request, SemaphorePermit<'_>), EngineError> {
        self.shared.running()?;
        let place = self.shared.places.commands.acquire().await.map_err(|_| EngineError::closed())?;
        let request = self.request(sql).whole().with("mutations_sync", "1");
        Ok((request.with("default_format", Format::JsonEachRow.engine_name()), place))
    }

    pub(super) async fn command_within(&self, sql: &Sql, limit: Duration) -> Result<Bytes, EngineError> {
        let (request, _place) = self.statement(sql).await?;
        let request = request.with("max_execution_time", limit.as_secs_f64().ceil().to_string());
        let mut kill = Kill::of(&self.shared, request.query_id(), None);
        let answer = self.within(Some(limit), request.send_whole(&self.shared.connection)).await;
        match answer {
            Err(error) if error.kind == EngineErrorKind::Timeout && error.code == 0 => {
                Err(EngineError::too_long(limit))
            }
            answer => {
                kill.is_over();
                answer
            }
        }
    }

    pub(super) async fn insert(
        &self,
        head: &Sql,
        format: &'static str,
        parts: &[Bytes],
        deduplication: &Deduplication,
    ) -> Result<u64, EngineError> {
        let shared = &self.shared;
        shared.running()?;
        let token = match deduplication {
            Deduplication::Token(token) => Some(token.as_str()),
            Deduplication::Off => None,
        };
        let _place = shared.places.inserts.acquire().await.map_err(|_| EngineError::closed())?;
        let (mut attempt, mut pause) = (0, FIRST_PAUSE);
        loop {
            attempt += 1;
            let mut request = self.request(&statement::in_format(head, format)).whole();
            for (name, value) in statement::WHOLE_INSERT.iter().copied().chain([statement::deduplicates(token)]) {
                request = request.unless(&shared.unknown, name, value);
            }
            if let Some(token) = token {
                request = request.with(statement::DEDUPLICATION_TOKEN, token);
            }
            let inserted = self.within(None, request.send_rows(&shared.connection, parts)).await;
            match inserted {
                // Nobody knows whether it is in: with its token it can be said again.
                Err(error)
                    if error.kind == EngineErrorKind::Unreachable && token.is_some() && attempt < INSERT_ATTEMPTS =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 5).min(LONGEST_PAUSE);
                }
                inserted => return inserted,
            }
        }
    }

    /// The server's parser is asked for a tree: it has no other call, and runs nothing for this one.
    pub(super) async fn judge(&self, text: &str) -> Result<Verdict, EngineError> {
        match self.command(&statement::explain_ast(&UserSql::statement(text))).await {
            Ok(tree) => {
                let root = text_of(&tree, "explain").unwrap_or_default();
                let reads = ["Select", "Explain", "Show", "Describe", "Exists", "Check"];
                Ok(if reads.iter().any(|it| root.starts_with(it)) { Verdict::Read } else { Verdict::Other })
            }
            Err(error) if error.message.contains("Multi-statements") => Ok(Verdict::Several),
            Err(error) if error.kind == EngineErrorKind::Query => Ok(Verdict::Unparsed),
            Err(error) => Err(error),
        }
    }

    pub(super) fn opens_files(&self) -> bool {
        self.shared.process.is_some()
    }

    pub(super) fn cluster(&self) -> Option<&FoundCluster> {
        self.shared.cluster.as_ref()
    }

    pub(super) fn version(&self) -> &str {
        &self.shared.version
    }

    pub(super) fn settings(&self) -> &EngineSettings {
        &self.shared.settings
    }

    pub(super) fn close(&self) {
        self.shared.closing.cancel();
        if let Some((keeper, _)) = &self.shared.process {
            keeper.close();
        }
    }

    /// With what all requests of ours have.
    fn request(&self, sql: &Sql) -> Request {
        let over_cluster = self.shared.cluster.iter().flat_map(|_| statement::OVER_CLUSTER);
        let session = statement::SESSION.iter().chain(over_cluster);
        session.fold(Request::new(sql), |request, (name, value)| request.unless(&self.shared.unknown, name, value))
    }

    /// Waits for an answer no longer than until the engine is closed, and than the limit.
    async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let timer = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => done,
            () = self.shared.closing.cancelled() => Err(EngineError::closed()),
            () = timer => Err(EngineError::own(EngineErrorKind::Timeout, "")),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.shared.connection)
    }
}

impl Shared {
    fn running(&self) -> Result<(), EngineError> {
        if self.closing.is_cancelled() { Err(EngineError::closed()) } else { Ok(()) }
    }
}

/// Ends what runs on the server when nobody waits for it any more. A server ends a read whose connection is closed,
/// but only when it looks at it.
pub(super) struct Kill {
    shared: Arc<Shared>,
    query_id: Option<String>,
    /// Let go of when the server has been told.
    held: Held,
}

impl Kill {
    fn of(shared: &Arc<Shared>, query_id: &str, held: Held) -> Kill {
        Kill { shared: shared.clone(), query_id: Some(query_id.to_owned()), held }
    }

    pub(super) fn is_over(&mut self) {
        self.query_id = None;
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        let Some(query_id) = self.query_id.take() else { return };
        let (shared, held) = (self.shared.clone(), self.held.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let request = Request::new(&statement::kill_request(&query_id)).whole();
                // The server may be what is gone.
                _ = tokio::time::timeout(RECONNECT_WITHIN, request.send_whole(&shared.connection)).await;
                drop(held);
            });
        }
    }
}

/// What a read may cost, as settings. Its time is counted here: a server would count that of a slow client too.
fn limits_of(settings: &EngineSettings, read: ReadLimits) -> [(&'static str, String); 9] {
    let answer = settings.max_answer_time.max(settings.max_execution_time).as_secs().max(1);
    [
        ("max_execution_time", answer.to_string()),
        ("max_memory_usage", read.memory_usage.to_string()),
        ("max_rows_to_read", read.rows_to_read.to_string()),
        ("max_bytes_to_read", read.bytes_to_read.to_string()),
        ("max_result_bytes", read.result_bytes.to_string()),
        ("max_query_size", settings.max_query_size.to_string()),
        ("max_threads", read.threads.to_string()),
        ("timeout_overflow_mode", "throw".to_owned()),
        ("result_overflow_mode", "throw".to_owned()),
    ]
}

/// A statement of ours before anything is known of the server.
async fn ask(connection: &Connection, sql: &Sql) -> Result<Bytes, EngineError> {
    let request = Request::new(sql).whole().with("default_format", Format::JsonEachRow.engine_name());
    request.send_whole(connection).await
}

async fn version(connection: &Connection) -> Result<String, EngineError> {
    let answer = ask(connection, &statement::version()).await.map_err(hinted)?;
    Ok(text_of(&answer, "version").unwrap_or_default())
}

async fn make_nowhere(connection: &Connection) -> Result<(), EngineError> {
    ask(connection, &statement::create_database(NOWHERE)).await.map(drop).map_err(hinted)
}

fn hinted(error: EngineError) -> EngineError {
    match error.kind {
        EngineErrorKind::Query => EngineError { message: format!("{}{A_BIRDHOUSE}", error.message), ..error },
        _ => error,
    }
}

/// The first value of a column in JSONEachRow.
fn text_of(rows: &[u8], column: &str) -> Option<String> {
    let first = rows.split(|it| *it == b'\n').next()?;
    let row: serde_json::Value = serde_json::from_slice(first).ok()?;
    Some(row.get(column)?.as_str()?.to_owned())
}

/// Which of the settings that we send this server does not know.
async fn unknown_settings(connection: &Connection) -> Result<BTreeSet<&'static str>, EngineError> {
    let wanted = || {
        let pairs = statement::SESSION.iter().chain(statement::WHOLE_INSERT).map(|it| it.0);
        pairs.chain([statement::deduplicates(None).0])
    };
    let known = ask(connection, &statement::known_settings(wanted())).await?;
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
    }
    let known = known.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    let known: Result<BTreeSet<String>, _> =
        known.map(|it| serde_json::from_slice::<Row>(it).map(|it| it.name)).collect();
    let known = known.map_err(|error| EngineError::own(EngineErrorKind::Internal, error.to_string()))?;
    Ok(wanted().filter(|it| !known.contains(*it)).collect())
}

/// Why a version is not used.
fn too_old(version: &str) -> Option<String> {
    let mut numbers = version.split('.').map(|it| it.parse::<u32>().unwrap_or_default());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let (year, month) = OLDEST;
    (found < OLDEST).then(|| {
        format!(
            "ClickHouse {version} is older than {year}.{month} and is not used: JSON columns, grants or the marks \
             of errors in long answers are missing there"
        )
    })
}

/// What does not work without settings.
fn complaints(unknown: &BTreeSet<&'static str>) -> Vec<String> {
    let mut res = Vec::new();
    for name in unknown {
        res.push(match *name {
            "deduplicate_insert" => format!(
                "the server does not know the setting {name}: identical inserts without a token are taken for one on \
                 tables that have a deduplication window"
            ),
            "deduplicate_blocks_in_dependent_materialized_views" => format!(
                "the server does not know the setting {name}: an insert that is repeated after a lost connection may \
                 count twice in materialized views"
            ),
            name => format!("the server does not know the setting {name}, which is left out"),
        });
    }
    res
}
