//! The end of a consumer's pipe: what will be inserted is written down, then inserted, then the offsets move.
//!
//! In: commands of the reader. Out: rows, saved offsets. Kafka is not known here.
//!
//! One transaction of the store says both that the batches before are in and what comes next, for several
//! partitions where several wait: it is one wait for the disk per round, not two per batch.

use super::{Offsets, Position, State, intent::Intent, pending::Batch, shared::Shared};
use crate::{
    ingest::{
        batch::{self, Aborted, Cuts, Ledger, Rows, Writer},
        decode::Decoded,
        failpoint,
    },
    observe::Level,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) enum Command {
    /// Decoded by the reader, so that one batch is decoded while the one before it is inserted.
    Insert(Box<(Batch, Decoded)>),
    /// Offsets that were decided without a batch: a first start, a topic made anew.
    Save(Position),
}

pub(super) struct Task {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) offsets: Arc<dyn Offsets>,
    pub(super) writer: Writer,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

/// What one partition's batch is about to become, with the task that can write it down.
struct Noted<'a> {
    task: &'a Task,
    position: Position,
    intent: Intent,
}

/// How often saving is tried once a batch is in and the server stops.
const LAST_TRIES: u32 = 5;

impl Task {
    /// Ends when the server stops: what is begun is finished, what waits is left to the next start.
    pub(super) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting = VecDeque::new();
        // By partition: offsets that are true and not saved yet.
        let mut done = BTreeMap::new();
        loop {
            while let Ok(command) = commands.try_recv() {
                waiting.push_back(command);
            }
            if waiting.is_empty() {
                if self.save(&mut done, Vec::new()).await.is_err() {
                    return;
                }
                let command = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    command = commands.recv() => command,
                };
                waiting.extend(command);
                if waiting.is_empty() {
                    return;
                }
                continue;
            }
            let ended = self.stop.is_cancelled() || self.round(&mut waiting, &mut done).await.is_err();
            if ended {
                _ = self.save(&mut done, Vec::new()).await;
                return;
            }
        }
    }

    /// Takes what can be done together: at most one batch of each partition, for each has one intent.
    async fn round(&self, waiting: &mut VecDeque<Command>, done: &mut BTreeMap<i32, Position>) -> Result<(), Aborted> {
        let mut batches: Vec<(Batch, Decoded, Intent)> = Vec::new();
        loop {
            match waiting.pop_front() {
                Some(Command::Insert(next)) => {
                    if batches.iter().any(|(it, ..)| it.partition == next.0.partition) {
                        waiting.push_front(Command::Insert(next));
                        break;
                    }
                    let (batch, decoded) = *next;
                    let intent = self.intent(&batch, &decoded);
                    batches.push((batch, decoded, intent));
                }
                Some(Command::Save(position)) if batches.is_empty() => {
                    done.insert(position.partition, position);
                }
                Some(save) => {
                    waiting.push_front(save);
                    break;
                }
                None => break,
            }
        }
        let noted = |(batch, _, intent): &(Batch, Decoded, Intent)| Position {
            partition: batch.partition,
            next_offset: intent.from,
            epoch: batch.epoch,
            intent: Some(intent.write()),
            last: None,
        };
        self.save(done, batches.iter().map(noted).collect()).await?;
        failpoint::reach("after-intent");
        for (batch, decoded, intent) in batches {
            self.insert(batch, decoded, intent, done).await?;
        }
        failpoint::reach("before-state");
        Ok(())
    }

    /// What a batch is about to become. One that a crash cut short keeps what it was.
    fn intent(&self, batch: &Batch, decoded: &Decoded) -> Intent {
        let fresh = Intent::new(batch, decoded, batch::now());
        let Some(before) = &batch.again else { return fresh };
        if let Some(message) = before.differs(&fresh) {
            self.shared.say(Level::Error, Some(batch.partition), message);
        }
        before.clone()
    }

    async fn insert(
        &self,
        batch: Batch,
        decoded: Decoded,
        intent: Intent,
        done: &mut BTreeMap<i32, Position>,
    ) -> Result<(), Aborted> {
        let Batch { partition, epoch, .. } = batch;
        let next_offset = intent.to;
        let began = Instant::now();
        let position = Position { partition, next_offset: intent.from, epoch, intent: None, last: None };
        let mut noted = Noted { task: self, position, intent };
        let written =
            self.writer.reading(batch.schema()).flush(&batch, decoded, &mut noted, "kafka", &self.stop).await?;
        done.insert(partition, Position { partition, next_offset, epoch, intent: None, last: batch.last() });
        let size = batch.size();
        self.shared.held.fetch_sub(size, Ordering::AcqRel);
        self.shared.handed.fetch_sub(1, Ordering::AcqRel);
        self.shared.inserted(partition, next_offset, |status| {
            status.messages += batch.len() as u64;
            status.bytes += size as u64;
            status.rows += written.rows;
            status.quarantined += written.quarantined;
            status.state = State::Running;
        });
        self.shared.read(&batch, began.elapsed());
        Ok(())
    }

    /// Saves what is done and what comes next, all or none of it.
    async fn save(&self, done: &mut BTreeMap<i32, Position>, next: Vec<Position>) -> Result<(), Aborted> {
        for position in next {
            done.insert(position.partition, position);
        }
        if done.is_empty() {
            return Ok(());
        }
        let positions: Vec<_> = std::mem::take(done).into_values().collect();
        self.write(positions).await?;
        failpoint::reach("after-state");
        Ok(())
    }

    async fn write(&self, positions: Vec<Position>) -> Result<(), Aborted> {
        for tries in 1.. {
            let (offsets, id, topic) = (self.offsets.clone(), self.id.clone(), self.topic.clone());
            let saving = positions.clone();
            let saved = tokio::task::spawn_blocking(move || offsets.save(&id, &topic, &saving)).await;
            let error = match saved {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            let message = format!("offsets cannot be saved: {error}");
            self.shared.complain(Level::Error, positions.first().map(|it| it.partition), "save", message);
            if self.stop.is_cancelled() && tries >= LAST_TRIES {
                return Err(Aborted);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
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
        let intent = Some(self.intent.write());
        self.task.write(vec![Position { intent, ..self.position.clone() }]).await
    }
}
