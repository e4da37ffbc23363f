//! One workspace: a project, its tables, its tokens and connections. How it comes back after a restart.

use super::{
    AppError, Shared, adopt, consumers::Consumers, deploy, files::Files, schedules::Schedules, secrets, shares::Shares,
    times::Times, tokens::TokenTable, verify,
};
use crate::{
    auth::{Access, Limits},
    diagnostic::{Severity, has_errors},
    engine::{Engine, EngineError, Held, ReadLimits, Rows},
    ingest::{claims::Claims, events::Events, service::Recorder},
    jobs::Jobs,
    name::Namespace,
    observe::Sink,
    project::{self, Pipe, Project},
    query::{self, CompiledQuery, Request},
    sql::statement,
    store::{Secret, StoredRelease, WorkspaceRecord},
};
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync;

#[derive(Debug)]
pub struct Workspace {
    pub(super) record: WorkspaceRecord,
    pub(super) namespace: Namespace,
    pub(super) shared: Arc<Shared>,
    project: RwLock<Arc<Project>>,
    pub(super) times: RwLock<Times>,
    pub(super) tokens: RwLock<TokenTable>,
    pub(super) secrets: RwLock<secrets::Values>,
    pub(super) release: RwLock<Option<StoredRelease>>,
    pub(super) shares: RwLock<Shares>,
    /// Held by whoever changes the project: one deploy at a time.
    pub(super) deploying: sync::Mutex<()>,
    /// Held by whoever changes tokens.
    pub(super) changing_tokens: sync::Mutex<()>,
    /// Held by whoever changes connections.
    pub(super) changing_connections: sync::Mutex<()>,
    /// Shared by those who insert rows from files, held alone by a deploy while its statements run.
    pub(super) inserting: Arc<sync::RwLock<()>>,
    /// Tells those who try an insert again and again that there was a push.
    pub(super) mended: Arc<sync::Notify>,
    /// Who brings rows into which data sources, and who changes those that are there.
    pub(super) claims: Claims,
    /// Is set when everything that an earlier process had begun is going on.
    pub(super) started: sync::SetOnce<()>,
    /// Set once the workspace is back.
    pub(super) events: OnceLock<Events>,
    /// Held by who replaces a table's rows.
    pub(super) replacing: sync::Mutex<()>,
    /// Held by who reads refused rows once more.
    pub(super) replaying: sync::Mutex<()>,
    pub(super) consumers: sync::Mutex<Consumers>,
    pub(super) jobs: Jobs,
    pub(super) files: Files,
    pub(super) schedules: Schedules,
    /// What happens in this workspace, which the app's sink hears too.
    pub(super) sink: Sink,
    /// Set once the workspace is back.
    pub(super) recorder: OnceLock<Recorder>,
}

