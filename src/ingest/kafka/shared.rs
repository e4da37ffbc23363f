//! What a consumer's threads know together: its status, how far each partition is, and which complaints
//! were made already.
//!
//! In: what happens in the client, the reader and the writer. Out: [`Status`] and observations.

use super::{State, Status, oauth::Tokens, pending::Batch, words};
use crate::{
    ingest::batch::Rows,
    observe::{KafkaRead, Level, Observation, Sink},
};
use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, KafkaResult},
};
use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The same complaint is not made again so soon.
const QUIET: Duration = Duration::from_secs(60);

/// Answers a second that a broker which waits for messages, as it is asked to, never gives.
const HURRIED: u64 = 50;

#[derive(Debug)]
pub(super) struct Shared {
    datasource: String,
    topic: String,
    sink: Sink,
    known: Mutex<Known>,
    /// Bytes of messages that are read and not inserted yet.
    pub(super) held: AtomicUsize,
    /// Batches that were cut and are not inserted yet.
    pub(super) handed: AtomicUsize,
    /// Offsets moved on since the group's were committed.
    pub(super) moved: AtomicBool,
    /// There was trouble since messages were last compared with what they were.
    pub(super) doubtful: AtomicBool,
    /// The broker answers fetches that find nothing at once, instead of when something comes.
    pub(super) hurried: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    status: Status,
    /// By partition: the offset that follows the last inserted message, and the one that follows the last
    /// message there is.
    next: BTreeMap<i32, i64>,
    end: BTreeMap<i32, i64>,
    /// How many answers the client has had, and when it said so.
    answers: Option<(i64, u64)>,
    complaints: HashMap<String, Instant>,
}

impl Known {
    fn lag(&self) -> i64 {
        let lag = self.end.iter().map(|(partition, end)| {
            let next = self.next.get(partition).copied().unwrap_or(*end);
            (end - next).max(0)
        });
        lag.sum()
    }
}

impl Shared {
    pub(super) fn new(datasource: &str, topic: &str, sink: &Sink) -> Arc<Shared> {
        Arc::new(Shared {
            datasource: datasource.to_owned(),
            topic: topic.to_owned(),
            sink: sink.clone(),
            known: Mutex::default(),
            held: AtomicUsize::new(0),
            handed: AtomicUsize::new(0),
            moved: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Status {
        let known = self.known();
        Status { lag: known.lag(), held: self.held.load(Ordering::Acquire), ..known.status.clone() }
    }

    /// Messages to come, and the sum of where the partitions end.
    pub(super) fn lag(&self) -> (i64, i64) {
        let known = self.known();
        (known.lag(), known.end.values().sum())
    }

    pub(super) fn set_state(&self, state: State) {
        self.known().status.state = state;
    }

    /// A partition's messages end here, for now.
    pub(super) fn ends(&self, partition: i32, end: i64) {
        self.known().end.insert(partition, end);
    }

    /// A partition is read from here on.
    pub(super) fn positioned(&self, partition: i32, next_offset: i64) {
        self.known().next.insert(partition, next_offset);
    }

    /// A batch is in and its offset saved.
    pub(super) fn inserted(&self, partition: i32, next_offset: i64, change: impl FnOnce(&mut Status)) {
        let mut known = self.known();
        known.next.insert(partition, next_offset);
        change(&mut known.status);
        drop(known);
        self.moved.store(true, Ordering::Release);
    }

    /// By partition, the offset that follows the last inserted message.
    pub(super) fn next_offsets(&self) -> BTreeMap<i32, i64> {
        self.known().next.clone()
    }

    /// Something is wrong and may pass. The first of its kind is observed, repetitions now and then.
    pub(super) fn complain(&self, level: Level, partition: Option<i32>, kind: &str, message: String) {
        let mut known = self.known();
        known.status.last_error = Some(message.clone());
        let now = Instant::now();
        if known.complaints.get(kind).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return;
        }
        known.complaints.insert(kind.to_owned(), now);
        drop(known);
        self.say(level, partition, message);
    }

    /// Messages come: what was complained of is over.
    pub(super) fn well(&self) {
        let mut known = self.known();
        let before = std::mem::replace(&mut known.status.state, State::Running);
        known.complaints.clear();
        drop(known);
        if before == State::Waiting {
            self.say(Level::Info, None, "the broker answers, reading".to_owned());
        }
    }

    /// A batch is in, which took so long to insert.
    pub(super) fn read(&self, batch: &Batch, inserting: Duration) {
        let known = self.known();
        let partition = batch.partition;
        let lag = known.end.get(&partition).map_or(0, |end| end - known.next.get(&partition).unwrap_or(end));
        drop(known);
        self.sink.observe(Observation::KafkaRead(Box::new(KafkaRead {
            datasource: self.datasource.clone(),
            topic: self.topic.clone(),
            partition,
            messages: batch.len() as u64,
            bytes: batch.bytes() as u64,
            lag: lag.max(0),
            reading: batch.reading,
            decoding: batch.decoding,
            inserting,
        })));
    }

    pub(super) fn say(&self, level: Level, partition: Option<i32>, message: String) {
        let (datasource, topic) = (self.datasource.clone(), self.topic.clone());
        self.sink.observe(Observation::Kafka { datasource, topic, partition, level, message });
    }
}

/// The client's own voice.
pub(super) struct Voice(pub(super) Arc<Shared>, pub(super) Tokens);

impl ClientContext for Voice {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.1.fetch()
    }

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {
        // What matters of the client's log comes as an error as well.
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.doubtful.store(true, Ordering::Release);
        let code = error.rdkafka_error_code().map_or_else(String::new, |it| format!("{it:?}"));
        self.0.complain(Level::Warning, None, &code, words::explain(reason));
    }

    fn stats(&self, statistics: Statistics) {
        let mut known = self.0.known();
        let answers = statistics.brokers.values().map(|it| it.rx).sum::<u64>();
        if let Some((before, count)) = known.answers.replace((statistics.ts, answers)) {
            let seconds = ((statistics.ts - before) / 1_000_000).max(1) as u64;
            let brokers = statistics.brokers.len().max(1) as u64;
            self.0.hurried.store(answers.saturating_sub(count) / seconds > HURRIED * brokers, Ordering::Release);
        }
        for (name, topic) in &statistics.topics {
            if *name != self.0.topic {
                continue;
            }
            for (partition, it) in &topic.partitions {
                let end = if it.ls_offset >= 0 { it.ls_offset } else { it.hi_offset };
                if *partition >= 0 && end >= 0 {
                    known.end.insert(*partition, end);
                }
            }
        }
    }
}

impl ConsumerContext for Voice {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // The group's offsets are a mirror for other tools: our own decide.
        if let Err(error) = result {
            self.0.complain(Level::Info, None, "commit", format!("the group's offsets were not committed: {error}"));
        }
    }
}
