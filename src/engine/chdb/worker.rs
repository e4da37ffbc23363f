//! The thread that owns a connection: opens it, runs what it is given, closes it.
//!
//! In: [`Job`]s over a channel. Out: bytes and errors over the job's own channel. Who waits for them, and
//! what the SQL is for, is not known here.

use super::{
    config::Purpose,
    ffi::{Answer, Connection, Stream},
    pool::Pool,
    session,
};
use crate::{
    engine::{Column, End, EngineError, EngineErrorKind, Held, ReadLimits, Verdict, frame},
    query::{Chunks, Format},
    sql::{Sql, statement},
};
use bytes::Bytes;
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Statements whose verdict a reading connection remembers.
const REMEMBERED: usize = 4096;

/// Rows of an answer that is taken whole.
const SMALL: u64 = 10_000;

/// A chunk of an answer is handed over in pieces of at most this size: what waits for a slow reader is
/// bounded by bytes, whatever the engine calls a chunk.
const PIECE: usize = 256 << 10;

/// How often a reading connection is checked anew.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How long whoever waits for an answer waits for its end once its time is over.
const OVERDUE_AFTER: Duration = Duration::from_millis(250);

/// A worker that waits for a job.
pub(super) struct Worker {
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) slot: Arc<Slot>,
}

/// Work, and the worker that it was given to: it goes home with it.
pub(super) struct Job {
    pub(super) worker: Worker,
    pub(super) work: Work,
}

pub(super) enum Work {
    Read {
        sql: String,
        parameters: Vec<(String, String)>,
        format: Format,
        /// Which run of the slot this is.
        number: u64,
        events: tokio::sync::mpsc::Sender<Event>,
        /// Let go of when the engine has.
        held: Held,
    },
    Command {
        sql: Sql,
        reply: oneshot::Sender<Result<Bytes, EngineError>>,
    },
    Insert {
        head: Sql,
        format: &'static str,
        parts: Vec<Bytes>,
        reply: oneshot::Sender<Result<u64, EngineError>>,
    },
    Judge {
        text: String,
        reply: oneshot::Sender<Result<Verdict, EngineError>>,
    },
}

/// What a read gives, in this order: columns (JSON alone), chunks, the end.
#[derive(Debug)]
pub(super) enum Event {
    Columns(Vec<Column>),
    Chunk(Bytes),
    End(Box<End>),
    Failed(EngineError),
}

/// What a worker is doing, for whoever must end it.
pub(super) struct Slot {
    pub(super) tag: String,
    pub(super) purpose: Purpose,
    pub(super) limits: ReadLimits,
    running: Mutex<Running>,
    /// Told when a waiting chunk was taken or will never be.
    drained: Condvar,
}

#[derive(Default)]
pub(super) struct Running {
    /// Counts the jobs of the slot; an even number is rest.
    pub(super) number: u64,
    /// The place in the queue; given back early when the reader is slow or the connection stuck.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Time in the engine before the present call.
    used: Duration,
    /// Since when the present call is in the engine.
    since: Option<Instant>,
    pub(super) killed: Option<Killed>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Killed {
    pub(super) why: Why,
    pub(super) at: Instant,
    /// When the engine is told again, should the run still be in it: what has just begun is not in its list of
    /// queries yet, and telling it had no effect.
    pub(super) again: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nobody waits for it.
    Left,
    TooLong,
    Closing,
}

impl Slot {
    pub(super) fn new(tag: String, purpose: Purpose, limits: ReadLimits) -> Slot {
        Slot { tag, purpose, limits, running: Mutex::default(), drained: Condvar::new() }
    }

    pub(super) fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a worker that waits for room.
    pub(super) fn wake(&self) {
        // With the lock: a worker that has just found no room is waiting by then.
        drop(self.running());
        self.drained.notify_all();
    }

    /// Takes the slot for one job. The place is kept until the job ends.
    pub(super) fn begin(&self, permit: OwnedSemaphorePermit) -> u64 {
        let mut running = self.running();
        let number = running.number + 1;
        *running = Running { number, permit: Some(permit), ..Running::default() };
        number
    }

    fn end(&self) -> Option<OwnedSemaphorePermit> {
        let mut running = self.running();
        running.number += 1;
        running.since = None;
        running.permit.take()
    }

    /// Notes the time of a call into the engine. A run that was ended calls it no more.
    fn timed<T>(&self, call: impl FnOnce() -> T) -> Result<T, EngineError> {
        let start = Instant::now();
        let mut running = self.running();
        if running.killed.is_some() {
            return Err(EngineError::own(EngineErrorKind::Cancelled, "the query was ended"));
        }
        running.since = Some(start);
        drop(running);
        let res = call();
        self.is_out(start);
        Ok(res)
    }

