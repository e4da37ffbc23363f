//! What a consumer does one after the other: what was begun of other topics, or by other connections, comes to its
//! end first; then the data source's topic is read.
//!
//! In: a [`Source`], its offsets. Out: a reader and a writer for each stage, the next when the one before has ended.

use super::{
    Context, Source, StartError, State, Status, WAITING_BATCHES, client,
    pending::Stream,
    reader::{Reader, Rests, Saved, Wanted},
    registry::Formats,
    settings::Settings,
    shared::{Shared, Voice},
    writer::{Command, Task},
};
use crate::{
    ingest::{batch::Writer, decode::Schema},
    observe::{Level, Observation},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// All that the stages of one consumer have in common.
pub(super) struct Stages {
    pub(super) context: Context,
    pub(super) source: Source,
    pub(super) schema: Arc<Schema>,
    pub(super) writer: Writer,
    pub(super) stop: CancellationToken,
    pub(super) progress: Arc<Progress>,
}

/// A topic, by the connection of that name or else by the data source's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stage {
    topic: String,
    connection: Option<String>,
}

/// What there is to see of stages that began, the present one last.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Begun>);

#[derive(Debug, Default)]
struct Begun {
    stages: Vec<Arc<Shared>>,
    reading: Option<thread::JoinHandle<()>>,
}

/// A stage whose messages are being read.
pub(super) struct Opened(Task, mpsc::Receiver<Command>);

impl Stages {
    /// In their order; the last one is the topic that the data source has now.
    pub(super) async fn all(&self) -> Result<Vec<Stage>, StartError> {
        let (offsets, id) = (self.context.offsets.clone(), self.source.id.clone());
        let begun = blocking(move || offsets.begun(&id)).await?;
        let own = Stage { topic: self.topic().to_owned(), connection: None };
        let mut before = BTreeSet::new();
        for (topic, position) in begun {
            before.insert(self.stage(topic, &Saved::read(position).map_err(StartError::Offsets)?));
        }
        before.remove(&own);
        Ok(before.into_iter().chain([own]).collect())
    }

    /// By which connection something was begun. One that is gone, or has become the same, is the present one.
    fn stage(&self, topic: String, begun: &Saved) -> Stage {
        let name = begun.intent.as_ref().map(|it| it.connection.clone());
        let differs = |name: &String| {
            let settings = self.source.connections.get(name);
            name != self.connection() && settings.is_some_and(|it| *it != self.source.connection)
        };
        Stage { topic, connection: name.filter(differs) }
    }

    fn topic(&self) -> &str {
        self.source.target.datasource.kafka.as_ref().map_or("", |it| &it.topic)
    }

    fn connection(&self) -> &str {
        self.source.target.datasource.kafka.as_ref().map_or("", |it| it.connection.as_str())
    }

    /// Goes through the stages. One that cannot begin is observed, and the next one is not kept from it.
    pub(super) async fn run(self, first: Opened, rest: impl Iterator<Item = Stage>) {
        let Opened(task, received) = first;
        task.run(received).await;
        for stage in rest {
            if self.stop.is_cancelled() {
                return;
            }
            match self.open(&stage).await {
                Ok(Opened(task, received)) => task.run(received).await,
                Err(error) => self.context.sink.observe(Observation::Kafka {
                    datasource: self.source.target.datasource.name.to_string(),
                    topic: stage.topic,
                    partition: None,
                    level: Level::Error,
                    message: format!("the consumer cannot start: {error}"),
                }),
            }
        }
    }

