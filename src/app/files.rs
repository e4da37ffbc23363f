//! Files into data sources: taken in, read, put on the disk as rows, brought in. What a crash cuts short after that
//! is brought in at the next start.

use super::{AppError, Workspace, verify, whole, words};
use crate::{
    engine::EngineError,
    ingest::{
        Target,
        batch::{Writer, Written},
        decode::Schema,
        failpoint,
        files::{self, Dialect, FileFormat, Intent, LoadError, Loading, Mode, Spooled, Stopped, Upload, Url},
    },
    jobs::{Job, JobKind, JobStatus, Subject, Taken},
    name::{Namespace, Physical, ResourceName},
    observe::Observation,
    project::{Datasource, EngineFamily},
    query,
};
use bytes::Bytes;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A file that is being taken in, in a folder of its own. Dropping it removes the folder.
#[derive(Debug)]
pub struct Incoming {
    id: String,
    folder: Option<PathBuf>,
}

/// Where a file is.
#[derive(Debug)]
pub enum Source {
    Here(Incoming),
    At(Url),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    pub rows: u64,
    pub quarantined: u64,
    /// Bytes of the file, unpacked.
    pub bytes: u64,
    /// Stands in the quarantine's `c__import_id`.
    pub import_id: String,
    /// The first few reasons for quarantine, in words.
    pub errors: Vec<String>,
}

/// The files of a workspace that are on their way in.
#[derive(Debug)]
pub(super) struct Files {
    under_way: Mutex<BTreeMap<String, Arc<UnderWay>>>,
    /// Files whose rows go in at the same time.
    places: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One of them.
#[derive(Debug)]
struct UnderWay {
    datasource: String,
    /// What is in the way, and since when.
    trouble: Mutex<Option<(Instant, String)>>,
    /// Its data source goes.
    given_up: CancellationToken,
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    In(Written),
    /// It is in at the next start, or when somebody mends what is said here.
    Later(String),
    /// Its data source was dropped.
    GivenUp,
}

/// A table of the engine.
#[derive(Deserialize)]
struct Table {
    id: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

const AT_ONCE: usize = 2;

/// Who waits for a file's rows hears of trouble that lasts so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A chunk that does not go in lets go of the tables after a while.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// The start waits so long for the chunk that a crash cut short: nothing else is inserted before it.
const START_PATIENCE: Duration = Duration::from_secs(15);

impl Incoming {
    /// Where the file's bytes are to be written.
    pub fn path(&self) -> PathBuf {
        self.folder.as_deref().map(files::upload_path).unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_default()
    }

    /// It is somebody else's from here on.
    fn keep(mut self) {
        self.folder = None;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            _ = fs::remove_dir_all(folder);
        }
    }
}

impl Default for Files {
    fn default() -> Files {
        Files {
            under_way: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }
}

impl Files {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, Arc<UnderWay>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, intent: &Intent) -> Arc<UnderWay> {
        let it = Arc::new(UnderWay {
            datasource: intent.datasource.clone(),
            trouble: Mutex::default(),
            given_up: self.stop.child_token(),
        });
        self.under_way().insert(intent.id.clone(), it.clone());
        it
    }

    /// Ends what goes into a data source that is dropped.
    pub(super) fn give_up(&self, datasource: &ResourceName) {
        for it in self.under_way().values().filter(|it| it.datasource == datasource.as_str()) {
            it.given_up.cancel();
        }
    }

    /// Is cancelled when nothing more is to be tried.
    pub(super) fn stopping(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Returns when nothing is inserted any more; what is not in is at the next start.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl UnderWay {
    fn tell(&self, message: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = message.map(|it| (trouble.as_ref().map_or_else(Instant::now, |(since, _)| *since), it));
    }

    /// What has been in the way for a while.
    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|(since, _)| since.elapsed() >= PATIENCE).map(|(_, message)| message.clone())
    }
}

impl Workspace {
    /// A place for a file.
    pub fn receive(&self) -> Result<Incoming, AppError> {
        self.shared.running()?;
        let id = words::random_id();
        let folder = self.files_folder().join(&id);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(LoadError::Disk)?;
        Ok(Incoming { id, folder: Some(folder) })
    }