    /// The same for a call that a run makes whatever became of it.
    fn timed_always<T>(&self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        self.running().since = Some(start);
        let res = call();
        self.is_out(start);
        res
    }

    fn is_out(&self, start: Instant) {
        let mut running = self.running();
        running.since = None;
        running.used += start.elapsed();
    }

    /// Whether this run was told to end, for its time is over, and has not after a while.
    pub(super) fn is_overdue(&self, number: u64) -> bool {
        let running = self.running();
        let told = running.killed.filter(|it| it.why == Why::TooLong);
        running.number == number && told.is_some_and(|it| it.at.elapsed() > OVERDUE_AFTER)
    }

    fn used(&self) -> Duration {
        self.running().used
    }
}

impl Running {
    pub(super) fn is_busy(&self) -> bool {
        self.number % 2 == 1
    }

    /// Whether a call of the job is in the engine.
    pub(super) fn is_inside(&self) -> bool {
        self.since.is_some()
    }

    /// How long the present job has kept the engine working.
    pub(super) fn worked(&self) -> Duration {
        self.used + self.since.map_or(Duration::ZERO, |it| it.elapsed())
    }
}

/// Whether a connection may be used again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Keep,
    /// After a failure the engine may still hold a part of the old answer, which would come out with the
    /// next one: the connection is closed.
    Close,
}

/// The thread of one worker: runs jobs until no connection can be had or the engine closes.
pub(super) fn run(pool: &Arc<Pool>, slot: &Arc<Slot>, jobs: &mpsc::Receiver<Job>) {
    let open = || {
        if pool.is_closing() {
            return Err(EngineError::closed());
        }
        session::open(&pool.origin, slot.purpose, slot.limits, &slot.tag)
    };
    let mut connection = open();
    let mut gate = Gate::default();
    while let Ok(Job { worker, work }) = jobs.recv() {
        match &mut connection {
            Ok(good) => {
                if handle(good, &mut gate, slot, work) == After::Close {
                    drop(connection);
                    connection = open();
                }
            }
            Err(error) => work.refuse(error.clone()),
        }
        // The connection of a worker that ends is closed before its place is free.
        let permit = slot.end();
        if connection.is_err() || !pool.take_back(worker) {
            drop(connection);
            drop(permit);
            return;
        }
        drop(permit);
        if let Ok(good) = &mut connection
            && gate.is_due()
            && let Err(error) = session::check(good, &pool.origin.settings, slot.purpose, slot.limits, &slot.tag)
        {
            pool.observe_failure(&error);
            drop(connection);
            connection = open();
        }
    }
}

fn handle(connection: &mut Connection, gate: &mut Gate, slot: &Slot, work: Work) -> After {
    match work {
        Work::Read { sql, parameters, format, number, events, held } => {
            let _held = held;
            let read = Read { sql: &sql, parameters: &parameters, format, slot, number, events: &events };
            if slot.purpose.is_read()
                && let Err(error) = gate.admit(connection, &sql)
            {
                _ = send(slot, number, &events, Event::Failed(error));
                return After::Keep;
            }
            match read.run(connection) {
                Ok(end) => {
                    _ = send(slot, number, &events, Event::End(Box::new(end)));
                    After::Keep
                }
                Err(Stop::Left) => After::Close,
                Err(Stop::Failed(error, after)) => {
                    _ = send(slot, number, &events, Event::Failed(explain(error, slot)));
                    after
                }
            }
        }
        Work::Command { sql, reply } => {
            let res = slot.timed(|| session::run(connection, &sql)).flatten().map(Bytes::from);
            let after = if res.is_err() { After::Close } else { After::Keep };
            _ = reply.send(res.map_err(|error| explain(error, slot)));
            after
        }
        Work::Insert { head, format, parts, reply } => {
            let res = slot.timed(|| connection.insert(head.as_str(), format, &parts));
            let res = res.and_then(|it| it.map_err(|error| EngineError::parse(&error)));
            let after = if res.is_err() { After::Close } else { After::Keep };
            _ = reply.send(res.map_err(|error| explain(error, slot)));
            after
        }
        Work::Judge { text, reply } => {
            _ = reply.send(Ok(judge(connection, &text)));
            After::Keep
        }
    }
}

