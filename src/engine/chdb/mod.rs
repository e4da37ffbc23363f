//! ClickHouse in this process: `libchdb.so`, opened at run time.
//!
//! In: settings, reads, statements, blocks. Out: what [`Engine`](super::Engine) promises. One process has one
//! engine at a time.

mod config;
mod ffi;
mod pool;
mod remembered;
mod sandbox;
mod session;
mod worker;

use super::{
    Deduplication, EngineError, EngineErrorKind, EngineSettings, Format, Held, Part, Reader, Rows, Sandboxing, Verdict,
};
use crate::{
    memory,
    observe::{Level, Observation, Sink},
    sql::{Sql, statement},
};
use bytes::Bytes;
use config::Purpose;
use pool::Pool;
use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use worker::{Event, Slot, Work};

#[derive(Clone)]
pub struct Chdb {
    pool: Arc<Pool>,
}

/// The engine that the process has open, for its end.
static OPEN: Mutex<Option<Arc<Pool>>> = Mutex::new(None);

/// Pieces that wait for a reader: what the engine gives at a time, about a megabyte, is four of them, and the next
/// is made while they go.
const WAITING: usize = 8;

/// How often whoever waits for an answer looks whether there is one to come.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Chdb {
    pub(super) fn open(settings: EngineSettings, sink: Sink) -> Result<Chdb, EngineError> {
        if !settings.library.exists() {
            return Err(missing(&settings.library));
        }
        let failed = |what: &str, path: &Path, error: io::Error| {
            EngineError::own(EngineErrorKind::Internal, format!("{what} {}: {error}", path.display()))
        };
        let data = config::data_path(&settings);
        fs::create_dir_all(&data).map_err(|error| failed("cannot create", &data, error))?;
        let config =
            config::write(&settings).map_err(|error| failed("cannot write into", &settings.directory, error))?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() {
            return Err(EngineError::own(EngineErrorKind::Locked, "this process has an engine open already"));
        }
        if let Some(holder) = lock_holder(&data) {
            let message = format!("the data directory {} is in use by process {holder}", settings.directory.display());
            return Err(EngineError::own(EngineErrorKind::Locked, message));
        }
        let forgotten = remembered::put_right(&data).map_err(|error| failed("cannot read", &data, error))?;
        if forgotten > 0 {
            let message = format!("{forgotten} inserts that a crash cut short count as not begun");
            sink.observe(Observation::Engine { level: Level::Info, message });
        }
        let sandbox = sandbox::Sandbox::new(&settings);
        let (library, sandboxing) = open_library(&settings, &sandbox)?;
        if sandboxing != Sandboxing::Full {
            let message = format!(
                "this kernel confines the engine to its own files {}: a fault in the engine may open others",
                if sandboxing == Sandboxing::Partial { "in part only" } else { "not at all" }
            );
            if settings.require_sandbox {
                return Err(EngineError::own(EngineErrorKind::Internal, message));
            }
            sink.observe(Observation::Engine { level: Level::Warning, message });
        }
        let pool = Pool::start(session::Origin { library, settings, config, sandbox, sandboxing }, sink)?;
        *open = Some(Arc::clone(&pool));
        Ok(Chdb { pool })
    }

    pub(super) async fn read(
        &self,
        reader: Reader,
        sql: &Sql,
        parameters: &[(String, String)],
        format: Format,
        held: Held,
    ) -> Result<Rows, EngineError> {
        let (events, received) = mpsc::channel(WAITING);
        let sql = sql.as_str().to_owned();
        let parameters = parameters.to_vec();
        let (purpose, limits) = match reader {
            Reader::User(limits) if worker::is_whole(format, &sql) => (Purpose::Whole, limits),
            Reader::User(limits) => (Purpose::Read, limits),
            Reader::Own => (Purpose::Command, self.settings().read_limits()),
        };
        let mut answer = None;
        self.pool
            .submit(purpose, limits, |number, slot| {
                let (pool, slot) = (Arc::clone(&self.pool), Arc::downgrade(slot));
                answer = Some(Answer { events: received, pool, slot, number, ended: false });
                Work::Read { sql, parameters, format, number, events, held }
            })
            .await?;
        let answer = answer.ok_or_else(EngineError::closed)?;
        Rows::begin(super::Answer::Chdb(answer)).await
    }

    pub(super) async fn command(&self, sql: &Sql) -> Result<Bytes, EngineError> {
        let sql = sql.clone();
        self.ask(Purpose::Command, |reply| Work::Command { sql, reply }).await
    }

    pub(super) async fn command_within(&self, sql: &Sql, limit: Duration) -> Result<Bytes, EngineError> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Command { sql: sql.clone(), reply };
        let mut run = None;
        let submit = self.pool.submit(Purpose::Command, self.settings().read_limits(), |number, slot| {
            run = Some((Arc::downgrade(slot), number));
            work
        });
        submit.await?;
        let mut unheard = Unheard { pool: &self.pool, run };
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => {
                unheard.run = None;
                answer.unwrap_or_else(|_| Err(worker_ended()))
            }
            Err(_) => Err(EngineError::too_long(limit)),
        }
    }

    pub(super) async fn insert(
        &self,
        head: &Sql,
        format: &'static str,
        parts: Vec<Bytes>,
        deduplication: &Deduplication,
    ) -> Result<u64, EngineError> {
        let token = match deduplication {
            Deduplication::Token(token) => Some(token.as_str()),
            Deduplication::Off => None,
        };
        let head = statement::insert_settings(head, token);
        self.ask(Purpose::Insert, |reply| Work::Insert { head, format, parts, reply }).await
    }

    pub(super) async fn judge(&self, text: &str) -> Result<Verdict, EngineError> {
        let text = text.to_owned();
        self.ask(Purpose::Parse, |reply| Work::Judge { text, reply }).await
    }

    pub(super) fn settings(&self) -> &EngineSettings {
        &self.pool.origin.settings
    }

    pub(super) fn sandboxing(&self) -> Sandboxing {
        self.pool.origin.sandboxing
    }

    pub(super) fn close(&self) {
        self.pool.close();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|it| Arc::ptr_eq(it, &self.pool)) {
            *open = None;
        }
    }

    async fn ask<T>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Work,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.pool.submit(purpose, self.settings().read_limits(), |_, _| work(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(worker_ended()))
    }
}

