//! Events that came over HTTP: logged, acknowledged, gathered and inserted together, each once.
//!
//! In: bodies of rows for a data source. Out: an answer when they are safe, or, for those who wait, when they
//! are in; rows in the table and its quarantine. HTTP is not known here.
//!
//! A body is decoded as it comes, so that its sender hears at once how many rows are good. What is gathered is
//! inserted when it is old or large enough, or when somebody waits for it; before that its bodies' numbers are
//! written down with a token that no other insert has. After a crash the same bodies go in under the same token.

mod feed;
mod log;

use super::{Target, claims::Claims, decode::Schema, decode::SchemaError, failpoint};
use crate::{
    engine::Engine,
    name::ResourceName,
    observe::{Level, Observation, Sink},
};
use bytes::Bytes;
use feed::{Body, Feed, Gathered};
pub use log::Durability;
use log::{BodyHead, Log, Place, Record, Unfinished};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, io,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, RwLock},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// A row on each line.
    Ndjson,
    /// One row, or an array of rows, over as many lines as it likes.
    Json,
}

/// What becomes of a body's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    pub rows: u64,
    pub quarantined: u64,
    /// They are in the table; otherwise they are safe in the log.
    pub inserted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// How long the first row of a batch waits for others.
    pub batch_age: Duration,
    pub batch_rows: usize,
    pub batch_bytes: usize,
    /// Bytes of bodies that may wait, over all data sources; more are sent away.
    pub held_bytes: usize,
    /// How long a sender who wants to wait does.
    pub patience: Duration,
    pub durability: Durability,
}

#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("{0}")]
    Malformed(String),
    #[error("more events wait than the server may hold; try again later")]
    Busy,
    #[error("the events cannot be made safe: {0}")]
    Unsafe(String),
    /// The rows are in the table and the log; a view cannot take them yet and will get them later.
    #[error("a materialized view does not take the rows; they are kept and given to it again: {0}")]
    View(String),
}

/// What stands in the way of inserts now and then.
#[derive(Clone)]
pub struct Tables {
    /// Held alone by who changes tables.
    pub inserting: Arc<RwLock<()>>,
    pub claims: Claims,
    /// Says that what was in the way of inserts may be mended.
    pub mended: Arc<Notify>,
    pub reached: Reached,
}

/// The data sources that rows reach which go into one, itself included.
pub type Reached = Arc<dyn Fn(&ResourceName) -> BTreeSet<ResourceName> + Send + Sync>;

/// The events of one workspace. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Log,
    engine: Engine,
    sink: Sink,
    tuning: Tuning,
    tables: Tables,
    feeds: Mutex<HashMap<ResourceName, Arc<Feed>>>,
    /// Cancelled when a data source goes.
    lives: Mutex<HashMap<ResourceName, CancellationToken>>,
    tasks: Mutex<JoinSet<()>>,
    held: AtomicUsize,
    next: AtomicU64,
    /// Says that what is gathered goes in now and that nothing more comes.
    closing: CancellationToken,
    /// Says that nobody waits for retries any more.
    stop: CancellationToken,
}

/// How long the end may take; what is not in by then is in the log.
const PATIENCE: Duration = Duration::from_secs(10);