impl Work {
    pub(super) fn refuse(self, error: EngineError) {
        match self {
            Work::Read { events, .. } => _ = events.blocking_send(Event::Failed(error)),
            Work::Command { reply, .. } => _ = reply.send(Err(error)),
            Work::Insert { reply, .. } => _ = reply.send(Err(error)),
            Work::Judge { reply, .. } => _ = reply.send(Err(error)),
        }
    }
}

fn judge(connection: &mut Connection, text: &str) -> Verdict {
    let analysis = connection.classify(text);
    match (analysis.statements, analysis.class) {
        (0, _) => Verdict::Unparsed,
        (1, 0) => Verdict::Read,
        (1, _) => Verdict::Other,
        _ => Verdict::Several,
    }
}

/// A killed query says only that it was killed; the asker wants to know why.
fn explain(error: EngineError, slot: &Slot) -> EngineError {
    let Some(killed) = slot.running().killed else { return error };
    match killed.why {
        Why::TooLong => EngineError::too_long(slot.limits.execution_time),
        Why::Closing => EngineError::closed(),
        Why::Left => error,
    }
}

/// The engine's own judgement on what a reading connection runs, remembered by text: one statement, a read.
/// No text that could change the session passes, whoever compiled it.
#[derive(Default)]
struct Gate {
    hasher: RandomState,
    seen: HashSet<u64>,
    checked: Option<Instant>,
}

impl Gate {
    fn admit(&mut self, connection: &mut Connection, sql: &str) -> Result<(), EngineError> {
        let hash = self.hasher.hash_one(sql);
        if self.seen.contains(&hash) {
            return Ok(());
        }
        // A plan of a read is no more than the read.
        let words = match judge(connection, sql.strip_prefix(statement::PLAN).unwrap_or(sql)) {
            Verdict::Read => {
                if self.seen.len() >= REMEMBERED {
                    self.seen.clear();
                }
                self.seen.insert(hash);
                return Ok(());
            }
            // The engine says best what does not parse; but of several statements it would run the first.
            Verdict::Unparsed if !sql.contains(';') => return Ok(()),
            Verdict::Unparsed => "Syntax error: the text is not one statement",
            Verdict::Several => "only one statement can be run at a time",
            Verdict::Other => "only statements that read can be run here",
        };
        Err(EngineError::own(EngineErrorKind::Query, words))
    }

    fn is_due(&mut self) -> bool {
        let due = self.checked.is_none_or(|it| it.elapsed() >= CHECK_EVERY);
        if due {
            self.checked = Some(Instant::now());
        }
        due
    }
}

/// Why a read stopped before its end.
enum Stop {
    /// Whoever asked is gone.
    Left,
    Failed(EngineError, After),
}

struct Read<'r> {
    sql: &'r str,
    parameters: &'r [(String, String)],
    format: Format,
    slot: &'r Slot,
    number: u64,
    events: &'r tokio::sync::mpsc::Sender<Event>,
}

impl Read<'_> {
    fn run(&self, connection: &mut Connection) -> Result<End, Stop> {
        let mut cut = Cut::new(self.format);
        let mut end = End::default();
        let name = self.format.engine_name();
        if !is_whole(self.format, self.sql) {
            let stream = self.timed(|| connection.stream(self.sql, name, self.parameters))?;
            let mut stream = stream.map_err(|error| {
                let error = EngineError::parse(&error);
                // A wrong statement was refused before anything of an answer was made.
                let after = if error.kind == EngineErrorKind::Query { After::Keep } else { After::Close };
                Stop::Failed(error, after)
            })?;
            let res = self.pass_on(&mut stream, &mut cut, &mut end);
            // One that nobody has asked for a chunk yet works until its end in here, but for being killed.
            self.slot.timed_always(|| drop(stream));
            res?;
        } else {
            let answer = self.timed(|| connection.query(self.sql, name, self.parameters))?;
            self.take(&answer, &mut cut, &mut end)?;
        }
        end.statistics.elapsed = self.slot.used().as_secs_f64();
        Ok(end)
    }

    fn pass_on(&self, stream: &mut Stream<'_>, cut: &mut Cut, end: &mut End) -> Result<(), Stop> {
        loop {
            let answer = self.timed(|| stream.fetch())?;
            if !self.take(&answer, cut, end)? {
                return Ok(());
            }
        }
    }

    fn timed<T>(&self, call: impl FnOnce() -> T) -> Result<T, Stop> {
        self.slot.timed(call).map_err(|error| Stop::Failed(error, After::Close))
    }

    /// Passes one chunk on; says whether more may come.
    fn take(&self, answer: &Answer<'_>, cut: &mut Cut, end: &mut End) -> Result<bool, Stop> {
        if let Some(error) = answer.error() {
            return Err(Stop::Failed(EngineError::parse(&error), After::Close));
        }
        let bytes = answer.bytes();
        if bytes.is_empty() {
            return Ok(false);
        }
        let [rows, rows_read, bytes_read, _] = answer.counts();
        end.statistics.result_rows += rows;
        end.statistics.rows_read += rows_read;
        end.statistics.bytes_read += bytes_read;
        let Chunk { columns, separator, rows } =
            cut.cut(bytes, end).map_err(|error| Stop::Failed(error, After::Close))?;
        if let Some(columns) = columns {
            self.send(Event::Columns(columns))?;
        }
        if !separator.is_empty() {
            self.send(Event::Chunk(Bytes::from_static(separator.as_bytes())))?;
        }
        for piece in rows.chunks(PIECE) {
            self.send(Event::Chunk(Bytes::copy_from_slice(piece)))?;
        }
        Ok(true)
    }

    fn send(&self, event: Event) -> Result<(), Stop> {
        send(self.slot, self.number, self.events, event)
    }
}