impl fmt::Debug for Chdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chdb({})", self.pool.origin.settings.directory.display())
    }
}

/// A run that is ended when nobody waits for it any more.
struct Unheard<'p> {
    pool: &'p Pool,
    run: Option<(Weak<Slot>, u64)>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some((slot, number)) = self.run.take() {
            self.pool.end(slot, number);
        }
    }
}

/// An answer on its way. Dropping it ends the query without waiting.
pub(super) struct Answer {
    events: mpsc::Receiver<Event>,
    pool: Arc<Pool>,
    slot: Weak<Slot>,
    number: u64,
    ended: bool,
}

impl Answer {
    pub(super) async fn next(&mut self) -> Result<Part, EngineError> {
        let event = loop {
            if let Ok(event) = tokio::time::timeout(LOOK_EVERY, self.events.recv()).await {
                break event;
            }
            // A block that is one huge value ends when it ends: whoever waits hears that its time is over.
            if let Some(slot) = self.slot.upgrade()
                && slot.is_overdue(self.number)
            {
                return Err(EngineError::too_long(slot.limits.execution_time));
            }
        };
        if let Some(slot) = self.slot.upgrade() {
            slot.wake();
        }
        let part = match event {
            Some(Event::Columns(columns)) => return Ok(Part::Columns(columns)),
            Some(Event::Chunk(bytes)) => return Ok(Part::Chunk(bytes)),
            Some(Event::End(end)) => Ok(Part::End(end)),
            Some(Event::Failed(error)) => Err(error),
            None => Err(worker_ended()),
        };
        self.ended = true;
        part
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            self.events.close();
            if let Some(slot) = self.slot.upgrade() {
                slot.wake();
            }
            self.pool.end(std::mem::take(&mut self.slot), self.number);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// Opens the library on a thread that is confined already, so that nothing of it ever ran outside.
fn open_library(
    settings: &EngineSettings,
    sandbox: &sandbox::Sandbox,
) -> Result<(&'static ffi::Library, Sandboxing), EngineError> {
    let opening = std::thread::scope(|scope| {
        let opening = std::thread::Builder::new().name("engine-opener".to_owned()).spawn_scoped(scope, || {
            let sandboxing = sandbox.enter().map_err(|error| format!("the engine cannot be confined: {error}"))?;
            Ok((ffi::Library::open(&settings.library)?, sandboxing))
        });
        let opening = opening.map_err(|error| error.to_string())?;
        opening.join().unwrap_or_else(|_| Err("the thread that opens it panicked".to_owned()))
    });
    opening.map_err(|error: String| {
        let message = format!("cannot open the engine {}: {error}", settings.library.display());
        EngineError::own(EngineErrorKind::Missing, message)
    })
}

pub(super) fn missing(library: &Path) -> EngineError {
    let message = format!(
        "there is no engine at {}: run `birdhouse engine install`, or name a libchdb.so in BIRDHOUSE_LIBCHDB",
        library.display()
    );
    EngineError::own(EngineErrorKind::Missing, message)
}

fn worker_ended() -> EngineError {
    EngineError::own(EngineErrorKind::Internal, "an engine connection ended unexpectedly")
}

/// The process that has the directory, if one has: the engine keeps a locked file there, with its number.
fn lock_holder(data: &Path) -> Option<String> {
    let status = data.join("status");
    let file = fs::File::open(&status).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(fs::TryLockError::Error(_)) => None,
        Err(fs::TryLockError::WouldBlock) => {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let pid = text.lines().find_map(|line| line.strip_prefix("PID: "));
            Some(pid.unwrap_or("of an unknown number").to_owned())
        }
    }
}

/// Sets the process up for the engine: to be called first in `main`, on its thread.
pub fn prepare_process() {
    ffi::set_time_zone();
    memory::keep();
    LAST.with(|_| ());
}

thread_local! {
    /// On the main thread this is dropped when the process exits, before the library's own destructors, which
    /// crash when connections are open. (`atexit` would come too late: some of them are registered later.)
    static LAST: CloseAtExit = const { CloseAtExit };
}

struct CloseAtExit;

impl Drop for CloseAtExit {
    fn drop(&mut self) {
        let pool = OPEN.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pool) = pool {
            pool.close();
        }
    }
}
