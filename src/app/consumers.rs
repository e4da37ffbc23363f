//! The Kafka consumers of a workspace: which ones should run, which ones do, and when they wait for fixtures.

use super::{AppError, Workspace, claims::reached, whole};
use crate::{
    ingest::{
        Target,
        kafka::{self, Consumer, Offsets, Position, Status},
    },
    name::ResourceName,
    observe::{Level, Observation},
    plan::{Action, Plan},
    project::{Column, ColumnDefault, Datasource, JsonPath, KafkaMeta, KafkaSource, OffsetReset, Project, ValueFormat},
    store::{KafkaPosition, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Consumers {
    running: BTreeMap<ResourceName, Running>,
    /// Until then no consumer starts: a push has fixtures to bring first.
    held_until: Option<Instant>,
    /// How much longer a sign of life of the push makes that.
    held_for: Duration,
    /// Those that must not run while rows are changed which theirs would come to.
    barred: BTreeMap<ResourceName, usize>,
}

/// Consumers that must not run for a while.
#[must_use]
#[derive(Debug)]
pub(super) struct Barred(Vec<ResourceName>);

#[derive(Debug)]
struct Running {
    feed: Feed,
    consumer: Consumer,
}

/// What somebody wants of a data source with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeding {
    Running,
    Paused,
}

/// What a consumer depends on: when it changes, the consumer starts anew.
#[derive(Debug, Clone, PartialEq)]
struct Feed {
    connection: kafka::Settings,
    topic: String,
    group_id: String,
    offset_reset: OffsetReset,
    keeps: (bool, bool),
    formats: (ValueFormat, ValueFormat),
    columns: Vec<ColumnShape>,
}

/// Between two calls of a client of the classic API there is less than this.
const QUIET: Duration = Duration::from_secs(3);

type ColumnShape = (String, String, Option<JsonPath>, Option<KafkaMeta>, Option<(bool, String)>);

impl Workspace {
    /// The consumers that run, by data source.
    pub async fn kafka_status(&self) -> BTreeMap<ResourceName, Status> {
        let consumers = self.consumers.lock().await;
        consumers.running.iter().map(|(name, it)| (name.clone(), it.consumer.status())).collect()
    }

    /// The push that held consumers back has its fixtures in: they start now.
    pub async fn release_consumers(&self) -> Result<(), AppError> {
        let mut consumers = self.consumers.lock().await;
        if consumers.held_until.is_some() {
            let id = self.record.id.clone();
            self.shared.store(move |store| store.release(&id)).await?;
            consumers.held_until = None;
        }
        drop(consumers);
        self.start_consumers().await
    }

    /// Lets no consumer start until [`Workspace::release_consumers`], or until the time for it is over. A
    /// restart changes nothing about that.
    pub(super) async fn hold_consumers(self: &Arc<Self>) -> Result<(), AppError> {
        let id = self.record.id.clone();
        self.shared.store(move |store| store.hold(&id)).await?;
        self.hold_from_now().await;
        Ok(())
    }

    /// The process that held consumers back has ended, and its client may still have fixtures to bring: they
    /// go on waiting, their time begins anew.
    pub(super) async fn hold_again(self: &Arc<Self>) -> Result<(), AppError> {
        let id = self.record.id.clone();
        if self.shared.store(move |store| store.is_held(&id)).await? {
            self.hold_from_now().await;
        }
        Ok(())
    }

    async fn hold_from_now(self: &Arc<Self>) {
        self.hold_for(self.shared.settings.hold_at_most).await;
    }

    /// Lets no consumer start until there was no change and no file for a while: what clients of the classic API
    /// bring comes one by one, and none of them says that it was the last.
    pub(super) async fn hold_quietly(self: &Arc<Self>) {
        self.hold_for(QUIET.min(self.shared.settings.hold_at_most)).await;
    }

    async fn hold_for(self: &Arc<Self>, time: Duration) {
        let mut consumers = self.consumers.lock().await;
        let first = consumers.held_until.is_none();
        // A push that waits for its fixtures goes on waiting for them.
        consumers.held_for = if first { time } else { consumers.held_for.max(time) };
        consumers.held_until = Some(Instant::now() + consumers.held_for);
        if first {
            tokio::spawn(release_in_time(Arc::downgrade(self)));
        }
    }

    /// A fixture came: the push is alive.
    pub(super) async fn extend_hold(&self) {
        let mut consumers = self.consumers.lock().await;
        let until = Instant::now() + consumers.held_for;
        if let Some(held_until) = &mut consumers.held_until {
            *held_until = until;
        }
    }

    /// Brings the consumers in line with the project: stops those that are not wanted any more or not like
    /// this, and starts what is missing, unless a push holds them back.
    pub(super) async fn start_consumers(&self) -> Result<(), AppError> {
        let mut consumers = self.consumers.lock().await;
        let project = self.project();
        let mut wanted = self.feeds(&project).await?;
        wanted.retain(|name, _| !consumers.barred.contains_key(name));
        stop_unlike(&mut consumers, &wanted).await;
        // A branch has the connections of its workspace, so that its files mean the same, and takes nothing from them.
        if consumers.held_until.is_some() || self.main().is_some() || self.shared.running().is_err() {
            return Ok(());
        }
        let connections = self.connection_settings(&project).await?;
        let connections: BTreeMap<_, _> =
            connections.into_iter().filter_map(|(name, it)| Some((name, it.ok()?))).collect();
        for (name, feed) in wanted {
            let Some(datasource) = project.datasource(name.as_str()) else { continue };
            if consumers.running.contains_key(&name) {
                continue;
            }
            let source = kafka::Source {
                id: name.to_string(),
                target: Target {
                    datasource: datasource.clone(),
                    table: self.namespace.table(&name),
                    quarantine: self.namespace.table(&name.quarantine()),
                },
                connection: feed.connection.clone(),
                connections: connections.clone(),
            };
            match kafka::start(&self.kafka_context(), source).await {
                Ok(consumer) => _ = consumers.running.insert(name, Running { feed, consumer }),
                // The others must not wait for it; it is tried again with the next deploy or start.
                Err(error) => self.sink.observe(Observation::Kafka {
                    datasource: name.to_string(),
                    topic: feed.topic,
                    partition: None,
                    level: Level::Error,
                    message: format!("the consumer cannot start: {error}"),
                }),
            }
        }
        Ok(())
    }

    /// Stops the consumers whose rows reach one of these data sources, until [`Workspace::unbar_consumers`]. Nothing
    /// when one of them has rows half in: they come first, and none is stopped.
    pub(super) async fn bar_consumers(&self, names: &BTreeSet<ResourceName>) -> Result<Option<Barred>, AppError> {
        let project = self.project();
        let fed = project.datasources.values().filter(|it| it.kafka.is_some());
        let reaching = fed.filter(|it| !reached(&project, &it.name).is_disjoint(names));
        let reaching: Vec<_> = reaching.map(|it| it.name.clone()).collect();
        let barred = Barred(reaching.clone());
        if reaching.is_empty() {
            return Ok(Some(barred));
        }
        let mut consumers = self.consumers.lock().await;
        barred.0.iter().for_each(|name| *consumers.barred.entry(name.clone()).or_default() += 1);
        drop(consumers);
        let is_half_in = async {
            self.start_consumers().await?;
            let mut is_half_in = false;
            for name in reaching {
                let (id, name) = (self.record.id.clone(), name.to_string());
                let intents = self.shared.store(move |store| store.kafka_intents(&id, &name)).await?;
                is_half_in |= !intents.is_empty();
            }
            Ok(is_half_in)
        };
        match is_half_in.await {
            Ok(false) => Ok(Some(barred)),
            Ok(true) => self.unbar_consumers(barred).await.map(|()| None),
            Err(error) => self.unbar_consumers(barred).await.and(Err(error)),
        }
    }

    pub(super) async fn unbar_consumers(&self, barred: Barred) -> Result<(), AppError> {
        if barred.0.is_empty() {
            return Ok(());
        }
        let mut consumers = self.consumers.lock().await;
        for name in &barred.0 {
            if let Some(count) = consumers.barred.get_mut(name) {
                *count -= 1;
            }
        }
        consumers.barred.retain(|_, count| *count > 0);
        drop(consumers);
        self.start_consumers().await
    }

    /// Stops what must not run while a plan is carried out: consumers that the wanted project has not or has
    /// otherwise, and all of them when a view is dropped and made again, or else it would miss rows.
    pub(super) async fn stop_for(&self, plan: &Plan, wanted: &Project) -> Result<(), AppError> {
        let mut consumers = self.consumers.lock().await;
        let dropped = plan.steps.iter().any(|it| matches!(it.action, Action::DropView { .. }));
        let feeds = if dropped { BTreeMap::new() } else { self.feeds(wanted).await? };
        stop_unlike(&mut consumers, &feeds).await;
        Ok(())
    }

    /// Whether a data source is to read its topic.
    pub async fn feeding(&self, name: &ResourceName) -> Result<Feeding, AppError> {
        let id = self.record.id.clone();
        let paused = self.shared.store(move |store| store.paused(&id)).await?;
        Ok(if paused.contains(name.as_str()) { Feeding::Paused } else { Feeding::Running })
    }

    /// Lets a data source read its topic or not, over restarts. What is begun is finished before this returns;
    /// reading goes on where it stopped.
    pub async fn set_feeding(self: &Arc<Self>, name: &ResourceName, feeding: Feeding) -> Result<(), AppError> {
        let (workspace, name) = (self.clone(), name.clone());
        whole(async move {
            // A deploy under way must not start what is to stop.
            let _deploying = workspace.deploying.lock().await;
            let (id, datasource) = (workspace.record.id.clone(), name.to_string());
            let paused = feeding == Feeding::Paused;
            workspace.shared.store(move |store| store.set_paused(&id, &datasource, paused)).await?;
            let topic =
                workspace.project().datasource(name.as_str()).and_then(|it| Some(it.kafka.as_ref()?.topic.clone()));
            let message = if paused { "paused: nothing is read until it is resumed" } else { "resumed" };
            workspace.sink.observe(Observation::Kafka {
                datasource: name.to_string(),
                topic: topic.unwrap_or_default(),
                partition: None,
                level: Level::Info,
                message: message.to_owned(),
            });
            workspace.start_consumers().await
        })
        .await
    }

    pub(super) async fn stop_consumers(&self) {
        let running = std::mem::take(&mut self.consumers.lock().await.running);
        all(running.into_values().map(|it| it.consumer.leave())).await;
    }

    async fn feeds(&self, project: &Project) -> Result<BTreeMap<ResourceName, Feed>, AppError> {
        let connections = self.connection_settings(project).await?;
        let id = self.record.id.clone();
        let paused = self.shared.store(move |store| store.paused(&id)).await?;
        let feed = |datasource: &Arc<Datasource>| {
            let kafka = datasource.kafka.as_ref().filter(|_| !paused.contains(datasource.name.as_str()))?;
            let connection = connections.get(kafka.connection.as_str())?.as_ref().ok()?;
            Some((datasource.name.clone(), Feed::new(connection.clone(), kafka, &datasource.columns)))
        };
        Ok(project.datasources.values().filter_map(feed).collect())
    }

    fn kafka_context(&self) -> kafka::Context {
        let store = self.shared.store.clone();
        kafka::Context {
            engine: self.shared.engine.clone(),
            offsets: Arc::new(StoredOffsets { store, workspace: self.record.id.clone() }),
            sink: self.sink.clone(),
            tuning: self.shared.settings.kafka.clone(),
            mended: self.mended.clone(),
        }
    }
}

impl Feed {
    fn new(connection: kafka::Settings, kafka: &KafkaSource, columns: &[Column]) -> Feed {
        let default = |it: &ColumnDefault| match it {
            ColumnDefault::Default(expression) => (false, expression.text().to_owned()),
            ColumnDefault::Materialized(expression) => (true, expression.text().to_owned()),
        };
        let shape = |it: &Column| {
            let column_type = it.column_type.to_string();
            (it.name.to_string(), column_type, it.jsonpath.clone(), it.kafka_meta, it.default.as_ref().map(default))
        };
        Feed {
            connection,
            topic: kafka.topic.clone(),
            group_id: kafka.group_id.clone(),
            offset_reset: kafka.offset_reset,
            keeps: (kafka.store_raw_value, kafka.store_headers),
            formats: (kafka.key_format, kafka.value_format),
            columns: columns.iter().map(shape).collect(),
        }
    }
}

async fn stop_unlike(consumers: &mut Consumers, wanted: &BTreeMap<ResourceName, Feed>) {
    let running = std::mem::take(&mut consumers.running);
    let (keep, stop): (BTreeMap<_, _>, BTreeMap<_, _>) =
        running.into_iter().partition(|(name, it)| wanted.get(name) == Some(&it.feed));
    consumers.running = keep;
    all(stop.into_values().map(|it| it.consumer.stop())).await;
}

/// All at once: each finishes the insert that it is at.
async fn all(ends: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let mut ending: tokio::task::JoinSet<()> = ends.collect();
    while ending.join_next().await.is_some() {}
}

/// Ends a hold whose push never said that it was done.
async fn release_in_time(workspace: Weak<Workspace>) {
    loop {
        let until = match workspace.upgrade() {
            Some(workspace) => workspace.consumers.lock().await.held_until,
            None => return,
        };
        let Some(until) = until else { return };
        tokio::time::sleep_until(until).await;
        let Some(workspace) = workspace.upgrade() else { return };
        let over = workspace.consumers.lock().await.held_until.is_some_and(|it| it <= Instant::now());
        if over {
            let quiet = workspace.consumers.lock().await.held_for <= QUIET;
            if !quiet {
                workspace
                    .shared
                    .warn("a push did not say that its fixtures are in; its Kafka consumers start now".into());
            }
            if let Err(error) = workspace.release_consumers().await {
                workspace.shared.warn(format!("consumers could not be started: {error}"));
            }
            return;
        }
    }
}

fn position(it: KafkaPosition) -> Position {
    Position {
        partition: it.partition,
        next_offset: it.next_offset,
        epoch: it.ingest_epoch,
        intent: it.intent,
        last: it.last,
    }
}

/// Kafka positions in the store. All calls block, as their callers know.
#[derive(Debug)]
struct StoredOffsets {
    store: Arc<Store>,
    workspace: String,
}

impl Offsets for StoredOffsets {
    fn load(&self, id: &str, topic: &str) -> Result<Vec<Position>, String> {
        let positions = self.store.kafka_positions(&self.workspace, id, topic).map_err(|it| it.to_string())?;
        Ok(positions.into_iter().map(position).collect())
    }

    fn begun(&self, id: &str) -> Result<Vec<(String, Position)>, String> {
        let intents = self.store.kafka_intents(&self.workspace, id).map_err(|it| it.to_string())?;
        Ok(intents.into_iter().map(|it| (it.topic.clone(), position(it))).collect())
    }

    fn save(&self, id: &str, topic: &str, positions: &[Position]) -> Result<(), String> {
        let position = |it: &Position| KafkaPosition {
            datasource: id.to_owned(),
            topic: topic.to_owned(),
            partition: it.partition,
            next_offset: it.next_offset,
            ingest_epoch: it.epoch,
            intent: it.intent.clone(),
            last: it.last,
        };
        let positions: Vec<_> = positions.iter().map(position).collect();
        self.store.save_kafka_positions(&self.workspace, &positions).map_err(|it| it.to_string())
    }
}
