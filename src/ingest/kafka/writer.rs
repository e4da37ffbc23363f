//! The end of a consumer's pipe: batches are inserted in order, and their offsets saved after that.
//!
//! In: commands of the reader. Out: rows, saved offsets. Kafka is not known here.

use super::{Offsets, Position, State, pending::Batch, shared::Shared};
use crate::{
    ingest::{
        batch::{Aborted, Rows, Writer},
        decode::Decoded,
    },
    observe::Level,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) enum Command {
    /// Decoded by the reader, so that one batch is decoded while the one before it is inserted.
    Insert(Batch, Decoded),
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

/// How often saving is tried once a batch is in and the server stops.
const LAST_TRIES: u32 = 5;

impl Task {
    /// Ends when the server stops: what is begun is finished, what waits is left to the next start.
    pub(super) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let command = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                command = commands.recv() => command,
            };
            let done = match command {
                None => return,
                Some(Command::Save(position)) => self.save(position).await,
                Some(Command::Insert(batch, decoded)) => self.insert(batch, decoded).await,
            };
            if done == Err(Aborted) {
                return;
            }
        }
    }

    async fn insert(&self, batch: Batch, decoded: Decoded) -> Result<(), Aborted> {
        // The intent will be written here: partition, offsets, the rows' numbers.
        let written = self.writer.flush(&batch, decoded, &self.stop).await?;
        let next_offset = batch.next_offset();
        self.save(Position { partition: batch.partition, next_offset, epoch: batch.epoch }).await?;
        let size = batch.size();
        self.shared.held.fetch_sub(size, Ordering::AcqRel);
        self.shared.inserted(batch.partition, next_offset, |status| {
            status.messages += batch.len() as u64;
            status.bytes += size as u64;
            status.rows += written.rows;
            status.quarantined += written.quarantined;
            status.state = State::Running;
        });
        Ok(())
    }

    async fn save(&self, position: Position) -> Result<(), Aborted> {
        for tries in 1.. {
            let (offsets, id, topic) = (self.offsets.clone(), self.id.clone(), self.topic.clone());
            let saving = position.clone();
            let saved = tokio::task::spawn_blocking(move || offsets.save(&id, &topic, &[saving])).await;
            let error = match saved {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            let message = format!("the offset {} cannot be saved: {error}", position.next_offset);
            self.shared.complain(Level::Error, Some(position.partition), "save", message);
            if self.stop.is_cancelled() && tries >= LAST_TRIES {
                return Err(Aborted);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}
