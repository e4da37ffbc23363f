//! One consumer per data source with a Kafka topic: partitions read from our own offsets, one partition a
//! batch, offsets moved on only after the insert.
//!
//! In: a [`Source`]. Out: rows in its table and quarantine, offsets in [`Offsets`], observations. Projects
//! and HTTP are not known here.

mod avro;
mod check;
mod intent;
mod oauth;
mod pending;
mod preview;
mod reader;
mod registry;
mod settings;
mod shared;
mod stages;
mod words;
mod writer;

pub use check::{BrokerError, check_broker};
pub use oauth::OAuth;
pub use preview::{Seen, last_messages, topics};
pub use registry::RegistryUrl;
pub use settings::{BadSettings, SaslMechanism, SecurityProtocol, Settings};

use super::{Target, batch::Writer, decode::Schema};
use crate::{engine::Engine, observe::Sink};
use rdkafka::{config::FromClientConfigAndContext, consumer::BaseConsumer};
use shared::Voice;
use stages::{Progress, Stages};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A data source that is fed from a topic. `target.datasource.kafka` is set.
#[derive(Debug, Clone)]
pub struct Source {
    /// What offsets are kept under. A data source that is dropped and made again has another one.
    pub id: String,
    pub target: Target,
    pub connection: Settings,
    /// All there are, by name: something may have been begun by another one.
    pub connections: BTreeMap<String, Settings>,
}

/// Where a partition is to be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub partition: i32,
    pub next_offset: i64,
    /// Counts how often the topic was made anew: it is part of the insert's token.
    pub epoch: u32,
    /// What was about to be inserted from `next_offset` on, in this module's own form.
    pub intent: Option<Vec<u8>>,
    /// Of the message before `next_offset`, where it was the last that is in: a topic that was made anew, and is longer
    /// than that already, has another one there.
    pub last: Option<u32>,
}

/// Durable offsets. `save` returns when they would survive a crash. All may block.
pub trait Offsets: Send + Sync + fmt::Debug {
    fn load(&self, id: &str, topic: &str) -> Result<Vec<Position>, String>;
    /// Of all topics, with their names, those that have an intent.
    fn begun(&self, id: &str) -> Result<Vec<(String, Position)>, String>;
    fn save(&self, id: &str, topic: &str, positions: &[Position]) -> Result<(), String>;
}

/// What all consumers share.
#[derive(Debug, Clone)]
pub struct Context {
    pub engine: Engine,
    pub offsets: Arc<dyn Offsets>,
    pub sink: Sink,
    pub tuning: Tuning,
    /// Says that what was in the way of inserts may be mended.
    pub mended: Arc<Notify>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub batch_age: Duration,
    /// Bytes of messages that one data source may hold before reading stops.
    pub held_bytes: usize,
    /// How often partitions are looked for that the topic got.
    pub discovery: Duration,
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
    /// Bytes of messages that are read and not inserted yet.
    pub held: usize,
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

/// A running consumer. Dropping it stops it too, but nobody waits for the end.
#[derive(Debug)]
pub struct Consumer {
    progress: Arc<Progress>,
    writer: Writer,
    stop: CancellationToken,
    writing: Option<tokio::task::JoinHandle<()>>,
}

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

/// Batches that wait between reading and inserting.
const WAITING_BATCHES: usize = 2;

/// How long an insert that is under way may take at the end; then the process ends without it, and the next start reads again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Failed inserts in a row after which a consumer is said to fail.
const FAILING: u32 = 3;

/// Starts reading. Does not wait for the broker: one that is not there, or a topic, is observed and tried again.
pub async fn start(context: &Context, source: Source) -> Result<Consumer, StartError> {
    let schema = Arc::new(Schema::compile(&source.target.datasource)?);
    let writer = Writer::new(&context.engine, &source.target, &schema, &context.sink).hearing(&context.mended);
    let (stop, progress) = (CancellationToken::new(), Arc::<Progress>::default());
    let stages = Stages {
        context: context.clone(),
        source,
        schema,
        writer: writer.clone(),
        stop: stop.clone(),
        progress: progress.clone(),
    };
    let mut rest = stages.all().await?.into_iter();
    let first = rest.next().expect("the topic itself is one");
    let first = stages.open(&first).await?;
    let writing = tokio::spawn(stages.run(first, rest));
    Ok(Consumer { progress, writer, stop, writing: Some(writing) })
}

fn client(
    connection: &Settings,
    datasource: &str,
    group_id: &str,
    voice: Voice,
) -> Result<BaseConsumer<Voice>, StartError> {
    let mut config = connection.client_config();
    config
        .set("client.id", format!("birdhouse/{datasource}"))
        .set("group.id", group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.message.max.bytes", "16777216")
        .set("queued.max.messages.kbytes", "16384")
        // Without a subscription nobody waits for our polls.
        .set("max.poll.interval.ms", "86400000")
        .set("statistics.interval.ms", "5000");
    BaseConsumer::from_config_and_context(&config, voice).map_err(|error| StartError::Client(words::words(&error)))
}

impl Consumer {
    /// Ends reading: an insert under way is finished and its offset saved, however long that takes; what was only
    /// read is read again at the next start. Another consumer of the same rows must not start before.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(writing) = self.writing.take() {
            _ = writing.await;
        }
        self.farewell().await;
    }

    /// The same for the end of the process, which waits for an insert only so long.
    pub async fn leave(mut self) {
        self.stop.cancel();
        if let Some(writing) = self.writing.take() {
            _ = tokio::time::timeout(PATIENCE, writing).await;
        }
        self.farewell().await;
    }

    async fn farewell(&mut self) {
        // What is left is to tell the group how far we are, for others to look at: nothing depends on it. The
        // thread may be waiting for a broker that does not answer; it ends by itself when it has enough of that.
        let farewell = match self.progress.state() {
            State::Starting | State::Waiting => Duration::ZERO,
            State::Running | State::Failing | State::Stopped => reader::FAREWELL * 2,
        };
        let end = async {
            while self.progress.is_reading() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        _ = tokio::time::timeout(farewell, end).await;
    }

    pub fn status(&self) -> Status {
        let mut status = self.progress.status();
        let (attempts, message) = self.writer.trouble();
        if attempts >= FAILING && status.state != State::Stopped {
            status.state = State::Failing;
            status.last_error = message;
        }
        status
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            batch_rows: 100_000,
            batch_bytes: 40 << 20,
            batch_age: Duration::from_secs(1),
            held_bytes: 96 << 20,
            discovery: Duration::from_secs(30),
        }
    }
}
