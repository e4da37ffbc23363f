//! One flush: good rows to the table, refused rows to the quarantine, then the caller may acknowledge.
//!
//! In: [`Decoded`] rows. Out: they are in, or it is said why not. A flush that must succeed is tried until
//! it does; a row that the engine cannot take is found and put into the quarantine.

use super::{
    Target,
    decode::{Decoded, Rejected, Schema},
    failpoint, quarantine,
};
use crate::{
    ddl,
    engine::{Deduplication, Engine, EngineError, EngineErrorKind},
    memory,
    name::{Namespace, Physical, ResourceName},
    native::Block,
    observe::{Observation, Sink},
    sql::statement,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;

/// Writes into one data source.
#[derive(Debug, Clone)]
pub struct Writer {
    engine: Engine,
    target: Target,
    schema: Arc<Schema>,
    sink: Sink,
    trouble: Arc<Trouble>,
    gate: Option<Arc<RwLock<()>>>,
    mended: Arc<Notify>,
}

/// Rows that can be decoded again in part, when the engine does not take the whole.
pub trait Rows: Send + Sync {
    fn len(&self) -> usize;
    /// These rows alone, by their places.
    fn decode(&self, rows: &[u32]) -> Decoded;
    /// A row as a refused one, for a reason that the engine gave.
    fn refuse(&self, index: usize, message: &str) -> Rejected;
    /// The same for the same rows, and for no others.
    fn token(&self) -> String;
    /// What stands in the quarantine's `c__import_id`.
    fn import_id(&self) -> Option<&str> {
        None
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a flush must remember over a crash, so that it is repeated exactly.
pub trait Ledger: Send {
    /// When the flush was first tried, in seconds since 1970.
    fn started(&self) -> u32;
    fn cuts(&self) -> &Cuts;
    /// Adds a cut and returns when it would survive a crash.
    fn cut(&mut self, unit: &str, message: &str) -> impl Future<Output = Result<(), Aborted>> + Send;
}

/// Units of a flush that the engine did not take as a whole, with what it said. Once a unit was cut it must
/// not be tried whole again: parts of it are in.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cuts(BTreeMap<String, String>);

/// A ledger that lasts as long as the process.
#[derive(Debug, Clone)]
pub struct Fleeting {
    pub started: u32,
    pub cuts: Cuts,
}

impl Cuts {
    pub fn insert(&mut self, unit: &str, message: &str) {
        self.0.insert(unit.to_owned(), message.to_owned());
    }
}

impl Default for Fleeting {
    fn default() -> Fleeting {
        Fleeting { started: now(), cuts: Cuts::default() }
    }
}

impl Ledger for Fleeting {
    fn started(&self) -> u32 {
        self.started
    }

    fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    async fn cut(&mut self, unit: &str, message: &str) -> Result<(), Aborted> {
        self.cuts.insert(unit, message);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub quarantined: u64,
}

/// The flush was given up because the server stops. Some of its rows may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted;

/// What goes wrong at the moment.
#[derive(Debug, Default)]
struct Trouble {
    /// Failed attempts since the last good one.
    attempts: AtomicU32,
    message: Mutex<Option<String>>,
}

/// Errors that are a row's fault and not the table's or the machine's: text that is no value, values out of
/// range, constraints.
const DATA_ERRORS: &[i32] =
    &[6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 190, 321, 349, 376, 407, 441, 467, 469, 675, 676, 691];

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between attempts when the machine is in trouble, and when the statement itself is refused.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const PARKED_PAUSE: Duration = Duration::from_secs(60);
const ATTEMPTS_BEFORE_PARKING: u32 = 10;

impl Writer {
    pub fn new(engine: &Engine, target: &Target, schema: &Arc<Schema>, sink: &Sink) -> Writer {
        Writer {
            engine: engine.clone(),
            target: target.clone(),
            schema: schema.clone(),
            sink: sink.clone(),
            trouble: Arc::default(),
            gate: None,
            mended: Arc::default(),
        }
    }

    /// Shares the gate during each insert and at no other time: who holds it alone, to mend a view for instance,
    /// comes between two attempts.
    pub fn gated(self, gate: &Arc<RwLock<()>>) -> Writer {
        Writer { gate: Some(gate.clone()), ..self }
    }

    /// Tries at once, however long it was to wait, when it is told that something may have been mended.
    pub fn hearing(self, mended: &Arc<Notify>) -> Writer {
        Writer { mended: mended.clone(), ..self }
    }

    /// The same writer for rows that were read by another schema than the present one.
    pub fn reading(&self, schema: &Arc<Schema>) -> Writer {
        Writer { schema: schema.clone(), ..self.clone() }
    }

    /// Failed attempts since the last good one, and what the last said.
    pub fn trouble(&self) -> (u32, Option<String>) {
        let message = self.trouble.message.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.trouble.attempts.load(Ordering::Relaxed), message)
    }

    /// Inserts once; every insert counts, identical or not. The caller observes.
    pub async fn append(&self, decoded: &Decoded, import_id: Option<&str>) -> Result<Written, EngineError> {
        for block in &decoded.blocks {
            self.insert(&self.target.table, block.clone(), None).await?;
        }
        if !decoded.rejected.is_empty() {
            let block = quarantine::block(&self.schema, &decoded.rejected, import_id, now());
            self.insert(&self.target.quarantine, block, None).await?;
        }
        Ok(Written { rows: decoded.rows as u64, quarantined: decoded.rejected.len() as u64 })
    }

    /// Writes rows and says so.
    pub async fn flush(
        &self,
        rows: &dyn Rows,
        decoded: Decoded,
        ledger: &mut impl Ledger,
        source: &'static str,
        stop: &CancellationToken,
    ) -> Result<Written, Aborted> {
        let began = Instant::now();
        let written = self.write(rows, decoded, ledger, stop).await?;
        self.sink.observe(Observation::Inserted {
            datasource: self.target.datasource.name.to_string(),
            rows: written.rows,
            quarantined: written.quarantined,
            elapsed: began.elapsed(),
            source,
        });
        Ok(written)
    }

    /// Inserts exactly these rows, however often it takes. `decoded` is what all of them became. A flush that
    /// a crash cut short is repeated by calling this again with the same rows and what the ledger kept.
    pub async fn write(
        &self,
        rows: &dyn Rows,
        decoded: Decoded,
        ledger: &mut impl Ledger,
        stop: &CancellationToken,
    ) -> Result<Written, Aborted> {
        let token = rows.token();
        let mut total = Written::default();
        let mut rejected = decoded.rejected;
        let mut todo: Vec<_> = decoded.blocks.into_iter().zip(decoded.origins).enumerate().map(Unit::whole).collect();
        todo.reverse();
        while let Some(unit) = todo.pop() {
            let message = match ledger.cuts().0.get(&unit.name) {
                Some(message) => message.clone(),
                None => {
                    let token = format!("{token}:{}", unit.name);
                    match self.persist(&self.target.table, &unit.block(rows), &token, true, stop).await {
                        Ok(()) => {
                            total.rows += unit.rows.len() as u64;
                            failpoint::reach("after-unit");
                            continue;
                        }
                        Err(Failure::Stopped) => return Err(Aborted),
                        Err(Failure::Data(error)) => {
                            ledger.cut(&unit.name, &error.message).await?;
                            error.message
                        }
                    }
                }
            };
            match unit.halves() {
                Some([first, second]) => todo.extend([second, first]),
                None => rejected.extend(unit.rows.iter().map(|it| rows.refuse(*it as usize, &message))),
            }
        }
        failpoint::reach("after-insert");
        if !rejected.is_empty() {
            let block = quarantine::block(&self.schema, &rejected, rows.import_id(), ledger.started());
            let persisted = self.persist(&self.target.quarantine, &block, &format!("{token}:q"), false, stop).await;
            persisted.map_err(|_| Aborted)?;
            total.quarantined = rejected.len() as u64;
            failpoint::reach("after-quarantine");
        }
        Ok(total)
    }

    /// Tries until it succeeds, the server stops, or, where rows may be at fault, the engine says that one is.
    async fn persist(
        &self,
        table: &Physical,
        block: &Block,
        token: &str,
        may_be_cut: bool,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        loop {
            // What is mended while it is tried is heard too.
            let mended = self.mended.notified();
            tokio::pin!(mended);
            mended.as_mut().enable();
            failpoint::reach_soon("mid-insert");
            let error = match self.insert(table, block.clone(), Some(token.to_owned())).await {
                Ok(()) => {
                    self.trouble.attempts.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => EngineError { message: self.public(&error.message), ..error },
            };
            if error.kind == EngineErrorKind::Closed {
                return Err(Failure::Stopped);
            }
            if may_be_cut && is_data_error(&error) {
                return Err(Failure::Data(error));
            }
            let attempts = self.trouble.attempts.fetch_add(1, Ordering::Relaxed);
            *self.trouble.message.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.message.clone());
            let pause = pause(attempts, error.is_retryable());
            self.sink.observe(Observation::InsertFailed {
                datasource: self.target.datasource.name.to_string(),
                message: error.message,
                retry_in: Some(pause),
            });
            tokio::select! {
                () = stop.cancelled() => return Err(Failure::Stopped),
                () = mended => (),
                () = tokio::time::sleep(pause) => (),
            }
        }
    }

    /// The engine's words without the name of the workspace's database: readers of the quarantine see them.
    fn public(&self, message: &str) -> String {
        let database = self.target.table.database();
        message.replace(&format!("`{database}`."), "").replace(&format!("{database}."), "")
    }

    async fn insert(&self, table: &Physical, block: Block, token: Option<String>) -> Result<(), EngineError> {
        if failpoint::due(failpoint::REFUSED) {
            return Err(EngineError { kind: EngineErrorKind::Query, code: 6, message: "refused".to_owned() });
        }
        if failpoint::is_armed(failpoint::SLOW) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _gate = match &self.gate {
            Some(gate) => Some(gate.read().await),
            None => None,
        };
        let head = statement::insert_native(table, block.columns.iter().map(|(name, _)| name));
        let token = token.filter(|_| !failpoint::is_armed(failpoint::NO_DEDUPLICATION));
        let deduplication = token.clone().map_or(Deduplication::Off, Deduplication::Token);
        let size = block.parts.iter().map(bytes::Bytes::len).sum();
        let inserted = self.engine.insert(&head, block.clone(), deduplication).await;
        memory::passed(size);
        match inserted {
            Err(error) if error.kind == EngineErrorKind::Cancelled && token.is_some() => {
                self.insert_by_way(table, block, token.as_deref()).await
            }
            inserted => inserted.map(|_| ()),
        }
    }

    /// The engine's streaming insert cancels itself where a view asks for a single value by a subquery. What it
    /// began is completed from a table in memory, by a statement with the same token.
    async fn insert_by_way(&self, table: &Physical, block: Block, token: Option<&str>) -> Result<(), EngineError> {
        let name = ResourceName::new(&format!("way_{:032x}", rand::random::<u128>())).expect("letters and digits");
        let way = Namespace::new(table.database()).table(&name);
        self.engine.command(&statement::create_in_memory(&way, table)).await?;
        let names: Vec<_> = block.columns.iter().map(|(name, _)| name.clone()).collect();
        let head = statement::insert_native(&way, &names);
        let inserted = match self.engine.insert(&head, block, Deduplication::Off).await {
            Ok(_) => self.engine.command(&statement::insert_from(table, &way, names.iter(), token)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        _ = self.engine.command(&ddl::drop_table(&way)).await;
        inserted
    }
}

/// Rows of a flush that are inserted together: a block, or a part of one that the engine did not take.
struct Unit {
    name: String,
    /// Their places in the flush.
    rows: Vec<u32>,
    block: Option<Block>,
}

impl Unit {
    fn whole((index, (block, rows)): (usize, (Block, Vec<u32>))) -> Unit {
        Unit { name: format!("b{index}"), rows, block: Some(block) }
    }

    fn block(&self, rows: &dyn Rows) -> Block {
        // Rows of one block are alike, so a part of them is one block too.
        self.block.clone().or_else(|| rows.decode(&self.rows).blocks.into_iter().next()).unwrap_or_default()
    }

    fn halves(&self) -> Option<[Unit; 2]> {
        let (first, second) = self.rows.split_at(self.rows.len() / 2);
        let half =
            |rows: &[u32], name| Unit { name: format!("{}.{name}", self.name), rows: rows.to_vec(), block: None };
        (!first.is_empty()).then(|| [half(first, 0), half(second, 1)])
    }
}

enum Failure {
    Stopped,
    Data(EngineError),
}

/// An error of a view is no reason to cut a batch: the table has the rows already, and only the same batch
/// with the same token brings the views level.
fn is_data_error(error: &EngineError) -> bool {
    DATA_ERRORS.contains(&error.code) && !error.message.contains("while pushing to view")
}

fn pause(attempts: u32, retryable: bool) -> Duration {
    if !retryable && attempts >= ATTEMPTS_BEFORE_PARKING {
        return PARKED_PAUSE;
    }
    (FIRST_PAUSE * 2u32.pow(attempts.min(10))).min(LONGEST_PAUSE)
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let now = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    if failpoint::passed(failpoint::CLOCK_BACK) { now - 86_400 } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_s_own_fault_cuts_a_batch() {
        let error =
            |code, message: &str| EngineError { kind: EngineErrorKind::Query, code, message: message.to_owned() };
        assert!(is_data_error(&error(469, "Constraint `c` is violated")));
        assert!(!is_data_error(&error(6, "Cannot parse: while pushing to view w.mv")));
        assert!(!is_data_error(&error(60, "Table does not exist")));
    }

    #[test]
    fn pauses_grow_and_end_in_parking() {
        assert_eq!(pause(0, true), FIRST_PAUSE);
        assert_eq!(pause(40, true), LONGEST_PAUSE);
        assert_eq!(pause(ATTEMPTS_BEFORE_PARKING, false), PARKED_PAUSE);
    }
}