    /// Rows from a file that is in memory; returns when they are in.
    pub async fn append(
        self: &Arc<Self>,
        datasource: &ResourceName,
        format: FileFormat,
        body: Bytes,
        mode: Mode,
    ) -> Result<Appended, AppError> {
        let incoming = self.receive()?;
        tokio::fs::write(incoming.path(), body).await.map_err(LoadError::Disk)?;
        let upload = Upload { name: datasource.to_string(), format, dialect: Dialect::default() };
        self.load(incoming, upload, datasource, mode).await
    }

    /// Rows from a file; returns when they are in, or says that they are safe and what keeps them from going in.
    pub async fn load(
        self: &Arc<Self>,
        incoming: Incoming,
        upload: Upload,
        datasource: &ResourceName,
        mode: Mode,
    ) -> Result<Appended, AppError> {
        self.shared.running()?;
        let (workspace, name) = (self.clone(), datasource.clone());
        // A client that goes away in the middle leaves nothing half done.
        whole(async move {
            let id = incoming.id.clone();
            let stop = workspace.files.stop.clone();
            let (loading, spooled) = workspace.begin(incoming, upload, &name, mode, &stop).await?;
            let under_way = workspace.files.enter(loading.intent());
            let carrying = workspace.clone().spawn_carrying(loading, under_way.clone(), None);
            tokio::pin!(carrying);
            let end = loop {
                tokio::select! {
                    end = &mut carrying => break end,
                    () = tokio::time::sleep(Duration::from_millis(200)) => {
                        if let Some(message) = under_way.trouble() {
                            workspace.add_import(&id, &name, &spooled);
                            break End::Later(message);
                        }
                    }
                }
            };
            match end {
                End::In(Written { rows, quarantined }) => {
                    Ok(Appended { rows, quarantined, bytes: spooled.bytes, import_id: id, errors: spooled.errors })
                }
                End::GivenUp => Err(AppError::NotFound { kind: "data source", name: name.to_string() }),
                End::Later(message) => Err(LoadError::Waiting { id, message }.into()),
            }
        })
        .await
    }

    /// A URL that may be fetched.
    pub fn source(&self, url: &str) -> Result<Source, AppError> {
        Ok(Source::At(files::url(url, &self.shared.settings.fetch)?))
    }

    /// The same as a job.
    pub fn load_as_job(
        self: &Arc<Self>,
        source: Source,
        upload: Upload,
        datasource: &ResourceName,
        mode: Mode,
    ) -> Result<Job, AppError> {
        self.shared.running()?;
        let (incoming, url) = match source {
            Source::Here(incoming) => (incoming, None),
            Source::At(url) => (self.receive()?, Some(url)),
        };
        let id = incoming.id.clone();
        let subject = Subject { datasource: Some(datasource.to_string()), ..Subject::default() };
        let job = self.jobs.add(id.clone(), JobKind::Import, subject);
        let cancel = self.jobs.cancellable(&id);
        let (workspace, name) = (self.clone(), datasource.clone());
        self.files.tasks.spawn(async move {
            workspace.working(&id);
            let begun = async {
                if let Some(url) = url {
                    files::fetch(url, &incoming.path(), &workspace.shared.settings.fetch, &cancel).await?;
                }
                workspace.begin(incoming, upload, &name, mode, &cancel).await
            };
            match begun.await {
                Ok((loading, spooled)) => {
                    workspace.jobs.update(&id, |job| {
                        job.is_firm = true;
                        job.taken = Some(taken(&spooled, 0));
                    });
                    let under_way = workspace.files.enter(loading.intent());
                    _ = workspace.clone().spawn_carrying(loading, under_way, None).await;
                }
                Err(error) => {
                    let cancelled = cancel.is_cancelled() && !workspace.files.stop.is_cancelled();
                    workspace.jobs.update(&id, |job| match cancelled {
                        true => job.status = JobStatus::Cancelled,
                        false => (job.status, job.error) = (JobStatus::Error, Some(error.to_string())),
                    });
                }
            }
        });
        Ok(job)
    }