/// Waits for the asker; while it waits, its place in the queue is another's.
fn send(slot: &Slot, number: u64, events: &tokio::sync::mpsc::Sender<Event>, event: Event) -> Result<(), Stop> {
    use tokio::sync::mpsc::error::TrySendError;
    let mut event = event;
    let mut running = slot.running();
    loop {
        match events.try_send(event) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Stop::Left),
            Err(TrySendError::Full(it)) => event = it,
        }
        if running.killed.is_some_and(|it| it.why != Why::TooLong) {
            return Err(Stop::Left);
        }
        if running.number == number {
            running.permit = None;
        }
        let waited = slot.drained.wait_timeout(running, Duration::from_millis(100));
        running = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Whether the engine gives the answer at once, so that it is held whole: where chunks cannot be put together
/// again, and where only a whole answer says how many rows there would be without LIMIT.
pub(super) fn is_whole(format: Format, sql: &str) -> bool {
    if sql.starts_with(statement::PLAN) {
        return true;
    }
    match format.chunks() {
        None => statement::ends_in_limit(sql, SMALL),
        Some(chunks) => chunks == Chunks::Whole,
    }
}

/// What is to be passed on of a chunk.
#[derive(Default)]
struct Chunk<'b> {
    /// Where they are new.
    columns: Option<Vec<Column>>,
    /// Between the rows before and these.
    separator: &'static str,
    rows: &'b [u8],
}

/// Cuts what each chunk repeats off all but the first.
enum Cut {
    Nothing,
    /// Names of columns: their length, once known.
    Header {
        length: Option<usize>,
        chunks: Chunks,
    },
    Json {
        started: bool,
        rows: bool,
    },
}

impl Cut {
    fn new(format: Format) -> Cut {
        match format.chunks() {
            None => Cut::Json { started: false, rows: false },
            Some(Chunks::Seamless | Chunks::Whole) => Cut::Nothing,
            Some(chunks) => Cut::Header { length: None, chunks },
        }
    }

    fn cut<'b>(&mut self, bytes: &'b [u8], end: &mut End) -> Result<Chunk<'b>, EngineError> {
        let only = |rows| Ok(Chunk { rows, ..Chunk::default() });
        match self {
            Cut::Nothing => only(bytes),
            Cut::Header { length: Some(length), .. } => only(bytes.get(*length..).unwrap_or_default()),
            Cut::Header { length, chunks } => {
                *length = Some(frame::header_length(bytes, *chunks));
                only(bytes)
            }
            Cut::Json { started, rows } => {
                let unreadable = || EngineError::own(EngineErrorKind::Internal, "the engine's JSON has another shape");
                let text = std::str::from_utf8(bytes).map_err(|_| unreadable())?;
                let parts = frame::split(text).ok_or_else(unreadable)?;
                end.rows_before_limit = parts.rows_before_limit.or(end.rows_before_limit);
                if !parts.tail.is_empty() {
                    parts.tail.clone_into(&mut end.tail);
                }
                let columns = match std::mem::replace(started, true) {
                    true => None,
                    false => Some(serde_json::from_str(parts.meta).map_err(|_| unreadable())?),
                };
                let separator = !parts.rows.is_empty() && std::mem::replace(rows, true);
                Ok(Chunk { columns, separator: if separator { ",\n" } else { "" }, rows: parts.rows.as_bytes() })
            }
        }
    }
}
