//! One flush: good rows to the table, refused rows to the quarantine, then the caller may acknowledge.
//!
//! In: [`Decoded`] rows. Out: they are in, or it is said why not. A flush that must succeed is tried until
//! it does; a row that the engine cannot take is found and put into the quarantine.

use super::{
    Target,
    decode::{Decoded, Rejected, Schema},
    quarantine,
};
use crate::{
    engine::{Deduplication, Engine, EngineError, EngineErrorKind},
    name::Physical,
    native::Block,
    observe::{Observation, Sink},
    sql::statement,
};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Writes into one data source.
#[derive(Debug, Clone)]
pub struct Writer {
    engine: Engine,
    target: Target,
    schema: Arc<Schema>,
    sink: Sink,
    trouble: Arc<Trouble>,
}

/// Rows that can be decoded again in part, when the engine does not take the whole.
pub trait Rows: Send + Sync {
    fn len(&self) -> usize;
    fn decode(&self, range: Range<usize>) -> Decoded;
    /// A row as a refused one, for a reason that the engine gave.
    fn refuse(&self, index: usize, message: &str) -> Rejected;
    /// The same for the same rows, and for no others.
    fn token(&self, range: Range<usize>) -> String;
    fn is_empty(&self) -> bool {
        self.len() == 0
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
        }
    }

    /// Failed attempts since the last good one, and what the last said.
    pub fn trouble(&self) -> (u32, Option<String>) {
        let message = self.trouble.message.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.trouble.attempts.load(Ordering::Relaxed), message)
    }

    /// Inserts once; every insert counts, identical or not. The caller observes.
    pub async fn append(&self, decoded: &Decoded, import_id: Option<&str>) -> Result<Written, EngineError> {
        self.write(decoded, None, import_id, now()).await
    }

    /// Inserts exactly these rows, however often it takes. `decoded` is what all of them became.
    pub async fn flush(&self, rows: &dyn Rows, decoded: Decoded, stop: &CancellationToken) -> Result<Written, Aborted> {
        let started = Instant::now();
        let now = now();
        let mut total = Written::default();
        let mut todo = vec![(0..rows.len(), decoded)];
        while let Some((range, decoded)) = todo.pop() {
            let token = rows.token(range.clone());
            let error = match self.persist(&decoded, &token, now, stop).await {
                Ok(written) => {
                    total.rows += written.rows;
                    total.quarantined += written.quarantined;
                    continue;
                }
                Err(Failure::Stopped) => return Err(Aborted),
                Err(Failure::Data(error)) => error,
            };
            if range.len() > 1 {
                let middle = range.start + range.len() / 2;
                for half in [middle..range.end, range.start..middle] {
                    let decoded = rows.decode(half.clone());
                    todo.push((half, decoded));
                }
            } else {
                let rejected = vec![rows.refuse(range.start, &error.message)];
                todo.push((range, Decoded { rejected, ..Decoded::default() }));
            }
        }
        self.sink.observe(Observation::Inserted {
            datasource: self.target.datasource.name.to_string(),
            rows: total.rows,
            quarantined: total.quarantined,
            elapsed: started.elapsed(),
            source: "kafka",
        });
        Ok(total)
    }

    /// Tries until it succeeds, the server stops, or the engine says that a row is at fault.
    async fn persist(
        &self,
        decoded: &Decoded,
        token: &str,
        now: u32,
        stop: &CancellationToken,
    ) -> Result<Written, Failure> {
        loop {
            let error = match self.write(decoded, Some(token), None, now).await {
                Ok(written) => {
                    self.trouble.attempts.store(0, Ordering::Relaxed);
                    return Ok(written);
                }
                Err(error) => EngineError { message: self.public(&error.message), ..error },
            };
            if error.kind == EngineErrorKind::Closed {
                return Err(Failure::Stopped);
            }
            if decoded.rows > 0 && is_data_error(&error) {
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
                () = tokio::time::sleep(pause) => (),
            }
        }
    }

    /// The engine's words without the name of the workspace's database: readers of the quarantine see them.
    fn public(&self, message: &str) -> String {
        let database = self.target.table.database();
        message.replace(&format!("`{database}`."), "").replace(&format!("{database}."), "")
    }

    async fn write(
        &self,
        decoded: &Decoded,
        token: Option<&str>,
        import_id: Option<&str>,
        now: u32,
    ) -> Result<Written, EngineError> {
        for (index, block) in decoded.blocks.iter().enumerate() {
            let token = token.map(|it| if index == 0 { it.to_owned() } else { format!("{it}:b{index}") });
            self.insert(&self.target.table, block.clone(), token).await?;
        }
        if !decoded.rejected.is_empty() {
            let block = quarantine::block(&self.schema, &decoded.rejected, import_id, now);
            self.insert(&self.target.quarantine, block, token.map(|it| format!("{it}:q"))).await?;
        }
        Ok(Written { rows: decoded.rows as u64, quarantined: decoded.rejected.len() as u64 })
    }

    async fn insert(&self, table: &Physical, block: Block, token: Option<String>) -> Result<(), EngineError> {
        let head = statement::insert_native(table, block.columns.iter().map(|(name, _)| name));
        let deduplication = token.map_or(Deduplication::Off, Deduplication::Token);
        self.engine.insert(&head, block, deduplication).await.map(|_| ())
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

fn now() -> u32 {
    u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
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
