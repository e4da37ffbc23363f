//! The running whole: one engine, one store, the workspaces in them, and what can be done with those.
//!
//! In: a data directory and settings. Out: an [`App`], whose [`Workspace`]s deploy projects, answer reads,
//! take rows and keep tokens and connections. Routes, flags and the terminal are not known here.
//!
//! # Consumers and pushes
//! A view joins the rows that are in the joined tables at the moment of the insert, so a Kafka consumer must
//! not start before the fixtures of the same push are in. A push with fixtures says
//! [`DeployOptions::hold_consumers`]; consumers that this push would start or start anew then wait for
//! [`Workspace::release_consumers`], which the client calls when its fixtures are in. A client that died must
//! not stop ingestion for good: when [`Settings::hold_at_most`] has passed since the deploy or the last file
//! that came, they start as well. Without `hold_consumers` they start at the end of the deploy. Consumers that
//! run and whose data source and connection have not changed are not touched. A restart ends no hold: its time
//! begins anew.

mod adopt;
mod analysis;
mod claims;
mod classic;
mod connections;
mod consumers;
mod deploy;
mod events;
mod files;
mod populate;
mod quarantine;
mod releases;
mod replay;
mod rows;
mod schedules;
mod secrets;
mod service;
mod shares;
mod times;
mod tokens;
mod verify;
mod words;
mod work;
mod workspace;
mod workspaces;
mod written;

pub use analysis::Analysis;
pub use classic::{Altered, Dependents, MadePipe, NewDatasource, NewNode, NewPipe};
pub use connections::{NewConnection, Preview};
pub use consumers::Feeding;
pub use deploy::{DeployOptions, DeployReport};
pub use files::{Appended, Incoming, Source};
pub use populate::Populate;
pub use quarantine::Reason;
pub use rows::TableStatistics;
pub use schedules::CopySchedule;
pub use times::Changed;
pub use tokens::{ADMIN_TOKEN, NewToken};
pub use verify::check;
pub use workspace::Workspace;
pub use workspaces::Realm;

pub use crate::jobs::{Job, JobKind, JobStatus, Subject, Taken};

pub use crate::ingest::{
    files::{Dialect, FileFormat, Mode as AppendMode, NoSpace, Rules as FetchRules, TIGHTEST, Upload, check_space},
    sample::SampleFormat,
};

use crate::{
    auth::{self, Access},
    datafile::{Context, Foreign},
    ddl::{Cluster, Layout},
    diagnostic::Diagnostic,
    engine::{Engine, EngineError, EngineSettings},
    ingest::{
        events::{EventsError, Tuning as EventsTuning},
        files::LoadError,
        kafka::{self, BadSettings, StartError},
    },
    name::{ColumnName, Physical, ResourceName},
    observe::{Level, Observation, Sink},
    project::Project,
    query::QueryError,
    sql::Sql,
    store::{DataDirectory, Secret, Store, StoreError, TokenLookup},
};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

#[derive(Debug, Clone)]
pub struct Settings {
    pub data_directory: PathBuf,
    /// What the engine may use. Its directory is set by [`App::open`]: it is inside the data directory.
    pub engine: EngineSettings,
    /// The value of the admin token; made at the first start when nothing is given.
    pub admin_token: Option<Secret>,
    /// How long consumers wait for the end of a push that said it would have fixtures.
    pub hold_at_most: Duration,
    /// What every token of the workspace but an administrator's is held to.
    pub limits: auth::Limits,
    /// What each read of a workspace is held to, whoever asks, and how many it may have at once.
    pub workspace_limits: auth::Limits,
    /// How Kafka's messages become batches.
    pub kafka: kafka::Tuning,
    /// How events become batches, and what their acknowledgement promises.
    pub events: EventsTuning,
    /// What may be fetched for an import from a URL.
    pub fetch: FetchRules,
    /// What the files of projects may refer to outside of them.
    pub context: Context,
}

