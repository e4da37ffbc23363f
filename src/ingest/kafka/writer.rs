//! The end of a consumer's pipe: what will be inserted is written down, then inserted, then the offsets move.
//!
//! In: commands of the reader. Out: rows, saved offsets. Kafka is not known here.
//!
//! One transaction of the store says both that the batches before are in and what comes next, for several
//! partitions where several wait: it is one wait for the disk per round, not two per batch. Rounds of different
//! partitions go side by side: one waits for the disk while another is inserted.

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
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
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
    /// By partition: offsets that are true and not saved yet.
    pub(super) done: Mutex<BTreeMap<i32, Position>>,
    pub(super) saving: tokio::sync::Mutex<()>,
}

impl Command {
    fn partition(&self) -> i32 {
        match self {
            Command::Insert(next) => next.0.partition,
            Command::Save(position) => position.partition,
        }
    }
}

/// Rounds that are under way at the same time, of different partitions: one is inserted while another waits for the disk.
const ROUNDS: usize = 2;

/// What one partition's batch is about to become, with the task that can write it down.
struct Noted<'a> {
    task: &'a Task,
    position: Position,
    intent: Intent,
}

/// How often saving is tried once a batch is in and the server stops.
const LAST_TRIES: u32 = 5;

impl Task {
    /// Ends when the server stops: what is begun is finished, what waits is left to the next start. Ends also when the
    /// reader has no more, with all of it in.
    pub(super) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let task = Arc::new(self);
        let mut waiting = VecDeque::new();
        let mut rounds = JoinSet::new();
        // The partitions of the rounds that are under way.
        let mut busy = BTreeSet::new();
        let mut over = false;
        let mut closed = false;
        loop {
            while let Ok(command) = commands.try_recv() {
                waiting.push_back(command);
            }
            over |= task.stop.is_cancelled();
            while !over && rounds.len() < ROUNDS {
                let batches = task.together(&mut waiting, &busy);
                if batches.is_empty() {
                    break;
                }
                let partitions: Vec<_> = batches.iter().map(|(it, ..)| it.partition).collect();
                busy.extend(&partitions);
                let task = task.clone();
                rounds.spawn(async move { (partitions, task.round(batches).await) });
            }
            if rounds.is_empty() {
                // What waits has no partition that is busy, so it was a position to be saved, and is.
                if task.save(Vec::new()).await.is_err() || over || closed {
                    return;
                }
            }
            tokio::select! {
                biased;
                Some(ended) = rounds.join_next() => match ended {
                    Ok((partitions, Ok(()))) => busy.retain(|it| !partitions.contains(it)),
                    // It stops, or there is a mistake in the code: nothing more is begun.
                    Ok((_, Err(Aborted))) | Err(_) => over = true,
                },
                () = task.stop.cancelled(), if !over => over = true,
                command = commands.recv(), if !over && !closed => match command {
                    Some(command) => waiting.push_back(command),
                    None => closed = true,
                },
            }
        }
    }

    /// Takes what can be done together: at most one batch of each partition, for each has one intent.
    fn together(&self, waiting: &mut VecDeque<Command>, busy: &BTreeSet<i32>) -> Vec<(Batch, Decoded, Intent)> {
        let mut held = busy.clone();
        let mut batches = Vec::new();
        for command in std::mem::take(waiting) {
            match command {
                Command::Insert(next) if held.insert(next.0.partition) => {
                    let (batch, decoded) = *next;
                    let intent = self.intent(&batch, &decoded);
                    batches.push((batch, decoded, intent));
                }
                Command::Save(position) if !held.contains(&position.partition) => self.done(position),
                later => {
                    // What follows of its partition waits behind it.
                    held.insert(later.partition());
                    waiting.push_back(later);
                }
            }
        }
        batches
    }

    async fn round(&self, batches: Vec<(Batch, Decoded, Intent)>) -> Result<(), Aborted> {
        let noted = |(batch, _, intent): &(Batch, Decoded, Intent)| Position {
            partition: batch.partition,
            next_offset: intent.from,
            epoch: batch.epoch,
            intent: Some(intent.write()),
            last: None,
        };
        self.save(batches.iter().map(noted).collect()).await?;
        failpoint::reach("after-intent");
        for (batch, decoded, intent) in batches {
            self.insert(batch, decoded, intent).await?;
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

    async fn insert(&self, batch: Batch, decoded: Decoded, intent: Intent) -> Result<(), Aborted> {
        let Batch { partition, epoch, .. } = batch;
        let next_offset = intent.to;
        let began = Instant::now();
        let position = Position { partition, next_offset: intent.from, epoch, intent: None, last: None };
        let mut noted = Noted { task: self, position, intent };
        let written =
            self.writer.reading(batch.schema()).flush(&batch, decoded, &mut noted, "kafka", &self.stop).await?;
        let position = Position { partition, next_offset, epoch, intent: None, last: batch.last() };
        self.done(position);
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

    fn done(&self, position: Position) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(position.partition, position);
    }

    /// Saves what is done and what comes next, all or none of it. One save ends before the next begins: what is written
    /// last of a partition is the latest.
    async fn save(&self, next: Vec<Position>) -> Result<(), Aborted> {
        let _saving = self.saving.lock().await;
        next.into_iter().for_each(|position| self.done(position));
        let positions = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        if positions.is_empty() {
            return Ok(());
        }
        self.write(positions.into_values().collect()).await?;
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