    /// Brings in what an earlier process has begun. Returns when what may have been cut short is in: only then may
    /// others insert.
    pub(super) async fn resume_files(self: &Arc<Self>) -> Result<(), AppError> {
        let id = self.record.id.clone();
        let records = self.shared.store(move |store| store.file_loads(&id)).await?;
        let mut known = BTreeSet::new();
        let mut begun = Vec::new();
        for (id, record) in records {
            known.insert(id.clone());
            match Intent::read(&record) {
                Ok(intent) => begun.push(intent),
                Err(message) => self.shared.warn(format!("the file {id} waits: {message}")),
            }
        }
        self.clear_files(&known).await?;
        let mut first = Vec::new();
        for intent in begun {
            let folder = self.files_folder().join(&intent.id);
            let spooled = Spooled {
                chunks: intent.chunks,
                rows: intent.rows,
                quarantined: intent.quarantined,
                bytes: intent.bytes,
                errors: vec![],
            };
            if let Ok(name) = ResourceName::new(&intent.datasource) {
                self.add_import(&intent.id, &name, &spooled);
            }
            let under_way = self.files.enter(&intent);
            let loading = Loading::resume(self.shared.store.clone(), self.record.id.clone(), folder, intent);
            let (done, begun) = tokio::sync::oneshot::channel();
            drop(self.clone().spawn_carrying(loading, under_way, Some(done)));
            first.push(begun);
        }
        let all = async {
            for it in first {
                _ = it.await;
            }
        };
        if tokio::time::timeout(START_PATIENCE, all).await.is_err() {
            self.shared.warn("a file's rows cannot go in yet; they are tried on".to_owned());
        }
        Ok(())
    }

    /// What no intent speaks of was never more than begun: its folder and its tables go.
    async fn clear_files(&self, known: &BTreeSet<String>) -> Result<(), AppError> {
        let folder = self.files_folder();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_known = entry.file_name().to_str().is_some_and(|it| known.contains(it));
            if !is_known && let Err(error) = fs::remove_dir_all(entry.path()) {
                self.shared.warn(format!("{} cannot be removed: {error}", entry.path().display()));
            }
        }
        let tables = self.shared.engine.command(&self.shared.layout.statistics(&self.namespace)).await?;
        for Named { name } in verify::rows::<Named>(&tables)? {
            let Some(file) = Namespace::file_of(&name) else { continue };
            if !known.contains(file) {
                for table in [self.namespace.staging(file), self.namespace.changed(file)] {
                    self.shared.drop_table(&table).await?;
                }
            }
        }
        Ok(())
    }

    fn files_folder(&self) -> PathBuf {
        files_folder(&self.shared.settings.data_directory, &self.record.id)
    }

    fn add_import(&self, id: &str, name: &ResourceName, spooled: &Spooled) {
        let subject = Subject { datasource: Some(name.to_string()), ..Subject::default() };
        self.jobs.add(id.to_owned(), JobKind::Import, subject);
        self.jobs.update(id, |job| {
            job.is_firm = true;
            job.taken = Some(taken(spooled, 0));
        });
        self.working(id);
    }

    fn working(&self, id: &str) {
        self.jobs.update(id, |job| {
            job.status = JobStatus::Working;
            job.started_at = Some(words::now());
        });
    }

    /// From a file to an intent: what is wrong with the file is said here, and nothing is left of it.
    async fn begin(
        self: &Arc<Self>,
        incoming: Incoming,
        upload: Upload,
        name: &ResourceName,
        mode: Mode,
        stop: &CancellationToken,
    ) -> Result<(Loading, Spooled), AppError> {
        failpoint::reach("file-received");
        let project = self.project();
        let datasource = project.datasource(name.as_str());
        let datasource = datasource.ok_or_else(|| not_found(name))?;
        let mode = match mode {
            // Nothing is there to be replaced, and what comes is for its views.
            Mode::Replace if datasource.engine.family == EngineFamily::Null => Mode::Append,
            Mode::ReplaceWhere { .. } if datasource.engine.family == EngineFamily::Null => {
                return Err(AppError::Invalid(format!("`{name}` keeps no rows that a condition could be about")));
            }
            mode => mode,
        };
        if let Mode::ReplaceWhere { condition, .. } = &mode {
            // The same check as later; here its words reach the caller, the engine's included.
            self.count(name, condition, "replace_condition").await?;
        }
        if upload.format == FileFormat::Parquet {
            files::to_lines(&self.shared.engine, &incoming.folder(), &incoming.id).await?;
        }
        let schema = Arc::new(Schema::compile(datasource).map_err(LoadError::Schema)?);
        let (folder, reading, stop, columns) = (incoming.folder(), upload.clone(), stop.clone(), schema.clone());
        let spooled = tokio::task::spawn_blocking(move || files::spool(&folder, &reading, &columns, &stop)).await;
        let spooled = spooled.map_err(|_| AppError::Stopping)??;
        let intent = Intent::new(incoming.id.clone(), name.to_string(), mode, upload, &schema, &spooled);
        let (store, workspace, folder) = (self.shared.store.clone(), self.record.id.clone(), incoming.folder());
        let begun = Loading::begin(store, workspace, folder, intent, schema).await;
        let loading = begun.map_err(|message| LoadError::Disk(std::io::Error::other(message)))?;
        incoming.keep();
        Ok((loading, spooled))
    }