/// Cheap to clone; every clone is the same app.
#[derive(Debug, Clone)]
pub struct App {
    shared: Arc<Shared>,
    /// The one that is there from the first start on.
    first: Arc<Workspace>,
    workspaces: Arc<RwLock<Arc<[Arc<Workspace>]>>>,
    /// Held by whoever makes or deletes one.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Held until the end: dropping it lets another process in.
    directory: Arc<Mutex<Option<DataDirectory>>>,
}

/// Who asks: a token's access, in the workspace that the token belongs to.
#[derive(Debug, Clone)]
pub struct Caller {
    pub access: Access,
    pub workspace: Arc<Workspace>,
    /// Tells those apart whose calls are counted, without the tokens' values.
    pub key: [u8; 32],
    /// The workspaces that an administrator's token opens besides.
    pub realm: Option<Realm>,
}

/// What can go wrong that is not about the text of a project (that is a diagnostic).
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Query(#[from] QueryError),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("{0}")]
    Connection(#[from] BadSettings),
    #[error("{0}")]
    Kafka(#[from] StartError),
    #[error("{0}")]
    Events(#[from] EventsError),
    /// The kind of thing, and its name.
    #[error("there is no {kind} `{name}`")]
    NotFound { kind: &'static str, name: String },
    #[error("there is already a {kind} `{name}`")]
    Exists { kind: &'static str, name: String },
    #[error("the {kind} `{name}` is used by {by}")]
    InUse { kind: &'static str, name: String, by: String },
    /// What was asked makes no sense; the words say why.
    #[error("{0}")]
    Invalid(String),
    #[error("the server is stopping")]
    Stopping,
}

/// How long a close waits for deploys and inserts that are under way.
const LEAVE_WITHIN: Duration = Duration::from_secs(20);

/// What every workspace works with.
#[derive(Debug)]
struct Shared {
    engine: Engine,
    layout: Layout,
    store: Arc<Store>,
    lookup: TokenLookup,
    settings: Settings,
    sink: Sink,
    stopping: std::sync::atomic::AtomicBool,
    /// Held while a project becomes the deployed one, with what others share.
    linking: Mutex<()>,
    /// The data sources of all projects, those that are not deployed any more among them, where it matters whether there
    /// is one: over a cluster.
    known: Mutex<BTreeSet<ResourceName>>,
}

impl App {
    /// Locks the data directory, opens store and engine, restores every workspace and starts its ingestion.
    pub async fn open(settings: Settings, sink: Sink) -> Result<App, AppError> {
        let directory = DataDirectory::open(&settings.data_directory)?;
        let engine = EngineSettings { directory: directory.engine_path(), ..settings.engine.clone() };
        let engine = Engine::open(engine, sink.clone()).await?;
        verify::drop_leftovers(&engine).await?;
        App::start(settings, directory, engine, sink).await
    }

    /// The same over an engine that is open already: tests share one, each with its own data directory.
    pub async fn start(
        settings: Settings,
        directory: DataDirectory,
        engine: Engine,
        sink: Sink,
    ) -> Result<App, AppError> {
        let store = Arc::new(directory.store()?);
        let lookup = store.token_lookup();
        let stopping = false.into();
        let context = Context { foreign: Foreign::Shared, ..settings.context };
        let settings = Settings { context, ..settings };
        let layout = layout_of(&engine)?;
        let (linking, known) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { engine, layout, store, lookup, settings, sink, stopping, linking, known });
        let mut records = shared.store(|store| store.workspaces()).await?;
        for record in records.extract_if(.., |it| it.leaves) {
            workspaces::delete(&shared, &record).await?;
        }
        if records.is_empty() {
            let record = workspaces::record("birdhouse", None, 0);
            let added = record.clone();
            shared.store(move |store| store.add_workspace(&added)).await?;
            records.push(record);
        }
        let mut restored = Vec::new();
        for record in records {
            // The first one's token is that of whoever runs the server.
            let token = if restored.is_empty() { shared.settings.admin_token.clone() } else { None };
            restored.push(Workspace::restore(shared.clone(), record, token).await?);
        }
        shares::restore(&shared, &restored).await?;
        // Before the first push nothing is known, and the choices are for what it brings.
        if restored.iter().any(|it| !it.project().datasources.is_empty()) {
            for it in shared.idle_choices(&BTreeSet::new()) {
                shared.warn(format!("{} ({})", it.message, it.hint.unwrap_or_default()));
            }
        }
        for workspace in &restored {
            workspace.start().await?;
        }
        Ok(App {
            shared,
            first: restored[0].clone(),
            workspaces: Arc::new(RwLock::new(restored.into())),
            changing: Arc::default(),
            directory: Arc::new(Mutex::new(Some(directory))),
        })
    }

    /// The engine answers.
    pub async fn ping(&self) -> Result<(), AppError> {
        self.shared.running()?;
        Ok(self.shared.engine.ping().await?)
    }

    /// What runs the SQL, for whoever runs the server.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The version of ClickHouse that runs the SQL.
    pub async fn engine_version(&self) -> Result<String, AppError> {
        Ok(self.shared.engine.version().await?)
    }

    /// Stops consumers, finishes what they hold, ends reads, closes the engine and lets go of the directory.
    /// What does not end in time is ended with the engine; a deploy is taken back at the next start.
    pub async fn close(&self) {
        if tokio::time::timeout(LEAVE_WITHIN, self.leave()).await.is_err() {
            self.shared.warn("what was under way did not end in time: it is cut off".to_owned());
        }
        self.shared.engine.close().await;
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Everything that [`App::close`] does but closing the engine, which others may share.
    pub async fn leave(&self) {
        self.shared.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        for workspace in &*self.workspaces() {
            workspace.quiesce().await;
        }
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    /// Runs a call of the store where it may block.
    async fn store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AppError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || call(&store)).await;
        Ok(done.map_err(|_| AppError::Stopping)??)
    }

    /// Runs statements until one fails.
    async fn command_all(&self, statements: &[Sql]) -> Result<(), EngineError> {
        for sql in statements {
            self.engine.command(sql).await?;
        }
        Ok(())
    }

    async fn drop_table(&self, table: &Physical) -> Result<(), EngineError> {
        self.command_all(&self.layout.drop_table(table)).await
    }

    /// Remembers the data sources of a project, where it matters.
    fn note_project(&self, project: &Project) {
        if self.layout.cluster().is_some_and(|it| it.chosen().next().is_some()) {
            self.known().extend(project.datasources.keys().cloned());
        }
    }

    /// Choices of how rows are spread that are for nothing, whatever these data sources are added to.
    fn idle_choices(&self, more: &BTreeSet<ResourceName>) -> Vec<Diagnostic> {
        let Some(cluster) = self.layout.cluster() else { return Vec::new() };
        let known = self.known();
        cluster.idle_choices(&known.iter().chain(more).collect())
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<ResourceName>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<(), AppError> {
        match self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(AppError::Stopping),
            false => Ok(()),
        }
    }

    fn warn(&self, message: String) {
        self.sink.observe(Observation::Engine { level: Level::Warning, message });
    }
}

/// Where tables lie: on the servers of the engine's cluster, if it has one.
fn layout_of(engine: &Engine) -> Result<Layout, AppError> {
    let Some(found) = engine.cluster() else { return Ok(Layout::default()) };
    let mut cluster = Cluster::new(&found.name, found.shards);
    for (datasource, columns) in &found.shard_by {
        let bad = |words: String| AppError::Invalid(format!("--shard-by {datasource}: {words}"));
        let name = ResourceName::new(datasource).map_err(|error| bad(error.to_string()))?;
        let columns: Result<Vec<_>, _> = columns.iter().map(|it| ColumnName::new(it)).collect();
        cluster.spread_by(name, columns.map_err(|error| bad(error.to_string()))?);
    }
    Ok(cluster.into())
}

/// Runs to its end even when the caller goes away in the middle: a client that closes its connection must not
/// leave a change half done.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, AppError>> + Send + 'static,
) -> Result<T, AppError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(AppError::Stopping),
        },
    }
}
