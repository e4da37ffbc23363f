//! The events of one data source: gathered, and inserted together in their turn.
//!
//! In: bodies. Out: rows. Who sent them, and how they were made safe, is not known here.

use super::{
    Accepted, EventsError, Shared, Tuning,
    log::{Intent, Log, Place, Record},
};
use crate::{
    ingest::{
        Target,
        batch::{self, Aborted, Cuts, Ledger, Rows, Writer},
        claims::Bringing,
        decode::{Decoded, Decoder, Problem, Rejected, Schema},
        failpoint,
    },
    observe::{Level, Observation},
};
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) target: Target,
    pub(super) schema: Arc<Schema>,
    gathered: Mutex<Gathered>,
    pub(super) wake: Notify,
    /// Its data source has changed: what is gathered is the last.
    retired: AtomicBool,
    /// Cancelled when its data source goes, and with it what is gathered; or when the server stops.
    life: CancellationToken,
    state: watch::Sender<State>,
}

/// Batches up to this one are in; what a view says of the one at hand.
#[derive(Debug, Clone, Default)]
struct State {
    inserted: u64,
    view: Option<String>,
}

/// Bodies that wait, their rows already decoded.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Counts the batches of a feed, from 1.
    pub(super) number: u64,
    /// Nobody looks after it any more.
    pub(super) ended: bool,
    /// Somebody waits for it.
    pub(super) urgent: bool,
    schema: Arc<Schema>,
    decoder: Decoder,
    bodies: Vec<Body>,
    /// By row: its body's place, and where it is in there.
    rows: Vec<(u32, Range<u32>)>,
    bytes: usize,
    opened: Instant,
}

#[derive(Debug)]
pub(super) struct Body {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) source: String,
    pub(super) bytes: Bytes,
}

/// An intent and the log that keeps it.
struct Noted<'a> {
    shared: &'a Shared,
    intent: Intent,
}

/// Rows of a batch under the name that the log has for them.
struct Named<'a> {
    gathered: &'a Gathered,
    token: &'a str,
}

impl Feed {
    pub(super) fn new(target: &Target, schema: Arc<Schema>, life: CancellationToken) -> Feed {
        Feed {
            target: target.clone(),
            gathered: Mutex::new(Gathered::new(schema.clone())),
            schema,
            wake: Notify::new(),
            retired: AtomicBool::new(false),
            life,
            state: watch::Sender::default(),
        }
    }

    pub(super) fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Waits until a batch is in; false when that takes too long.
    pub(super) async fn wait(&self, number: u64, patience: Duration) -> Result<bool, EventsError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|it| it.inserted >= number || it.view.is_some());
        match tokio::time::timeout(patience, settled).await {
            Ok(Ok(state)) => match &state.view {
                Some(message) if state.inserted < number => Err(EventsError::View(message.clone())),
                _ => Ok(true),
            },
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }
}

impl Gathered {
    pub(super) fn new(schema: Arc<Schema>) -> Gathered {
        Gathered {
            number: 1,
            ended: false,
            urgent: false,
            decoder: Decoder::new(schema.clone()),
            schema,
            bodies: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
            opened: Instant::now(),
        }
    }

    /// What it holds is the first of it.
    pub(super) fn is_first(&self) -> bool {
        self.bodies.len() == 1
    }

    /// It is not to wait until it is old.
    pub(super) fn is_due(&self, tuning: &Tuning) -> bool {
        self.urgent || self.rows.len() >= tuning.batch_rows || self.bytes >= tuning.batch_bytes
    }

    pub(super) fn take(&mut self, body: Body, rows: &[Range<usize>]) -> Accepted {
        if self.bodies.is_empty() {
            self.opened = Instant::now();
        }
        let at = self.bodies.len() as u32;
        let before = (self.decoder.rows(), self.decoder.rejected());
        for (line, row) in rows.iter().enumerate() {
            self.decoder.json(&body.bytes[row.clone()], || format!("{}:{}", body.source, line + 1));
            self.rows.push((at, row.start as u32..row.end as u32));
        }
        self.bytes += body.bytes.len();
        self.bodies.push(body);
        Accepted {
            rows: (self.decoder.rows() - before.0) as u64,
            quarantined: (self.decoder.rejected() - before.1) as u64,
            inserted: false,
        }
    }

    /// A body that could not be written down was not acknowledged, and its sender sends it again.
    async fn leave_out_lost(&mut self, log: &Log) {
        let places: Vec<_> = self.bodies.iter().map(|it| it.place).collect();
        let lost = log.lost(&places).await;
        if !lost.contains(&true) {
            return;
        }
        let fresh = Gathered { number: self.number, ..Gathered::new(self.schema.clone()) };
        let before = std::mem::replace(self, fresh);
        let mut rows = before.rows.into_iter().peekable();
        for (at, (body, lost)) in before.bodies.into_iter().zip(lost).enumerate() {
            let own = std::iter::from_fn(|| rows.next_if(|(it, _)| *it as usize == at));
            let own: Vec<_> = own.map(|(_, it)| it.start as usize..it.end as usize).collect();
            if !lost {
                self.take(body, &own);
            }
        }
    }

    fn row(&self, index: usize) -> (&[u8], String) {
        let (at, range) = &self.rows[index];
        let body = &self.bodies[*at as usize];
        let first = self.rows.partition_point(|(it, _)| it < at);
        (&body.bytes[range.start as usize..range.end as usize], format!("{}:{}", body.source, index - first + 1))
    }
}