impl Events {
    /// Opens the log and puts in what it holds. `find` gives the tables of a data source. Must be called inside
    /// a tokio runtime; reads files.
    pub fn open(
        directory: &Path,
        engine: &Engine,
        sink: &Sink,
        tuning: Tuning,
        tables: Tables,
        find: impl Fn(&str) -> Option<Target>,
    ) -> io::Result<Events> {
        let (log, unfinished) = Log::open(directory, tuning.durability)?;
        let next = unfinished.bodies.keys().next_back().map_or(0, |it| it + 1);
        let events = Events(Arc::new(Shared {
            log,
            engine: engine.clone(),
            sink: sink.clone(),
            tuning,
            tables,
            feeds: Mutex::default(),
            lives: Mutex::default(),
            tasks: Mutex::default(),
            held: AtomicUsize::new(0),
            next: next.into(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        }));
        events.resume(unfinished, find);
        Ok(events)
    }

    /// Takes a body. `Ok` means that its rows survive what [`Durability`] says; after `Err` they are not in.
    pub async fn send(
        &self,
        target: &Target,
        format: Format,
        body: Bytes,
        source: &str,
        wait: bool,
    ) -> Result<Accepted, EventsError> {
        let shared = &self.0;
        let rows = split(format, &body)?;
        if rows.is_empty() {
            return Ok(Accepted { inserted: true, ..Accepted::default() });
        }
        if shared.held.load(Ordering::Acquire) + body.len() > shared.tuning.held_bytes {
            return Err(EventsError::Busy);
        }
        let head = BodyHead {
            number: shared.next.fetch_add(1, Ordering::Relaxed),
            datasource: target.datasource.name.to_string(),
            format,
            source: source.to_owned(),
        };
        let (feed, place, number, mut accepted) = loop {
            let feed = self.feed(target)?;
            let mut gathered = feed.gathered();
            if gathered.ended {
                if shared.closing.is_cancelled() {
                    return Err(EventsError::Unsafe("the server is stopping".to_owned()));
                }
                // The data source changed just now.
                drop(gathered);
                self.forget(&feed);
                continue;
            }
            let place = shared.log.append(&Record::Body(head.clone()), &body);
            shared.held.fetch_add(body.len(), Ordering::AcqRel);
            let body = Body { number: head.number, place, source: head.source.clone(), bytes: body.clone() };
            let accepted = gathered.take(body, &rows);
            gathered.urgent |= wait;
            let number = gathered.number;
            // Who inserts knows when the batch began: it is woken for what changes that.
            let news = gathered.is_first() || gathered.is_due(&shared.tuning);
            drop(gathered);
            if news {
                feed.wake.notify_one();
            }
            break (feed, place, number, accepted);
        };
        shared.log.synced(place).await.map_err(EventsError::Unsafe)?;
        failpoint::reach("event-logged");
        if wait {
            accepted.inserted = feed.wait(number, shared.tuning.patience).await?;
        }
        Ok(accepted)
    }

    /// Inserts what is gathered and ends; what cannot be inserted is put in at the next start.
    pub async fn close(&self) {
        self.0.closing.cancel();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            self.0.stop.cancel();
        }
        self.0.log.close();
    }