impl Workspace {
    /// Brings a workspace back from the store: what a crash left half done is taken back first. Its admin token
    /// has the value that is given.
    pub(super) async fn restore(
        shared: Arc<Shared>,
        record: WorkspaceRecord,
        admin_token: Option<Secret>,
    ) -> Result<Arc<Workspace>, AppError> {
        let namespace = Namespace::new(&record.database);
        shared.engine.command(&shared.layout.create_database(&namespace)).await?;
        shared.engine.admit(namespace.database()).await?;
        let id = record.id.clone();
        let (sources, pending, tokens, secrets, release, paused) = shared
            .store(move |store| {
                let (sources, pending) = (store.sources(&id)?, store.pending_sources(&id)?);
                let (tokens, secrets, release) = (store.tokens(&id)?, store.secrets(&id)?, store.kept_release(&id)?);
                Ok((sources, pending, tokens, secrets, release, store.paused(&id)?))
            })
            .await?;
        let schedules = Schedules::new(paused);
        let (mut project, diagnostics) = project::resolve(&sources, &shared.settings.context);
        if has_errors(&diagnostics) {
            // Deployed files were right when they were deployed, so the rules have changed since. Their tables stay,
            // and a push that describes them again finds them as they are.
            for it in diagnostics.iter().filter(|it| it.severity == Severity::Error) {
                let path = it.place.as_ref().map_or("project", |it| &*it.path);
                shared.warn(format!(
                    "{path}: {} (deployed by an older birdhouse? its rows are kept: push it with that mended)",
                    it.message
                ));
            }
            project = adopt::without_broken(project, &namespace);
        }
        adopt::name_turned(&shared, &namespace).await?;
        if let Some(pending) = pending {
            let (wanted, _) = project::resolve(&pending, &shared.settings.context);
            deploy::take_back_unfinished(&shared, &namespace, &project, &wanted).await;
            let id = record.id.clone();
            shared.store(move |store| store.abandon_deploy(&id)).await?;
        }
        adopt::drop_set_aside(&shared, &namespace).await?;
        adopt::remember_more(&shared, &namespace, &project).await?;
        let (store, id) = (shared.store.clone(), record.id.clone());
        let sink = shared.sink.child();
        let of_jobs = sink.clone();
        let jobs = shared.store(move |_| Jobs::load(store, &id, of_jobs)).await?;
        super::service::make_tables(&shared, &namespace).await?;
        let tokens = TokenTable::new(tokens, &shared.lookup);
        let workspace = Arc::new(Workspace {
            record,
            namespace,
            shared,
            project: RwLock::new(Arc::new(project)),
            times: RwLock::default(),
            tokens: RwLock::new(tokens),
            secrets: RwLock::new(secrets::values(&secrets)),
            release: RwLock::new(release),
            shares: RwLock::default(),
            deploying: sync::Mutex::default(),
            changing_tokens: sync::Mutex::default(),
            changing_connections: sync::Mutex::default(),
            inserting: Arc::default(),
            claims: Claims::default(),
            mended: Arc::default(),
            started: sync::SetOnce::new(),
            events: OnceLock::new(),
            replacing: sync::Mutex::default(),
            replaying: sync::Mutex::default(),
            consumers: sync::Mutex::default(),
            jobs,
            files: Files::default(),
            schedules,
            sink,
            recorder: OnceLock::new(),
        });
        workspace.note_times().await?;
        workspace.ensure_admin_token(admin_token).await?;
        Ok(workspace)
    }