/// Inserts what a feed gathers, batch after batch, until it ends.
pub(super) async fn run(shared: Arc<Shared>, feed: Arc<Feed>) {
    loop {
        let last = shared.closing.is_cancelled() || feed.retired.load(Ordering::Acquire);
        let (due, full) = {
            let gathered = feed.gathered();
            let any = !gathered.bodies.is_empty();
            let due = any.then(|| gathered.opened + shared.tuning.batch_age);
            (due, any && (gathered.is_due(&shared.tuning) || last))
        };
        if full || due.is_some_and(|it| it <= Instant::now()) {
            let gathered = {
                let mut gathered = feed.gathered();
                let next = Gathered { number: gathered.number + 1, ..Gathered::new(feed.schema.clone()) };
                std::mem::replace(&mut *gathered, next)
            };
            let claim = shared.tables.claims.bring(&(shared.tables.reached)(&feed.target.datasource.name)).await;
            if insert(&shared, &feed, gathered, claim, None).await == Err(Aborted) {
                feed.gathered().ended = true;
                return;
            }
            continue;
        }
        if last {
            let mut gathered = feed.gathered();
            if gathered.bodies.is_empty() {
                gathered.ended = true;
                return;
            }
            continue;
        }
        let until = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            () = feed.wake.notified() => (),
            () = shared.closing.cancelled() => (),
            () = tokio::time::sleep_until(until.into()) => (),
        }
    }
}

/// Inserts a batch: one that a crash cut short as it was. A view that throws may be mended meanwhile, and what is
/// left goes in under the new definitions.
pub(super) async fn insert(
    shared: &Shared,
    feed: &Feed,
    mut gathered: Gathered,
    claim: Bringing,
    again: Option<Intent>,
) -> Result<(), Aborted> {
    let (bytes, segments) = (gathered.bytes, gathered.bodies.iter().map(|it| it.place.segment).collect::<Vec<_>>());
    gathered.leave_out_lost(&shared.log).await;
    let decoded = gathered.decoder.finish();
    let (log, name) = (&shared.log, feed.target.datasource.name.to_string());
    let intent = match again {
        Some(intent) => intent,
        None => Intent {
            // No other insert ever has the same.
            token: format!("e:{name}:{:032x}", rand::random::<u128>()),
            datasource: name,
            bodies: gathered.bodies.iter().map(|it| it.number).collect(),
            started: batch::now(),
            cuts: Cuts::default(),
            reading: feed.schema.text().to_owned(),
        },
    };
    let token = intent.token.clone();
    let mut noted = Noted { shared, intent };
    noted.insist().await?;
    failpoint::reach("event-intent");
    let tables = &shared.tables;
    let writer = Writer::new(&shared.engine, &feed.target, &feed.schema, &shared.sink);
    let writer = writer.gated(&tables.inserting).hearing(&tables.mended);
    let named = Named { gathered: &gathered, token: &token };
    let written = {
        let flush = writer.flush(&named, decoded, &mut noted, "events", &feed.life);
        tokio::pin!(flush);
        loop {
            tokio::select! {
                written = &mut flush => break written,
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    // Those who wait hear of a view that fails; the rows go on being offered to it.
                    let (attempts, message) = writer.trouble();
                    let view = message.filter(|it| attempts > 0 && it.contains("while pushing to view"));
                    feed.state.send_if_modified(|it| {
                        let changed = it.view != view;
                        it.view = view;
                        changed
                    });
                }
            }
        }
    };
    if written.is_err() && (shared.stop.is_cancelled() || !feed.life.is_cancelled()) {
        return Err(Aborted);
    }
    failpoint::reach("event-inserted");
    let (log, stop) = (log.clone(), shared.stop.clone());
    tokio::spawn(async move {
        // Until it is said that the batch is in, a crash would have it inserted again.
        while log.synced(log.append(&Record::Done { token: token.clone() }, b"")).await.is_err() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => (),
            }
        }
        log.release(segments);
        drop(claim);
    });
    shared.held.fetch_sub(bytes, Ordering::AcqRel);
    feed.state.send_modify(|it| *it = State { inserted: gathered.number, view: None });
    Ok(())
}

impl Noted<'_> {
    /// Writes the intent down, however often it takes.
    async fn insist(&self) -> Result<(), Aborted> {
        loop {
            let Err(message) = self.write().await else { return Ok(()) };
            let message = format!("the log of events cannot be written: {message}");
            self.shared.sink.observe(Observation::Engine { level: Level::Error, message });
            tokio::select! {
                () = self.shared.stop.cancelled() => return Err(Aborted),
                () = tokio::time::sleep(Duration::from_secs(1)) => (),
            }
        }
    }

    async fn write(&self) -> Result<(), String> {
        let place = self.shared.log.append(&Record::Intent(self.intent.clone()), b"");
        self.shared.log.synced(place).await
    }
}

impl Ledger for Noted<'_> {
    fn started(&self) -> u32 {
        self.intent.started
    }

    fn cuts(&self) -> &Cuts {
        &self.intent.cuts
    }

    async fn cut(&mut self, unit: &str, message: &str) -> Result<(), Aborted> {
        self.intent.cuts.insert(unit, message);
        self.insist().await
    }
}

impl Rows for Named<'_> {
    fn len(&self) -> usize {
        self.gathered.rows.len()
    }

    fn decode(&self, rows: &[u32]) -> Decoded {
        let mut decoder = Decoder::new(self.gathered.schema.clone());
        for index in rows {
            let (row, source) = self.gathered.row(*index as usize);
            decoder.json(row, || source);
        }
        decoder.finish()
    }

    fn refuse(&self, index: usize, message: &str) -> Rejected {
        let (row, source) = self.gathered.row(index);
        let errors = vec![Problem { column: String::new(), message: message.to_owned() }];
        Rejected { raw: row.to_vec(), errors, source, ..Rejected::default() }
    }

    fn token(&self) -> String {
        self.token.to_owned()
    }
}