    /// Goes on whoever waits. `first` hears when the first step is done.
    fn spawn_carrying(
        self: Arc<Self>,
        loading: Loading,
        under_way: Arc<UnderWay>,
        first: Option<tokio::sync::oneshot::Sender<()>>,
    ) -> impl Future<Output = End> {
        let tasks = self.files.tasks.clone();
        let carrying = tasks.spawn(async move {
            let id = loading.intent().id.clone();
            let end = self.carry(loading, &under_way, first).await;
            self.files.under_way().remove(&id);
            self.tell_job(&id, &end);
            end
        });
        async move { carrying.await.unwrap_or_else(|error| End::Later(error.to_string())) }
    }

    fn tell_job(&self, id: &str, end: &End) {
        self.jobs.update(id, |job| match end {
            End::In(written) => {
                (job.status, job.rows) = (JobStatus::Done, Some(written.rows));
                if let Some(taken) = &mut job.taken {
                    taken.quarantined = written.quarantined;
                    taken.blocks.0 = taken.blocks.1;
                }
            }
            End::GivenUp => {
                (job.status, job.error) = (JobStatus::Error, Some("its data source was dropped".to_owned()));
            }
            // What a stop leaves is a job again at the next start.
            End::Later(message) => job.error = Some(message.clone()),
        });
    }