    /// From here on it takes rows, and what happens in it is kept.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), AppError> {
        self.resume_files().await?;
        self.finish_replays().await;
        self.open_service();
        self.open_events()?;
        self.hold_again().await?;
        self.start_consumers().await?;
        self.start_schedules();
        _ = self.started.set(());
        Ok(())
    }

    pub fn id(&self) -> &str {
        &self.record.id
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The id of the workspace that it is a branch of.
    pub fn main(&self) -> Option<&str> {
        self.record.main.as_deref()
    }

    /// `2026-01-31 12:00:00.000000`, in UTC; nothing for one that came before it was kept.
    pub fn created_at(&self) -> Option<&str> {
        self.record.created_at.as_deref()
    }

    /// Where what happens in this workspace is said.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The id of a resource: the same for as long as workspace and name are.
    pub fn id_of(&self, kind: &str, name: &str) -> String {
        let digest = Sha256::digest(format!("{}\0{kind}\0{name}", self.id()));
        digest.iter().take(16).fold("t_".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The project as it is deployed now. A request keeps what it got until its end.
    pub fn project(&self) -> Arc<Project> {
        self.project.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those who read data sources of this one know the new project at once.
    pub(super) fn swap_project(&self, project: Project) {
        let _linking = self.shared.linking.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_project(project);
        for receiver in self.all_receivers() {
            receiver.put_project((*receiver.project()).clone());
        }
    }

    /// With what others share now.
    pub(super) fn put_project(&self, project: Project) {
        self.shared.note_project(&project);
        let project = Project { shared: self.received(), ..project };
        *self.project.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(project);
        self.schedules.change();
    }

    /// Compiles a read under a token's access.
    pub fn compile(&self, access: &Access, request: &Request) -> Result<CompiledQuery, AppError> {
        self.shared.running()?;
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone();
        let with_secrets = (!secrets.is_empty()).then(|| Request { secrets, ..request.clone() });
        let request = with_secrets.as_ref().unwrap_or(request);
        Ok(query::compile(&self.project(), &self.namespace, access, request)?)
    }

    /// Begins to run what was compiled under the same access. `held` is let go of when the engine has ended.
    pub async fn read(&self, access: &Access, compiled: &CompiledQuery, held: Held) -> Result<Rows, AppError> {
        if compiled.reads_service()
            && let Some(recorder) = self.recorder.get()
        {
            recorder.flush().await;
        }
        let limits = self.read_limits(access, compiled);
        let rows = self.shared.engine.query(compiled, limits, held).await.map_err(|error| {
            let message = compiled.names().public(&error.message);
            EngineError { message, ..error }
        })?;
        Ok(rows)
    }

    /// Compiles a read and begins to run it.
    pub async fn query(
        &self,
        access: &Access,
        request: &Request,
        held: Held,
    ) -> Result<(Rows, CompiledQuery), AppError> {
        let compiled = self.compile(access, request)?;
        Ok((self.read(access, &compiled, held).await?, compiled))
    }

    /// How the engine would run a read, a line each, in the project's names. It tells of rows that no filter hides
    /// and of the text of pipes, so it is for whoever may see both: an administrator.
    pub async fn explain(&self, access: &Access, compiled: CompiledQuery, held: Held) -> Result<Vec<String>, AppError> {
        #[derive(serde::Deserialize)]
        struct Line {
            explain: String,
        }
        let words = "a query with secrets in it is not explained: their values could be told";
        let compiled = compiled.explained().ok_or_else(|| AppError::Invalid(words.to_owned()))?;
        let mut rows = self.read(access, &compiled, held).await?;
        let mut text = Vec::new();
        while let Some(chunk) = rows.next().await {
            let chunk = chunk.map_err(|error| {
                let message = compiled.names().public(&error.message);
                EngineError { message, ..error }
            })?;
            text.extend_from_slice(&chunk);
        }
        let lines = verify::rows::<Line>(&text)?;
        Ok(lines.into_iter().map(|it| compiled.names().in_project(&it.explain)).collect())
    }

    /// What all tokens of the workspace together are held to.
    pub fn held_to(&self) -> &Limits {
        &self.shared.settings.workspace_limits
    }

    /// What a read may cost: what the server gives, less what workspace, token and pipe ask for less of.
    fn read_limits(&self, access: &Access, compiled: &CompiledQuery) -> ReadLimits {
        let given = self.shared.engine.settings().read_limits();
        let own = access.limits().narrowed(self.held_to());
        let count = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        // `max_threads` of a template; a number that is none is the server's.
        let of_template =
            compiled.settings().get("max_threads").and_then(serde_json::Value::as_u64).filter(|it| *it > 0);
        let of_token = own.max_threads.map(u64::from);
        let threads = [of_template, of_token].into_iter().flatten().map(count).min();
        given.narrowed(ReadLimits {
            execution_time: own.max_execution_time.map_or(given.execution_time, |it| Duration::from_secs(it.into())),
            memory_usage: own.max_memory_usage.unwrap_or(given.memory_usage),
            rows_to_read: own.max_rows_to_read.unwrap_or_default(),
            bytes_to_read: own.max_bytes_to_read.unwrap_or_default(),
            result_bytes: own.max_result_bytes.unwrap_or_default(),
            threads: threads.unwrap_or(given.threads),
            slot: Engine::slot_of(self.namespace.database()),
        })
    }

    /// The columns of an endpoint's answer, by the engine's DESCRIBE. A template is described as it renders when
    /// parameters without a default have none in particular.
    pub async fn endpoint_columns(&self, pipe: &Pipe) -> Result<Vec<(String, String)>, AppError> {
        self.shared.running()?;
        let project = self.project();
        let select =
            query::compile_for_owner(&project, &self.namespace, pipe, pipe.output_node(), query::OwnerMode::Check)?;
        let described = self.shared.engine.command(&query::describe(&select)).await?;
        verify::columns(&described)
    }

    /// A text as the engine prints it; one that it does not read stays as it is.
    pub async fn format_sql(&self, text: &str) -> Result<String, AppError> {
        #[derive(serde::Deserialize)]
        struct Row {
            formatted: Option<String>,
        }
        self.shared.running()?;
        let bytes = self.shared.engine.command(&statement::format_query(text)).await?;
        let row = verify::rows::<Row>(&bytes)?.into_iter().next();
        Ok(row.and_then(|it| it.formatted).unwrap_or_else(|| text.to_owned()))
    }

    /// Waits for what changes or inserts, then lets nothing more begin: the app is stopping.
    pub(super) async fn quiesce(&self) {
        self.schedules.stop();
        // Before the deploys: a job may be waiting for one.
        self.jobs.stop().await;
        self.files.stop().await;
        let _deploying = self.deploying.lock().await;
        self.stop_consumers().await;
        if let Some(events) = self.events.get() {
            events.close().await;
        }
        let _replaying = self.replaying.lock().await;
        let _inserting = self.inserting.write().await;
        let _replacing = self.replacing.lock().await;
        if let Some(recorder) = self.recorder.get() {
            recorder.flush().await;
        }
    }
}