    /// Begins to read.
    pub(super) async fn open(&self, stage: &Stage) -> Result<Opened, StartError> {
        let Source { id, target, connection, connections } = &self.source;
        let kafka = target.datasource.kafka.as_ref();
        let kafka = kafka.ok_or_else(|| StartError::NotKafka(target.datasource.name.to_string()))?;
        let name = target.datasource.name.as_str();
        let through = stage.connection.as_ref().and_then(|it| Some((it.as_str(), connections.get(it)?)));
        let (through, connection): (&str, &Settings) = through.unwrap_or((self.connection(), connection));
        let is_own = stage.topic == kafka.topic && stage.connection.is_none();
        let wanted = if is_own { Wanted::All } else { Wanted::Begun };
        let (offsets, topic, of) = (self.context.offsets.clone(), stage.topic.clone(), id.clone());
        let saved = blocking(move || offsets.load(&of, &topic)).await?;
        let saved = saved.into_iter().map(Saved::read).collect::<Result<Vec<_>, _>>().map_err(StartError::Offsets)?;
        let of_this = |it: &Saved| it.intent.is_some() && self.stage(stage.topic.clone(), it) == *stage;
        let saved: Vec<_> = saved.into_iter().filter(|it| is_own || of_this(it)).collect();
        let stream = |schema: &Arc<Schema>| {
            let formats = Formats::new(schema.formats(), connection.registry.as_ref()).map_err(StartError::Client)?;
            let (id, topic, connection) = (id.clone(), stage.topic.clone(), through.to_owned());
            Ok::<_, StartError>(Arc::new(Stream { id, topic, connection, schema: schema.clone(), formats }))
        };
        let mut before = BTreeMap::new();
        for Saved { position, intent } in &saved {
            // What cannot be read any more is read as it is now, and that is said.
            let reading = intent.as_ref().map(|it| &it.reading).filter(|it| *it != self.schema.text());
            if let Some(Ok(reading)) = reading.map(|it| Schema::read(it)) {
                before.insert(position.partition, stream(&Arc::new(reading))?);
            }
        }
        let stream = stream(&self.schema)?;
        let shared = Shared::new(name, &stage.topic, &self.context.sink);
        let client = client(connection, name, &kafka.group_id, Voice(shared.clone(), connection.tokens()))?;
        let (commands, received) = mpsc::channel(WAITING_BATCHES);
        let task = Task {
            id: id.clone(),
            topic: stage.topic.clone(),
            offsets: self.context.offsets.clone(),
            writer: self.writer.clone(),
            shared: shared.clone(),
            stop: self.stop.clone(),
            done: Default::default(),
            saving: Default::default(),
        };
        let reader = Reader {
            client,
            stream,
            before,
            wanted,
            missed: 0,
            reset: kafka.offset_reset,
            tuning: self.context.tuning.clone(),
            shared: shared.clone(),
            commands,
            stop: self.stop.clone(),
            at_first: if saved.is_empty() { None } else { Some(0) },
            saved: saved.into_iter().map(|it| (it.position.partition, it)).collect(),
            look_now: false,
            partitions: BTreeMap::new(),
            heard: Instant::now(),
            rests: Rests::default(),
        };
        if wanted == Wanted::Begun {
            let message = format!("what was begun of the topic `{}` is finished first", stage.topic);
            shared.say(Level::Info, None, message);
        }
        let reading = thread::Builder::new().name(format!("kafka {name}")).spawn(|| reader.run());
        let reading = reading.map_err(|error| StartError::Client(format!("no thread for `{name}`: {error}")))?;
        let mut begun = self.progress.begun();
        begun.stages.push(shared);
        begun.reading = Some(reading);
        Ok(Opened(task, received))
    }
}

impl Progress {
    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_reading(&self) -> bool {
        self.begun().reading.as_ref().is_some_and(|it| !it.is_finished())
    }

    /// That of the present stage, with what came before counted in.
    pub(super) fn status(&self) -> Status {
        let begun = self.begun();
        let Some((present, before)) = begun.stages.split_last() else { return Status::default() };
        before.iter().map(|it| it.status()).fold(present.status(), |status, it| Status {
            messages: status.messages + it.messages,
            bytes: status.bytes + it.bytes,
            rows: status.rows + it.rows,
            quarantined: status.quarantined + it.quarantined,
            ..status
        })
    }

    pub(super) fn state(&self) -> State {
        self.status().state
    }
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, StartError> {
    let answer = tokio::task::spawn_blocking(ask).await;
    answer.unwrap_or_else(|error| Err(error.to_string())).map_err(StartError::Offsets)
}