    async fn carry(
        &self,
        mut loading: Loading,
        under_way: &UnderWay,
        mut first: Option<tokio::sync::oneshot::Sender<()>>,
    ) -> End {
        let begun = Instant::now();
        // What was cut short goes on at once.
        let mut place = match first {
            Some(_) => None,
            None => self.files.places.acquire().await.ok(),
        };
        let more = loading.intent().done < loading.intent().chunks;
        let _claim = match (&loading.intent().mode, ResourceName::new(&loading.intent().datasource)) {
            (Mode::Append, Ok(name)) => Some(self.bring_into(&name).await),
            _ => None,
        };
        let end = 'all: {
            let mut more = more;
            while more {
                match self.chunk(&mut loading, under_way).await {
                    Ok(Some(it)) => more = it,
                    Ok(None) => break 'all Ok(None),
                    Err(stopped) => break 'all Err(stopped),
                }
                if let Some(first) = first.take() {
                    _ = first.send(());
                    place = self.files.places.acquire().await.ok();
                }
            }
            if let Some(first) = first.take() {
                _ = first.send(());
                place = self.files.places.acquire().await.ok();
            }
            self.take_place(&mut loading, under_way).await
        };
        drop(place);
        let written = loading.intent().written();
        match end {
            Ok(Some(())) => {
                let intent = loading.intent();
                let (datasource, mode) = (intent.datasource.clone(), intent.mode.clone());
                if let Err(message) = loading.end().await {
                    self.shared.warn(message);
                }
                self.extend_hold().await;
                self.sink.observe(Observation::Inserted {
                    datasource,
                    rows: written.rows,
                    quarantined: written.quarantined,
                    elapsed: begun.elapsed(),
                    source: if mode == Mode::Append { "file" } else { "replace" },
                });
                End::In(written)
            }
            Ok(None) => {
                let id = &loading.intent().id;
                for table in [self.namespace.staging(id), self.namespace.changed(id)] {
                    _ = self.shared.drop_table(&table).await;
                }
                if let Err(message) = loading.end().await {
                    self.shared.warn(message);
                }
                End::GivenUp
            }
            Err(Stopped::Aborted) => {
                End::Later("the server stopped in the middle; it goes on at the next start".into())
            }
            Err(Stopped::Broken(message)) => {
                self.shared.warn(format!("the file {} waits: {message}", loading.intent().id));
                End::Later(message)
            }
        }
    }

    /// One chunk, and whether there are more. Nothing is said where the data source is no more.
    async fn chunk(&self, loading: &mut Loading, under_way: &UnderWay) -> Result<Option<bool>, Stopped> {
        loop {
            // A deploy may come between two chunks, and not into one.
            let inserting = self.inserting.read().await;
            let Some(datasource) = self.still_there(loading, under_way)? else { return Ok(None) };
            let mut target = self.target(&datasource);
            if loading.intent().mode != Mode::Append {
                target.table = self.staging(&loading.intent().id, &target).await?;
            }
            let schema = loading.schema(&datasource)?;
            let writer = Writer::new(&self.shared.engine, &target, &schema, &self.sink);
            let attempt = under_way.given_up.child_token();
            let (begun, id) = (Instant::now(), loading.intent().id.clone());
            let tell = |message: Option<String>| {
                let is_trouble = message.is_some();
                under_way.tell(message);
                if is_trouble && begun.elapsed() > ATTEMPT {
                    attempt.cancel();
                }
            };
            let more = loading.insert(&writer, &schema, &attempt, &tell).await;
            drop(inserting);
            if self.jobs.get(&id).is_some() {
                let (trouble, done) = (under_way.trouble(), loading.intent().done);
                self.jobs.update(&id, |job| {
                    job.error = trouble;
                    if let Some(taken) = &mut job.taken {
                        taken.blocks.0 = done;
                    }
                });
            }
            match more {
                Err(Stopped::Aborted) if self.files.stop.is_cancelled() => return Err(Stopped::Aborted),
                Err(Stopped::Aborted) if under_way.given_up.is_cancelled() => return Ok(None),
                // The same chunk again under the same token. A deploy that mends what is wrong may come before.
                Err(Stopped::Aborted) => tokio::time::sleep(PAUSE).await,
                more => return more.map(Some),
            }
        }
    }

    fn still_there(&self, loading: &Loading, under_way: &UnderWay) -> Result<Option<Arc<Datasource>>, Stopped> {
        if self.files.stop.is_cancelled() {
            return Err(Stopped::Aborted);
        }
        if under_way.given_up.is_cancelled() {
            return Ok(None);
        }
        Ok(self.project().datasource(&loading.intent().datasource).cloned())
    }

    /// The table that a file's rows are gathered in first.
    async fn staging(&self, id: &str, target: &Target) -> Result<Physical, Stopped> {
        let staging = self.namespace.staging(id);
        let made = self.shared.layout.create_side_table(&staging, &target.table, &target.datasource);
        let made = self.shared.command_all(&made).await;
        made.map_err(|error| Stopped::Broken(self.told(error).message))?;
        Ok(staging)
    }

    /// The rows of a file that replaces others take their place, once.
    async fn take_place(&self, loading: &mut Loading, under_way: &UnderWay) -> Result<Option<()>, Stopped> {
        if loading.intent().mode == Mode::Append {
            return Ok(Some(()));
        }
        failpoint::reach("file-gathered");
        // Before that, others may have rows half in of which nobody knows yet.
        tokio::select! {
            () = under_way.given_up.cancelled() => {}
            _ = self.started.wait() => {}
        }
        loop {
            let Some(datasource) = self.still_there(loading, under_way)? else { return Ok(None) };
            if let Some(taken) = self.take_turn(loading, under_way, &datasource).await {
                return taken;
            }
            under_way.tell(Some("other rows of the data source come or go; they are first".to_owned()));
            tokio::select! {
                () = under_way.given_up.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Nothing happens while somebody else brings rows that must not be missing from what is made here, or changes
    /// some.
    async fn take_turn(
        &self,
        loading: &mut Loading,
        under_way: &UnderWay,
        datasource: &Datasource,
    ) -> Option<Result<Option<()>, Stopped>> {
        let changes_some = matches!(loading.intent().mode, Mode::ReplaceWhere { .. });
        let _claim = match changes_some {
            true => Some(self.change_rows(&datasource.name).await?),
            false => None,
        };
        let _inserting = self.inserting.read().await;
        let _replacing = self.replacing.try_lock().ok()?;
        if !changes_some {
            return Some(self.swap(loading, under_way).await);
        }
        let names = BTreeSet::from([datasource.name.clone()]);
        let ready = async {
            let waits = self.has_replays(&datasource.name).await?;
            if waits { Ok(None) } else { self.bar_consumers(&names).await }
        };
        let barred = match ready.await {
            Ok(barred) => barred?,
            Err(error) => return Some(Err(Stopped::Broken(AppError::to_string(&error)))),
        };
        let taken = self.swap(loading, under_way).await;
        if let Err(error) = self.unbar_consumers(barred).await {
            self.shared.warn(format!("consumers could not be started: {error}"));
        }
        Some(taken)
    }

    async fn swap(&self, loading: &mut Loading, under_way: &UnderWay) -> Result<Option<()>, Stopped> {
        let Some(datasource) = self.still_there(loading, under_way)? else { return Ok(None) };
        let target = self.target(&datasource);
        let id = loading.intent().id.clone();
        let staging = self.staging(&id, &target).await?;
        let (engine, broken) = (&self.shared.engine, |error| Stopped::Broken(self.told(error).message));
        let replacement = match &loading.intent().mode {
            Mode::ReplaceWhere { .. } => self.namespace.changed(&id),
            Mode::Append | Mode::Replace => staging.clone(),
        };
        let present = self.id_of_table(&target.table).await?;
        let noted = loading.intent().swap.clone();
        let wanted = match (noted, loading.intent().mode.clone()) {
            (Some(table), _) if Some(&table) == present.as_ref() => table,
            // Of one that a crash left behind: rows may have come since it was made, and it is made again.
            (_, Mode::ReplaceWhere { condition, when_empty }) => {
                if loading.intent().rows == 0 && !when_empty {
                    self.shared.drop_table(&staging).await.map_err(broken)?;
                    return Ok(Some(()));
                }
                self.make_changed(&datasource, &condition, &staging, &replacement).await?;
                failpoint::reach("file-changed");
                self.note_swap(loading, under_way, &replacement).await?
            }
            (Some(table), _) => table,
            (None, _) => self.note_swap(loading, under_way, &replacement).await?,
        };
        failpoint::reach("file-exchange");
        if present.as_ref() != Some(&wanted) {
            engine.command(&self.shared.layout.exchange(&target.table, &replacement)).await.map_err(broken)?;
        }
        failpoint::reach("file-exchanged");
        for table in [&staging, &replacement] {
            self.shared.drop_table(table).await.map_err(broken)?;
        }
        Ok(Some(()))
    }

    async fn note_swap(
        &self,
        loading: &mut Loading,
        under_way: &UnderWay,
        replacement: &Physical,
    ) -> Result<String, Stopped> {
        let table = self.id_of_table(replacement).await?.unwrap_or_default();
        loading.note_swap(table.clone(), &under_way.given_up).await?;
        Ok(table)
    }

    /// Makes a table of a data source's rows that do not fulfil a condition, and of a file's that do. Parts that no
    /// condition touches are shared, not copied.
    async fn make_changed(
        &self,
        datasource: &Datasource,
        condition: &str,
        staging: &Physical,
        changed: &Physical,
    ) -> Result<(), Stopped> {
        let broken = |error: EngineError| Stopped::Broken(self.told(error).message);
        let condition = query::compile_condition(&self.project(), &self.namespace, &datasource.name, condition);
        let condition = condition.map_err(|error| Stopped::Broken(error.to_string()))?;
        let table = self.namespace.table(&datasource.name);
        let layout = &self.shared.layout;
        let statements = [
            // One that a crash left behind.
            layout.drop_table(changed),
            vec![layout.keep_rows(staging, &condition)],
            layout.create_side_table(changed, &table, datasource),
            vec![layout.attach_all(changed, &table)],
            vec![layout.delete_rows(changed, &condition)],
            vec![layout.attach_all(changed, staging)],
        ];
        self.shared.command_all(&statements.concat()).await.map_err(broken)
    }

    async fn id_of_table(&self, table: &Physical) -> Result<Option<String>, Stopped> {
        let broken = |message: String| Stopped::Broken(message);
        let state = self.shared.engine.command(&self.shared.layout.table_state(table)).await;
        let state = state.map_err(|error| broken(self.told(error).message))?;
        let rows = verify::rows::<Table>(&state).map_err(|error| broken(error.to_string()))?;
        Ok(rows.into_iter().next().map(|it| it.id))
    }

    /// The engine's words without the names of its tables.
    pub(super) fn told(&self, error: EngineError) -> EngineError {
        EngineError { message: verify::engine_words(&error.message, &self.namespace), ..error }
    }
}

fn files_folder(data: &Path, workspace: &str) -> PathBuf {
    data.join("files").join(workspace)
}

fn taken(spooled: &Spooled, done: u64) -> Taken {
    Taken { quarantined: spooled.quarantined, bytes: spooled.bytes, blocks: (done, spooled.chunks) }
}

fn not_found(name: &ResourceName) -> AppError {
    AppError::NotFound { kind: "data source", name: name.to_string() }
}
