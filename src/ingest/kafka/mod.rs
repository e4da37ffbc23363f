//! One consumer per data source with a Kafka topic: partitions read from our own offsets, one partition a
//! batch, offsets moved on only after the insert.
//!
//! In: a [`Source`]. Out: rows in its table and quarantine, offsets in [`Offsets`], observations. Projects
//! and HTTP are not known here.

mod settings;

pub use settings::{BadSettings, SaslMechanism, SecurityProtocol, Settings};

use super::Target;
use crate::{engine::Engine, observe::Sink};
use std::{fmt, sync::Arc, time::Duration};

/// A data source that is fed from a topic. `target.datasource.kafka` is set.
#[derive(Debug, Clone)]
pub struct Source {
    /// What offsets are kept under. A data source that is dropped and made again has another one.
    pub id: String,
    pub target: Target,
    pub connection: Settings,
}

/// Where a partition is to be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub partition: i32,
    pub next_offset: i64,
    /// Counts how often the topic was made anew: it is part of the insert's token.
    pub epoch: u32,
}

/// Durable offsets. `save` returns when they would survive a crash. Both may block.
pub trait Offsets: Send + Sync + fmt::Debug {
    fn load(&self, id: &str, topic: &str) -> Result<Vec<Position>, String>;
    fn save(&self, id: &str, topic: &str, positions: &[Position]) -> Result<(), String>;
}

/// What all consumers share.
#[derive(Debug, Clone)]
pub struct Context {
    pub engine: Engine,
    pub offsets: Arc<dyn Offsets>,
    pub sink: Sink,
    pub tuning: Tuning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub batch_age: Duration,
    /// Bytes of messages that one data source may hold before reading stops.
    pub held_bytes: usize,
}

/// What a consumer is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    pub messages: u64,
    pub bytes: u64,
    pub rows: u64,
    pub quarantined: u64,
    /// Messages not read yet, over all partitions; what is not known counts nothing.
    pub lag: i64,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    Running,
    /// The topic or the broker is not there; it keeps trying.
    Waiting,
    /// An insert fails again and again; it keeps trying, slowly.
    Failing,
    Stopped,
}

/// A running consumer.
#[derive(Debug)]
pub struct Consumer {}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{0}` has no Kafka settings")]
    NotKafka(String),
    #[error(transparent)]
    Schema(#[from] super::decode::SchemaError),
    #[error(transparent)]
    Settings(#[from] BadSettings),
    #[error("the offsets cannot be read: {0}")]
    Offsets(String),
    #[error("{0}")]
    Client(String),
}

/// Starts reading. Returns at once: a broker or topic that is not there is observed and tried again.
/// Must be called inside a tokio runtime.
pub fn start(context: &Context, source: Source) -> Result<Consumer, StartError> {
    let _ = (context, source);
    Ok(Consumer {})
}

impl Consumer {
    /// Ends reading: an insert under way is finished, what was only read is read again at the next start.
    pub async fn stop(self) {}

    pub fn status(&self) -> Status {
        Status::default()
    }
}

/// Asks a broker for its metadata. The error is fit for a user, and holds no secret. Blocks.
pub fn check_broker(settings: &Settings, timeout: Duration) -> Result<(), BrokerError> {
    let _ = (settings, timeout);
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Settings(#[from] BadSettings),
    #[error("no connection to {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{0}")]
    Refused(String),
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { batch_rows: 65_536, batch_bytes: 32 << 20, batch_age: Duration::from_secs(1), held_bytes: 96 << 20 }
    }
}