    /// The feed of a data source as it is now. When its columns have changed, what was gathered before goes in
    /// as it was read.
    fn feed(&self, target: &Target) -> Result<Arc<Feed>, EventsError> {
        let mut feeds = self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&target.datasource.name)
            && Arc::ptr_eq(&feed.target.datasource, &target.datasource)
        {
            return Ok(feed.clone());
        }
        let schema = Arc::new(Schema::compile(&target.datasource)?);
        let feed = Arc::new(Feed::new(target, schema, self.life(&target.datasource.name)));
        if let Some(before) = feeds.insert(target.datasource.name.clone(), feed.clone()) {
            before.retire();
        }
        drop(feeds);
        self.spawn(feed::run(self.0.clone(), feed.clone()));
        Ok(feed)
    }

    /// What is gathered for a data source goes with it.
    pub fn give_up(&self, datasource: &ResourceName) {
        let life = self.0.lives.lock().unwrap_or_else(PoisonError::into_inner).remove(datasource);
        let feed = self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner).remove(datasource);
        if let Some(life) = life {
            life.cancel();
        }
        if let Some(feed) = feed {
            feed.retire();
        }
    }

    /// Lasts as long as the data source of this name that there is now, and no longer than the server.
    fn life(&self, datasource: &ResourceName) -> CancellationToken {
        let mut lives = self.0.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.entry(datasource.clone()).or_insert_with(|| self.0.stop.child_token()).clone()
    }

    fn forget(&self, feed: &Arc<Feed>) {
        let mut feeds = self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &feed.target.datasource.name;
        if feeds.get(name).is_some_and(|it| Arc::ptr_eq(it, feed)) {
            feeds.remove(name);
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }

    /// Puts in what an earlier process has acknowledged and not inserted, or not said that it had.
    fn resume(&self, mut unfinished: Unfinished, find: impl Fn(&str) -> Option<Target>) {
        let mut batches = Vec::new();
        for intent in std::mem::take(&mut unfinished.intents) {
            let bodies: Vec<_> = intent.bodies.iter().filter_map(|it| unfinished.bodies.remove(it)).collect();
            batches.push((intent.datasource.clone(), bodies, Some(intent)));
        }
        let mut rest: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (_, it) in unfinished.bodies {
            rest.entry(it.0.datasource.clone()).or_default().push(it);
        }
        batches.extend(rest.into_iter().map(|(datasource, bodies)| (datasource, bodies, None)));
        for (datasource, bodies, intent) in batches {
            let reading = intent.as_ref().map_or("", |it| &it.reading);
            let schema = find(&datasource).map(|it| (Schema::as_then(reading, &it.datasource), it));
            let Some((Ok(schema), target)) = schema else {
                let message = format!("events for `{datasource}` wait in the log, for there is no such data source");
                self.0.sink.observe(Observation::Engine { level: Level::Warning, message });
                continue;
            };
            let name = &target.datasource.name;
            let claim = self.0.tables.claims.bring_at_once(&(self.0.tables.reached)(name));
            let feed = Feed::new(&target, Arc::new(schema), self.life(name));
            let mut gathered = Gathered::new(feed.schema.clone());
            for (head, bytes, segment) in bodies {
                let bytes = Bytes::from(bytes);
                let Ok(rows) = split(head.format, &bytes) else { continue };
                self.0.held.fetch_add(bytes.len(), Ordering::AcqRel);
                let place = Place::before(segment);
                gathered.take(Body { number: head.number, place, source: head.source, bytes }, &rows);
            }
            let shared = self.0.clone();
            self.spawn(async move { _ = feed::insert(&shared, &feed, gathered, claim, intent).await });
        }
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            batch_age: Duration::from_secs(1),
            batch_rows: 100_000,
            batch_bytes: 32 << 20,
            held_bytes: 128 << 20,
            patience: Duration::from_secs(30),
            durability: Durability::default(),
        }
    }
}

/// Where the rows of a body are. Blank lines are none.
fn split(format: Format, body: &[u8]) -> Result<Vec<Range<usize>>, EventsError> {
    match format {
        Format::Ndjson => {
            let mut start = 0;
            let lines = body.split(|it| *it == b'\n').map(|line| {
                let range = start..start + line.len();
                start = range.end + 1;
                range
            });
            Ok(lines.filter(|it| !body[it.clone()].iter().all(u8::is_ascii_whitespace)).collect())
        }
        Format::Json => {
            let malformed = |it: &dyn std::fmt::Display| EventsError::Malformed(format!("the body is no JSON: {it}"));
            let text = std::str::from_utf8(body).map_err(|it| malformed(&it))?;
            let items: Vec<&RawValue> = match text.trim_start().starts_with('[') {
                true => serde_json::from_str(text).map_err(|it| malformed(&it))?,
                false if text.trim().is_empty() => Vec::new(),
                false => vec![serde_json::from_str(text).map_err(|it| malformed(&it))?],
            };
            let range = |it: &RawValue| {
                let start = it.get().as_ptr() as usize - text.as_ptr() as usize;
                start..start + it.get().len()
            };
            Ok(items.into_iter().map(range).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_both_formats() {
        let rows = |format, body: &str| {
            split(format, body.as_bytes()).map(|it| it.into_iter().map(|it| body[it].to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(rows(Format::Ndjson, "{\"a\":1}\n\n {\"a\":2}\r\n").unwrap(), ["{\"a\":1}", " {\"a\":2}\r"]);
        assert_eq!(rows(Format::Json, "{\n\"a\":1\n}\n").unwrap(), ["{\n\"a\":1\n}"]);
        assert_eq!(rows(Format::Json, "[{\"a\":1},\n{\"a\":[2]}]").unwrap(), ["{\"a\":1}", "{\"a\":[2]}"]);
        assert!(rows(Format::Json, "{\"a\":1").is_err());
        assert!(rows(Format::Json, " ").unwrap().is_empty() && rows(Format::Ndjson, "\n").unwrap().is_empty());
    }
}
